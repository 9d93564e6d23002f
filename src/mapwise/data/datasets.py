"""Rows of a map-style dataset: of torch.utils.data, of torchvision, or of the Hugging Face library datasets."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from mapwise.core.fields import quote
from mapwise.core.spelling import suggestion
from mapwise.data.arrays import held

_LABELS = ("label", "labels", "class", "target", "fine_label", "y")
"""Columns by which the labels of a dataset with named columns are known."""


class DatasetRows(NamedTuple):
    """The rows of a dataset in one array, and the label of each: a name where the dataset names its classes."""

    x: np.ndarray
    labels: list[Any]


def is_dataset(x: Any) -> bool:
    """Whether x is a dataset of items and no array of rows."""
    if isinstance(x, list | tuple | dict | str | np.ndarray | Tensor) or hasattr(x, "__array__"):
        return False
    return hasattr(x, "__getitem__") and hasattr(x, "__len__")


def check_no_loader(x: Any) -> None:
    """Raises ValueError for what yields batches or items and has no rows by number, and for a path."""
    if isinstance(x, str | Path):
        raise ValueError(f"x is the path {x}: read a folder of images with mapwise.images({str(x)!r})")
    if hasattr(x, "dataset") and hasattr(x, "batch_size"):
        raise ValueError("x is a DataLoader, which deals out batches: give its dataset, loader.dataset")
    if hasattr(x, "__iter__") and not hasattr(x, "__getitem__"):
        raise ValueError(f"x is {quote(x)}, whose rows can't be asked for by number: give a map-style dataset")


def read_dataset(
    dataset: Any, label: str | None = None, progress: Callable[[Any], Iterable[Any]] = lambda places: places
) -> DatasetRows:
    """All rows of a map-style dataset, in their order.

    dataset:  its items are pairs (row, label), as in torch and torchvision, or dicts of a row and a label, as in the
              Hugging Face library datasets. A row is an array, a tensor, a number, or a Pillow image, which becomes
              bytes [channels, height, width].
    label:    the column of the labels, where items are dicts; by default one called "label", "class" or "target", or
              the only one whose values name classes.
    progress: the numbers of the rows -> the same numbers, by which the reading can be watched, such as tqdm.

    Raises ValueError for a dataset without rows, for an item of another form, and for rows of different shapes, with
    the first.
    """
    if not len(dataset):
        raise ValueError("the dataset holds no rows: give one that does")
    first = dataset[0]
    place_of_row, place_of_label = _columns(first, dataset, label)
    rows: list[np.ndarray] = []
    labels: list[Any] = []
    for place in progress(range(len(dataset))):
        item = dataset[place]
        if type(item) is not type(first) or len(item) != len(first):
            raise ValueError(
                f"item {place} of the dataset is {quote(item)} and item 0 is {quote(first)}: make them alike"
            )
        row = _array(item[place_of_row], place)
        if rows and row.shape != rows[0].shape:
            raise ValueError(
                f"row {place} of the dataset has shape {row.shape} and row 0 has {rows[0].shape}: bring all to one "
                "shape first, such as by a transform that resizes pictures"
            )
        rows.append(row)
        labels.append(_plain(item[place_of_label]))
    return DatasetRows(np.stack(rows), _by_name(labels, _names(dataset, place_of_label)))


def _columns(first: Any, dataset: Any, label: str | None) -> tuple[Any, Any]:
    """Where an item has its row and its label."""
    if isinstance(first, tuple | list) and len(first) == 2:
        return 0, 1
    if not isinstance(first, dict):
        raise ValueError(f"item 0 of the dataset is {quote(first)}: a pair (row, label) or a dict of the two is needed")
    if label is not None and label not in first:
        raise ValueError(f"the dataset has no column {label!r}: {suggestion(label, first)}")
    named = [name for name in first if _names(dataset, name)]
    known = [name for name in _LABELS if name in first]
    chosen = label or (known or named or [None])[0]
    if chosen is None:
        raise ValueError(f"the label may be {' or '.join(map(str, first))}: name its column, label=...")
    others = [name for name, value in first.items() if name != chosen and not isinstance(value, str)]
    texts = [name for name, value in first.items() if name != chosen and isinstance(value, str)]
    if not others and texts:
        raise ValueError(
            f"the column {texts[0]!r} of the dataset holds texts, and numbers are needed: encode them first, or give "
            "them to mapwise.FewShotClassifier"
        )
    if len(others) != 1:
        raise ValueError(
            f"the dataset has the columns {', '.join(map(str, first))}, and one row and one label are needed: choose "
            "two, such as by dataset.select_columns"
        )
    return others[0], chosen


def _names(dataset: Any, place: Any) -> Sequence[str] | None:
    """The names of the classes, where labels are numbers of them."""
    feature = (getattr(dataset, "features", None) or {}) if isinstance(place, str) else {}
    names = getattr(feature.get(place), "names", None) if isinstance(place, str) else getattr(dataset, "classes", None)
    return names if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names) else None


def _by_name(labels: list[Any], names: Sequence[str] | None) -> list[Any]:
    if names is None or not all(isinstance(label, int) and 0 <= label < len(names) for label in labels):
        return labels
    return [names[label] for label in labels]


def _plain(label: Any) -> Any:
    """A label as Python has it; one in a tensor or an array of one number is that number."""
    if isinstance(label, Tensor | np.ndarray | np.generic) and label.shape in ((), (1,)):
        return label.item()
    return label


def _array(row: Any, place: int) -> np.ndarray:
    if hasattr(row, "getbands"):  # a Pillow image
        pixels = np.asarray(row if row.mode in ("L", "RGB") else row.convert("RGB"))
        return np.atleast_3d(pixels).transpose(2, 0, 1)
    if isinstance(row, str | bytes | dict):
        raise ValueError(f"row {place} of the dataset is {quote(row)}: numbers or a picture are needed")
    return held(row).numpy() if isinstance(row, Tensor) else np.asarray(row)
