"""Rows from what a user has on disk: class folders, tables and files of texts, or words on a command line."""

import io
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mapwise.data.cells import CellError, sentences
from mapwise.data.files import is_pipe, read_bytes
from mapwise.data.inputs import columns, words
from mapwise.predictors.classes import Predictor
from mapwise.predictors.fit import LabelledExamples

MOST_TEXTS = 1_000_000
"""Lines of a file that is read."""


def is_predictor(path: Path) -> bool:
    """Whether a path means a predictor's file and not a run's folder; a missing file is known by its ending."""
    return path.is_file() or (path.suffix == ".safetensors" and not path.exists())


def labelled_examples(
    data: Path, *, text: str | None = None, label: str | None = None, categories: Sequence[str] = ()
) -> LabelledExamples:
    """The examples of a folder of class folders, or of a CSV file.

    text:       the column of the CSV file that holds texts; None: the file is a table.
    label:      the column of the classes.
    categories: columns to read as words, whatever they look like.

    Raises ValueError for data that hold no examples.
    """
    if not data.exists():
        raise ValueError(f"{data} is not there: give a folder with one folder of pictures a class, or a CSV file")
    if categories and (data.is_dir() or text is not None):
        raise ValueError(f"--categories names columns of a table and {data} is not read as one: leave it out")
    return _folder(data) if data.is_dir() else _table(data, text, label, categories)


def rows_of_class(predictor: Predictor, data: Path) -> tuple[list[str], Sequence[Any]]:
    """Where rows of one class came from, and the rows: a folder of pictures, or a text file with one text a line.

    Raises ValueError for a predictor of tables, and for data that hold no rows.
    """
    if predictor.encoder.reads == "table":
        raise ValueError("this predictor reads tables, whose classes stand in a column: fit it again with the new rows")
    if predictor.encoder.reads == "pictures":
        pictures = _pictures(data)
        return [f"{data.resolve().name}/{path.relative_to(data).as_posix()}" for path in pictures], pictures
    texts = _lines(data)
    return [f"{data.name}, text {place}" for place in range(1, len(texts) + 1)], texts


def rows_for(predictor: Predictor, inputs: Sequence[str]) -> tuple[list[str], Any]:
    """What each answer of a predictor is about, and the raw rows: pictures, folders, texts, .txt or .csv files.

    Raises ValueError for inputs that can't be read.
    """
    reads = predictor.encoder.reads
    if reads == "pictures":
        from mapwise.data.images import files_in

        paths = [Path(given).expanduser() for given in inputs]
        pictures = [file for path in paths for file in (files_in(path) if path.is_dir() else [path])]
        if not pictures:
            raise ValueError(f"{inputs[0]} holds no files: give pictures, or a folder of them")
        return [str(path) for path in pictures], pictures
    if reads == "texts":
        texts: list[str] = []
        for given in inputs:
            texts += _texts_of(given, predictor.note)
        return texts, texts
    tables = [(given, *_cells(Path(given).expanduser())) for given in inputs]
    first = tables[0][1]
    for given, header, _, _ in tables:
        if header != first:
            raise ValueError(f"{given} has other columns than {tables[0][0]}: ask for each by itself")
    sources = [f"{given}, line {line}" for given, _, lines, _ in tables for line in lines]
    return sources, _columns(first, [row for _, _, _, cells in tables for row in cells])


@contextmanager
def placed(sources: Sequence[str]) -> Iterator[None]:
    """Within, a cell that its column can't hold is named by the place its row came from."""
    try:
        yield
    except CellError as error:
        raise ValueError(error.at(sources[error.row], "--categories")) from None


def _folder(data: Path) -> LabelledExamples:
    """The pictures in the class folders, which may lie in train, val and test."""
    from mapwise.data.images import class_folders, files_in

    splits = class_folders(data)
    pictures = [(path, folder.name) for folders in splits.values() for folder in folders for path in files_in(folder)]
    if not pictures:
        raise ValueError(f"the class folders in {data} hold no files: put at least one picture into each")
    sources = [path.relative_to(data).as_posix() for path, _ in pictures]
    names = np.asarray([name for _, name in pictures], dtype=object)
    return LabelledExamples([path for path, _ in pictures], "pictures", names, sources=sources)


def _table(data: Path, text: str | None, label: str | None, categories: Sequence[str]) -> LabelledExamples:
    from mapwise.data.tables import check_categories, check_label_cells, label_place

    header, lines, cells = _cells(data)
    place = label_place(data, header, label, text)
    check_categories(data, header, place, categories)
    names = [row[place] for row in cells]
    check_label_cells(data, header[place], lines, names)
    labels = np.asarray(names, dtype=object)
    if label is None and sentences(labels):
        raise ValueError(
            f"column {header[place]!r} of {data} would be the label and holds texts, nearly all of them different: "
            f"name the classes' column with --label, and that of the texts with --text {shlex.quote(header[place])}"
        )
    sources = [f"{data.name}, line {line}" for line in lines]
    if text is not None:
        texts = [row[header.index(text)] for row in cells]
        return LabelledExamples(texts, "texts", labels, sources=sources, label=header[place])
    rest = [i for i in range(len(header)) if i != place]
    table = _columns([header[i] for i in rest], [[row[i] for i in rest] for row in cells])
    table |= {name: words(table[name]) for name in categories}
    return LabelledExamples(table, "table", labels, sources=sources, label=header[place])


def _cells(path: Path) -> tuple[list[str], list[int], list[list[str]]]:
    from mapwise.data.tables import cells_of

    return cells_of(path)


def _columns(header: Sequence[str], cells: list[list[str]]) -> dict[str, np.ndarray]:
    by_place = columns(np.asarray(cells, dtype=object).reshape(len(cells), len(header)))
    return {name: by_place[str(place)] for place, name in enumerate(header)}


def _texts_of(given: str, column: str) -> list[str]:
    """The texts of a CSV file's column, the lines of another file, or the words themselves."""
    path = Path(given).expanduser()
    suffix = path.suffix.lower()
    if suffix == ".txt" or is_pipe(path) or (suffix and suffix != ".csv" and os.path.isfile(path)):
        return _lines(path)
    if suffix != ".csv":
        return [given]
    header, _, cells = _cells(path)
    if column not in header:
        raise ValueError(
            f"{path} has no column {column!r}, in which the texts were: its columns are {', '.join(header)}"
        )
    return [row[header.index(column)] for row in cells]


def _lines(path: Path) -> list[str]:
    try:
        lines = io.TextIOWrapper(io.BytesIO(read_bytes(path, streams=True)), "utf-8-sig")
        texts = [text for line in islice(lines, MOST_TEXTS + 1) for one in line.splitlines() if (text := one.strip())]
    except OSError as problem:
        raise ValueError(f"{path} can't be read ({problem.strerror}): give a file with one text a line") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} can't be read as text in UTF-8: give a file with one text a line") from None
    if len(texts) > MOST_TEXTS:
        raise ValueError(f"{path} has more than {MOST_TEXTS:,} lines: give fewer at a time")
    if not texts:
        raise ValueError(f"{path} holds no text: give a file with one text a line")
    return texts


def _pictures(data: Path) -> list[Path]:
    from mapwise.data.images import files_in

    if not data.is_dir():
        raise ValueError(f"{data} is no folder: give a folder of pictures of the class")
    pictures = list(files_in(data))
    if not pictures:
        raise ValueError(f"{data} holds no files: put at least one picture into it")
    return pictures
