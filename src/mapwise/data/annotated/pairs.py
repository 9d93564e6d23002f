"""Texts in which two spans are marked, a head and a tail, between which there is a relation."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from mapwise.core.fields import quote
from mapwise.data.annotated.marks import marked, text_of_marks
from mapwise.data.annotated.texts import AnnotatedText, Span

HEAD, TAIL = "head", "tail"
"""The types of the two spans."""
_EXAMPLE = "as in [Ada](head) met [Charles](tail)"


class Pair(NamedTuple):
    """A text and its two spans, which don't overlap; either may come first."""

    text: str
    head: Span
    tail: Span


def pair_of(row: str, where: str = "the text") -> Pair:
    """The text of a string with one [span](head) and one [span](tail), which are read as by `text_of_marks`.

    Raises ValueError for none or several of one of them, for spans of other types, and for marks inside a mark; where:
    how the error begins.
    """
    text, spans = (annotated := text_of_marks(row, where)).text, annotated.spans
    if others := sorted({span.type for span in spans} - {HEAD, TAIL}):
        raise ValueError(f"{where} has a span of type {quote(others[0])}: mark a head and a tail alone, {_EXAMPLE}")
    for role in (HEAD, TAIL):
        of_role = [text[span.start : span.end] for span in spans if span.type == role]
        if not of_role:
            raise ValueError(f"{where} has no {role}: mark one span as the head and one as the tail, {_EXAMPLE}")
        if len(of_role) > 1:
            raise ValueError(
                f"{where} has {len(of_role)} {role}s, {quote(of_role[0])} and {quote(of_role[1])}: mark one"
            )
    one, other = spans
    return Pair(text, *((one, other) if one.type == HEAD else (other, one)))


def row_of(text: str, head: tuple[int, int], tail: tuple[int, int]) -> str:
    """The string that `pair_of` reads as this text with these spans.

    head, tail: (start, end).

    Raises ValueError for spans that can't be, and for spans that overlap.
    """
    return marked(AnnotatedText(text, (Span(*head, HEAD), Span(*tail, TAIL))))


def look_like_pairs(rows: Sequence[Any]) -> bool:
    """Whether every row is a string with a head and a tail."""
    return len(rows) > 0 and all(isinstance(row, str) and f"]({HEAD})" in row and f"]({TAIL})" in row for row in rows)
