"""Labelled rows as a predictor takes them, and what no two of them may be."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64

from mapwise.data.arrays import check_real
from mapwise.data.digests import digests
from mapwise.data.modality import Modality
from mapwise.predictors.classes import Predictor

_SAME = 1e-9
"""Squared distance of two encodings of one row, over their squared lengths: beside other rows its last bits differ."""
_LONGEST = 1000
"""Letters of a class's name."""
_DIRECTIONS = 8
"""Rows that are far apart along one of them are not compared."""


SMALLEST, LARGEST = 1e-6, 1e12
"""Of the largest weight: below, weights are relative and are divided by the largest; above, where sums may overflow,
they are scaled down to this."""


@dataclass(frozen=True, eq=False)
class LabelledExamples:
    """Raw rows, and what each is labelled with.

    rows:     N rows as an encoder reads them: columns by name, texts, or pictures.
    modality: which of these.
    labels:   names of classes, [N], of any type but floating-point; or numbers, [N] or [N, W], in float64.
    weight:   how often each row counts, [N] or one number; None: once. Rows of weight 0 are left out.
    sources:  where each row came from, such as a file; empty where unknown.
    classes:  names of further classes, of which rows may come later.
    label:    what the labels are called, such as a column; "" where they have no name.
    left_out: what was not read, and why, a sentence each.
    sentences: class -> sentences about it, for texts.
    use_names: whether the names of the classes say what they are about, for texts.
    contents: the digests of the rows, where they are known, see `data.digests`.
    """

    rows: Any
    modality: Modality
    labels: np.ndarray
    weight: Any = None
    sources: Sequence[str] = ()
    classes: Iterable[Any] = ()
    label: str = ""
    left_out: Sequence[str] = ()
    sentences: Mapping[str, Sequence[str]] = field(default_factory=dict)
    use_names: bool = True
    contents: Int64[np.ndarray, "N"] | None = None

    @property
    def names(self) -> bool:
        """Whether the labels are names of classes."""
        return self.labels.dtype.kind != "f"

    def of_classes(self, known: Sequence[str] = ()) -> tuple[tuple[str, ...], Int64[np.ndarray, "N"]]:
        """The known classes and behind them the new ones, sorted; and the column of each row among them.

        Raises ValueError for a name that would break a line of answers.
        """
        try:
            every = np.unique(np.asarray([*self.labels, *self.classes], dtype=object))
        except TypeError:  # which have no order among each other
            raise ValueError("the labels and the classes are of several types: give labels of one type") from None
        classes = (*known, *(str(name) for name in every if str(name) not in known))
        for name in classes[len(known) :]:
            check_name(name)
        columns = {name: column for column, name in enumerate(classes)}
        return classes, np.asarray([columns[str(label)] for label in self.labels], np.int64)

    def counted(self) -> "LabelledExamples":
        """Those that count, with a weight for each; raises ValueError for other numbers of labels or weights."""
        count = len(next(iter(self.rows.values()))) if isinstance(self.rows, dict) else len(self.rows)
        label = "label" if self.names else "target"
        if len(self.labels) != count:
            raise ValueError(f"X has {count} rows and y has {len(self.labels)} {label}s: give one {label} for each row")
        weight = np.ones(count) if self.weight is None else _weights(self.weight)
        if weight.ndim == 0:
            weight = np.full(count, float(weight))
        if weight.shape != (count,):
            raise ValueError(f"sample_weight has shape {weight.shape}: give one weight for each row, ({count},)")
        if not (np.isfinite(weight).all() and (weight >= 0).all()):
            raise ValueError("sample_weight holds a negative number, NaN or infinity: give weights of 0 and above")
        if not count:
            return replace(self, weight=weight)
        if not weight.any():
            raise ValueError("sample_weight is zero for all rows, so that none counts: give a weight above 0 to some")
        counts, largest = weight > 0, float(weight.max())
        if largest < SMALLEST:
            weight = weight / largest
        elif largest > LARGEST:
            weight = weight / largest * LARGEST
        return replace(self, weight=weight).among(counts)

    def among(self, chosen: Bool[np.ndarray, "N"]) -> "LabelledExamples":
        """The chosen ones, of those that have a weight each."""
        rows = (
            {name: cells[chosen] for name, cells in self.rows.items()}
            if isinstance(self.rows, dict)
            else list(compress(self.rows, chosen))
        )
        sources = tuple(compress(self.sources, chosen))
        contents = None if self.contents is None else self.contents[chosen]
        labels, weight = self.labels[chosen], self.weight[chosen]
        return replace(self, rows=rows, labels=labels, weight=weight, sources=sources, contents=contents)

    def digested(self) -> Int64[np.ndarray, "N"]:
        """The digests of the rows; raises ValueError for a row that can't be read, naming it."""
        return digests(self.modality, self.rows) if self.contents is None else self.contents


