"""Where a span of a text may begin and end: runs of letters, ideographs, and signs, each one unit."""

import re
import unicodedata
from collections.abc import Iterable

_ALONE = (
    (0x3005, 0x3007),
    (0x3021, 0x3029),
    (0x3031, 0x3035),
    (0x3041, 0x3096),
    (0x309D, 0x309F),
    (0x30A1, 0x30FA),
    (0x30FC, 0x30FF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9D),
    (0x1AFF0, 0x1B16F),
    (0x20000, 0x323AF),
)
"""Ideographs and kana: Chinese and Japanese stand without spaces, so each is a unit."""
_JOINER, _SKIN, _FLAG = "\u200d", ("\U0001f3fb", "\U0001f3ff"), ("\U0001f1e6", "\U0001f1ff")
_UNIT = re.compile(
    "L[Lmj]*"  # letters, digits, and what stands on them or is not seen
    "|c[mj]*"
    "|f[mj]*(?:f[mj]*)?"  # a flag is two regional indicators
    "|[sk](?:[mk]|j[sk]?)*"  # a sign, or an emoji with its skin tone and what is joined to it
    "|[mj]+"  # at the start of a text, or behind white space
)


class _Kinds(dict[int, str]):
    """One letter for the kind of a character; filled as characters come."""

    def __missing__(self, code: int) -> str:
        self[code] = kind = _kind(code)
        return kind


def _kind(code: int) -> str:
    letter = chr(code)
    category = unicodedata.category(letter)
    if letter.isspace():
        return " "
    if letter == _JOINER:
        return "j"
    if category[0] == "M" or category in ("Cf", "Cc"):
        return "m"
    if any(first <= code <= last for first, last in _ALONE):
        return "c"
    if _FLAG[0] <= letter <= _FLAG[1]:
        return "f"
    if _SKIN[0] <= letter <= _SKIN[1]:
        return "k"
    return "L" if category[0] in "LN" else "s"


_KINDS = _Kinds()


def units(text: str) -> list[tuple[int, int]]:
    """The start and the end of the smallest pieces of a text at which a span can begin or end, in order.

    A unit is a longest run of letters and digits, with the marks and invisible characters behind them; an ideograph or
    a kana; or any other sign, where an emoji of several characters is one. White space is in no unit. Korean, Thai and
    other scripts are cut at spaces and signs alone.
    """
    return [match.span() for match in _UNIT.finditer(text.translate(_KINDS))]


def units_of(text: str, spans: Iterable[tuple[int, int] | tuple[int, int, str]]) -> list[tuple[int, int]]:
    """The same, cut further at the start and the end of every span, so that a span is a run of whole units.

    spans: (start, end, ...), anywhere in the text.
    """
    edges = sorted({place for span in spans for place in (span[0], span[1])})
    pieces, at = list[tuple[int, int]](), 0
    for start, end in units(text):
        while at < len(edges) and edges[at] <= start:
            at += 1
        while at < len(edges) and edges[at] < end:
            pieces.append((start, edges[at]))
            start, at = edges[at], at + 1
        pieces.append((start, end))
    return pieces
