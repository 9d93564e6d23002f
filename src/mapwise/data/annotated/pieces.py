"""Texts as numbers: the pieces of their units, and how each unit is written."""

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple, Protocol

from mapwise.data.annotated.units import units_of

PADDING = 0
"""The number of the piece behind the end of a text, and the case of it."""
CASES = 7
"""Cases are numbers below this."""


class Pieces(Protocol):
    """What cuts a unit into pieces of a vocabulary, whose numbers are above 0."""

    @property
    def vocabulary(self) -> int:
        """Numbers of pieces are below this."""
        ...

    @property
    def start(self) -> int:
        """The piece before each text."""
        ...

    @property
    def end(self) -> int:
        """The piece behind it."""
        ...

    def __call__(self, unit: str) -> list[int]:
        """The pieces of one unit, at least one."""
        ...


class Pieced(NamedTuple):
    """A text in pieces; P counts them, with the start and the end, and U its units."""

    pieces: list[int]
    """P numbers"""
    cases: list[int]
    """P cases, each that of the unit the piece belongs to, and 0 at the start and the end"""
    first: list[int]
    """U places: where the first piece of each unit stands"""
    units: list[tuple[int, int]]
    """U units: start and end in the text"""


def pieces_of(text: str, pieces: Pieces, spans: Iterable[tuple[int, int] | tuple[int, int, str]] = ()) -> Pieced:
    """A text in pieces, its start and its end around them.

    spans: (start, end, ...); units are cut at their edges too.
    """
    units = units_of(text, spans)
    numbers, cases, first = [pieces.start], [PADDING], list[int]()
    for start, end in units:
        unit = text[start:end]
        of_unit = pieces(unit)
        first.append(len(numbers))
        numbers += of_unit
        cases += [case_of(unit)] * len(of_unit)
    return Pieced([*numbers, pieces.end], [*cases, PADDING], first, units)


@lru_cache(1 << 16)
def case_of(unit: str) -> int:
    """How a unit is written: 1 lower, 2 Capitalised (or one capital), 3 CAPITALS, 4 mIxed, 5 with a digit, 6 otherwise.

    0 is padding, and what stands around a text.
    """
    if any(letter.isdigit() for letter in unit):
        return 5
    capitals = [not letter.islower() for letter in unit if letter.lower() != letter.upper()]
    if not capitals:
        return 6
    if not any(capitals):
        return 1
    if capitals[0] and not any(capitals[1:]):
        return 2
    return 3 if all(capitals) else 4
