"""Is it better to write weights than to copy them? HyperNet against parameter transfer, paired, and on straight lines.

    python -m benchmarks.accuracy.hypernet [--quick] [--json FILE]

Transfer is a net trained on the same tasks without adapting (`maml --train-steps 0`), copied and then fitted to the
support by the steps and the rate that are best on validation tasks. On glyphs fine-tuning from a classifier of all base
classes stands beside both: transfer at its best, and a harder rival.
"""

import argparse
import itertools
import sys
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

import mapwise as mw
from benchmarks import row
from benchmarks.row import Line, Row, Target
from mapwise.catalog.learners import LEARNERS
from mapwise.catalog.sources import training_source
from mapwise.core.estimate import Estimate
from mapwise.core.functional import Net
from mapwise.core.task import Examples
from mapwise.data.glyphs import glyphs
from mapwise.engine.results import Report
from mapwise.nets import MLP, Conv4

SHOTS = (1, 5)
SEEDS = {"sinusoid": 3, "glyphs": 1}
STEPS = {"lines": 4000, "sinusoid": 3000, "glyphs": 1000}
EPISODES = {"sinusoid": 2000, "glyphs": 1000}
FITS = {
    "sinusoid": tuple(itertools.product((1, 5, 20), (0.003, 0.01, 0.03))),
    "glyphs": tuple(itertools.product((5, 20), (0.03, 0.1, 0.4))),
}
"""Steps and rates that transfer may take."""
LINES = 100
"""Supports of the line y = 2x."""


def benchmark(options: argparse.Namespace) -> Row:
    result = Row(
        "hypernet-transfer",
        "lines, sinusoid, glyphs",
        f"lines: a linear model written in 4 passes, 10 points, {STEPS['lines']:,} steps of 32 tasks; sinusoid: a "
        f"40-40 MLP, its head written in 2 passes, {STEPS['sinusoid']:,} steps of 25 tasks, {SEEDS['sinusoid']} seeds; "
        "glyphs: Conv4-32, 5-way, 15 queries a class, its head written in 1 pass, "
        f"{STEPS['glyphs']:,} steps of 4 tasks, one seed; all trained alike, "
        "by Adam 0.003 down a cosine, and judged on the same test episodes",
        learner="none: transfer",
    )
    on_lines(options, result)
    for source, make in (("sinusoid", sinusoids), ("glyphs", characters)):
        lines: list[Line] = []
        for seed in range(1 if options.quick else SEEDS[source]):
            lines += make(options, result, seed)
        result.tables.append((f"{source}: {'mean squared error' if source == 'sinusoid' else 'accuracy, %'}", lines))
    options.rounds = None
    return result


def on_lines(options: argparse.Namespace, result: Row) -> None:
    """How near y = 2x comes at x = 4, as it is written and after a fit."""
    learner: Any = mw.HyperNet(partial(MLP, (1,), 1, hidden=()), hidden=64, passes=4, loss="squared_error")
    params = trained(options, learner, mw.Lines(shots=10, queries=10, tasks=32), "lines", 0)
    random, lines = torch.Generator().manual_seed(0), list[Line]()
    supports = 10 * torch.rand((LINES, 10, 1), generator=random) - 5
    for name, steps in (("as it is written", 0), ("after 200 steps of 0.03", 200)):
        fitted, misses = replace(learner, inner_steps=steps, inner_lr=0.03), []
        for x in supports:
            fast = fitted.adapt(params, Examples(x, 2 * x, torch.ones(len(x)), torch.tensor(0)))
            misses.append(abs(float(fitted.predict(params, fast, torch.tensor([[4.0]]))) - 8))
        lines.append({"prediction": name, "mean": float(np.mean(misses)), "median": float(np.median(misses))})
        lines[-1]["largest"] = max(misses)
    result.tables.append((f"y = 2x at x = 4, distance from 8 over {LINES} supports of 10 random points", lines))
    result.targets.append(Target("lines, mean distance as it is written", lines[0]["mean"], 0.05, False))
    result.targets.append(Target("lines, mean distance after the fit", lines[1]["mean"], 1e-3, False))


