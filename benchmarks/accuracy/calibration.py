"""Are a learner's probabilities more honest than another's? Two learners, several seeds, the same episodes.

    python -m benchmarks.accuracy.calibration [--learner abml] [--against maml] [--seeds 5] [--steps 500]
        [--quick] [--json FILE]

Both are trained from the same seed on the same tasks, with the same rates, and judged on the same test episodes of
glyphs, 5-way 1-shot: accuracy, negative log-likelihood and expected calibration error. A run's folder is kept in
--runs, and one that is finished is not trained again, also for another pair.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import row
from benchmarks.kept_runs import finished, with_interval
from benchmarks.row import Line, Row, Target
from mapwise.catalog.learners import LEARNERS
from mapwise.engine.evaluate import evaluate
from mapwise.runs.run import Run

STEPS, TASKS, EPISODES = 500, 4, 2000
INNER_LR, OUTER_LR = 0.1, 0.003
"""What `mapwise bench glyphs` chose for maml."""
LOST = 2.1
"""Most points of accuracy that honest probabilities may cost."""


def benchmark(options: argparse.Namespace) -> Row:
    seeds, steps, episodes = (2, 2, 20) if options.quick else (options.seeds, options.steps, EPISODES)
    names = (options.learner, options.against)
    result = Row(
        "calibration",
        "glyphs",
        f"{options.learner} and {options.against}, each trained on the same {steps * TASKS:,} tasks ({TASKS} a step), "
        f"5-way 1-shot, Conv4-32, Adam {OUTER_LR} down a cosine, inner rate {INNER_LR} of gradient steps, everything "
        f"else as the catalog has it; judged on the same {episodes:,} test episodes, inductive; calibration error over "
        "15 equal-mass bins",
        learner="none: calibration",
    )
    lines, gained, differences = list[Line](), [], []
    for seed in range(seeds):
        one, other = (judged(trained(options, name, seed, steps), episodes) for name in names)
        gained.append(100 * (np.array(one["values"]) - np.array(other["values"])))
        differences.append([gained[-1].mean(), one["nll"] - other["nll"], 100 * (one["ece"] - other["ece"])])
        for name, its in zip(names, (one, other), strict=True):
            accuracy = with_interval(100 * np.array(its["values"]))
            lines.append({"seed": str(seed), "learner": name, "accuracy, %": accuracy, **_of_all(its)})
    result.tables.append(("every seed", lines))
    accuracy, nll, ece = np.array(differences).T
    result.tables.append(
        (
            f"{options.learner} minus {options.against}, seeds as the unit",
            [
                _difference("accuracy, points", accuracy, better=accuracy > 0),
                _difference("NLL, nats", nll, better=nll < 0),
                _difference("calibration error, points", ece, better=ece < 0),
            ],
        )
    )
    paired = with_interval(np.mean(gained, axis=0))
    result.notes.append(f"accuracy paired over episodes, of an episode the mean over seeds: {paired} points")
    result.targets += [
        Target("calibration error minus the other's, points", float(ece.mean()), 0.0, False),
        Target("accuracy minus the other's, points", float(accuracy.mean()), -LOST),
    ]
    options.rounds = None
    return result


def trained(options: argparse.Namespace, learner: str, seed: int, steps: int) -> Path:
    """The folder of one training."""
    folder: Path = options.runs / f"{learner}-{seed}"
    settings = ["--ways", "5", "--shots", "1", "--queries", "15", "--tasks", str(TASKS), "--steps", str(steps)]
    settings += ["--net.filters", "32", "--net.down", "stride", "--schedule", "cosine", "--select", "last"]
    settings += ["--optimizer", f"Adam lr={OUTER_LR}", "--seed", str(seed)]
    settings += ["--inner-lr", str(INNER_LR)] if "inner_lr" in LEARNERS[learner].fields else []
    # A single small validation: nothing is chosen by it.
    settings += ["--validate-every", str(steps), "--validation-episodes", "20"]
    settings += ["--how", "loop", "--threads", str(options.threads)]
    words = [learner, "glyphs", *settings]
    return finished(folder, words)


def judged(folder: Path, episodes: int) -> dict[str, Any]:
    """Accuracy of every test episode, 0..1; negative log-likelihood and calibration error over all of them."""
    result = folder / f"calibration-{episodes}.json"
    if not result.exists():
        run = Run.open(folder)
        report = evaluate(run.learner, run.params, run.judging(seed=0), episodes=episodes)
        its = {"values": report.values.tolist(), "nll": report.nll, "ece": report.ece}
        result.write_text(json.dumps(its), encoding="utf-8")
    its = json.loads(result.read_text(encoding="utf-8"))
    if its["nll"] is None:
        raise RuntimeError(f"{folder} gives no finite likelihood: its training diverged")
    return its


def _of_all(its: dict[str, Any]) -> Line:
    return {"NLL, nats": f"{its['nll']:.4f}", "calibration error, %": f"{100 * its['ece']:.2f}"}


def _difference(what: str, of_seeds: np.ndarray, better: np.ndarray) -> Line:
    count = f"{int(better.sum())} of {len(of_seeds)} seeds"
    return {"what": what, "mean difference": with_interval(of_seeds, 3), "better in": count}


def main(words: list[str]) -> int:
    parser = row.parser(__doc__)
    parser.add_argument("--learner", default="abml")
    parser.add_argument("--against", default="maml")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--runs", type=Path, default=Path("runs/calibration"))
    return row.run(parser, benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
