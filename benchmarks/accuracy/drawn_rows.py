"""Do rows drawn from like classes help a logistic head? Three heads on one supervised encoder, on the same episodes.

    python -m benchmarks.accuracy.drawn_rows --data DATA [--seeds 1] [--steps 1600] [--episodes 1000] [--quick]
        [--json FILE]

Tiny ImageNet by its own split, 64 x 64 in colour, 5-way, 1 and 5 shots: a logistic regression (`linear_probe`), the
same of the square roots of features (`distribution_calibration` without samples), and with drawn rows besides. The
encoder is trained, and all its features are made, once a seed; these and every figure are kept in --runs and not made
again.
"""

import argparse
import json
import sys
import zipfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import row
from benchmarks.kept_runs import finished, with_interval
from benchmarks.record import spent
from benchmarks.row import Line, Row, Target
from mapwise.data.rows import LabelledRows
from mapwise.data.store import data_root
from mapwise.engine.evaluate import evaluate
from mapwise.learners.generation.distribution_calibration import DistributionCalibration
from mapwise.learners.pretraining.linear_probe import LinearProbe
from mapwise.runs.run import Run
from mapwise.tasks.episodes import Episodes
from mapwise.tasks.supervised import SupervisedSource

DATA = "tiny-imagenet-fewshot"
STEPS, EPISODES, SHOTS = 1600, 1000, (1, 5)
FILTERS = "16,32,64,128"
BASE_ROWS = 200
"""All rows of a base class."""
HEADS: dict[str, Any] = {
    "logistic": LinearProbe,
    "+ power": lambda net: DistributionCalibration(net, samples=0),
    "+ samples": lambda net: DistributionCalibration(net, base_rows=BASE_ROWS),
}
"""Each is compared with the one before it."""


def benchmark(options: argparse.Namespace) -> Row:
    seeds, episodes = (1, 10) if options.quick else (options.seeds, options.episodes)
    steps = 2 if options.quick else options.steps
    result = Row(
        "drawn-rows",
        DATA,
        f"one supervised encoder a seed, ResNet12 of {FILTERS} filters, {steps:,} batches of 128 of the 64 training "
        f"classes, Adam 0.003 down a cosine, flipped and shifted; 5-way, 15 queries a class, the same {episodes:,} "
        "test episodes for all heads, inductive; everything else as the catalog has it, statistics of "
        f"{BASE_ROWS} rows a base class",
        learner="none: drawn rows",
    )
    values: dict[tuple[int, str], list[np.ndarray]] = {(shots, head): [] for shots in SHOTS for head in HEADS}
    lines: list[Line] = []
    digests: dict[tuple[int, int], str] = {}  # of features, which are another seed's own
    for seed in range(seeds):
        folder = trained(options, seed, steps)
        rows = embedded(folder)
        for shots in SHOTS:
            for head in HEADS:
                its = judged(folder, rows, head, shots, episodes)
                if digests.setdefault((seed, shots), its["digest"]) != its["digest"]:
                    raise RuntimeError(f"{folder} was judged on other episodes: remove its {shots}-shot figures")
                values[shots, head].append(100 * np.array(its["values"]))
                accuracy = with_interval(values[shots, head][-1])
                lines.append({"seed": str(seed), "shots": shots, "head": head, "accuracy, %": accuracy, **_of_all(its)})
        spent_on = spent(folder, "processor_seconds")
        if spent_on is not None:
            result.notes.append(f"seed {seed} was trained in {spent_on / 60:.0f} minutes of processor time")
    result.tables.append(("every seed", lines))
    differences: list[Line] = []
    heads = list(HEADS)
    for shots in SHOTS:
        for before, head in [*pairwise(heads), (heads[0], heads[-1])]:
            # Of an episode the mean over seeds, which are few.
            gained = np.mean([a - b for a, b in zip(values[shots, head], values[shots, before], strict=True)], axis=0)
            of_seeds = [float((a - b).mean()) for a, b in zip(values[shots, head], values[shots, before], strict=True)]
            differences.append(
                {
                    "shots": shots,
                    "head": head,
                    "minus": before,
                    "points": with_interval(gained),
                    "better in": f"{sum(one > 0 for one in of_seeds)} of {seeds} seeds",
                }
            )
        low = float(differences[-2]["points"].split()[0]) - float(differences[-2]["points"].split()[-1])
        result.targets.append(Target(f"{shots} shots, what samples add to the power, lower end, points", low, 0.0))
    result.tables.append(("paired over episodes, of an episode the mean over seeds", differences))
    options.rounds = None
    return result


