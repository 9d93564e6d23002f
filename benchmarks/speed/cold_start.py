"""How long a command takes from the start of its process to the answer about one text, beside the import of torch.

    python -m benchmarks.speed.cold_start [--quick] [--rounds N] [--json FILE]

A predictor of five classes of texts is fitted with the defaults. Then processes of both kinds take turns.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import mapwise as mw
from benchmarks import row
from benchmarks.row import Line, Row, Target
from benchmarks.side_by_side import Spread, ratio

ROUNDS = 9
SECONDS, RATIO = 1.6, 1.45
VERBS = ["cancel", "change", "confirm", "pay", "repeat"]
ENDS = ["my order", "the booking", "this flight please", "the appointment today", "my last invoice"]


LAUNCH = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run([sys.executable, *sys.argv[1:]], capture_output=True, text=True)
seconds = time.perf_counter() - start
used = resource.getrusage(resource.RUSAGE_CHILDREN)
megabytes = used.ru_maxrss / 1000
print(json.dumps([done.returncode, done.stdout, seconds, used.ru_utime + used.ru_stime, megabytes]))
"""
"""Starts a process from a small one: a large one that starts another hands down its peak of memory."""


class Process(NamedTuple):
    """What one process took."""

    seconds: float
    processor: float
    megabytes: float
    """At its peak."""


def process(words: list[str], threads: int) -> tuple[Process, str]:
    """What Python takes with these arguments, and its answer; raises RuntimeError where it fails."""
    launched = subprocess.run(
        [sys.executable, "-c", LAUNCH, *words],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        check=True,
        capture_output=True,
        text=True,
    )
    code, answer, *figures = json.loads(launched.stdout)
    if code:
        raise RuntimeError(f"python {' '.join(words)} ended with {code}")
    return Process(*figures), answer


def measure(options: argparse.Namespace) -> Row:
    texts = [f"{verb} {end}" for verb in VERBS for end in ENDS]
    few = mw.FewShotClassifier(learner="ridge").fit(texts, [verb for verb in VERBS for _ in ENDS])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "few.safetensors"
        few.save(file)
        contenders = {
            "mapwise predict FILE TEXT": ["-m", "mapwise", "predict", str(file), "please cancel my flight"],
            'python -c "import torch"': ["-c", "import torch"],
        }
        processes: dict[str, list[Process]] = {name: [] for name in contenders}
        for number in range(options.rounds + 1):
            for name, words in contenders.items():
                one, answer = process(words, options.threads)
                if number:  # the first pays for files that no cache holds
                    processes[name].append(one)
                if "predict" in name and not answer.startswith("cancel"):
                    raise RuntimeError(f"the answer is {answer.strip()!r}, and cancel is expected")
    lines: list[Line] = []
    for name, ones in processes.items():
        seconds, processor, megabytes = (list(part) for part in zip(*ones, strict=True))
        lines.append(
            {
                "process": name,
                "start to end, s": Spread.of(seconds),
                "processor time, s": Spread.of(processor),
                "peak memory, MB": Spread.of(megabytes),
            }
        )
    result = Row(
        "cold-start",
        "25 texts of five classes from templates",
        "a process of each kind in turn, from its start to its end, after one that isn't counted; the predictor has "
        "the default encoder of texts",
        tables=[("cold start", lines)],
        learner="none: the first answer",
    )
    own, torch_alone = (
        [one.processor if options.clock == "processor" else one.seconds for one in ones] for ones in processes.values()
    )
    result.targets += [
        Target("seconds from process start to an answer", Spread.of(own).median, SECONDS, at_least=False),
        Target("time to an answer over that of importing torch", ratio(own, torch_alone).median, RATIO, at_least=False),
    ]
    return result


if __name__ == "__main__":
    words = sys.argv[1:]
    parser = row.parser(__doc__)
    parser.set_defaults(rounds=1 if "--quick" in words else ROUNDS)
    sys.exit(row.run(parser, measure, words))
