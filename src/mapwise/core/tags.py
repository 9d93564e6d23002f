"""Tags of words by which spans are written: "O" outside of any, "B" at the first word of a span, "I" inside.

The columns of a task with T types are W = 2 T + 1: column 0 is O, 1 + 2 t is B of type t, and 2 + 2 t is I of type t.
Scheme: IOB2, read strictly: Tjong Kim Sang, Veenstra, "Representing text chunks", EACL 1999.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mapwise.core.chain import BARRED

OUTSIDE = "O"


class Moves(NamedTuple):
    """What may follow what, as scores of a chain: 0 where it may, and BARRED where it can't."""

    transitions: Float[Tensor, "W W"]
    start: Float[Tensor, "W"]


def tag_names(types: Sequence[str]) -> list[str]:
    """The names of the columns: ["O", "B-PER", "I-PER", ...]; those of a type called "" are "" too."""
    return [OUTSIDE, *(f"{place}-{name}" if name else "" for name in types for place in "BI")]


def types_of(names: Sequence[str]) -> list[str]:
    """The types, from the names of the columns."""
    return [name[2:] for name in names[1::2]]


def allowed(types: int) -> Moves:
    """I of a type stands behind B or I of that type alone, and never at the start.

    types: T.
    """
    columns = torch.arange(2 * types + 1)
    inside = (columns > 0) & (columns % 2 == 0)
    same = (columns[:, None] + 1) // 2 == (columns[None] + 1) // 2
    barred = torch.full((), BARRED)
    return Moves(torch.where(inside & ~same, barred, 0.0), torch.where(inside, barred, 0.0))


def learned_moves(table: Float[Tensor, "3 3"], start: Float[Tensor, "3"], types: int) -> Moves:
    """The moves of T types that are allowed, with scores that are the same for all types.

    table: from O, B or I (row) to O, B or I (column).
    start: of O, B or I at the first word.
    types: T. With one type the states are O, B and I themselves.
    """
    places = torch.tensor([0, *[1, 2] * types], device=table.device)
    transitions, first = (moves.to(table) for moves in allowed(types))
    return Moves(transitions + table[places[:, None], places], first + start[places])


def spans_of(tags: Int64[np.ndarray, "L"] | Sequence[int]) -> list[tuple[int, int, int]]:
    """The spans of a row of tags, in order: (first word, word after the last, type).

    Strict: a span begins with B. An I that continues no span of its type belongs to none.
    """
    tags = np.asarray(tags, np.int64)
    spans: list[tuple[int, int, int]] = []
    goes_on = False
    last = -1
    for place in np.flatnonzero(tags).tolist():
        tag = int(tags[place])
        kind = (tag - 1) // 2
        if tag % 2:
            spans.append((place, place + 1, kind))
            goes_on = True
        else:
            goes_on = goes_on and place == last + 1 and spans[-1][2] == kind
            if goes_on:
                spans[-1] = (spans[-1][0], place + 1, kind)
        last = place
    return spans


def tags_of(spans: Iterable[tuple[int, int, int]], length: int) -> Int64[np.ndarray, "L"]:
    """The tags of so many words with these spans: the inverse of `spans_of`."""
    tags = np.zeros(length, np.int64)
    for first, end, kind in spans:
        tags[first:end] = 2 + 2 * kind
        tags[first] = 1 + 2 * kind
    return tags
