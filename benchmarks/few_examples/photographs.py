"""Five photographs a class: the encoder photos beside pixels and drawings, over draws of classes and examples, paired.

    python -m benchmarks.few_examples.photographs --data DATA [--draws 40] [--quick] [--json FILE]

Hand signs (5 of 10 digits a draw), brain MRI (all 4 classes, asked of its own test part), and Tiny ImageNet (5 of 20
classes), whose classes the network of `photos` was trained on: this row is no measure of new classes. The classifier is
chosen by cross-validation, as by default. All encoders of a draw get the same examples and the same queries.
"""

import argparse
import io
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from benchmarks import row
from benchmarks.kept_runs import with_interval
from benchmarks.row import Line, Row, Target
from mapwise.catalog.encoders import encoder_named
from mapwise.data.store import data_root
from mapwise.encoders.encoder import Encoder
from mapwise.predictors.choose import USUAL, choose
from mapwise.predictors.classes import Predictor

ENCODERS = ("pixels", "drawings", "photos")
"""The first is what the others are compared to."""
SIGNS = 78.0
"""Per cent, of five hand signs with five photographs of each."""
SHOTS, QUERIES = 5, 50
"""Photographs of a class that are given, and that are asked at most."""


class Photographs(NamedTuple):
    """Labelled pictures, some of which may be examples and some queries; the same one is never both."""

    title: str
    pictures: Sequence[np.ndarray]
    classes: np.ndarray
    """[N], from 0."""
    is_test: np.ndarray
    """[N], bool: of a test part, so no example; where all are False, all that are no examples are queries."""
    ways: int

    def draw(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Places [ways, SHOTS] of examples, class by class, and [ways, Q] of queries."""
        random = np.random.default_rng(seed)
        chosen = np.sort(random.choice(self.classes.max() + 1, self.ways, replace=False))
        examples, queries = [], []
        for one in chosen:
            free = random.permutation(np.flatnonzero((self.classes == one) & ~self.is_test))
            test = random.permutation(np.flatnonzero((self.classes == one) & self.is_test))
            examples.append(free[:SHOTS])
            queries.append((test if self.is_test.any() else free[SHOTS:])[:QUERIES])
        fewest = min(map(len, queries))
        return np.stack(examples), np.stack([places[:fewest] for places in queries])


def signs(folder: Path) -> Photographs:
    """Photographed hand signs, 64 x 64 in grey."""
    stored = np.load(folder / "sign-digits" / "sign_digits_64.npz")
    labels = stored["labels"].astype(int)
    return Photographs("sign-digits", list(stored["images"]), labels, np.zeros(len(labels), bool), 5)


def scans(folder: Path) -> Photographs:
    """Brain MRI, 64 x 64 in grey."""
    stored = np.load(folder / "brain-tumor-mri" / "brain_tumor_64.npz")
    parts = {
        key: np.concatenate([stored[f"{part}_{key}"][~stored[f"{part}_is_duplicate"]] for part in ("train", "test")])
        for key in ("images", "labels")
    }
    is_test = np.arange(len(parts["labels"])) >= (~stored["train_is_duplicate"]).sum()
    return Photographs("brain-tumor-mri", list(parts["images"]), parts["labels"].astype(int), is_test, 4)


def natural(folder: Path) -> Photographs:
    """Tiny ImageNet's test classes, 64 x 64 in colour."""
    with zipfile.ZipFile(folder / "tiny-imagenet-fewshot" / "test.zip") as pack:
        names = sorted(name for name in pack.namelist() if name.endswith(".JPEG"))
        pictures = [np.asarray(Image.open(io.BytesIO(pack.read(name))).convert("RGB")) for name in names]
    labels = np.unique([name.split("/")[0] for name in names], return_inverse=True)[1]
    title = "tiny-imagenet-fewshot; the encoder photos has seen these classes"
    return Photographs(title, pictures, labels, np.zeros(len(labels), bool), 5)


def accuracies(data: Photographs, encoders: Sequence[Encoder], draws: int) -> np.ndarray:
    """Per cent of queries that are right, [draws, encoders]."""
    rows = [encoder(data.pictures) for encoder in encoders]
    return 100 * np.array(
        [[accuracy(data, *one, seed) for one in zip(encoders, rows, strict=True)] for seed in range(draws)]
    )


def accuracy(data: Photographs, encoder: Encoder, rows: np.ndarray, seed: int) -> float:
    """The share of queries that is right."""
    examples, queries = data.draw(seed)
    columns = np.repeat(np.arange(data.ways), SHOTS)
    places = examples.ravel()
    names = tuple(map(str, range(data.ways)))
    flat = rows.reshape(len(rows), -1)
    first = Predictor(encoder, Predictor.head_of(USUAL), flat[places], columns, np.ones(len(places)), names)
    predictor = choose(first, [data.pictures[place] for place in places])[0]
    answers = predictor.scores_of(flat[queries.ravel()]).argmax(1)
    return float((answers.reshape(queries.shape) == np.arange(data.ways)[:, None]).mean())


def benchmark(options: argparse.Namespace) -> Row:
    draws = 2 if options.quick else options.draws
    result = Row(
        "photographs",
        "sign-digits, brain-tumor-mri, tiny-imagenet-fewshot",
        f"{SHOTS} photographs of each class, up to {QUERIES} queries of each, the learner by cross-validation; "
        f"accuracy in per cent over {draws} draws, the same for all encoders, with the 95 % interval over draws by "
        "Student's t, and paired differences",
        learner="none: FewShotClassifier behind an encoder of photographs",
    )
    encoders = [encoder_named(name, fetch=False) for name in ENCODERS]
    for read in (signs, scans, natural):
        data = read(data_root(options.data))
        shares = accuracies(data, encoders, draws)
        line: Line = {"ways": data.ways, "shots": SHOTS}
        line |= {f"{name}, %": with_interval(shares[:, place], 1) for place, name in enumerate(ENCODERS)}
        line |= {
            f"{name} minus {ENCODERS[0]}": with_interval(shares[:, place] - shares[:, 0], 1)
            for place, name in enumerate(ENCODERS)
            if place
        }
        result.tables.append((data.title, [line]))
        if read is signs:
            what = "accuracy of photos on hand signs, 5-way 5-shot, %"
            result.targets.append(Target(what, float(shares[:, -1].mean()), SIGNS))
    options.rounds = None
    return result


def main(words: list[str]) -> int:
    parser = row.parser(__doc__)
    parser.add_argument("--data", type=Path, help="the folder that holds sign-digits/ and the others")
    parser.add_argument("--draws", type=int, default=40)
    return row.run(parser, benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
