"""Rows from what a user has on disk: class folders, tables and files of texts, or words on a command line."""

import io
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mapwise.data.cells import CellError, sentences
from mapwise.data.files import STDIN, is_pipe, path_to_read, read_bytes
from mapwise.data.inputs import columns, words
from mapwise.data.sheets import Sheet, joined
from mapwise.encoders.encoder import Encoder, cut_rows
from mapwise.predictors.classes import Predictor
from mapwise.predictors.examples import LabelledExamples

MOST_TEXTS = 1_000_000
"""Lines of a file that is read."""
_SHOWN = 3  # files that were left out, in words


@dataclass(frozen=True, eq=False)
class InputRows:
    """Raw rows, what each is called, and what was left out, a sentence each."""

    sources: list[str]
    rows: Any
    left_out: tuple[str, ...] = ()
    columns: Sheet | None = None
    """Of the CSV files that all rows are from; None where some are not, or their columns differ."""

    @property
    def sheet(self) -> Sheet:
        """The rows as a table to which answers can be added: with their own columns, or as what they are called."""
        return self.columns or Sheet.of_inputs(self.sources)


def left_out_line(left_out: Sequence[str]) -> str:
    """What was left out, as one line for a person; "" for nothing."""
    more = f"; and {len(left_out) - _SHOWN:,} more" if len(left_out) > _SHOWN else ""
    return f"note: left out {len(left_out):,}: {'; '.join(left_out[:_SHOWN])}{more}" if left_out else ""


def is_predictor(path: Path) -> bool:
    """Whether a path means a predictor's file and not a run's folder; a missing file is known by its ending."""
    return path.is_file() or (path.suffix == ".safetensors" and not path.exists())


def labelled_examples(
    data: Path,
    *,
    text: str | None = None,
    label: str | None = None,
    categories: Sequence[str] = (),
    skip_bad: bool = False,
) -> LabelledExamples:
    """The examples of a folder of class folders, or of a CSV file.

    text:       the column of the CSV file that holds texts; None: the file is a table.
    label:      the column of the classes.
    categories: columns to read as words, whatever they look like.
    skip_bad:   leave out pictures that are damaged. Files in the folders that are no pictures are left out anyway.

    Raises ValueError for data that hold no examples.
    """
    if data is not STDIN and not data.exists():
        raise ValueError(f"{data} is not there: give a folder with one folder of pictures a class, or a CSV file")
    if categories and (data.is_dir() or text is not None):
        raise ValueError(f"--categories names columns of a table and {data} is not read as one: leave it out")
    return _folder(data, skip_bad) if data.is_dir() else _table(data, text, label, categories)


def rows_for(predictor: Predictor, inputs: Sequence[str], *, skip_bad: bool = False) -> InputRows:
    """The rows a predictor is to answer about: pictures, folders, texts, .txt or .csv files, or "-", standard input.

    skip_bad: leave out pictures that are damaged. Files in folders that are no pictures are left out anyway.

    Raises ValueError for inputs that can't be read.
    """
    reads = predictor.encoder.reads
    if reads == "pictures":
        pictures: list[Path] = []
        left_out: tuple[str, ...] = ()
        for path in map(path_to_read, inputs):
            check_no_stream(path)
            # A file that is named is wanted, whatever it is.
            whole, others = sifted_files(path, skip_bad) if skip_bad or path.is_dir() else ([path], ())
            pictures, left_out = pictures + whole, left_out + others
        if not pictures:
            raise ValueError(f"{inputs[0]} holds {no_pictures(left_out)}: give pictures, or a folder of them")
        return InputRows([str(path) for path in pictures], pictures, left_out)
    if reads == "texts":
        parts = [_texts_of(given, predictor.note) for given in inputs]
        texts = [text for part, _ in parts for text in part]
        return InputRows(texts, texts, columns=joined([sheet for _, sheet in parts]))
    tables = [(str(path), *table_cells(path)) for path in map(path_to_read, inputs)]
    first = tables[0][1]
    for given, header, _, _ in tables:
        if header != first:
            raise ValueError(f"{given} has other columns than {tables[0][0]}: ask for each by itself")
    sources = [f"{given}, line {line}" for given, _, lines, _ in tables for line in lines]
    cells = [row for _, _, _, rows in tables for row in rows]
    return InputRows(sources, table_columns(first, cells), columns=Sheet(tuple(first), cells))


def list_truncated(encoder: Encoder, rows: Any, sources: Sequence[str]) -> tuple[str, ...]:
    """Where rows come from whose end the encoder doesn't read, or their places.

    Raises ValueError for rows that it can't read.
    """
    return tuple(str((sources and sources[place]) or place) for place in cut_rows(encoder, rows))


