r"""Annotated texts as plain text: one text a line, [Anna](PER) around every span; \[ is a bracket."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from mapwise.core.fields import quote
from mapwise.data.annotated.lines import read_lines
from mapwise.data.annotated.texts import AnnotatedText, Span, annotated_text
from mapwise.data.files import write_atomically

_ESCAPED = re.compile(r"\\([\[\]()\\])")
_PARTS = re.compile(r"[^\\\[\]]+|\\[\[\]()\\]|\\|\[|\]")
_TYPE = re.compile(r"\(((?:[^\\()\[\]]|\\[\[\]()\\]|\\(?![\[\]()\\]))*)\)")


def read_marks(path: Path) -> tuple[list[AnnotatedText], list[int]]:
    """The texts of a file, and the line of each, from 1; blank lines are skipped.

    Raises ValueError, with the line, for marks inside a mark and for spans that can't be.
    """
    return texts_of_marks(read_lines(path), path)


def texts_of_marks(lines: Sequence[str], path: Path) -> tuple[list[AnnotatedText], list[int]]:
    """The same of lines that were read; path: for errors."""
    numbers = [number for number, line in enumerate(lines, start=1) if line.strip()]
    if not numbers:
        raise ValueError(f"{path} has no text: give one a line, with marks such as [Anna](PER)")
    return [text_of_marks(lines[number - 1], f"line {number} of {path}") for number in numbers], numbers


def text_of_marks(line: str, where: str = "the text") -> AnnotatedText:
    r"""The text of a line, with a span for every [span](TYPE).

    A bracket that no (TYPE) follows is a bracket; so is \[, and \] and \\ likewise.

    Raises ValueError for marks inside a mark and for spans that can't be; where: how the error begins.
    """
    pieces, length = list[str](), 0
    spans, brackets = list[Span](), list[tuple[int, int]]()
    at = 0
    while part := _PARTS.match(line, at):
        at, piece = part.end(), part[0]
        if piece == "[":
            brackets.append((len(pieces), length))
        elif piece == "]" and brackets:
            place, start = brackets.pop()
            if mark := _TYPE.match(line, at):
                if spans and spans[-1].start >= start:
                    raise ValueError(
                        f"{where} has a mark inside a mark, around {quote(''.join(pieces[place + 1 :]))}: a character "
                        "has one type at most, so drop one of them"
                    )
                at, pieces[place], piece = mark.end(), "", ""
                length -= 1
                spans.append(Span(start, length, _ESCAPED.sub(r"\1", mark[1]).strip()))
        if len(piece) == 2 and piece[0] == "\\":
            piece = piece[1]
        pieces.append(piece)
        length += len(piece)
    return annotated_text("".join(pieces), spans, where)


def marks_of_text(text: AnnotatedText) -> str:
    """The line that `text_of_marks` reads as this text.

    Raises ValueError for a text that is no line: empty, or with a line's end.
    """
    if not text.text.strip() or "\n" in text.text or "\r" in text.text:
        raise ValueError(f"the text {quote(text.text)} is empty or has several lines: write it as JSON lines")
    for span in text.spans:
        if span.type != span.type.strip() or "\n" in span.type or "\r" in span.type:
            raise ValueError(
                f"the type {quote(span.type)} has white space around it or several lines: write the text as JSON lines"
            )
    return marked(text)


def marked(text: AnnotatedText) -> str:
    """A text with its marks, as `text_of_marks` reads it: it may have several lines."""
    parts, end = list[str](), 0
    for span in text.spans:
        words = _escaped(text.text[span.start : span.end], "[]")
        parts += [_escaped(text.text[end : span.start], "[]"), f"[{words}]({_escaped(span.type, '[]()')})"]
        end = span.end
    return "".join([*parts, _escaped(text.text[end:], "[]")])


def write_marks(path: str | Path, texts: Iterable[AnnotatedText]) -> None:
    """Write texts as `read_marks` reads them.

    Raises ValueError for a text that is no line or has half a character, and OSError where the file can't be written.
    """
    content = "".join(f"{marks_of_text(text)}\n" for text in texts)
    if content.startswith("\ufeff"):
        content = f"\ufeff{content}"  # the first one is taken for the mark of UTF-8
    try:
        encoded = content.encode()
    except UnicodeEncodeError:
        raise ValueError("a text has half a character, which UTF-8 can't hold: write JSON lines") from None
    write_atomically(path, lambda file: file.write(encoded))


def _escaped(text: str, brackets: str) -> str:
    return "".join(f"\\{letter}" if letter == "\\" or letter in brackets else letter for letter in text)
