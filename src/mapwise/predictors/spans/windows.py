"""Texts as rows of pieces: long ones as windows that overlap, so that every word is read with words on both sides."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mapwise.core.tags import tags_of
from mapwise.data.annotated.pieces import case_of
from mapwise.data.annotated.texts import AnnotatedText
from mapwise.data.annotated.units import units_of
from mapwise.encoders.token_model import TokenModel

LONGEST_UNIT = 32
"""Pieces of a unit that are read; the end of a longer one, such as a long address, isn't."""
_OVERLAP = 4
"""A window shares a quarter of its pieces with the next."""


class Window(NamedTuple):
    """A run of units of one text that passes through the model together."""

    text: int
    first: int
    """Its first unit."""
    pieces: list[list[int]]
    """Of each unit."""
    cases: list[int]
    """Of each unit."""
    counts: slice
    """The units, counted in the window, of which no other window of the text sees more on both sides."""

    @property
    def length(self) -> int:
        """Pieces, with the one before and the one behind."""
        return 2 + sum(map(len, self.pieces))


@dataclass(frozen=True)
class Windows:
    """Texts, cut.

    units:   of every text the start and the end of each unit.
    windows: in the order of the texts.
    cut:     places of texts with a unit of which the end isn't read.
    """

    model: TokenModel
    units: list[list[tuple[int, int]]]
    windows: list[Window]
    cut: list[int]

    @classmethod
    def of(cls, model: TokenModel, texts: Sequence[AnnotatedText]) -> "Windows":
        """Texts with their spans, whose edges are edges of units too; a text without any unit has no window."""
        units, windows, cut = [], list[Window](), []
        for place, (text, spans) in enumerate((one.text, one.spans) for one in texts):
            of_text = units_of(text, spans)
            words = [text[start:end] for start, end in of_text]
            pieces = [model(word[: 64 * LONGEST_UNIT]) for word in words]
            if any(len(unit) > LONGEST_UNIT for unit in pieces):
                cut.append(place)
            pieces = [unit[:LONGEST_UNIT] for unit in pieces]
            cases = [case_of(word) for word in words]
            units.append(of_text)
            windows += _windows(place, pieces, cases, model.longest)
        return cls(model, units, windows, cut)

    def batches(self, pieces: int) -> Iterator[list[int]]:
        """Places of windows of about one length, as many as have so many pieces together, padded."""
        batch: list[int] = []
        for place in np.argsort([window.length for window in self.windows], kind="stable").tolist():
            if batch and (len(batch) + 1) * self.windows[place].length > pieces:
                yield batch
                batch = []
            batch.append(place)
        if batch:
            yield batch

    def rows(self, places: Sequence[int]) -> tuple[dict[str, Tensor], Tensor]:
        """The windows at these places as a net takes them, and a weight of 1 on the first piece of units that count."""
        chosen = [self.windows[place] for place in places]
        width = max(window.length for window in chosen)
        x = {name: torch.zeros(len(chosen), width, dtype=torch.int64) for name in ("pieces", "cases", "starts")}
        weight = torch.zeros(len(chosen), width)
        for row, window in enumerate(chosen):
            flat = [self.model.start, *(piece for unit in window.pieces for piece in unit), self.model.end]
            cases = [case for case, unit in zip(window.cases, window.pieces, strict=True) for _ in unit]
            x["pieces"][row, : len(flat)] = torch.tensor(flat)
            x["cases"][row, 1 : 1 + len(cases)] = torch.tensor(cases)
            x["starts"][row, self.firsts(window)] = 1
            weight[row, self.firsts(window)[window.counts]] = 1
        x["described"] = torch.zeros(len(chosen), dtype=torch.int64)
        return x, weight

    def firsts(self, window: Window) -> np.ndarray:
        """Where in the row of a window the first piece of each of its units stands."""
        return 1 + np.cumsum([0, *map(len, window.pieces)])[:-1]

    def tags(self, text: AnnotatedText, place: int, types: Sequence[str]) -> np.ndarray:
        """The tag of every unit of the text at this place; spans of other types are O."""
        units = self.units[place]
        starts, ends = (
            ({edge: n for n, edge in enumerate(side)} for side in zip(*units, strict=True)) if units else ({}, {})
        )
        columns = {name: column for column, name in enumerate(types)}
        spans = [
            (starts[span.start], ends[span.end] + 1, columns[span.type]) for span in text.spans if span.type in columns
        ]
        return tags_of(spans, len(units))


def _windows(text: int, pieces: list[list[int]], cases: list[int], longest: int) -> Iterator[Window]:
    """Windows of at most so many pieces; each begins so far before the end of the last that they overlap."""
    lengths = np.asarray([len(unit) for unit in pieces], np.int64)
    ends = np.cumsum(lengths)
    spans, first = list[tuple[int, int]](), 0
    while first < len(pieces):
        before = int(ends[first - 1]) if first else 0
        end = max(first + 1, int(np.searchsorted(ends, before + longest, side="right")))
        spans.append((first, end))
        if end == len(pieces):
            break
        back = int(np.searchsorted(ends, ends[end - 1] - longest // _OVERLAP, side="left"))
        first = max(first + 1, min(back, end - 1))
    # A unit in two windows counts where it has more units on its nearer side.
    edges = [0, *((one[1] + other[0]) // 2 for one, other in itertools.pairwise(spans)), len(pieces)]
    for (first, end), low, high in zip(spans, edges, edges[1:], strict=False):
        yield Window(text, first, pieces[first:end], cases[first:end], slice(low - first, high - first))