def _weights(weight: Any) -> np.ndarray:
    try:
        given = np.asarray(weight)
    except ValueError:
        raise ValueError("sample_weight holds lists of several lengths: give one number for each row") from None
    check_real(given.dtype.kind, "sample_weight")
    try:
        numbers: np.ndarray = given.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("sample_weight holds what is no number: give one number for each row") from None
    return numbers


def check_name(name: str) -> None:
    """Raises ValueError for the name of a class that would break a line of answers, or fill the page."""
    if len(name) > _LONGEST:
        raise ValueError(
            f"the name of a class begins {name[:40]!r} and has {len(name):,} letters: give one of up to {_LONGEST:,}"
        )
    if not name.strip() or not name.isprintable():
        raise ValueError(f"{name!r} is no name for a class: give one line of text")


def check_contents(
    modality: Modality,
    contents: Int64[np.ndarray, "N"],
    columns: Int64[np.ndarray, "N"],
    classes: Sequence[str],
    sources: Sequence[str],
    first: int = 0,
) -> None:
    """Raises ValueError when a row from `first` on has the content of another, and is of another class.

    Rows of a table may well be equal, and differ in what was not written down.
    """
    if modality == "table":
        return
    seen: dict[int, int] = {}
    for row, content in enumerate(contents.tolist()):
        other = seen.setdefault(content, row)
        if content and row >= first and columns[row] != columns[other]:
            raise _duplicate(other, row, columns, classes, sources)


def check_encoded(predictor: Predictor, first: int = 0) -> None:
    """Raises ValueError when a row from `first` on is encoded as another, and is of another class."""
    if predictor.encoder.reads == "table":
        return
    rows, columns = predictor.rows.reshape(len(predictor.rows), -1).astype(np.float64), predictor.columns
    # Of copies within a class one is compared: many blank pictures, say, would be compared with each other.
    copies: dict[tuple[int, bytes], int] = {}
    for row, column in enumerate(columns.tolist()):
        key = column, hashlib.sha256(rows[row].tobytes()).digest()
        if copies.setdefault(key, row) < first <= row:
            copies[key] = row
    places = np.asarray(list(copies.values()))
    rows, columns = rows[places], columns[places]
    squares = (rows**2).sum(1)
    # Rows that are the same lie side by side along any direction, so that few pairs need be looked at.
    directions = np.random.Generator(np.random.Philox(0)).normal(size=(rows.shape[1], _DIRECTIONS))
    along = rows @ directions
    far = _SAME * (directions**2).sum(0)
    order = np.argsort(along[:, 0], kind="stable")
    for apart in range(1, len(order)):
        one, other = order[:-apart], order[apart:]
        near = (along[one] - along[other]) ** 2 <= far * (squares[one] + squares[other])[:, None]
        if not near[:, 0].any():
            return
        pairs = near.all(1) & (columns[one] != columns[other]) & (places[np.maximum(one, other)] >= first)
        for a, b in zip(one[pairs].tolist(), other[pairs].tolist(), strict=True):
            if ((rows[a] - rows[b]) ** 2).sum() <= _SAME * (squares[a] + squares[b]):
                one_row, other_row = sorted((int(places[a]), int(places[b])))
                raise _duplicate(one_row, other_row, predictor.columns, predictor.classes, predictor.sources)


def _duplicate(one: int, other: int, columns: np.ndarray, classes: Sequence[str], sources: Sequence[str]) -> ValueError:
    named = [sources[row] if len(sources) and sources[row] else f"example {row}" for row in (one, other)]
    return ValueError(
        f"{named[0]} and {named[1]} are the same and of two classes, {classes[columns[one]]!r} and "
        f"{classes[columns[other]]!r}: keep the one that is right"
    )
