"""Is it better to weigh hard tasks more? A weighing of tasks against their mean, several seeds, paired.

    python -m benchmarks.accuracy.weighing [--learner protonet] [--aggregate pyramid] [--seeds 5]
        [--quick] [--json FILE]

Both are trained from the same weights on the same tasks and judged on the same test episodes of glyphs, 5-way 1-shot.
A run's folder is kept in --runs, and one that is finished is not trained again.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from benchmarks import row
from benchmarks.kept_runs import finished, with_interval
from benchmarks.row import Line, Row, Target
from mapwise.core.estimate import Estimate
from mapwise.engine.evaluate import evaluate
from mapwise.runs.run import Run

STEPS, TASKS, EPISODES = 1500, 4, 2000
WIDTH = 0.5
"""Largest half-width of the paired interval, in points."""


def benchmark(options: argparse.Namespace) -> Row:
    seeds, steps, episodes = (2, 2, 20) if options.quick else (options.seeds, STEPS, EPISODES)
    result = Row(
        "weighing",
        "glyphs",
        f"{options.learner} trained with the tasks of a step weighed by `{options.aggregate}` or alike, from the same "
        f"weights on the same {steps * TASKS:,} tasks ({TASKS} a step), 5-way 1-shot, Conv4-32, Adam 0.001 down a "
        f"cosine; both judged on the same {episodes:,} test episodes",
        learner="none: weighing",
    )
    gained, lines = [], list[Line]()
    for seed in range(seeds):
        accuracies = {
            name: judged(trained(options, name, seed, steps), episodes) for name in ("mean", options.aggregate)
        }
        gained.append(100 * (accuracies[options.aggregate] - accuracies["mean"]))
        line: Line = {"seed": str(seed)}
        line |= {f"{name}, %": with_interval(100 * values) for name, values in accuracies.items()}
        lines.append({**line, "difference, points": with_interval(gained[-1])})
    # Of an episode the mean over the seeds: luck of the episodes; beside it, of a seed the mean over its episodes.
    of_episodes, of_seeds = np.mean(gained, axis=0), np.mean(gained, axis=1)
    lines.append({"seed": "all", "difference, points": with_interval(of_episodes)})
    result.tables.append((f"{options.aggregate} against mean", lines))
    half = Estimate.of(of_episodes).ci95
    result.targets.append(Target("half-width of the paired interval, points", half, WIDTH, False))
    result.notes.append(
        f"paired over episodes: {with_interval(of_episodes)} points; with seeds as the unit: "
        f"{with_interval(of_seeds)} points, by Student's t "
        f"({int((of_seeds > 0).sum())} of {seeds} seeds better with {options.aggregate})"
    )
    options.rounds = None
    return result


def trained(options: argparse.Namespace, aggregate: str, seed: int, steps: int) -> Path:
    """The folder of one training."""
    folder: Path = options.runs / f"{options.learner}-{aggregate}-{seed}"
    settings = ["--ways", "5", "--shots", "1", "--queries", "15", "--tasks", str(TASKS), "--steps", str(steps)]
    settings += ["--net.filters", "32", "--net.down", "stride", "--schedule", "cosine", "--select", "last"]
    settings += ["--validate-every", str(steps), "--how", "loop", "--threads", str(options.threads)]
    words = [options.learner, "glyphs", *settings, "--aggregate", aggregate, "--seed", str(seed)]
    return finished(folder, words)


def judged(folder: Path, episodes: int) -> np.ndarray:
    """Accuracy of every test episode, 0..1."""
    result = folder / f"test-{episodes}.json"
    if not result.exists():
        run = Run.open(folder)
        report = evaluate(run.learner, run.params, run.judging(seed=0), episodes=episodes)
        result.write_text(json.dumps(report.values.tolist()), encoding="utf-8")
    return np.array(json.loads(result.read_text(encoding="utf-8")))


def main(words: list[str]) -> int:
    parser = row.parser(__doc__)
    parser.add_argument("--learner", default="protonet")
    parser.add_argument("--aggregate", default="pyramid", choices=["pyramid", "max", "inverse"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--runs", type=Path, default=Path("runs/weighing"))
    return row.run(parser, benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