@contextmanager
def placed(sources: Sequence[str]) -> Iterator[None]:
    """Within, a cell that its column can't hold is named by the place its row came from."""
    try:
        yield
    except CellError as error:
        raise ValueError(error.at(sources[error.row], "--categories")) from None


def _folder(data: Path, skip_bad: bool) -> LabelledExamples:
    """The pictures in the class folders, which may lie in train, val and test."""
    from mapwise.data.images import class_folders

    pictures: list[Path] = []
    names: list[str] = []
    left_out: tuple[str, ...] = ()
    for folder in (folder for folders in class_folders(data).values() for folder in folders):
        whole, others = sifted_files(folder, skip_bad)
        pictures, names = pictures + whole, names + [folder.name] * len(whole)
        left_out += (*others, *([] if whole else [f"{folder} holds {no_pictures(others)}"]))
    if not pictures:
        left_out = tuple(one for one in left_out if not one.endswith("holds no files"))
        raise ValueError(
            f"the class folders in {data} hold {no_pictures(left_out)}: put at least one picture into each"
        )
    sources = [path.relative_to(data).as_posix() for path in pictures]
    labels = np.asarray(names, dtype=object)
    return LabelledExamples(pictures, "pictures", labels, sources=sources, left_out=left_out)


def sifted_files(path: Path, skip_bad: bool) -> tuple[list[Path], tuple[str, ...]]:
    """The pictures that a path leads to, and what was left out, a sentence each."""
    from mapwise.data.images import files_in, sifted

    pictures, others = sifted(files_in(path) if path.is_dir() else [path], skip_bad=skip_bad)
    return pictures, tuple(f"{file} {fault}" for file, fault in others)


def _table(data: Path, text: str | None, label: str | None, categories: Sequence[str]) -> LabelledExamples:
    from mapwise.data.csv_files import check_categories, check_label_cells, check_text_cells, label_place

    header, lines, cells = table_cells(data)
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
        check_text_cells(data, text, lines, texts)
        return LabelledExamples(texts, "texts", labels, sources=sources, label=header[place])
    rest = [i for i in range(len(header)) if i != place]
    table = table_columns([header[i] for i in rest], [[row[i] for i in rest] for row in cells])
    table |= {name: words(table[name]) for name in categories}
    return LabelledExamples(table, "table", labels, sources=sources, label=header[place])


def table_cells(path: Path) -> tuple[list[str], list[int], list[list[str]]]:
    """As `tables.cells_of`, which is loaded here."""
    from mapwise.data.csv_files import cells_of

    return cells_of(path)


def table_columns(header: Sequence[str], cells: list[list[str]]) -> dict[str, np.ndarray]:
    """Rows of cells as columns by name."""
    by_place = columns(np.asarray(cells, dtype=object).reshape(len(cells), len(header)))
    return {name: by_place[str(place)] for place, name in enumerate(header)}


def _texts_of(given: str, column: str) -> tuple[list[str], Sheet | None]:
    """The texts of a CSV file's column, and the file's columns; the lines of another file, or the words themselves."""
    path = path_to_read(given)
    if is_text_file(path):
        return text_lines(path), None
    if path.suffix.lower() != ".csv":
        return [given], None
    from mapwise.data.csv_files import check_text_cells

    header, lines, cells = table_cells(path)
    if column not in header:
        raise ValueError(
            f"{path} has no column {column!r}, in which the texts were: its columns are {', '.join(header)}"
        )
    texts = [row[header.index(column)] for row in cells]
    check_text_cells(path, column, lines, texts)
    return texts, Sheet(tuple(header), cells)


def is_text_file(path: Path) -> bool:
    """Whether a path leads to lines of text, and not to a table; a missing file is known by its ending."""
    suffix = path.suffix.lower()
    return path is STDIN or suffix == ".txt" or is_pipe(path) or (suffix not in ("", ".csv") and os.path.isfile(path))


def text_lines(path: Path) -> list[str]:
    """The lines of a file that hold text; raises ValueError for one that can't be read, or holds none."""
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


def check_no_stream(path: Path) -> None:
    """Raises ValueError for standard input, where pictures are needed."""
    if path is STDIN:
        raise ValueError("standard input holds texts or a table, and this predictor reads pictures: give their paths")


def no_pictures(left_out: Sequence[str]) -> str:
    """What a folder without pictures holds."""
    return f"no pictures ({left_out[0]})" if left_out else "no files"
