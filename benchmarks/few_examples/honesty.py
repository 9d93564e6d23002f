"""Is what a support says of itself true? The accuracy by the examples alone beside that of many other rows.

    python -m benchmarks.few_examples.honesty [--data FOLDER] [--tasks 200] [--seed 0] [--quick] [--json FILE]

Tasks of 2 to 20 classes with 3, 5 or 10 examples of each are cut from real data sets behind the bundled encoders, of
which the true accuracy, on up to 40 further rows of each class, is between 50 and 99 %. What `report_` says of it,
and of supports with 1, 5 and 20 more examples of each class, is held against the truth.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks import row
from benchmarks.few_examples.pools import (
    Pool,
    bank_pool,
    banking_pool,
    credit_pool,
    home_pool,
    mnist_pool,
    omniglot_pool,
    signs_pool,
    support_of,
)
from benchmarks.row import Line, Row, Target
from mapwise.catalog.heads import HEADS
from mapwise.core import tree
from mapwise.core.interval import half_width
from mapwise.core.task import Examples
from mapwise.predictors.evidence.cross_validation import MORE, held_out
from mapwise.predictors.evidence.held_out import Expected, HeldOut

POOLS = (mnist_pool, signs_pool, banking_pool, home_pool, bank_pool, credit_pool)
SHOTS, WAYS, QUERIES = (3, 5, 10), (2, 5, 10, 20), 40
HEADS_ASKED = ("nearest_mean", "ridge")
TRUTH = (0.5, 0.99)
BIAS = {3: 4.0, 5: 2.0, 10: 2.0}
"""Points that the mean of what is said may lie from the mean of the truth, by the examples of each class."""
COVERED = (88.0, 98.0)
"""Per cent of the 95 % intervals that may hold the truth."""


@dataclass(frozen=True)
class Judged:
    """One task."""

    pool: str
    head: str
    shots: int
    claim: HeldOut
    truth: dict[int, float]
    """More examples of each class -> the accuracy with them; 0 is the support itself."""


def accuracy(head: str, support: Examples, query: np.ndarray, ways: int) -> float:
    learner = HEADS[head](support)
    params = tree.map(torch.Tensor.double, learner.init(0))
    scores = learner.predict(params, learner.adapt(params, support), torch.as_tensor(query, dtype=torch.float64))
    return float((scores.argmax(1).numpy() == np.repeat(np.arange(ways), len(query) // ways)).mean())


def judged(pool: Pool, head: str, ways: int, shots: int, random: np.random.Generator) -> Judged | None:
    """One task, or None when its truth lies outside."""
    fewest = np.sort(np.bincount(pool.y))[-ways]
    more = [n for n in (0, *MORE) if shots + n + 5 <= fewest]
    most = shots + more[-1]
    support, query = pool.cut(random, ways, most, QUERIES)
    truth = {}
    for n in more:
        model, options = pool.encoded(support[:, : shots + n].ravel(), query.ravel())
        truth[n] = accuracy(head, support_of(model, ways), options, ways)
        if n == 0:
            if not TRUTH[0] <= truth[0] <= TRUTH[1]:
                return None
            rows = support_of(model, ways)
    learner = HEADS[head](rows)
    params = tree.map(torch.Tensor.double, learner.init(0))
    answer = held_out(learner, params, rows, [str(place) for place in range(ways)])
    return Judged(pool.name, head, shots, answer, truth)


def tasks(pools: list[Pool], count: int, seed: int) -> Iterator[Judged]:
    """So many tasks of every number of shots, drawn evenly from the pools."""
    for shots in SHOTS:
        random = np.random.default_rng((seed, shots))
        result = 0
        while result < count:
            pool = pools[random.integers(len(pools))]
            enough = int((np.bincount(pool.y) >= shots + 6).sum())
            ways = int(random.choice([ways for ways in WAYS if ways <= enough]))
            task = judged(pool, str(random.choice(HEADS_ASKED)), ways, shots, random)
            if task is not None:
                result += 1
                yield task


def line_of(what: str, shots: int, pairs: list[tuple[Expected, float]]) -> tuple[Line, float, float]:
    """A table's line, the bias in points and the coverage in per cent."""
    gaps = 100 * np.array([answer.accuracy - truth for answer, truth in pairs])
    covered = 100 * float(np.mean([answer.low <= truth <= answer.high for answer, truth in pairs]))
    width = 100 * float(np.mean([answer.high - answer.low for answer, _ in pairs]))
    line: Line = {
        "examples of each class": shots,
        "of": what,
        "tasks": len(pairs),
        "true, %": round(100 * float(np.mean([truth for _, truth in pairs])), 1),
        "said less true": f"{gaps.mean():+.1f} ± {half_width(gaps):.1f}",
        "spread of it": round(float(gaps.std()), 1),
        "interval holds the truth, %": round(covered, 1),
        "its width": round(width, 1),
    }
    return line, float(gaps.mean()), covered


def benchmark(options: argparse.Namespace) -> Row:
    data = Path(options.data)
    if options.quick:
        pools = [omniglot_pool(data, "test", 60), credit_pool(data)]
    else:
        pools = [omniglot_pool(data, "test"), *(product(data) for product in POOLS)]
    count = 3 if options.quick else options.tasks
    result = Row(
        "honesty",
        ", ".join(sorted(pool.name for pool in pools)),
        f"{count} tasks of every number of examples, with nearest_mean or ridge; truth by up to {QUERIES} further rows "
        "of each class",
        learner="none: what a support says of itself",
    )
    outcome = list(tasks(pools, count, options.seed))
    lines: list[Line] = []
    coverages: list[float] = []
    for shots in SHOTS:
        of = [task for task in outcome if task.shots == shots]
        now = [(Expected(task.claim.accuracy, task.claim.low, task.claim.high), task.truth[0]) for task in of]
        line, bias, covered = line_of("this support", shots, now)
        lines.append(line)
        result.targets.append(
            Target(f"points said beside the truth, {shots} shots", abs(bias), BIAS[shots], at_least=False)
        )
        coverages.append(covered)
        for more in MORE:
            pairs = [(task.claim.more[more], task.truth[more]) for task in of if more in task.truth]
            line, _, covered = line_of(f"{more} more of each class", shots, pairs)
            lines.append(line)
            coverages.append(covered)
    result.targets.append(Target("intervals that hold the truth, per cent, fewest", min(coverages), COVERED[0]))
    result.targets.append(Target("the same, most", max(coverages), COVERED[1], at_least=False))
    result.tables.append(("what a support says of itself", lines))
    return result


def main() -> int:
    parser = row.parser(__doc__)
    parser.add_argument("--data", default=os.environ.get("MAPWISE_DATA"), help="the folder of data sets")
    parser.add_argument("--tasks", type=int, default=200, help="of every number of examples")
    parser.add_argument("--seed", type=int, default=0)
    return row.run(parser, benchmark, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
