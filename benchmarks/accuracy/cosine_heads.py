"""Does a head of cosines help with few rows? Baseline++ and fine-tuning, each from its own classifier, paired.

    python -m benchmarks.accuracy.cosine_heads --data DATA [--seeds 1] [--steps 4000] [--quick] [--json FILE]

Both classifiers are trained on the base classes of Omniglot from the same seed on the same batches. `finetune` is
judged as the catalog has it, and with the encoder as it is, which is the paper's Baseline. A run's folder is kept in
--runs, and one that is finished is not trained again.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import row
from benchmarks.kept_runs import finished, with_interval
from benchmarks.record import spent
from benchmarks.row import Line, Row, Target
from mapwise.data.store import data_root
from mapwise.engine.evaluate import evaluate
from mapwise.runs.run import Run

STEPS, EPISODES, SHOTS = 4000, 1000, (1, 5)
LEARNERS: dict[str, tuple[str, dict[str, Any]]] = {
    "baseline_pp": ("baseline_pp", {}),
    "finetune": ("finetune", {}),
    "finetune, encoder fixed": ("finetune", {"body_lr": 0.0}),
}
"""Of each its run, and what is changed of it where it is judged."""


def benchmark(options: argparse.Namespace) -> Row:
    seeds, steps, episodes = (1, 2, 10) if options.quick else (options.seeds, options.steps, EPISODES)
    result = Row(
        "cosine-heads",
        "omniglot",
        f"each trained for {steps:,} batches of 128 of all base classes, Conv4-64 with strides, Adam 0.003 down a "
        f"cosine; 5-way, judged on the same {episodes:,} test episodes, inductive; everything else as the catalog "
        "has it",
        learner="none: cosine heads",
    )
    lines: list[Line] = []
    values: dict[tuple[int, str], list[np.ndarray]] = {(shots, name): [] for shots in SHOTS for name in LEARNERS}
    digests: dict[int, str] = {}
    for seed in range(seeds):
        for name, (learner, changes) in LEARNERS.items():
            folder = trained(options, learner, seed, steps)
            minutes = spent(folder, "processor_seconds")
            for shots in SHOTS:
                its, digest = judged(folder, name, changes, shots, episodes)
                if digests.setdefault(shots, digest) != digest:
                    raise RuntimeError(f"{folder} was judged on other episodes: remove its {shots}-shot figures")
                values[shots, name].append(100 * its)
                line: Line = {"seed": str(seed), "learner": name, "shots": shots}
                line["accuracy, %"] = with_interval(100 * its)
                lines.append({**line, "processor minutes": "" if minutes is None else round(minutes / 60, 1)})
    result.tables.append(("every seed", lines))
    differences: list[Line] = []
    first, *others = LEARNERS
    for shots in SHOTS:
        for other in others:
            pairs = zip(values[shots, first], values[shots, other], strict=True)
            gained = np.mean([ours - theirs for ours, theirs in pairs], axis=0)
            differences.append({"shots": shots, "baseline_pp minus": other, "points": with_interval(gained)})
    result.tables.append(("paired over episodes, of an episode the mean over seeds", differences))
    # Not below: what is ahead, or within its interval of it.
    mean, half = (float(differences[0]["points"].split()[place]) for place in (0, -1))
    result.targets.append(Target("1 shot, lead over finetune, upper end, points", mean + half, 0.0))
    options.rounds = None
    return result


def trained(options: argparse.Namespace, learner: str, seed: int, steps: int) -> Path:
    """The folder of one training."""
    settings = ["--data", str(data_root(options.data)), "--steps", str(steps), "--seed", str(seed)]
    settings += ["--net.down", "stride", "--net.filters", "4" if options.quick else "64", "--schedule", "cosine"]
    settings += ["--optimizer", "Adam lr=0.003", "--select", "last", "--how", "loop", "--threads", str(options.threads)]
    settings += ["--ways", "5", "--shots", "1", "--validate-every", str(steps), "--validation-episodes", "20"]
    return finished(options.runs / f"{learner}-{seed}", [learner, "omniglot", *settings])


def judged(folder: Path, name: str, changes: dict[str, Any], shots: int, episodes: int) -> tuple[np.ndarray, str]:
    """Accuracy of every test episode, 0..1, and the digest of the episodes."""
    result = folder / f"{name.replace(', ', '-').replace(' ', '-')}-{shots}-shot-{episodes}.json"
    if not result.exists():
        run = Run.open(folder, {**changes, "test_shots": str(shots)})
        report = evaluate(run.learner, run.params, run.judging(seed=0), episodes=episodes, how="loop")
        result.write_text(json.dumps({"values": report.values.tolist(), "digest": report.digest}), encoding="utf-8")
    its = json.loads(result.read_text(encoding="utf-8"))
    return np.array(its["values"]), its["digest"]


def main(words: list[str]) -> int:
    parser = row.parser(__doc__)
    parser.add_argument("--data", type=Path, help="the folder that holds omniglot/")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--runs", type=Path, default=Path("runs/cosine-heads"))
    return row.run(parser, benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
