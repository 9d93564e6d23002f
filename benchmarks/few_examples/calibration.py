"""Do probabilities mean what they say? Confidence beside accuracy, before and after a temperature, by head and data.

    python -m benchmarks.few_examples.calibration [--data FOLDER] [--tasks 50] [--quick] [--json FILE]

Of every data set 50 tasks are cut, of 5 classes (of tables 2) with 5 or 10 examples of each, and for every head the
temperature is fitted as a predictor fits it, to out-of-fold answers. The answers to up to 20 further rows of each class
are pooled over the tasks, and the calibration error is the mean gap between confidence and accuracy in 15 bins of as
many answers. Its least value is that of a predictor whose confidence is right: so few answers differ from it by chance.
"""

import argparse
import os
import sys
from collections.abc import Callable
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
    omniglot_pool,
    signs_pool,
    support_of,
)
from benchmarks.row import Line, Row, Target
from mapwise.catalog.heads import HEADS
from mapwise.core import tree
from mapwise.core.task import Examples
from mapwise.predictors.evidence import calibration

POOLS: tuple[Callable[[Path], Pool], ...] = (signs_pool, banking_pool, home_pool, credit_pool, bank_pool)
SHOTS, QUERIES, BINS = (5, 10), 20, 15
MANY = 50
"""Classes of the largest tasks, of data sets that have as many."""
GOAL = 5.0
"""Points of calibration error, at most, of a head over all data sets together."""
HEADS_ASKED = tuple(name for name, head in HEADS.items() if not head.tunes)


def scores_of(head: str, support: Examples, x: torch.Tensor) -> np.ndarray:
    """The scores of rows by a head that is fitted to a support."""
    learner = HEADS[head](support)
    params = tree.map(torch.Tensor.double, learner.init(0))
    with torch.no_grad():
        scores: np.ndarray = learner.predict(params, learner.adapt(params, support), x).numpy()
    return scores


def answers(pool: Pool, head: str, ways: int, shots: int, tasks: int) -> np.ndarray:
    """Of every answer in the tasks: whether it is right, its confidence before, and after; [A, 3]."""
    random = np.random.default_rng((ways, shots))
    parts = []
    for _ in range(tasks):
        places, queries = pool.cut(random, ways, shots, QUERIES)
        x, query = pool.encoded(places.ravel(), queries.ravel())
        support = support_of(x, ways)
        rows, scores = calibration.out_of_fold(support, lambda rest, left_out: scores_of(head, rest, left_out))
        temperature = calibration.temperature(scores, support.y.argmax(1).numpy()[rows], np.ones(len(rows)))
        plain = torch.as_tensor(scores_of(head, support, torch.as_tensor(query, dtype=torch.float64)))
        right = plain.argmax(1).numpy() == np.repeat(np.arange(ways), queries.shape[1])
        confidence = [(plain / divisor).softmax(1).max(1).values.numpy() for divisor in (1.0, temperature)]
        parts.append(np.stack([right, *confidence], axis=1))
    return np.concatenate(parts)


def error(right: np.ndarray, confidence: np.ndarray) -> float:
    """The calibration error, in points."""
    bins = np.array_split(np.argsort(confidence, kind="stable"), BINS)
    gaps = [len(places) * abs(confidence[places].mean() - right[places].mean()) for places in bins]
    return 100 * float(np.sum(gaps)) / len(right)


def least(confidence: np.ndarray) -> float:
    """The calibration error that answers of this confidence would have by chance, were it right."""
    random = np.random.default_rng(0)
    return float(np.mean([error(random.random(len(confidence)) < confidence, confidence) for _ in range(5)]))


def line_of(name: str, head: str, ways: int, shots: int | str, table: np.ndarray) -> Line:
    right, before, after = table.T
    return {
        "data": name,
        "head": head,
        "classes": ways,
        "examples of each class": shots,
        "right, %": round(100 * right.mean(), 1),
        "mean probability before, %": round(100 * before.mean(), 1),
        "after, %": round(100 * after.mean(), 1),
        "calibration error before": round(error(right, before), 1),
        "after": round(error(right, after), 1),
        "by chance": round(least(after), 1),
    }


def measure(options: argparse.Namespace) -> Row:
    data = Path(options.data)
    tasks = 3 if options.quick else options.tasks
    pools = [credit_pool(data)] if options.quick else [omniglot_pool(data, "test"), *(pool(data) for pool in POOLS)]
    result = Row(
        "calibrated-heads",
        ", ".join(sorted(pool.name for pool in pools)),
        f"{tasks} tasks of every data set, head and number of examples; up to {QUERIES} further rows of each class; "
        f"{BINS} bins of as many answers",
        learner="none: probabilities of a few examples",
    )
    lines: list[Line] = []
    pooled: dict[str, list[np.ndarray]] = {head: [] for head in HEADS_ASKED}
    for pool in pools:
        classes = int((np.bincount(pool.y) > max(SHOTS)).sum())
        for head in HEADS_ASKED:
            for shots in SHOTS:
                table = answers(pool, head, min(5, classes), shots, tasks)
                pooled[head].append(table)
                lines.append(line_of(pool.name, head, min(5, classes), shots, table))
            if classes >= MANY and not options.quick:
                table = answers(pool, head, MANY, SHOTS[0], max(1, tasks // 10))
                lines.append(line_of(pool.name, head, MANY, SHOTS[0], table))
    for head, parts in pooled.items():
        right, _, after = np.concatenate(parts).T
        what = f"points of calibration error of {head}, all tasks of few classes together"
        result.targets.append(Target(what, error(right, after), GOAL, at_least=False))
    result.tables.append(("confidence beside accuracy", lines))
    return result


def main() -> int:
    parser = row.parser(__doc__)
    parser.add_argument("--data", default=os.environ.get("MAPWISE_DATA"), help="the folder of data sets")
    parser.add_argument("--tasks", type=int, default=50)
    return row.run(parser, measure, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
