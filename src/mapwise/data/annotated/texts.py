"""A text and the spans in it that have a type: checked once, when it is made."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from mapwise.core.fields import is_whole, quote

TYPE_KEYS = ("type", "label")
"""By which a dict may name the type of its span."""


class Span(NamedTuple):
    """A part of a text and what it is.

    start, end: places of characters in the Python string, the end excluded, so that text[start:end] is the span.
    """

    start: int
    end: int
    type: str


@dataclass(frozen=True)
class AnnotatedText:
    """A text and its spans, in order; spans don't overlap.

    Raises ValueError for a span outside the text, one that is empty or begins or ends with white space, a type that
    is no name, a span that comes twice, and spans that overlap.
    """

    text: str
    spans: tuple[Span, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise ValueError(f"the text is {quote(self.text)}: give a string")
        if isinstance(self.spans, str | bytes | Mapping) or not isinstance(self.spans, Iterable):
            raise ValueError(f"the spans are {quote(self.spans)}: give a list of (start, end, type)")
        spans = sorted(_span(self.text, span) for span in self.spans)
        for one, other in pairwise(spans):
            if one == other:
                raise ValueError(f"the span {self._named(one)} comes twice: give it once")
            if other.start < one.end:
                raise ValueError(
                    f"the spans {self._named(one)} and {self._named(other)} overlap: a character has one type at most, "
                    "so drop one of them"
                )
        object.__setattr__(self, "spans", tuple(spans))

    def _named(self, span: Span) -> str:
        return f"{span.start}-{span.end} ({quote(self.text[span.start : span.end])}, {quote(span.type)})"


def annotated(texts: Sequence[str], spans: Sequence[Iterable[Any]]) -> list[AnnotatedText]:
    """Texts with the spans of each, as a user gives them.

    spans: of each text a list of (start, end, type), or of dicts with start, end and type (or label).

    Raises ValueError for another number of lists than of texts, and what `AnnotatedText` raises, with the text's place.
    """
    for name, given in (("texts", texts), ("spans", spans)):
        if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable) or not hasattr(given, "__len__"):
            raise ValueError(f"{name} is {quote(given)}: give a list with one entry for each text")
    if len(texts) != len(spans):
        raise ValueError(f"there are {len(texts)} texts and spans of {len(spans)}: give a list of spans for each text")
    return [
        annotated_text(text, of_text, f"text {place}")
        for place, (text, of_text) in enumerate(zip(texts, spans, strict=True))
    ]


def annotated_text(text: Any, spans: Any, where: str) -> AnnotatedText:
    """One text; an error begins with where it is from."""
    try:
        return AnnotatedText(text, () if spans is None else spans)
    except ValueError as problem:
        raise ValueError(f"{where}: {problem}") from None


def type_names(texts: Iterable[AnnotatedText]) -> list[str]:
    """The types of the spans of these texts, sorted."""
    return sorted({span.type for text in texts for span in text.spans})


def check_type(name: object) -> str:
    """The name of a type; raises ValueError for anything but a string of visible characters."""
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"the type of a span is {quote(name)}: give a name, such as 'PER'")
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        raise ValueError(f"the type of a span is {quote(name)}, with half a character: give a name in Unicode")
    return str(name)


def _span(text: str, given: Any) -> Span:
    start, end, kind = _parts(given)
    for name, place in (("start", start), ("end", end)):
        if not is_whole(place):
            raise ValueError(f"the {name} of the span {quote(given)} is {quote(place)}: give the place of a character")
    span = Span(int(start), int(end), check_type(kind))
    if not 0 <= span.start < span.end <= len(text):
        raise ValueError(
            f"the span {span.start}-{span.end} of type {quote(span.type)} lies outside the text of {len(text)} "
            "characters, or is empty: places count from 0, and the end is excluded"
        )
    words = text[span.start : span.end]
    if (trimmed := words.strip()) != words:
        first = span.start + len(words) - len(words.lstrip())
        raise ValueError(
            f"the span {span.start}-{span.end} of type {quote(span.type)} is {quote(words)}: "
            + (f"without white space it is {first}-{first + len(trimmed)}" if trimmed else "it is only white space")
        )
    return span


def _parts(given: Any) -> tuple[Any, Any, Any]:
    if isinstance(given, Mapping):
        kinds = [given[key] for key in TYPE_KEYS if key in given]
        if "start" not in given or "end" not in given or not kinds:
            raise ValueError(f"the span {quote(given)} lacks a key: give start, end and type")
        return given["start"], given["end"], kinds[0]
    if isinstance(given, str | bytes) or not isinstance(given, Sequence) or len(given) != 3:
        raise ValueError(f"the span {quote(given)} is no (start, end, type): give these three")
    return given[0], given[1], given[2]
