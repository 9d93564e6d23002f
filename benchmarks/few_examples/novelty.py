"""Does a predictor know what it wasn't taught? Rows of classes outside the support, told from rows of those inside.

    python -m benchmarks.few_examples.novelty [--data FOLDER] [--tasks 300] [--quick] [--json FILE]

Characters of Omniglot through the bundled encoder: the novelty's spread on validation characters, which the encoder
holds, and then on test characters the area under the ROC curve, how many known rows are refused when 5 or 10 % may be,
and how many unknown ones are caught. Beside it digits, of which the encoder has never seen one.
"""

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from benchmarks import row
from benchmarks.few_examples.pools import Pool, mnist_pool, omniglot_pool, support_of
from benchmarks.kept_runs import with_interval
from benchmarks.row import Line, Row, Target
from mapwise.encoders.encoder import Spread
from mapwise.predictors.evidence.novelty import held_out_novelty, limit, novelty

SHARES = (0.05, 0.10)
WITHIN = 2.0
"""Points that more may be refused than was chosen."""
AREAS = {1: 0.95, 5: 0.97}
"""By the examples of each class, of five classes."""
QUERIES = 10


def novelties(pool: Pool, random: np.random.Generator, ways: int, shots: int, unknown: int):
    """One task: its support, and the novelties of known rows and of rows of so many other classes."""
    support, known = pool.cut(random, ways + unknown, shots, QUERIES)
    inside = support[:ways].ravel()
    x, query = pool.encoded(inside, np.concatenate([known[:ways].ravel(), known[ways:].ravel()]))
    model = support_of(x, ways)
    result = novelty(model, torch.as_tensor(query, dtype=torch.float64))
    return model, result[: known[:ways].size], result[known[:ways].size :]


def spread(pool: Pool, tasks: int) -> Spread:
    """Moments of the novelty's logarithm for rows of known classes, over tasks of five ways and 1 to 5 shots."""
    random = np.random.default_rng(1)
    result = np.concatenate([novelties(pool, random, 5, 1 + task % 5, 0)[1] for task in range(tasks)])
    logs = np.log(np.maximum(result, 1e-3 * result.mean()))
    return Spread(round(float(logs.mean()), 2), round(float(logs.std()), 2))


def judged(pool: Pool, ways: int, shots: int, unknown: int, tasks: int, known: Spread | None) -> tuple[Line, dict]:
    """A table's line, and its numbers."""
    random = np.random.default_rng(0)
    areas, refused, caught = [], [], []
    for _ in range(tasks):
        support, inside, outside = novelties(pool, random, ways, shots, unknown)
        truth = np.r_[np.zeros(len(inside)), np.ones(len(outside))]
        areas.append(roc_auc_score(truth, np.r_[inside, outside]))
        own = held_out_novelty(support)
        ends = [limit(own, share, known) for share in SHARES]
        refused.append([100 * (inside > end).mean() for end in ends])
        caught.append([100 * (outside > end).mean() for end in ends])
    line: Line = {
        "rows": pool.name + ("" if known else ", spread unknown"),
        "ways": ways,
        "shots": shots,
        "area under ROC": with_interval(np.array(areas), 3),
    }
    for place, share in enumerate(SHARES):
        line[f"refused at {100 * share:.0f} %"] = with_interval(np.array(refused)[:, place], 1)
        line[f"caught at {100 * share:.0f} %"] = with_interval(np.array(caught)[:, place], 1)
    return line, {"area": float(np.mean(areas)), "refused": np.mean(refused, axis=0)}


def benchmark(options: argparse.Namespace) -> Row:
    data = Path(options.data)
    tasks = 3 if options.quick else options.tasks
    result = Row(
        "novelty",
        "omniglot, mnist",
        f"{tasks} tasks; {QUERIES} rows of each class of the support, and as many of as many other classes",
        learner="none: the encoder's rows",
    )
    few = 60 if options.quick else None
    known = spread(omniglot_pool(data, "val", few), tasks)
    test = omniglot_pool(data, "test", few)
    stored = test.known.usual
    result.notes.append(
        f"On validation characters the logarithm of the novelty has mean {known.mean} and standard deviation "
        f"{known.sd}; the encoder holds {stored.mean} and {stored.sd}."
    )
    lines: list[Line] = []
    above: list[float] = []
    for ways in (5, 20):
        for shots in (1, 2, 3, 5, 10):
            line, outcome = judged(test, ways, shots, ways, tasks, stored)
            lines.append(line)
            if ways == 5 and shots in AREAS:
                result.targets.append(Target(f"area under ROC at {shots} shot", outcome["area"], AREAS[shots]))
            above += [float(refused) - 100 * share for share, refused in zip(SHARES, outcome["refused"], strict=True)]
    most = "points refused above what was chosen, at most, of characters whose spread is known"
    result.targets.append(Target(most, max(above), WITHIN, at_least=False))
    lines += [judged(test, 5, shots, 5, tasks, None)[0] for shots in (2, 3, 5, 10)]
    if not options.quick:
        digits = mnist_pool(data)
        lines += [judged(digits, 5, shots, 5, tasks, stored)[0] for shots in (1, 3, 5, 10)]
    result.tables.append(("rows of other classes", lines))
    return result


def main() -> int:
    parser = row.parser(__doc__)
    parser.add_argument("--data", default=os.environ.get("MAPWISE_DATA"), help="the folder of data sets")
    parser.add_argument("--tasks", type=int, default=300)
    return row.run(parser, benchmark, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
