"""Labelled rows of real data sets behind the bundled encoders, from which a benchmark cuts tasks."""

import csv
import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from mapwise.catalog.encoders import ENCODERS
from mapwise.core.task import Examples
from mapwise.data.inputs import columns
from mapwise.encoders.encoder import Encoder


@dataclass(frozen=True, eq=False)
class Pool:
    """Rows of some classes.

    name: data set and encoder.
    y: the class of each row, [N], from 0.
    encoded: places of a support, places of a query -> their encoded rows.
    known: the encoder, which may know how far rows usually lie from their class.
    """

    name: str
    y: np.ndarray
    encoded: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
    known: Encoder

    def cut(self, random: np.random.Generator, ways: int, shots: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
        """Places of a support's rows, [W, shots], and of others of the same classes, [W, up to queries]."""
        classes = random.choice(np.flatnonzero(np.bincount(self.y) >= shots + 1), ways, replace=False)
        parts = [random.permutation(np.flatnonzero(self.y == c))[: shots + queries] for c in classes]
        fewest = min(map(len, parts))
        places = np.stack([part[:fewest] for part in parts])
        return places[:, :shots], places[:, shots:]


def support_of(x: np.ndarray, ways: int) -> Examples:
    """A support of encoded rows that come class by class, as many of each."""
    one_hot = np.repeat(np.eye(ways), len(x) // ways, axis=0)
    rows, labels = (torch.as_tensor(values, dtype=torch.float64) for values in (x, one_hot))
    return Examples(rows, labels, torch.ones(len(x), dtype=torch.float64), torch.zeros((), dtype=torch.int64))


def omniglot_pool(data: Path, split: str, most: int | None = None) -> Pool:
    """Omniglot's characters of one split, turned as Vinyals does, through `drawings`; of `most` classes alone."""
    from mapwise.data.omniglot import omniglot

    rows = omniglot(data)
    places = [np.arange(rows.starts[c], rows.starts[c + 1]) for c in rows.splits[split][:most]]
    pictures = [image[0] for image in rows.x[np.concatenate(places)]]
    return _stateless(f"omniglot {split}", "drawings", pictures, np.repeat(np.arange(len(places)), len(places[0])))


def mnist_pool(data: Path) -> Pool:
    """The 10,000 digits of MNIST's test part through `drawings`, which never saw a digit."""
    folder = data / "mnist-t10k"
    images, labels = (
        np.frombuffer(gzip.decompress((folder / f"t10k-{part}-ubyte.gz").read_bytes())[header:], np.uint8)
        for part, header in (("images-idx3", 16), ("labels-idx1", 8))
    )
    return _stateless("mnist", "drawings", list(images.reshape(-1, 28, 28)), labels.astype(np.int64))


def signs_pool(data: Path) -> Pool:
    """Photographed hand signs through `drawings`, which is not made for photographs."""
    stored = np.load(data / "sign-digits" / "sign_digits_64.npz")
    return _stateless("sign-digits", "drawings", list(stored["images"]), stored["labels"].astype(np.int64))


def banking_pool(data: Path) -> Pool:
    """Customers' questions of 77 intents through `text-hash`."""
    with (data / "banking77" / "train.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    return _stateless("banking77", "text-hash", [line["text"] for line in lines], _places(lines, "category"))


def home_pool(data: Path) -> Pool:
    """What people say to an assistant at home, of 64 intents, through `text-hash`."""
    with gzip.open(data / "hwu64" / "full.jsonl.gz", "rt", encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    return _stateless("hwu64", "text-hash", [line["sentence"] for line in lines], _places(lines, "label"))


def bank_pool(data: Path) -> Pool:
    """Calls of a bank, and whether they sold, without their length, which nobody knows before."""
    with (data / "bank-marketing" / "bank-additional.csv").open(encoding="utf-8", newline="") as file:
        lines = [
            {name: cell for name, cell in line.items() if name != "duration"}
            for line in csv.DictReader(file, delimiter=";")
        ]
    return _table("bank-marketing", lines, "y")


def credit_pool(data: Path) -> Pool:
    """Applicants for a loan, of good or bad risk."""
    with (data / "german-credit" / "german.data").open(encoding="utf-8") as file:
        lines = [dict(enumerate(line.split())) for line in file if line.strip()]
    return _table("german-credit", [{str(place): cell for place, cell in line.items()} for line in lines], "20")


@cache
def _encoder(name: str) -> Encoder:
    return ENCODERS[name]()


def _stateless(name: str, encoder: str, rows: list, y: np.ndarray) -> Pool:
    x = _encoder(encoder)(rows)
    return Pool(f"{name}, {encoder}", y, lambda support, query: (x[support], x[query]), _encoder(encoder))


def _table(name: str, lines: list[dict[str, str]], label: str) -> Pool:
    names = [column for column in lines[0] if column != label]
    cells = np.asarray([[line[column] for column in names] for line in lines], dtype=object)

    def encoded(support: np.ndarray, query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        result = _encoder("table").fitted(columns(cells[support]), np.ones(len(support)))
        return result(columns(cells[support])), result(columns(cells[query]))

    return Pool(f"{name}, table", _places(lines, label), encoded, _encoder("table"))


def _places(lines: list[Mapping[str, str]], label: str) -> np.ndarray:
    return np.unique([line[label] for line in lines], return_inverse=True)[1]