def sinusoids(options: argparse.Namespace, result: Row, seed: int) -> list[Line]:
    """One seed: HyperNet for either number of shots, against one transfer."""
    net: Net = partial(MLP, (1,), 1, hidden=(40, 40))
    source = mw.Sinusoid(queries=10, tasks=25, seed=seed)
    transfer: Any = mw.MAML(net, train_steps=0, loss="squared_error")
    start = trained(options, transfer, source, "sinusoid", seed)
    lines = []
    for shots in SHOTS:
        one = replace(source, shots=shots)
        learner = mw.HyperNet(net, passes=2, loss="squared_error")
        ours = judged(options, learner, trained(options, learner, one, "sinusoid", seed), one, "sinusoid")
        fit = best_fit(options, transfer, start, one, "sinusoid")
        theirs = judged(options, fit, start, one, "sinusoid")
        line = compared(result, f"sinusoid {shots}-shot, seed {seed}", ours.values, {"transfer": theirs.values}, -1)
        lines.append({**line, "fit": f"{fit.inner_steps} of {fit.inner_lr:g}"})
    return lines


def characters(options: argparse.Namespace, result: Row, seed: int) -> list[Line]:
    """The same for 5-way classification, and fine-tuning beside it."""
    filters = 4 if options.quick else 32
    net: Net = partial(Conv4, (1, 28, 28), 5, filters=filters, norm="support", down="stride")
    source = mw.Episodes(glyphs(), ways=5, shots=1, queries=15, tasks=4, seed=seed)
    transfer: Any = mw.MAML(net, train_steps=0)
    start = trained(options, transfer, source, "glyphs", seed)
    tuned_row = LEARNERS["finetune"]
    classes = training_source(tuned_row, source)
    encoder = partial(Conv4, (1, 28, 28), classes.outputs, filters=filters, norm="frozen", down="stride")
    finetune = tuned_row.build(encoder)
    base = trained(options, finetune, classes, "glyphs", seed, validation=source.split("val"))
    lines = []
    for shots in SHOTS:
        one = replace(source, shots=shots)
        learner = mw.HyperNet(net)
        ours = judged(options, learner, trained(options, learner, one, "glyphs", seed), one, "glyphs")
        fit = best_fit(options, transfer, start, one, "glyphs")
        rivals = {
            "transfer": 100 * judged(options, fit, start, one, "glyphs").values,
            "finetune": 100 * judged(options, finetune, base, one, "glyphs").values,
        }
        line = compared(result, f"glyphs {shots}-shot, seed {seed}", 100 * ours.values, rivals, 1)
        lines.append({**line, "fit": f"{fit.inner_steps} of {fit.inner_lr:g}"})
    return lines


def trained(
    options: argparse.Namespace, learner: Any, source: Any, name: str, seed: int, validation: Any = None
) -> dict[str, Any]:
    steps = 2 if options.quick else STEPS[name]
    return mw.train(
        learner,
        source,
        steps=steps,
        optimizer="Adam lr=0.003",
        schedule="cosine",
        seed=seed,
        validation=validation,
        validate_every=steps,
        validation_episodes=2,
        select="last",
        how="loop" if name == "glyphs" else "vmap",
    ).params


def best_fit(options: argparse.Namespace, transfer: Any, start: dict[str, Any], source: Any, name: str) -> Any:
    """Transfer with the steps and the rate that are best on validation tasks."""
    val, episodes = source.split("val"), 4 if options.quick else 100
    candidates = [replace(transfer, inner_steps=steps, inner_lr=rate) for steps, rate in FITS[name]]
    sign = -1 if name == "sinusoid" else 1
    return max(candidates, key=lambda one: sign * mw.evaluate(one, start, val, episodes=episodes).values.mean())


def judged(options: argparse.Namespace, learner: Any, params: dict[str, Any], source: Any, name: str) -> Report:
    # One seed of test episodes for all.
    test = replace(source.split("test"), seed=0, queries=100 if name == "sinusoid" else 15)
    return mw.evaluate(learner, params, test, episodes=4 if options.quick else EPISODES[name])


def compared(result: Row, what: str, ours: np.ndarray, rivals: dict[str, np.ndarray], sign: int) -> Line:
    """A line of a table: either's own figure, and how far the first is ahead of each rival."""
    line: Line = {"task": what, "hypernet": format_mean(ours)}
    for name, theirs in rivals.items():
        ahead = Estimate.of(sign * (ours - theirs))
        line |= {name: format_mean(theirs), f"ahead of {name}": f"{ahead.mean:.3g} ± {ahead.ci95:.2g}"}
        if name == "transfer":
            result.targets.append(Target(f"{what}, lower end of the lead over transfer", ahead.mean - ahead.ci95, 0.0))
    return line


def format_mean(values: np.ndarray) -> str:
    estimate = Estimate.of(values)
    return f"{estimate.mean:.3g} ± {estimate.ci95:.2g}"


def main(words: list[str]) -> int:
    return row.run(row.parser(__doc__), benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
