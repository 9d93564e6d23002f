"""Table rows: numbers brought to one scale, and words as columns of their own."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Float

from mapwise.data.cells import GAPS, CellError, infinite, moments, numbers, parse_number, standardised, text
from mapwise.data.modality import Columns, Modality

MOST = 32
"""Different words in a column that becomes one column each; of more, only how frequent a word was is kept."""


@dataclass(frozen=True)
class Number:
    """A column of numbers: mean 0 and standard deviation 1 over the rows that were seen; a gap becomes the mean."""

    kind: ClassVar[str] = "number"
    mean: float
    spread: float

    @property
    def whole(self) -> bool:
        """Whether these can be numbers of a column."""
        return math.isfinite(self.mean) and math.isfinite(self.spread) and self.spread > 0

    def __call__(self, name: str, cells: np.ndarray) -> Float[np.ndarray, "N 1"]:
        """Standardised cells."""
        values = cells if cells.dtype.kind == "f" else _filled(name, cells)
        scaled: np.ndarray = np.nan_to_num(standardised(values, self.mean, self.spread))[:, None]
        return scaled


@dataclass(frozen=True)
class Words:
    """A column of few words: one column each, centred, all of them together of variance 1 over the rows that were seen.

    A gap is a word like others where there was one; a word that was not seen is none of them.
    """

    kind: ClassVar[str] = "words"
    words: tuple[str, ...]
    shares: tuple[float, ...]

    @property
    def whole(self) -> bool:
        """Whether these can be words of a column."""
        return _are_words(self.words, self.shares)

    def __call__(self, name: str, cells: np.ndarray) -> Float[np.ndarray, "N words"]:
        """One-hot cells, centred and scaled."""
        shares = np.asarray(self.shares)
        spread = np.sqrt((shares * (1 - shares)).sum())
        hot = _texts(cells)[:, None] == np.asarray(self.words, dtype=object)[None]
        scaled: np.ndarray = (hot - shares) / (spread if spread > 0 else 1.0)
        return scaled


@dataclass(frozen=True)
class Frequency:
    """A column of many words: how frequent each was among the rows that were seen, standardised; 0 for a new one."""

    kind: ClassVar[str] = "frequency"
    words: tuple[str, ...]
    shares: tuple[float, ...]

    @property
    def whole(self) -> bool:
        """Whether these can be words of a column."""
        return _are_words(self.words, self.shares)

    def __call__(self, name: str, cells: np.ndarray) -> Float[np.ndarray, "N 1"]:
        """The standardised frequency of each cell's word."""
        share = dict(zip(self.words, self.shares, strict=True))
        frequencies = np.asarray([share.get(text, 0.0) for text in _texts(cells)])
        among = np.asarray(self.shares)
        mean = (among**2).sum()
        spread = np.sqrt((among * (among - mean) ** 2).sum())
        standard: np.ndarray = ((frequencies - mean) / (spread if spread > 1e-12 else 1.0))[:, None]
        return standard


_KINDS: dict[str, Any] = {kind.kind: kind for kind in (Number, Words, Frequency)}


@dataclass(frozen=True)
class Table:
    """Columns of numbers and of words, each of variance 1 over the rows it was fitted on, side by side.

    seen: what was seen of each column, by name; None before fitting.

    A column is one of numbers when every cell that is no gap is a number, or a text that is one. One of which nearly
    all cells are numbers is refused.
    """

    name: ClassVar[str] = "table"
    reads: ClassVar[Modality] = "table"
    version: ClassVar[str] = "1"
    usual: ClassVar[None] = None
    """Not measured: tables have nothing in common."""

    seen: Mapping[str, Number | Words | Frequency] | None = None

    @property
    def state(self) -> Mapping[str, Any]:
        """The kind of each column and what was seen of it, in the order of columns."""
        return {name: {"kind": column.kind, **vars(column)} for name, column in (self.seen or {}).items()}

    def with_state(self, state: Mapping[str, Any]) -> Self:
        """The encoder that has seen this; raises ValueError for what no such encoder has."""
        seen = {}
        for name, about in state.items():
            try:
                values: dict[str, Any] = {
                    key: tuple(part) if isinstance(part, list) else part for key, part in about.items() if key != "kind"
                }
                column: Number | Words | Frequency = _KINDS[about["kind"]](**values)
                if not column.whole:
                    raise ValueError
                column(name, np.asarray([None], dtype=object))
            except (KeyError, TypeError, ValueError, AttributeError):
                raise ValueError(f"what was seen of column {name!r} is damaged: fit it again") from None
            seen[name] = column
        return type(self)(seen)

    def fitted(self, rows: Columns, weight: Float[np.ndarray, "N"]) -> Self:
        """The encoder fitted to the columns of these rows."""
        return type(self)({name: _seen(name, cells, weight) for name, cells in rows.items()})

    def __call__(self, rows: Columns) -> Float[np.ndarray, "N D"]:
        """[N, D], float64; columns are taken by name, and others than those it was fitted on are passed over.

        Raises ValueError for a column that isn't there, and for a word or infinity where numbers were.
        """
        assert self.seen is not None
        absent = [name for name in self.seen if name not in rows]
        if absent:
            raise ValueError(f"the rows have no column {absent[0]!r}, which was there when it was fitted: add it")
        return np.concatenate([column(name, rows[name]) for name, column in self.seen.items()], axis=1)


def _are_words(words: tuple[str, ...], shares: tuple[float, ...]) -> bool:
    """Whether these are texts, each with its share of the rows."""
    texts = all(isinstance(word, str) for word in words)
    return texts and len(words) == len(shares) and all(0 <= share <= 1 for share in shares)


def _seen(name: str, cells: np.ndarray, weight: np.ndarray) -> Number | Words | Frequency:
    values = numbers(name, cells)
    if values is not None:
        known = np.isfinite(values)
        return Number(*moments(values[known], weight[known]))
    words, places = np.unique(_texts(cells).astype(str), return_inverse=True)
    share = weight / weight.max()
    shares = np.bincount(places, weights=share, minlength=len(words)) / share.sum()
    kind = Words if len(words) <= MOST else Frequency
    return kind(tuple(str(word) for word in words), tuple(float(share) for share in shares))


def _filled(name: str, cells: np.ndarray) -> Float[np.ndarray, "N"]:
    """The cells of a column that held numbers; raises CellError for a word and for infinity."""
    values = [parse_number(cell) for cell in cells]
    for row, value in enumerate(values):
        if value is None:
            fault = f"holds {cells[row]!r} in column {name!r}, which held numbers when it was fitted: correct the cell"
            raise CellError(row, f"{fault} or leave it empty")
        elif np.isinf(value):
            raise infinite(name, row, cells[row])
    return np.asarray(values, dtype=np.float64)


def _texts(cells: np.ndarray) -> np.ndarray:
    """The cells as texts, "" for a gap."""
    if cells.dtype.kind == "f":
        return np.asarray(["" if np.isnan(cell) else text(cell) for cell in cells], dtype=object)
    stripped = ["" if cell is None else str(cell).strip() for cell in cells]
    return np.asarray(["" if word.lower() in GAPS else word for word in stripped], dtype=object)
