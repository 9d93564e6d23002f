"""Annotated texts as JSON: one object a line."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mapwise.core.fields import quote
from mapwise.data.annotated.lines import read_lines
from mapwise.data.annotated.texts import AnnotatedText, annotated_text
from mapwise.data.files import write_atomically

SPANS = ("spans", "ents", "entities", "label", "labels")
"""Keys of the spans: our own, displaCy's, spaCy's, and doccano's."""


def read_json_lines(path: Path) -> tuple[list[AnnotatedText], list[int]]:
    """The texts of a file, and the line of each, from 1.

    A line is {"text": ..., "spans": [{"start": 0, "end": 4, "type": "PER"}]}. A span may also be [start, end, type],
    its type may be called label, and the spans ents, entities, label or labels. Without any the text has no spans.
    Blank lines are skipped.

    Raises ValueError, with the line, for what is no such object and for spans that can't be.
    """
    return texts_of_json(read_lines(path), path)


def texts_of_json(lines: Sequence[str], path: Path) -> tuple[list[AnnotatedText], list[int]]:
    """The same of lines that were read; path: for errors."""
    texts, numbers = [], []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            texts.append(_text(line, f"line {number} of {path}"))
            numbers.append(number)
    if not texts:
        raise ValueError(f'{path} has no text: give one object a line, such as {{"text": "Anna", "spans": []}}')
    return texts, numbers


def write_json_lines(path: str | Path, texts: Iterable[AnnotatedText]) -> None:
    """Write texts as `read_json_lines` reads them.

    Raises OSError where the file can't be written.
    """
    lines = [
        json.dumps({"text": text.text, "spans": [span._asdict() for span in text.spans]}, ensure_ascii=False)
        for text in texts
    ]
    # Halves of a character, which UTF-8 has no bytes for, are written as JSON's escapes.
    content = "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")
    write_atomically(path, lambda file: file.write(content))


def _text(line: str, where: str) -> AnnotatedText:
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError) as problem:
        reason = problem.msg if isinstance(problem, json.JSONDecodeError) else "it is nested or long beyond measure"
        raise ValueError(f"{where} is no JSON ({reason}): give one object a line") from None
    if not isinstance(row, dict):
        raise ValueError(f"{where} is {quote(row)} and no object: give one object a line, with text and spans")
    if not isinstance(row.get("text"), str):
        raise ValueError(f"{where} has no text ({quote(row.get('text'))}): give a string by the key text")
    return annotated_text(row["text"], next((row[key] for key in SPANS if key in row), ()), where)
