"""Does a memory learn a procedure? A learner with a memory on sequences, several seeds each, judged at the
lengths it was trained with and at others.

    python -m benchmarks.accuracy.sequences copy|associative_recall|repeat_copy|priority_sort [--learner ntm|dnc]
                                            [--minutes 20] [--seeds 3] [--quick] [--json FILE]

With --minutes every training has as many updates as fit into these minutes of a processor, by the time of its learner's
first updates, and is judged at more lengths. A run's folder is kept in --runs, and one that is finished is not
trained again.
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import row
from benchmarks.kept_runs import finished, records
from benchmarks.record import spent
from benchmarks.row import Line, Row, Target
from mapwise.engine.evaluate import evaluate
from mapwise.engine.results import Report
from mapwise.report.table import percent
from mapwise.runs.run import Run

EPISODES = 1000
BITS = 0.01
"""Largest binary cross-entropy at the trained lengths, in bits for each bit of an answer, of every seed."""
TIMED = 21
"""Updates that say how long an update takes; the first one is left out."""
LEARNERS = {"ntm": False, "dnc": True}
"""Learner -> whether it is given the slots of `Sizes`; otherwise those of its recipe, at every length."""


@dataclass(frozen=True)
class Sizes:
    """How long sequences are, by the options of their source, and slots for what has to be remembered of them."""

    options: Mapping[str, str]
    slots: int

    @property
    def words(self) -> str:
        """In words."""
        return " ".join(f"{name} {value}" for name, value in self.options.items())


@dataclass(frozen=True)
class Trial:
    """One source: how long it is trained on, and the lengths it is judged at."""

    steps: int
    trained: Sizes
    others: tuple[Sizes, ...]
    goal: float | None
    """Of the first of the others: the largest share of wrong bits, in per cent, that the best seed may have; None: no
    goal, there or at the trained lengths."""
    timed: tuple[Sizes, ...]
    """The others where trainings have minutes and not steps."""


def copies(length: str, slots: int) -> Sizes:
    return Sizes({"length": length}, slots)


def recalls(items: str, slots: int) -> Sizes:
    return Sizes({"items": items}, slots)


def repeats(length: str, count: str, slots: int) -> Sizes:
    return Sizes({"length": length, "repeats": count}, slots)


def sorts(items: str, highest: str, slots: int) -> Sizes:
    return Sizes({"items": items, "highest": highest}, slots)


TRIALS = {
    "copy": Trial(
        8000,
        copies("1-20", 32),
        (copies("40", 64), copies("120", 144)),
        1.0,
        (copies("40", 64), copies("80", 96), copies("120", 144)),
    ),
    "associative_recall": Trial(10_000, recalls("2-6", 32), (recalls("12", 64),), 5.0, (recalls("12", 64),)),
    "repeat_copy": Trial(
        8000,
        repeats("1-5", "1-5", 16),
        (repeats("10", "5", 16), repeats("5", "10", 16)),
        5.0,
        (repeats("10", "5", 16), repeats("5", "10", 16), repeats("10", "10", 16)),
    ),
    "priority_sort": Trial(
        8000, sorts("20", "16", 32), (sorts("30", "24", 48),), None, (sorts("30", "24", 48), sorts("40", "32", 64))
    ),
}


def benchmark(options: argparse.Namespace) -> Row:
    trial = TRIALS[options.source]
    others = trial.others if options.minutes is None else trial.timed
    if options.quick:
        few = dict.fromkeys(trial.trained.options, "2")
        more = {**few, next(iter(few)): "3"}
        goal = None if trial.goal is None else 100.0
        trial, others = Trial(2, Sizes(few, 4), (), goal, ()), (Sizes(more, 6),)
    seeds, episodes = (2, 5) if options.quick else (options.seeds, EPISODES)
    steps = trial.steps if options.minutes is None else steps_within(options, trial)
    within = "" if options.minutes is None else f" (as many as fill {options.minutes:g} processor minutes)"
    slots = "; at each length with slots for it" if LEARNERS[options.learner] else ""
    result = Row(
        f"{options.learner}-{options.source.replace('_', '-')}{suffix(options)}",
        options.source,
        f"{options.learner} trained on {trial.trained.words} for {steps:,} updates of 32 sequences{within}, by its own "
        f"recipe down a cosine{slots}; every length judged on the same {episodes:,} test sequences",
        learner="none: sequences",
    )
    judged_at = (trial.trained, *others)
    reports: list[list[Report]] = [[] for _ in judged_at]
    lines: list[Line] = []
    for seed in range(seeds):
        folder = trained(options, trial, seed, steps)
        spent_on = spent(folder, "processor_seconds")
        for sizes, mine in zip(judged_at, reports, strict=True):
            mine.append(judged(folder, options.learner, sizes, episodes))
            lines.append(
                {
                    "seed": str(seed),
                    **sizes.options,
                    **({"slots": sizes.slots} if LEARNERS[options.learner] else {}),
                    "wrong bits": percent(mine[-1].estimate),
                    "bits a bit": f"{mine[-1].bits:.2g}",
                    "processor minutes": "" if spent_on is None else round(spent_on / 60, 1),
                }
            )
    result.tables.append((f"{options.source.replace('_', ' ')}, {seeds} seeds", lines))
    if trial.goal is not None:
        worst = max(report.bits or 0.0 for report in reports[0])
        result.targets.append(Target(f"{trial.trained.words}: bits a bit, of the worst seed", worst, BITS, False))
        best = min(100 * report.estimate.mean for report in reports[1])
        what = f"{others[0].words}: wrong bits, %, of the best seed"
        result.targets.append(Target(what, best, trial.goal, False))
    options.rounds = None
    return result


def suffix(options: argparse.Namespace) -> str:
    """What a comparison in equal time adds to the name of a row and of its folders."""
    return "" if options.minutes is None else f"-{options.minutes:g}min"


def command(options: argparse.Namespace, trial: Trial, seed: int, steps: int) -> list[str]:
    """The words of one training."""
    settings = ["--steps", str(steps), "--schedule", "cosine", "--select", "last", "--how", "vmap"]
    for name, value in trial.trained.options.items():
        settings += [f"--source.{name}", value]
    if LEARNERS[options.learner]:
        settings += ["--slots", str(trial.trained.slots)]
    settings += ["--seed", str(seed), "--threads", str(options.threads)]
    return [options.learner, options.source, *settings]


def steps_within(options: argparse.Namespace, trial: Trial) -> int:
    """The updates that fit into the minutes, by the time of the first ones; their run is kept, and so is the answer."""
    folder = options.runs / f"{options.learner}-{options.source}{suffix(options)}-timing"
    words = command(options, trial, 0, TIMED)
    words += ["--validate-every", str(TIMED), "--validation-episodes", "2"]
    first, *_, last, _validated = records(finished(folder, words))
    update = (last["processor_seconds"] - first["processor_seconds"]) / (last["step"] - first["step"])
    return max(2, round(60 * options.minutes / update))


def trained(options: argparse.Namespace, trial: Trial, seed: int, steps: int) -> Path:
    """The folder of one training."""
    folder: Path = options.runs / f"{options.learner}-{options.source}{suffix(options)}-{seed}"
    return finished(folder, command(options, trial, seed, steps))


def judged(folder: Path, learner: str, sizes: Sizes, episodes: int) -> Report:
    """The run on test sequences of these sizes."""
    changes: dict[str, str | int] = {f"source.{name}": value for name, value in sizes.options.items()}
    run = Run.open(folder, changes | ({"slots": sizes.slots} if LEARNERS[learner] else {}))
    return evaluate(run.learner, run.params, run.judging(seed=0), episodes=episodes)


def main(words: list[str]) -> int:
    parser = row.parser(__doc__)
    parser.add_argument("source", choices=TRIALS)
    parser.add_argument("--learner", choices=LEARNERS, default="ntm")
    parser.add_argument("--minutes", type=float, help="processor time of every training, in the place of its updates")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, default=Path("runs/sequences"))
    return row.run(parser, benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
