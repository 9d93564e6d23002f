"""Texts in which spans are to be found: words on a command line, lines of files, rows of tables."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mapwise.data.annotated.json_lines import texts_of_json
from mapwise.data.annotated.lines import read_lines
from mapwise.data.annotated.read import is_annotated, looks_like_json, read_annotated
from mapwise.data.files import path_to_read
from mapwise.workflows.reading import MOST_TEXTS, is_text_file, table_cells

COLUMN = "text"
"""Of the texts in a table with several columns."""
_FILES = (".csv", ".json", ".jsonl", ".ndjson", ".conll", ".gz")
"""Ends by which a file is known that isn't there, beside .txt."""


@dataclass(frozen=True)
class InputTexts:
    """Texts, and where each is from, such as "letters.txt, line 3"."""

    texts: list[str]
    sources: list[str]


def input_texts(inputs: Sequence[str]) -> InputTexts:
    """The texts that a command line gives: each argument is one, or names a file of texts.

    A file has a text a line, which is taken as it stands; lines without any letter are skipped. In a .csv file the
    texts are in the column `text`, or in the only one. JSON lines and CoNLL are read for their texts, and may have
    spans. "-" is standard input.

    Raises ValueError for files that can't be read or hold no text, and for folders.
    """
    texts, sources = list[str](), list[str]()
    alone = sum(not _is_file(path_to_read(given)) for given in inputs) == 1
    for place, given in enumerate(inputs, start=1):
        path = path_to_read(given)
        if _is_file(path):
            of_file, lines = _texts_of_file(path)
            texts += of_file
            sources += [f"{path}, line {line}" for line in lines]
        elif given and os.path.isdir(path):
            raise ValueError(f"{path} is a folder: give the files in it, such as {path / '*.txt'}")
        else:
            texts.append(given)
            sources.append("command line" if alone else f"command line, text {place}")
        if len(texts) > MOST_TEXTS:
            raise ValueError(f"there are more than {MOST_TEXTS:,} texts: give fewer at a time")
    return InputTexts(texts, sources)


def _is_file(path: Path) -> bool:
    return is_text_file(path) or path.suffix.lower() in _FILES or os.path.isfile(path)


def _texts_of_file(path: Path) -> tuple[list[str], list[int]]:
    """The texts of a file, and the line of each."""
    if path.suffix.lower() == ".csv":
        return _texts_of_table(path)
    if is_annotated(path):
        corpus = read_annotated(path)
        return [text.text for text in corpus.texts], [int(origin.split(" ")[1]) for origin in corpus.origins]
    lines = read_lines(path)
    if looks_like_json(lines, path):
        texts, numbers = texts_of_json(lines, path)
        return [text.text for text in texts], numbers
    numbers = [number for number, line in enumerate(lines, start=1) if line.strip()]
    if not numbers:
        raise ValueError(f"{path} holds no text: give a file with one text a line")
    return [lines[number - 1] for number in numbers], numbers


def _texts_of_table(path: Path) -> tuple[list[str], list[int]]:
    from mapwise.data.csv_files import check_text_cells

    header, lines, cells = table_cells(path)
    if COLUMN not in header and len(header) > 1:
        raise ValueError(
            f"{path} has no column {COLUMN!r}: call that of the texts so; its columns are {', '.join(header)}"
        )
    place = header.index(COLUMN) if COLUMN in header else 0
    texts = [row[place] for row in cells]
    check_text_cells(path, header[place], lines, texts)
    return texts, lines
