"""How near is cnp to the exact posterior? Log-likelihood and coverage on functions of Gaussian processes, per kernel.

    python -m benchmarks.accuracy.functions [--kernel rbf ...] [--steps 20000] [--quick] [--json FILE]

One cnp is trained for every kernel and judged on functions it has never seen, given 1, 2, 5, 10, 20 and 50 of their
points; the exact Gaussian process that drew them stands beside it, and no predictor can be better. The same functions
are asked about the same points whatever the context, so its gain is paired. A run's folder is kept in --runs, and one
that is finished is not trained again.
"""

import argparse
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks import row
from benchmarks.kept_runs import finished, with_interval
from benchmarks.row import Line, Row, Target
from mapwise.core.estimate import Estimate
from mapwise.core.map_tasks import map_tasks, task_at, tasks_in
from mapwise.core.scores import Gaussian
from mapwise.core.task import Task
from mapwise.runs.run import Run
from mapwise.tasks.gaussian_process import KERNELS, GaussianProcess

CONTEXTS = (1, 2, 5, 10, 20, 50)
EPISODES = 1000
NOISE = 0.1
"""Of every y: what cnp can say least, so that the exact posterior is within its reach."""
REACH = 1.959963984540054
"""Standard deviations to either side that hold 95 % of a normal distribution."""


class Judged(NamedTuple):
    """What one predictor said of every function, [E]."""

    likelihood: np.ndarray
    """Mean log-density of a function's queries, in nats."""
    covered: np.ndarray
    """The share of them in the central 95 % interval."""


def benchmark(options: argparse.Namespace) -> Row:
    episodes, steps = (8, 4) if options.quick else (EPISODES, options.steps)
    contexts = CONTEXTS[:2] if options.quick else CONTEXTS
    result = Row(
        "functions",
        "gp",
        f"cnp trained on functions of a Gaussian process (length 0.4, noise {NOISE}) with 1 to {CONTEXTS[-1]} points "
        f"of each, {steps:,} steps of 16 functions, one seed; judged at 30 points of the same {episodes:,} functions "
        "never seen, whatever the context; log-likelihood in nats for a point",
        learner="none: functions",
    )
    for kernel in options.kernel or KERNELS:
        folder = trained(options, kernel, steps)
        judged = {context: both(folder, context, episodes) for context in contexts}
        lines = [line(context, *pair) for context, pair in judged.items()]
        result.tables.append((f"{kernel}: log-likelihood and coverage by context", lines))
        likelihoods = [own.likelihood for own, _ in judged.values()]
        rises = [Estimate.of(after - before) for before, after in pairwise(likelihoods)]
        least = min(rises, key=lambda rise: rise.mean - rise.ci95)
        what = f"{kernel}: least rise from one context to the next, lower end of its paired interval"
        result.targets.append(Target(what, least.mean - least.ci95, 0.0))
        share = 100 * float(np.mean([own.covered.mean() for own, _ in judged.values()]))
        result.targets.append(Target(f"{kernel}: coverage of the 95 % interval over all contexts, %", share, 90.0))
        result.targets.append(Target(f"{kernel}: the same", share, 98.0, at_least=False))
    options.rounds = None
    return result


def line(context: int, own: Judged, exact: Judged) -> Line:
    """One context: both log-likelihoods, their paired difference, and both coverages."""
    return {
        "context": str(context),
        "cnp": with_interval(own.likelihood, 3),
        "exact": with_interval(exact.likelihood, 3),
        "cnp minus exact": with_interval(own.likelihood - exact.likelihood, 3),
        "cnp in 95 %, %": with_interval(100 * own.covered, 1),
        "exact in 95 %, %": with_interval(100 * exact.covered, 1),
    }


def trained(options: argparse.Namespace, kernel: str, steps: int) -> Path:
    """The folder of one training."""
    folder: Path = options.runs / kernel
    words = ["cnp", "gp", "--source.kernel", kernel, "--source.noise", str(NOISE), "--net.hidden", ""]
    words += ["--shots", f"1-{CONTEXTS[-1]}", "--tasks", "16", "--steps", str(steps), "--optimizer", options.optimizer]
    words += ["--schedule", "cosine", "--select", "last", "--validate-every", str(steps), "--how", "vmap"]
    words += ["--threads", str(options.threads)]
    return finished(folder, words)


def both(folder: Path, context: int, episodes: int) -> tuple[Judged, Judged]:
    """cnp and the exact posterior, given so many points of each test function."""
    run = Run.open(folder)
    learner, params = run.learner, run.params
    assert isinstance(run.source, GaussianProcess)
    source = replace(run.source, part="test", seed=0, shots=context, tasks=min(100, episodes))

    def predict(task: Task) -> Gaussian:
        return learner.predict(params, learner.adapt(params, task.support), task.query.x)  # type: ignore[return-value]

    own, exact = list[Judged](), list[Judged]()
    for step in range(-(-episodes // source.tasks)):
        tasks = source(step)
        with torch.no_grad():
            own.append(judged(map_tasks(predict, tasks), tasks.query.y))
        known = [
            source.posterior(task.support, task.query.x) for task in (task_at(tasks, i) for i in range(tasks_in(tasks)))
        ]
        exact.append(judged(Gaussian(*map(torch.stack, zip(*known, strict=True))), tasks.query.y))
    return tuple(  # type: ignore[return-value]
        Judged(*(np.concatenate(parts)[:episodes] for parts in zip(*pieces, strict=True))) for pieces in (own, exact)
    )


def judged(answer: Gaussian, y: Tensor) -> Judged:
    """Log-density and coverage of a batch of functions, [T] each."""
    z = (y.double() - answer.mean) / answer.scale  # [T, Q, 1]
    density = -0.5 * z**2 - torch.log(answer.scale.double()) - 0.5 * np.log(2 * np.pi)
    return Judged(density.mean((1, 2)).numpy(), (z.abs() <= REACH).double().mean((1, 2)).numpy())


def main(words: list[str]) -> int:
    parser = row.parser(__doc__)
    parser.add_argument("--kernel", action="append", choices=[*KERNELS], help="this one (may be repeated)")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--optimizer", default="Adam lr=0.001")
    parser.add_argument("--runs", type=Path, default=Path("runs/functions"))
    return row.run(parser, benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
