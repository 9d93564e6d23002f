"""Labelled rows: the one array behind every classification source."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from mapwise.core.fields import check_arguments, quote
from mapwise.core.seeds import check_seed
from mapwise.data.arrays import check_labels, real_rows
from mapwise.data.datasets import check_no_loader, is_dataset, read_dataset

ALL = "all"
"""The split that holds every class: for data that nothing was trained on."""


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """Rows of many classes in one array, those of a class side by side.

    x:      [R, *input], uint8 (scaled by 1/255 when used) or float32. May be memory-mapped.
    starts: [C + 1]; the rows of class c are x[starts[c]:starts[c + 1]].
    names:  C real class names.
    splits: split name -> indices of its classes, disjoint between "train", "val" and "test"; the split "all" is
            always there, see `classes_of`.
    name:   what the data is called in reports.
    notes:  sentences a user should see once: files left out, classes merged.
    """

    made_by: ClassVar[str] = "mapwise.LabelledRows.of(x, labels)"
    """For errors: how a value is made."""

    x: np.ndarray
    starts: np.ndarray
    names: tuple[str, ...]
    splits: Mapping[str, np.ndarray]
    name: str
    notes: tuple[str, ...] = field(default=())

    @classmethod
    def of(
        cls,
        x: Any,
        labels: Sequence[object] | np.ndarray | str | None = None,
        *,
        name: str = "arrays",
        splits: Mapping[str, Sequence[str]] | None = None,
        seed: int = 0,
        notes: Sequence[str] = (),
        progress: Callable[[Any], Iterable[Any]] = lambda places: places,
    ) -> "LabelledRows":
        """Rows in any order, [R, *input], with one label each, or a map-style dataset, which is read whole.

        x:      an array, a tensor, or a dataset of torch, torchvision or the Hugging Face library datasets; see
                `mapwise.data.datasets.read_dataset`. Read a folder of images with `mapwise.images`.
        labels: one for each row; of a dataset the name of their column, where it isn't known.
        progress: by which the reading of a dataset can be watched, such as tqdm.
        splits: split name -> class names; by default the classes are dealt out by `seed`, 60 % for
                training, 20 % for validation and 20 % for testing, at least one each; with fewer than
                three classes every split holds them all.

        Raises ValueError for rows and labels that `examples` refuses, for labels that don't align, for a single class,
        and for a DataLoader.
        """
        check_arguments(LabelledRows.of, {"name": name, "splits": splits})
        check_seed(seed)
        check_no_loader(x)
        if is_dataset(x) and (labels is None or isinstance(labels, str)):
            x, labels = read_dataset(x, labels, progress)
        if labels is None:
            raise ValueError("labels are missing: give one for each row of x")
        x = np.asarray(real_rows(x))
        if not hasattr(labels, "__len__"):
            raise ValueError(f"labels is {quote(labels)}: give a list of labels, one for each row")
        if len(x) != len(labels):
            raise ValueError(f"there are {len(x)} rows and {len(labels)} labels: give one label for each row")
        values = np.asarray(labels)
        if values.ndim != 1:
            raise ValueError(f"class labels have shape {values.shape}: give one label for each row, ({len(x)},)")
        check_labels(values if values.dtype.kind in "cmM" else labels)
        texts = np.asarray([str(label) for label in values.tolist()])
        classes, columns = np.unique(texts, return_inverse=True)
        if len(classes) < 2:
            only = f"only one, {classes[0]!r}" if len(classes) else "none"
            raise ValueError(f"the labels name {only} class: at least two classes are needed")
        order = np.argsort(columns, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(columns, minlength=len(classes)))])
        names = tuple(str(text) for text in classes)
        place = {text: i for i, text in enumerate(names)}
        if splits is None:
            indices = deal(len(names), seed)
        else:
            unknown = sorted({str(text) for chosen in splits.values() for text in chosen} - place.keys())
            if unknown:
                raise ValueError(f"the splits name class {unknown[0]!r}, which no row has: correct the splits")
            indices = {split: np.asarray([place[text] for text in chosen]) for split, chosen in splits.items()}
        return cls(x[order], starts, names, indices, name, tuple(notes))

    def classes_of(self, split: str) -> np.ndarray:
        """The indices of a split's classes; "all" holds every class, unless a split of its own is called so.

        Raises ValueError for a split that isn't there.
        """
        if split not in self.splits and split != ALL:
            known = ", ".join(self.splits)
            if split == "train":
                raise ValueError(f"{self.name} has no classes to train on, only {known}: add a split 'train'")
            raise ValueError(f"{self.name} has no split {split!r}: choose one of {known}, {ALL}")
        return self.splits.get(split, np.arange(len(self.names)))

    def digest(self, split: str) -> str:
        """Of the rows of a split's classes, whatever the classes are called; raises ValueError as `classes_of`."""
        digest = hashlib.blake2b(f"{self.x.dtype} {self.x.shape[1:]}".encode(), digest_size=8)
        for place in self.classes_of(split):
            digest.update(np.ascontiguousarray(self.x[self.starts[place] : self.starts[place + 1]]).data)
        return digest.hexdigest()


def deal(classes: int, seed: int) -> dict[str, np.ndarray]:
    """Class indices for train, val and test: 60, 20 and 20 %, dealt by the seed, none left empty."""
    if classes < 3:
        return {split: np.arange(classes) for split in ("train", "val", "test")}
    order = np.random.Generator(np.random.Philox(seed)).permutation(classes)
    fifth = max(1, classes // 5)
    return {
        "train": np.sort(order[2 * fifth :]),
        "val": np.sort(order[:fifth]),
        "test": np.sort(order[fifth : 2 * fifth]),
    }
