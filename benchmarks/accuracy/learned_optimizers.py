"""Is a learned optimizer better than a tuned one? Its curve on problems never seen, beside SGD, momentum and Adam.

    python -m benchmarks.accuracy.learned_optimizers quadratics|small_mlps [--steps 5000] [--quick] [--json FILE]

The best of 8 log-spaced rates of each rule is chosen on training problems, for each horizon by its own loss there. All
begin at the same starts and see the same mini-batches. The horizons are the steps that the optimizer was trained for,
and ten times that. The loss is that of all rows of the problem. A run's folder is kept in --runs with the curves that
are finished, and none is made again.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from benchmarks import row
from benchmarks.kept_runs import finished, with_interval
from benchmarks.row import Line, Row, Target
from mapwise.core.inner_loop import SGD, Adam, Carry, Rule, walk
from mapwise.core.source import TaskSource
from mapwise.core.task import Task
from mapwise.learners.optimization.learned_optimizer import LearnedOptimizer
from mapwise.runs.run import Run

RATES = tuple(float(rate) for rate in np.logspace(-3, 0.5, 8))
RULES: dict[str, Callable[[float], Rule]] = {
    "SGD": SGD,
    "momentum": lambda rate: SGD(rate, momentum=0.9),
    "Adam": Adam,
}
MARKS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
HORIZONS = (100, 1000)
LEARNED = "learned"


@dataclass(frozen=True)
class Family:
    """One family of problems: how it is trained on, and how many choose and judge."""

    words: tuple[str, ...]
    choosing: int
    judging: int


FAMILIES = {
    "quadratics": Family(("--tasks", "16"), 32, 200),
    "small_mlps": Family(("--tasks", "2", "--inner-batch", "128"), 16, 64),
}


def benchmark(options: argparse.Namespace) -> Row:
    family = FAMILIES[options.source]
    steps, marks, horizons = (options.steps, MARKS, HORIZONS)
    if options.quick:
        family, steps, marks, horizons = Family(family.words, 2, 3), 2, (0, 1, 2, 4), (2, 4)
    folder = trained(options, family, steps)
    run = Run.open(folder)
    learner = run.learner
    assert isinstance(learner, LearnedOptimizer)
    choosing = problems(run.source, family.choosing)
    judging = problems(run.judging("test", seed=0), family.judging)
    result = Row(
        f"learned-optimizer-{options.source.replace('_', '-')}",
        options.source,
        f"learned_optimizer trained for {steps:,} windows of 20 steps, 100 steps a problem, by its own recipe; the "
        f"others at the best of {len(RATES)} rates from {RATES[0]:g} to {RATES[-1]:.3g}, chosen on {family.choosing} "
        f"training problems for each horizon; judged on the same {family.judging} problems never seen; differences are "
        "paired",
        learner="none: learned optimizers",
    )
    ours = curve(folder, LEARNED, learner, learner.rule(run.params), judging, marks)
    lines, curves = list[Line](), {LEARNED: ours}
    for horizon in horizons:
        at = marks.index(horizon)
        lines.append(
            {
                "horizon": str(horizon),
                "rule": LEARNED,
                "rate": "",
                "loss": _mean(ours[:, at]),
                **_against(ours, ours, at),
            }
        )
        for name, make in RULES.items():
            tried = [
                float(np.mean(curve(folder, f"choosing-{name}-{place}", learner, make(rate), choosing, marks)[:, at]))
                for place, rate in enumerate(RATES)
            ]
            place = int(np.argmin(tried))
            theirs = curve(folder, f"{name}-{place}", learner, make(RATES[place]), judging, marks)
            curves[f"{name}, chosen at {horizon}"] = theirs
            edge = " (an end of the grid)" if place in (0, len(RATES) - 1) else ""
            shown = {"rate": f"{RATES[place]:.3g}{edge}", "loss": _mean(theirs[:, at]), **_against(theirs, ours, at)}
            lines.append({"horizon": str(horizon), "rule": name, **shown})
            ahead = np.log10(np.maximum(theirs[:, at], 1e-12)) - np.log10(np.maximum(ours[:, at], 1e-12))
            what = f"{horizon} steps: loss of {name} above the learned optimizer's, factors of ten"
            if horizon == horizons[0]:  # beyond what it was trained for nothing is asked of it
                result.targets.append(Target(what, float(ahead.mean()), 0.0))
    result.tables.append((f"{options.source}: the loss at each horizon", lines))
    table = [
        {"step": str(step), **{name: _mean(its[:, i]) for name, its in curves.items()}} for i, step in enumerate(marks)
    ]
    result.tables.append((f"{options.source}: curves, mean loss over the problems", table))
    options.rounds = None
    return result


def trained(options: argparse.Namespace, family: Family, steps: int) -> Path:
    """The folder of the training."""
    words = ["learned_optimizer", options.source, *family.words, "--steps", str(steps), "--schedule", "cosine"]
    words += ["--validate-every", str(max(1, steps // 10)), "--validation-episodes", "2" if options.quick else "64"]
    words += ["--threads", str(options.threads)]
    return finished(options.runs / options.source, words)


def problems(source: TaskSource, count: int) -> Task:
    """So many problems, as one batch."""
    return source.with_(tasks=count)(0)


def curve(
    folder: Path, name: str, learner: LearnedOptimizer, rule: Rule, tasks: Task, marks: tuple[int, ...]
) -> np.ndarray:
    """The loss of every problem after so many steps, [problems, marks]; infinite where it is no number."""
    path = folder / f"curve-{name}-{len(tasks.support.y)}-{marks[-1]}.npy"
    if path.exists():
        return np.load(path)  # type: ignore[no-any-return]

    def begin(task: Task) -> Any:
        point = learner.begin({**learner.init(0)}, task).point
        return {"point": point, "state": rule.start(point)}

    def loss(task: Task, carry: Any) -> Tensor:
        return learner.loss_of(carry["point"], task.support, learner.present_in(task.support))

    with torch.no_grad():
        carry = torch.vmap(begin)(tasks)
        losses = {0: torch.vmap(loss)(tasks, carry)}
        for t in range(marks[-1]):

            def step(task: Task, carry: Any, t: int = t) -> Any:
                given = (task.support, learner.present_in(task.support))
                before = Carry(carry["point"], carry["state"])
                (after,) = walk(learner.batch_loss, before, rule, range(t, t + 1), given=given, first_order=True)
                return {"point": after.point, "state": after.state}

            carry = torch.vmap(step)(tasks, carry)
            carry = pytree.tree_map(Tensor.detach, carry)
            if t + 1 in marks:
                losses[t + 1] = torch.vmap(loss)(tasks, carry)
    values = torch.stack([losses[mark] for mark in marks], 1).double().numpy()
    values = np.where(np.isfinite(values), values, np.inf)
    np.save(path, values)
    return values


def _mean(values: np.ndarray) -> str:
    if not np.isfinite(values).all():
        return f"diverged on {np.mean(~np.isfinite(values)):.0%}"
    return f"{values.mean():.3g} ± {_half(values):.2g}"


def _half(values: np.ndarray) -> float:
    from mapwise.core.interval import half_width

    return half_width(values)


def _against(its: np.ndarray, ours: np.ndarray, at: int) -> Line:
    """How many factors of ten a loss lies above the learned optimizer's, and on how many problems."""
    ahead = np.log10(np.clip(its[:, at], 1e-12, 1e12)) - np.log10(np.clip(ours[:, at], 1e-12, 1e12))
    return {
        "above learned, factors of ten": with_interval(ahead, 3),
        "learned is lower on": f"{np.mean(ours[:, at] < its[:, at]):.0%}",
    }


def main(words: list[str]) -> int:
    parser = row.parser(__doc__)
    parser.add_argument("source", choices=FAMILIES)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--runs", type=Path, default=Path("runs/learned-optimizers"))
    return row.run(parser, benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
