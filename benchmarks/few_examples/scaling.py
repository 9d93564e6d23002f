"""How seconds and memory of a fit, a prediction and a report grow with examples and with classes.

    python -m benchmarks.few_examples.scaling [--clock processor] [--quick] [--json FILE]

Random drawings of 28 x 28 pixels in ten classes, through the bundled encoder; and classes of five rows of 64 numbers.
Every point is a process of its own, and its memory is the peak resident size less that after a first tiny fit.
"""

import argparse
import json
import subprocess
import sys
from contextlib import suppress
from typing import Any

import numpy as np

from benchmarks import row
from benchmarks.row import Line, Row, Target

LEARNERS = ("nearest_mean", "ridge", "logistic")
EXAMPLES, CLASSES = (100, 1_000, 10_000, 40_000), (10, 100, 1_000, 10_000)
QUERIES, SHOTS, WIDTH, SIDE = 100, 5, 64, 28
LINEAR = 1.5
"""How many times its share of examples or classes the time of a step may grow."""

Point = dict[str, Any]
_STEPS = ("fit", "predict", "report")


def measure(options: argparse.Namespace) -> Row:
    options.rounds = 0  # a large fit is long enough to be timed once
    result = Row(
        "scaling",
        "random drawings, random numbers",
        f"seconds and peak memory, every point in a fresh process: a fit, the prediction of {QUERIES} rows, and a "
        f"report by cross-validation; drawings of {SIDE} x {SIDE} pixels in 10 classes, and {SHOTS} rows of {WIDTH} "
        "numbers a class",
        learner=", ".join(LEARNERS),
    )
    examples, classes = ((100,), (10,)) if options.quick else (EXAMPLES, CLASSES)
    lines = [measured({"learner": name, "rows": n, "classes": 10}, options) for name in LEARNERS for n in examples]
    result.tables.append(("examples: drawings of 10 classes", lines))
    result.targets += _growth("examples", lines, "nearest_mean")
    lines = [
        measured({"learner": name, "rows": SHOTS * n, "classes": n, "numbers": True}, options)
        for name in ("nearest_mean", "cosine")
        for n in classes
    ]
    result.tables.append((f"classes of {SHOTS} rows of numbers", lines))
    for name in ("nearest_mean", "cosine"):
        result.targets += _growth("classes", lines, name)
    return result


def _growth(unit: str, lines: list[Line], learner: str) -> list[Target]:
    """How much more each of the largest point's units costs to fit than each of the one before."""
    own = [line for line in lines if line["learner"] == learner]
    if len(own) < 2:
        return []
    few, many = own[-2:]
    if not many["fit, s"]:
        return [Target(f"{learner}: seconds of a fit of {many[unit]:,} {unit}", None, LINEAR, False, "it is refused")]
    over = (many["fit, s"] / few["fit, s"]) / (many[unit] / few[unit])
    words = f"{learner}: seconds of a fit for each of {many[unit]:,} {unit}, over those of {few[unit]:,}"
    return [Target(words, over, LINEAR, at_least=False)]


def measured(point: Point, options: argparse.Namespace) -> Line:
    """One point, in a process of its own."""
    wanted = {**point, "threads": options.threads, "clock": options.clock}
    command = [sys.executable, "-m", "benchmarks.few_examples.scaling", "--point", json.dumps(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the point {point} failed: {(done.stderr.strip().splitlines() or ['without a word'])[-1]}")
    line: Line = json.loads(done.stdout.splitlines()[-1])
    return line


def rows_of(point: Point, count: int, random: np.random.Generator) -> tuple[Any, np.ndarray]:
    """So many random rows of a point's classes in turn, and their labels."""
    labels = np.arange(count) % point["classes"]
    if point.get("numbers"):
        centres = np.random.default_rng(0).normal(size=(point["classes"], WIDTH))
        return centres[labels] + 0.3 * random.normal(size=(count, WIDTH)), labels
    strokes = np.random.default_rng(0).random((point["classes"], SIDE, SIDE)) < 0.2
    drawn = strokes[labels] ^ (random.random((count, SIDE, SIDE)) < 0.05)
    return list(np.where(drawn, 0, 255).astype(np.uint8)), labels


def point_line(point: Point) -> Line:
    """Inside that process: seconds of each step, and the peak in megabytes."""
    import torch
    from torch import nn

    import mapwise as mw
    from benchmarks.side_by_side import CLOCKS
    from mapwise.workflows.allocator import keep_freed_memory
    from mapwise.workflows.machine import resident

    keep_freed_memory()
    torch.set_num_threads(point["threads"])
    clock, random = CLOCKS[point["clock"]], np.random.default_rng(1)
    learner = mw.ProtoNet(nn.Flatten, distance="cosine") if point["learner"] == "cosine" else point["learner"]
    encoder = "table" if point.get("numbers") else "drawings"
    # A tiny one first: what is loaded at the first fit is not what this one needs.
    tiny, names = rows_of(point, 4, random)
    mw.FewShotClassifier(encoder, learner).fit(tiny, names).predict(tiny)
    X, y = rows_of(point, point["rows"], random)
    new, _ = rows_of(point, QUERIES, random)
    before = resident("cpu", reset=True)
    model = mw.FewShotClassifier(encoder, learner)
    steps = (lambda: model.fit(X, y), lambda: model.predict(new), lambda: model.report_)
    line: Line = {"learner": point["learner"], "examples": point["rows"], "classes": point["classes"]}
    line |= {f"{name}, s": None for name in _STEPS}
    with suppress(ValueError):  # of too many examples and classes: what follows isn't done either
        for name, step in zip(_STEPS, steps, strict=True):
            start = clock()
            step()
            line[f"{name}, s"] = round(clock() - start, 3)
    return {**line, "peak MB": round(resident("cpu") - before, 1)}


def main() -> int:
    if sys.argv[1:2] == ["--point"]:
        print(json.dumps(point_line(json.loads(sys.argv[2]))))
        return 0
    return row.run(row.parser(__doc__), measure, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