def trained(options: argparse.Namespace, seed: int, steps: int) -> Path:
    """The folder of one encoder's training."""
    settings = ["--data", str(unpacked(options)), "--steps", str(steps), "--seed", str(seed), "--schedule", "cosine"]
    settings += ["--net", "resnet12", "--net.filters", "4,4,4,4" if options.quick else FILTERS]
    settings += ["--optimizer", "Adam lr=0.003", "--augment", "flip,shift", "--select", "last", "--how", "loop"]
    settings += ["--ways", "5", "--shots", "1", "--queries", "15", "--threads", str(options.threads)]
    settings += ["--validate-every", str(max(1, steps // 4)), "--validation-episodes", "20"]
    return finished(options.runs / f"supervised-{seed}", ["supervised", "images", *settings])


def unpacked(options: argparse.Namespace) -> Path:
    """The pictures as folders: train, val and test, and a folder a class in each."""
    folder: Path = options.runs / DATA
    for split in ("train", "val", "test"):
        done = folder / f".{split}"
        if done.exists():
            continue
        with zipfile.ZipFile(data_root(options.data) / DATA / f"{split}.zip") as pack:
            names = [name for name in pack.namelist() if name.endswith(".JPEG")]
            # Of a class n, its pictures are n_0.JPEG, n_1.JPEG, ...
            few = [name for name in names if int(name.rpartition("_")[2].removesuffix(".JPEG")) < 20]
            pack.extractall(folder / split, few if options.quick else names)
        done.touch()
    return folder


def embedded(folder: Path) -> LabelledRows:
    """All pictures as the encoder of a run gives them."""
    run = Run.open(folder)
    source: Any = run.source
    path = folder / "features.npy"
    if not path.exists():
        learner: Any = run.learner
        with torch.no_grad():
            places = torch.arange(len(source.rows.x)).split(256)
            features = torch.cat([learner.encode(run.params, source.gather(part)) for part in places])
        np.save(path, features.numpy())
    return replace(source.rows, x=np.load(path))


def judged(folder: Path, rows: LabelledRows, name: str, shots: int, episodes: int) -> dict[str, Any]:
    """Accuracy of every test episode, 0..1; negative log-likelihood and calibration error over all of them."""
    result = folder / f"{name.removeprefix('+ ')}-{shots}-shot-{episodes}.json"
    if not result.exists():
        run = Run.open(folder)
        learner: Any = run.learner
        over = HEADS[name](learner.net).over_embedded(run.params)
        source = Episodes(rows, ways=5, shots=shots, queries=15, tasks=1, seed=0)
        params = over.learner.measure(over.params, SupervisedSource(source))
        report = evaluate(over.learner, params, source.split("test"), episodes=episodes, how="loop")
        its = {"values": report.values.tolist(), "nll": report.nll, "ece": report.ece, "digest": report.digest}
        result.write_text(json.dumps(its), encoding="utf-8")
    return dict(json.loads(result.read_text(encoding="utf-8")))


def _of_all(its: dict[str, Any]) -> Line:
    return {"NLL, nats": f"{its['nll']:.4f}", "calibration error, %": f"{100 * its['ece']:.2f}"}


def main(words: list[str]) -> int:
    parser = row.parser(__doc__)
    parser.add_argument("--data", type=Path, help=f"the folder that holds {DATA}/")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--episodes", type=int, default=EPISODES)
    parser.add_argument("--runs", type=Path, default=Path("runs/drawn-rows"))
    return row.run(parser, benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
