"""Does the region that explains an answer matter? The top tenth of a picture is hidden, and beside it ten others.

    python -m benchmarks.few_examples.regions --data DATA [--tasks 100] [--quick] [--json FILE]

Nearest mean behind the encoder `drawings` on Omniglot's test characters, which neither has seen, 5-way 5-shot; one
query of each task. What is hidden becomes paper. Two kinds of other regions have the same size and shape: moved
anywhere, and moved to where they hide about as much ink. --quick takes glyphs, which need no data.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from benchmarks import row
from benchmarks.kept_runs import with_interval
from benchmarks.row import Line, Row, Target
from mapwise.catalog.encoders import ENCODERS
from mapwise.core.estimate import Estimate
from mapwise.data.glyphs import glyphs
from mapwise.data.omniglot import omniglot
from mapwise.data.rows import LabelledRows
from mapwise.predictors.classes import Predictor
from mapwise.predictors.diagnostics.explanation import explain
from mapwise.predictors.evidence.occlusion import paper_of

WAYS, SHOTS, OTHERS, SHARE = 5, 5, 10, 0.1
ALIKE = 40
"""Of all places a region can be moved to, so many hide nearest to as much ink; others are drawn from them."""


def benchmark(options: argparse.Namespace) -> Row:
    tasks = 5 if options.quick else options.tasks
    rows = glyphs() if options.quick else omniglot(options.data)
    result = Row(
        "regions",
        rows.name,
        f"{tasks} pictures of {rows.name} test classes, one of each of {tasks} {WAYS}-way {SHOTS}-shot tasks, "
        "nearest_mean behind `drawings`, seed 0; the tenth of a picture that `explain` says mattered is hidden, and "
        f"beside it {OTHERS} other regions of the same size and shape",
        learner="none: explanations",
    )
    falls = np.stack([_falls(rows, task) for task in range(tasks)])  # [tasks, what, region]
    lines = list[Line]()
    for what, fall in zip(("the winner's score", "its lead over the next"), falls.transpose(1, 0, 2), strict=True):
        region, anywhere, inked = fall.T
        line: Line = {"what falls": what, "the region hidden": with_interval(region)}
        for name, other in ((f"{OTHERS} anywhere", anywhere), (f"{OTHERS} of as much ink", inked)):
            line |= {name: with_interval(other), f"more than {name}": with_interval(region - other)}
            line[f"pictures, more than {name}"] = f"{int((region > other).sum())} of {tasks}"
        lines.append(line)
    result.tables.append(("by how much, in scores", lines))
    ahead = Estimate.of(falls[:, 0, 0] - falls[:, 0, 1])
    result.targets.append(
        Target("the winner's score falls by more than with others, scores, lower end", ahead.mean - ahead.ci95, 0.0)
    )
    options.rounds = None
    return result


def _falls(rows: LabelledRows, task: int) -> np.ndarray:
    """By how much the winner's score and its lead fall, with the region hidden and with others, the mean of these."""
    random = np.random.Generator(np.random.Philox(key=[0, task]))
    chosen = random.choice(rows.splits["test"], WAYS, replace=False)
    drawn = [random.permutation(255 - rows.x[rows.starts[c] : rows.starts[c + 1], 0])[: SHOTS + 1] for c in chosen]
    support = [picture for pictures in drawn for picture in pictures[:SHOTS]]
    model = Predictor.of(
        ENCODERS["drawings"](),
        "nearest_mean",
        support,
        np.repeat(np.arange(WAYS), SHOTS),
        np.ones(len(support)),
        [str(place) for place in range(WAYS)],
    )
    query = drawn[random.integers(WAYS)][SHOTS]
    (why,) = explain(model, [query], regions=True)
    assert why.region is not None
    top, paper, side = why.region.top(SHARE), paper_of(query), len(query)
    moves = [(down, right) for down in range(side) for right in range(side) if down or right]
    moved = np.stack([np.roll(top, move, (0, 1)) for move in moves])  # [moves, H, W]
    ink = (255.0 - query) * moved
    alike = np.argsort(abs(ink.sum((1, 2)) - ((255.0 - query) * top).sum()), kind="stable")[:ALIKE]
    anywhere, inked = (random.choice(among, OTHERS, replace=False) for among in (np.arange(len(moves)), alike))
    hidden = [top, *moved[anywhere], *moved[inked]]
    scores = model.scores([query, *(np.where(mask, paper, query).astype(np.uint8) for mask in hidden)])
    winner = int(scores[0].argmax())
    judged = np.stack([scores[:, winner], scores[:, winner] - np.delete(scores, winner, 1).max(1)])
    fall = judged[:, :1] - judged[:, 1:]
    return np.stack([fall[:, 0], fall[:, 1 : 1 + OTHERS].mean(1), fall[:, 1 + OTHERS :].mean(1)], axis=1)


def main(words: list[str]) -> int:
    parser = row.parser(__doc__)
    parser.add_argument("--data", type=Path, help="the folder of data sets")
    parser.add_argument("--tasks", type=int, default=100)
    return row.run(parser, benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
