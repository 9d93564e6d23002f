"""Does a memory learn a procedure? The neural Turing machine on copying and on associative recall, several seeds each,
judged at the lengths it was trained with and at others.

    python -m benchmarks.accuracy.sequences copy|associative_recall [--seeds 3] [--quick] [--json FILE]

A run's folder is kept in --runs, and one that is finished is not trained again.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks import row
from benchmarks.kept_runs import finished
from benchmarks.record import spent
from benchmarks.row import Line, Row, Target
from mapwise.engine.evaluate import evaluate
from mapwise.engine.results import Report
from mapwise.report.table import percent
from mapwise.runs.run import Run

EPISODES = 1000
BITS = 0.01
"""Largest binary cross-entropy at the trained lengths, in bits for each bit of an answer, of every seed."""


@dataclass(frozen=True)
class Trial:
    """One source: how long it is trained on, and the lengths it is judged at."""

    steps: int
    option: str
    trained: str
    others: tuple[str, ...]
    goal: tuple[str, float]
    """Of one of the others: the largest share of wrong bits, in per cent, that the best seed may have."""


TRIALS = {
    "copy": Trial(8000, "length", "1-20", ("40", "120"), ("40", 1.0)),
    "associative_recall": Trial(10_000, "items", "2-6", ("12",), ("12", 5.0)),
}


def benchmark(options: argparse.Namespace) -> Row:
    trial = TRIALS[options.source]
    if options.quick:
        trial = Trial(2, trial.option, "2", ("3",), ("3", 100.0))
    seeds, episodes = (2, 5) if options.quick else (options.seeds, EPISODES)
    result = Row(
        f"ntm-{options.source.replace('_', '-')}",
        options.source,
        f"ntm trained on {trial.option} {trial.trained} for {trial.steps:,} updates of 32 sequences, by its own recipe "
        f"down a cosine; every length judged on the same {episodes:,} test sequences",
        learner="none: sequences",
    )
    reports: dict[str, list[Report]] = {length: [] for length in (trial.trained, *trial.others)}
    lines: list[Line] = []
    for seed in range(seeds):
        folder = trained(options, trial, seed)
        spent_on = spent(folder, "processor_seconds")
        for length, mine in reports.items():
            mine.append(judged(folder, trial.option, length, episodes))
            lines.append(
                {
                    "seed": str(seed),
                    trial.option: length,
                    "wrong bits": percent(mine[-1].estimate),
                    "bits a bit": f"{mine[-1].bits:.2g}",
                    "processor minutes": "" if spent_on is None else round(spent_on / 60, 1),
                }
            )
    result.tables.append((f"{options.source.replace('_', ' ')}, {seeds} seeds", lines))
    worst = max(report.bits or 0.0 for report in reports[trial.trained])
    result.targets.append(Target(f"{trial.option} {trial.trained}: bits a bit, of the worst seed", worst, BITS, False))
    length, goal = trial.goal
    best = min(100 * report.estimate.mean for report in reports[length])
    result.targets.append(Target(f"{trial.option} {length}: wrong bits, %, of the best seed", best, goal, False))
    options.rounds = None
    return result


def trained(options: argparse.Namespace, trial: Trial, seed: int) -> Path:
    """The folder of one training."""
    folder: Path = options.runs / f"ntm-{options.source}-{seed}"
    settings = ["--steps", str(trial.steps), "--schedule", "cosine", "--select", "last", "--how", "vmap"]
    settings += [f"--source.{trial.option}", trial.trained, "--seed", str(seed), "--threads", str(options.threads)]
    words = ["ntm", options.source, *settings]
    return finished(folder, words)


def judged(folder: Path, option: str, length: str, episodes: int) -> Report:
    """The run on test sequences of this length."""
    run = Run.open(folder, {f"source.{option}": length})
    return evaluate(run.learner, run.params, run.judging(seed=0), episodes=episodes)


def main(words: list[str]) -> int:
    parser = row.parser(__doc__)
    parser.add_argument("source", choices=TRIALS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, default=Path("runs/sequences"))
    return row.run(parser, benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
