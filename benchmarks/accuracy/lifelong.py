"""Does a memory of bounded size hold a thousand classes? A stream of characters of Omniglot, each answered before its
label is seen: accuracy by instance of a class, and the time for a row, once the memory is full and at the end.

    python -m benchmarks.accuracy.lifelong --data DATA [--slots 4096] [--quick] [--json FILE]

The run's folder is kept in --runs, and a training that is finished is not made again. Rows are embedded once.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import row
from benchmarks.kept_runs import finished
from benchmarks.record import spent
from benchmarks.row import Line, Row, Target
from mapwise.core.map_tasks import task_at
from mapwise.core.stream import scores_along
from mapwise.core.task import Examples
from mapwise.data.rows import LabelledRows
from mapwise.engine.evaluate import evaluate
from mapwise.learners.memory.memory_network import MemoryNetwork
from mapwise.report.table import percent
from mapwise.runs.run import Run
from mapwise.tasks.episodes import Episodes
from mapwise.tasks.stream import Stream

WAYS, LENGTH, STREAMS = 1000, 8000, 5
TRAINED = ["--ways", "60", "--queries", "5", "--test-ways", "5", "--test-queries", "15", "--tasks", "1"]
TRAINED += ["--optimizer", "Adam lr=0.003", "--schedule", "cosine", "--select", "last", "--validation-episodes", "200"]
SLOWER = 1.2
"""How much longer a row may take at the end of a stream than when the memory has just been filled."""
BATCH = 500


def benchmark(options: argparse.Namespace) -> Row:
    ways, length, streams, steps = (20, 100, 2, 2) if options.quick else (WAYS, LENGTH, STREAMS, options.steps)
    data = ["glyphs"] if options.quick else ["omniglot", "--data", str(options.data)]
    words = ["memory_network_nearest", *data, "--steps", str(steps), "--threads", str(options.threads), *TRAINED]
    folder = finished(options.runs / ("glyphs" if options.quick else "omniglot"), words)
    run = Run.open(folder)
    learner, params, embedded = over_embedded(run)
    source = Stream(embedded, ways=ways, tasks=1, seed=0, part="test", length=length)
    result = Row(
        "memory-network-lifelong",
        source.about.source,
        f"memory_network_nearest trained on {'glyphs' if options.quick else 'omniglot'}, 60-way 1-shot, for {steps:,} "
        f"episodes; judged on {streams} streams of {length:,} rows of {ways:,} test classes, one row after another",
        learner="none: lifelong",
    )
    lines: list[Line] = []
    times: list[Line] = []
    for slots in [40, 80] if options.quick else sorted({WAYS, options.slots}):
        bounded = replace(learner, slots=slots)
        report = evaluate(bounded, params, source, episodes=streams, how="loop")
        instances: dict[int, Any] = report.instances or {}
        lines.append(
            {
                "slots": f"{slots:,}",
                **{f"instance {number}": percent(one) for number, one in instances.items()},
                "all rows": percent(report.estimate),
            }
        )
        early, late = seconds_a_row(bounded, params, task_at(source(0), 0).support, options.rounds)
        times.append({"slots": f"{slots:,}", "once full, ms": 1000 * early, "at the end, ms": 1000 * late})
        result.targets.append(
            Target(f"{slots:,} slots: time of a row at the end, times that once full", late / early, SLOWER, False)
        )
    minutes = spent(folder, "processor_seconds")
    if minutes is not None:
        result.notes.append(f"The training took {minutes / 60:.1f} min of processor time.")
    result.tables.append((f"Accuracy by instance of a class, {ways:,} classes", lines))
    result.tables.append(("Time to answer and to learn a row, embedded before", times))
    return result


def over_embedded(run: Run) -> tuple[MemoryNetwork, dict[str, Any], LabelledRows]:
    """The learner over rows that are embedded already, and all rows of the test classes so embedded."""
    episodes = run.judging(seed=0)
    assert isinstance(episodes, Episodes) and isinstance(run.learner, MemoryNetwork)
    over = run.learner.over_embedded(run.params)
    assert over is not None and isinstance(over.learner, MemoryNetwork)
    rows = episodes.rows
    classes = rows.classes_of("test")
    places = np.concatenate([np.arange(rows.starts[c], rows.starts[c + 1]) for c in classes])
    labels = np.concatenate([np.full(rows.starts[c + 1] - rows.starts[c], rows.names[c], object) for c in classes])
    with torch.no_grad():
        batches = [places[start : start + BATCH] for start in range(0, len(places), BATCH)]
        z = torch.cat([over.encode(episodes.gather(torch.from_numpy(batch))) for batch in batches])
    splits = {"train": [], "val": [], "test": sorted(set(labels))}
    return over.learner, over.params, LabelledRows.of(z.numpy(), labels, name=rows.name, splits=splits)


def seconds_a_row(learner: MemoryNetwork, params: dict[str, Any], rows: Examples, rounds: int) -> tuple[float, float]:
    """Of the tenth of a stream after as many rows as there are slots, and of the last; the best of several rounds."""
    tenth = len(rows.y) // 10
    ends = (learner.slots, learner.slots + tenth, len(rows.y) - tenth, len(rows.y))
    best = np.full(4, np.inf)
    with torch.no_grad():
        for _ in range(rounds):
            for place, end in enumerate(ends):
                first = Examples(rows.x[:end], rows.y[:end], rows.weight[:end], rows.key)
                start = time.process_time()
                scores_along(learner, params, first)
                best[place] = min(best[place], time.process_time() - start)
    return (best[1] - best[0]) / tenth, (best[3] - best[2]) / tenth


def main(words: list[str]) -> int:
    parser = row.parser(__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--runs", type=Path, default=Path("runs/lifelong"))
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--slots", type=int, default=4096)
    return row.run(parser, benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
