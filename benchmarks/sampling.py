"""How many episodes a minute are cut from one array: five ways, one shot, fifteen queries, as Omniglot's.

    python benchmarks/sampling.py [--data FOLDER] [--json FILE]

With --data (or MAPWISE_DATA) the rows are Omniglot's; without, a made-up array of the same size.
"""

import argparse
import json
import os
import shlex
import statistics
import sys
import time
from pathlib import Path

from record import machine

from mapwise.interfaces.allocator import keep_freed_memory

TARGET = 400_000
BATCHES = (16, 64, 256)
REPEATS = 7
SECONDS = 1.0
"""Of every repeat."""


def rows(data: str | None):
    """Omniglot's rows, or as many made-up ones, and what they are called."""
    import numpy as np

    from mapwise.tasks.omniglot import omniglot
    from mapwise.tasks.rows import LabelledRows

    if data is not None:
        return omniglot(data)
    classes, drawings = 6492, 20
    x = np.random.default_rng(0).integers(0, 256, (classes * drawings, 1, 28, 28), np.uint8)
    return LabelledRows(
        x=x,
        starts=np.arange(classes + 1) * drawings,
        names=tuple(f"class {c}" for c in range(classes)),
        splits={"train": np.arange(4112)},
        name="made up, of Omniglot's size",
    )


def episodes_a_minute(source, seconds: float) -> tuple[float, float]:
    """As many as a loop over the source's steps makes: in a minute of one core's work, and of the clock's."""
    done, step = 0, 0
    start, worked = time.perf_counter(), time.process_time()
    while (spent := time.perf_counter() - start) < seconds:
        task = source(step)
        done += task.support.x.shape[0]
        step += 1
    return 60 * done / (time.process_time() - worked), 60 * done / spent


def measure(data: str | None, asked: list[str]) -> dict:
    import torch

    from mapwise.tasks.episodes import Episodes

    torch.set_num_threads(1)
    # Others at work take their share of the clock's minutes, so the figure is per minute of this process's work.
    load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    found = rows(data)
    table = []
    for tasks in BATCHES:
        source = Episodes(found, ways=5, shots=1, queries=15, tasks=tasks)
        episodes_a_minute(source, 0.2)  # the first batches pay for fresh memory
        rates = sorted(episodes_a_minute(source, SECONDS) for _ in range(REPEATS))
        table.append(
            {
                "tasks_a_batch": tasks,
                "episodes_a_minute": round(statistics.median(worked for worked, _ in rates)),
                "slowest": round(rates[0][0]),
                "fastest": round(rates[-1][0]),
                "by_the_clock": round(statistics.median(clock for _, clock in rates)),
            }
        )
    best = max(table, key=lambda line: line["episodes_a_minute"])
    return {
        "row": "sampling",
        "learner": "none: data only",
        "source": found.name,
        "protocol": "five-way 1-shot 15-query episodes, float32 28x28 images scaled to 0..1, one thread, "
        "a minute of its processor time",
        "eval_command": shlex.join(["python", "benchmarks/sampling.py", *asked]),
        "target": f"{TARGET:,} episodes a minute on one core",
        "threads": 1,
        "result": {
            "episodes_a_minute": best["episodes_a_minute"],
            "tasks_a_batch": best["tasks_a_batch"],
            "repeats": REPEATS,
            "seconds_a_repeat": SECONDS,
            "load_before": load,
            "batches": table,
        },
        "machine": machine(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Episodes a minute on one core.")
    parser.add_argument("--data", default=os.environ.get("MAPWISE_DATA"), help="the data root that holds omniglot")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    asked = parser.parse_args()
    # As in every command that runs for long: fresh pages cost more than the gather itself.
    keep_freed_memory()
    row = measure(asked.data, sys.argv[1:])
    result = row["result"]
    print(f"{row['source']}: {row['protocol']}, median of {REPEATS} repeats of {SECONDS:g} s")
    print(f"{'tasks a batch':>14} {'episodes a minute':>18} {'slowest':>9} {'fastest':>9} {'by the clock':>13}")
    for line in result["batches"]:
        print(
            f"{line['tasks_a_batch']:>14} {line['episodes_a_minute']:>18,} {line['slowest']:>9,} "
            f"{line['fastest']:>9,} {line['by_the_clock']:>13,}"
        )
    if asked.json is not None:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps(row, indent=2) + "\n", encoding="utf-8")
    return 0 if result["episodes_a_minute"] >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
