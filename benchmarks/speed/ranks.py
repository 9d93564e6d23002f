"""How much faster two ranks train than one, each with one thread, through torchrun and the command line.

    python -m benchmarks.speed.ranks [--quick] [--json FILE]

What is counted are tasks a second of steady training: the first steps and all validation are left out.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import row
from benchmarks.row import Line, Row, Target
from benchmarks.side_by_side import Spread

RANKS = (1, 2)
GAIN = 1.7
TASKS, STEPS, WARM = 16, 40, 10
"""Tasks a step, steps of a run, and how many of them are not counted."""


def benchmark(options: argparse.Namespace) -> Row:
    tasks, steps, warm = (2, 4, 2) if options.quick else (TASKS, STEPS, WARM)
    flags = ["--tasks", str(tasks), "--steps", str(steps), "--inner-steps", "1", "--validate-every", str(steps)]
    flags += ["--validation-episodes", "2", "--how", "loop", "--threads", "1", "--device", options.device]
    train = ["train", "maml", "glyphs", *flags]
    result = Row(
        "ranks",
        "glyphs",
        f"tasks a second of steady training; MAML with one step, Conv4-64, {tasks} tasks of 5-way 1-shot a step, "
        "one thread a rank",
    )
    rates: dict[int, list[float]] = {ranks: [] for ranks in RANKS}
    losses = {}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(options.rounds):
            for ranks in RANKS if turn % 2 == 0 else reversed(RANKS):
                rate, losses[ranks] = trained(ranks, train, Path(folder) / f"{ranks}-{turn}", tasks, warm)
                rates[ranks].append(rate)
    # Ranks that did not share the meta-batch would begin elsewhere (the loss of half the tasks), and go elsewhere after
    # the first step. Later on, the rounding of sums in another order is a difference too, and grows with every step.
    for one, two in zip(losses[1][:2], losses[2][:2], strict=True):
        if abs(two - one) > 1e-3 * abs(one):
            raise RuntimeError(f"two ranks begin with the loss {two:.5f} where one has {one:.5f}: not one training")
    gain = Spread.of([two / one for one, two in zip(rates[1], rates[2], strict=True)])
    lines: list[Line] = [
        {"ranks": ranks, "tasks a second": Spread.of(rates[ranks]), "over one rank": gain if ranks == 2 else 1.0}
        for ranks in RANKS
    ]
    result.tables.append(("ranks", lines))
    result.targets.append(Target("2 ranks: speed over 1 rank", gain.median, GAIN))
    result.notes.append(f"torchrun --nproc-per-node RANKS -m mapwise {shlex.join(train)}")
    return result


def trained(ranks: int, train: list[str], out: Path, tasks: int, warm: int) -> tuple[float, list[float]]:
    """Tasks a second of one run, and the loss of every step."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    command += ["-m", "mapwise", *train, "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(f"{ranks} ranks ended with code {ran.returncode}: {ran.stderr.strip()[-600:]}")
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    first, last = next(record for record in records if record["step"] >= warm), records[-1]
    spent = last["seconds"] - first["seconds"]
    return tasks * (last["step"] - first["step"]) / spent, [float(record["loss"]) for record in records]


def main(words: list[str]) -> int:
    return row.run(row.parser(__doc__), benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
