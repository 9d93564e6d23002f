"""Would more training have helped? The validation accuracy of finished runs along their training.

    python -m benchmarks.accuracy.progress RUN [RUN ...] [--lines 10] [--json FILE]

A run that was still rising when its schedule ended fell short of its budget and not only of its target.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import row
from benchmarks.row import Line, Row
from mapwise.engine.folder import METRICS
from mapwise.runs.settings import RunSettings


def benchmark(options: argparse.Namespace) -> Row:
    settings = [RunSettings.read(folder) for folder in options.run]
    result = Row(
        "progress",
        ", ".join(dict.fromkeys(run.source for run in settings)),
        "accuracy on the validation episodes of each run, in per cent, along its training; the last line is where its "
        "schedule ended",
        learner="none: progress",
    )
    for folder, run in zip(options.run, settings, strict=True):
        title = f"{run.learner} on {run.source}: {run.steps:,} steps of {run.tasks} tasks of {run.ways} ways"
        result.tables.append((title, lines(folder, options.lines)))
    options.rounds = None
    return result


def lines(folder: Path, most: int) -> list[Line]:
    """One for each of some validations, spread over all of them, the last among them."""
    records: list[dict[str, Any]] = [json.loads(text) for text in (folder / METRICS).read_text().splitlines()]
    judged = [record for record in records if record.get("validation") is not None]
    if not judged:
        raise RuntimeError(f"{folder} was never validated: train it with --validate-every")
    places = np.unique(np.linspace(len(judged) - 1, 0, min(most, len(judged))).round().astype(int))
    return [
        {
            "step": f"{judged[place]['step']:,}",
            "processor minutes": round(judged[place]["processor_seconds"] / 60, 1),
            "validation accuracy, %": round(100 * judged[place]["validation"], 1),
        }
        for place in places
    ]


def main(words: list[str]) -> int:
    parser = row.parser(__doc__)
    parser.add_argument("run", nargs="+", type=Path)
    parser.add_argument("--lines", type=int, default=10)
    return row.run(parser, benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
