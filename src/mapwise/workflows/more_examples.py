"""Labelled rows for a predictor that is there: class folders, a table with a column of labels, or rows of one class."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mapwise.core.spelling import suggestion
from mapwise.data.csv_files import LABELS, check_text_cells, is_label
from mapwise.data.files import STDIN, path_to_read
from mapwise.data.inputs import SUFFIXES
from mapwise.data.sheets import INPUT, Sheet, text_of_cell
from mapwise.predictors.classes import Predictor
from mapwise.predictors.diagnostics.diagnostic import Finding
from mapwise.predictors.examples import LabelledExamples, check_name
from mapwise.workflows.change import labels_of
from mapwise.workflows.reading import (
    check_no_stream,
    is_text_file,
    labelled_examples,
    no_pictures,
    sifted_files,
    table_cells,
    table_columns,
    text_lines,
)

Table = tuple[list[str], list[int], list[list[str]]]
"""The header, the line of each row, and its cells."""


def more_examples(
    predictor: Predictor, data: Path, *, text: str | None = None, label: str | None = None, skip_bad: bool = False
) -> LabelledExamples:
    """The labelled rows of a folder of class folders, or of a CSV file with a column of labels.

    text:  the column of the texts, or of the paths of pictures; None: the one of the fit, or `input`.
    label: the column of the labels; None: the one that is called so, or the only one that is left.

    Rows without a label are left out, such as those still to be labelled in a table of `which-next --csv`.

    Raises ValueError for data that hold no labelled rows.
    """
    reads = predictor.encoder.reads
    if data.is_dir():
        if reads != "pictures":
            raise ValueError(f"{data} is a folder and this predictor reads {reads}: give a CSV file with their labels")
        return labelled_examples(data, skip_bad=skip_bad)
    if data is not STDIN and not data.exists():
        raise ValueError(f"{data} is not there: give a CSV file with a column of labels, or a folder of class folders")
    table = table_cells(data)
    column = _input_column(predictor, data, table[0], text)
    place = _label_place(predictor, data, table[0], label, column)
    table, left_out = _labelled(data, table, place)
    header, _, cells = table
    labels = np.asarray([_cell(header, column, row[place]) for row in cells], dtype=object)
    examples = _examples(predictor, data, table, column, labels, skip_bad)
    return replace(examples, label=header[place], left_out=(*left_out, *examples.left_out))


def examples_of_class(
    predictor: Predictor,
    name: str,
    given: str,
    *,
    text: str | None = None,
    skip_bad: bool = False,
    files_only: bool = False,
) -> LabelledExamples:
    """Rows of one class: a picture or a folder of them, a text, a file of texts one a line, or a CSV file.

    files_only: whether what leads to no file is a mistake, and not a text itself.

    Raises ValueError for a name that is no line of text, and for data that hold no rows.
    """
    check_name(name)
    reads, path = predictor.encoder.reads, path_to_read(given)
    if reads == "pictures" and path.suffix.lower() != ".csv":
        return _pictures_of_class(name, given, path, skip_bad)
    if reads == "table" or path.suffix.lower() == ".csv":
        table = table_cells(path)
        column = _input_column(predictor, path, table[0], text)
        return _examples(predictor, path, table, column, labels_of(name, table[2]), skip_bad)
    if is_text_file(path) or os.path.isfile(path):
        texts = text_lines(path)
        sources = [f"{path.name}, text {place}" for place in range(1, len(texts) + 1)]
        return LabelledExamples(texts, reads, labels_of(name, texts), sources=sources)
    folder = os.path.isdir(path)
    if folder or files_only or (" " not in given and ("/" in given or path.suffix)):
        fault = "is a folder" if folder else "is not there"
        raise ValueError(f"{path} {fault}: give a file with one text a line, or - for standard input")
    return LabelledExamples([given], reads, labels_of(name, [given]), sources=["command line"])


def sheet_to_label(predictor: Predictor, sheet: Sheet, findings: Sequence[Finding]) -> Sheet:
    """The rows of a sheet that findings are about, with an empty column `label` and why; `more_examples` reads it.

    A column that is called so already, and isn't read by the predictor, is the one to fill in.
    """
    chosen = sheet.among(one.row for one in findings)
    there = "label" in sheet.header and "label" not in _features(predictor)
    columns: dict[str, list[object]] = {} if there else {"label": [""] * len(findings)}
    return chosen.with_columns({**columns, "reason": [one.reason for one in findings]})


def _features(predictor: Predictor) -> tuple[str, ...]:
    """The columns of a table that a predictor reads; none where it reads something else."""
    return (*predictor.encoder.state,) if predictor.encoder.reads == "table" else ()


def _examples(
    predictor: Predictor, path: Path, table: Table, column: str, labels: np.ndarray, skip_bad: bool
) -> LabelledExamples:
    """The rows of a table that have these labels, as the predictor reads them."""
    header, lines, cells = table
    reads = predictor.encoder.reads
    sources = [f"{path.name}, line {line}" for line in lines]
    if reads == "table":
        columns = table_columns(header, cells)
        # The content of a row is that of the columns which are read, whatever else a file holds.
        rows = {name: columns[name] for name in _features(predictor)}
        return LabelledExamples(rows, reads, labels, sources=sources)
    inputs = [_cell(header, column, row[header.index(column)]) for row in cells]
    check_text_cells(path, column, lines, inputs)
    if reads == "texts":
        return LabelledExamples(inputs, reads, labels, sources=sources)
    pictures = [Path(given).expanduser() for given in inputs]
    left_out: Sequence[str] = ()
    if skip_bad:
        parts = [sifted_files(picture, True) for picture in pictures]
        pictures = [one for whole, _ in parts for one in whole]
        labels, left_out = (
            labels[[bool(whole) for whole, _ in parts]],
            [fault for _, others in parts for fault in others],
        )
    if not pictures:
        raise ValueError(f"{path} names {no_pictures(left_out)}: give at least one")
    return LabelledExamples(pictures, reads, labels, sources=[str(one) for one in pictures], left_out=left_out)


def _pictures_of_class(name: str, given: str, path: Path, skip_bad: bool) -> LabelledExamples:
    check_no_stream(path)
    if path.is_file() and not skip_bad:  # a file that is named is wanted, whatever it is
        return LabelledExamples([path], "pictures", labels_of(name, [path]), sources=[given])
    if not path.exists():
        kind = "picture" if path.suffix.lower() in SUFFIXES else "folder"
        raise ValueError(f"{path} is no {kind}: give a folder of pictures of the class, or a picture")
    pictures, left_out = sifted_files(path, skip_bad)
    if not pictures:
        raise ValueError(f"{path} holds {no_pictures(left_out)}: put at least one picture into it")
    within = path.is_dir()
    sources = [f"{path.resolve().name}/{one.relative_to(path).as_posix()}" if within else given for one in pictures]
    return LabelledExamples(pictures, "pictures", labels_of(name, pictures), sources=sources, left_out=left_out)


def _input_column(predictor: Predictor, path: Path, header: Sequence[str], text: str | None) -> str:
    """The column of texts or of paths; "" for a predictor of tables."""
    reads = predictor.encoder.reads
    if reads == "table":
        absent = next((name for name in _features(predictor) if name not in header), None)
        if text is not None or absent is not None:
            fault = f"{path} has no column {absent!r}, which was there when it was fitted: add it"
            raise ValueError(fault if text is None else "this predictor reads tables and no texts: leave --text out")
        return ""
    if text is not None and text not in header:
        raise ValueError(f"{path} has no column {text!r}: {suggestion(text, header)}")
    names = [name for name in (text, predictor.note, INPUT) if name and name in header]
    if not names:
        what = "texts" if reads == "texts" else "paths of the pictures"
        raise ValueError(f"{path} has no column {predictor.note or INPUT!r}: name that of the {what} with --text")
    return names[0]


def _label_place(predictor: Predictor, path: Path, header: Sequence[str], label: str | None, column: str) -> int:
    """Where the column of labels is."""
    features = _features(predictor) or (column,)
    others = [name for name in header if name not in features]
    if label is not None:
        if label not in header:
            raise ValueError(f"{path} has no column {label!r}: {suggestion(label, header)}")
        if label not in others:
            raise ValueError(f"column {label!r} of {path} is one that the predictor reads: name another with --label")
        return header.index(label)
    known = [name for wanted in LABELS for name in others if name.lower() == wanted]
    if not known and len(others) != 1:
        names = f"may be {' or '.join(others[:20])}" if others else "is missing"
        raise ValueError(f"the label in {path} {names}: name its column with --label")
    return header.index((known or others)[0])


def _labelled(path: Path, table: Table, place: int) -> tuple[Table, list[str]]:
    """The rows that have a label, and a sentence for each of the others."""
    header, lines, cells = table
    every = list(zip(lines, cells, strict=True))
    left_out = [f"{path.name}, line {line} has no label" for line, row in every if not is_label(row[place])]
    rows = [(line, row) for line, row in every if is_label(row[place])]
    if not rows:
        raise ValueError(f"no row of {path} has a label in column {header[place]!r}: fill in at least one")
    return (header, [line for line, _ in rows], [row for _, row in rows]), left_out


def _cell(header: Sequence[str], column: str, cell: str) -> str:
    """A cell as it was before it became one of a table that mapwise wrote, which has the column `input`."""
    return text_of_cell(cell) if column == INPUT and INPUT in header else cell
