"""A table: the rows of a CSV file, with a column of class labels."""

import csv
import io
import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mapwise.core.spelling import suggestion
from mapwise.data.cells import GAPS, CellError, moments, numbers, parse_number, standardised
from mapwise.data.files import read_bytes
from mapwise.data.rows import LabelledRows, deal

LABELS = ("label", "class", "target")
"""Names by which the label column is known; otherwise it is the last."""
_NO_LABEL = GAPS - {"none"}  # a class may well be called so
MOST_COLUMNS, MOST_CELLS = 10_000, 5_000_000
"""Of a table that is read."""
_DELIMITERS = ",;\t|"
_MOST = 1000  # different texts in a column that becomes one column each


def table(path: str | Path, label: str | None = None, seed: int = 0, *, categories: Sequence[str] = ()) -> LabelledRows:
    """The rows of a CSV file with a header: numbers standardised, texts as one column per value.

    A column of numbers is brought to mean 0 and standard deviation 1 over the rows of the training
    classes. The classes are dealt out to training, validation and testing by `seed`.

    label: the column that names the classes; by default the one called "label", "class" or "target",
           and otherwise the last.
    categories: columns to read as words, whatever they look like; in these a gap is a word like others.

    x is float32, [R, columns]. Cells may be parted by comma, semicolon, tab or bar.

    Raises ValueError for a file that cannot be read as a table, for a missing number, infinity, and a word
    where nearly all cells are numbers (with line and column), an unknown label column or category, and
    fewer than two classes.
    """
    path = Path(path).expanduser()
    header, lines, cells = cells_of(path)
    place = label_place(path, header, label)
    check_categories(path, header, place, categories)
    labels = [row[place] for row in cells]
    check_label_cells(path, header[place], lines, labels)
    names = sorted(set(labels))
    if len(names) < 2:
        raise ValueError(
            f"column {header[place]!r} of {path} names only one class, {names[0]!r}: at least two classes are needed; "
            "name another column as the label if this is not the one"
        )
    among = np.asarray(names)[deal(len(names), seed)["train"]]
    training = np.isin(np.asarray(labels), among)
    columns = [
        _encoded(path, name, lines, [row[i] for row in cells], training, name in categories)
        for i, name in enumerate(header)
        if i != place
    ]
    # LabelledRows deals the same names by the same seed: the statistics above are of its training classes.
    return LabelledRows.of(np.concatenate(columns, axis=1), labels, name=path.name, seed=seed)


def cells_of(path: Path) -> tuple[list[str], list[int], list[list[str]]]:
    """The header, and the line number and the cells of every row of a CSV file.

    Raises ValueError for a file that cannot be read as a table, and for a NUL character, with its line and column.
    """
    content = _content(path)
    reader = _reader(content, _delimiter(content))
    lines, rows, cells = [], [], 0
    try:
        for row in reader:
            if row and any(cell.strip() for cell in row):
                lines.append(reader.line_num)
                rows.append([cell.strip() for cell in row])
                cells += len(row)
                if len(row) > MOST_COLUMNS or cells > MOST_CELLS:
                    raise ValueError(
                        f"{path} has more than {MOST_COLUMNS:,} columns, or {MOST_CELLS:,} cells: take fewer columns "
                        "or rows"
                    )
    except csv.Error as problem:
        raise ValueError(f"{path} cannot be read as a table, line {reader.line_num}: {problem}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text in UTF-8: save it as a CSV file in UTF-8") from None
    del content
    if len(rows) < 2:
        raise ValueError(f"{path} has no rows below its header: give a line of column names, then one line per row")
    header = rows.pop(0)
    lines.pop(0)
    if any("\0" in name for name in header):
        raise ValueError(f"line 1 of {path} has a NUL character in the name of a column: remove it")
    if all(parse_number(name) is not None and name for name in header):
        raise ValueError(f"the first line of {path} holds numbers and no column names: add a line with a name for each")
    if len(set(header)) < len(header):
        twice = next(name for name, count in Counter(header).items() if count > 1)
        raise ValueError(f"{path} has two columns called {twice!r}: rename one")
    for line, row in zip(lines, rows, strict=True):
        if len(row) != len(header):
            raise ValueError(
                f"line {line} of {path} has {len(row)} cells and the header has {len(header)}: "
                "give one cell for each column, in quotes where it holds the delimiter"
            )
        for name, cell in zip(header, row, strict=True):
            if "\0" in cell:
                raise ValueError(f"line {line} of {path} has a NUL character in column {name!r}: remove it")
    return header, lines, rows


def _content(path: Path) -> bytes:
    try:
        return read_bytes(path, streams=True)
    except OSError as problem:
        raise ValueError(f"{path} cannot be read ({problem.strerror}): give the path of a CSV file") from None


def _reader(content: bytes, delimiter: str) -> Any:
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"  # both drop the mark itself
    lines = io.TextIOWrapper(io.BytesIO(content), encoding, newline="")
    return csv.reader(lines, delimiter=delimiter, skipinitialspace=True)


def _delimiter(content: bytes) -> str:
    """The one that cuts the first lines into the most cells, and into equally many."""

    def widths(delimiter: str) -> tuple[bool, int]:
        try:
            rows = list(itertools.islice(_reader(content, delimiter), 20))
        except (csv.Error, UnicodeDecodeError):
            return False, 0
        counts = {len(row) for row in rows if row}
        return len(counts) == 1 and counts != {1}, len(rows[0]) if rows else 0

    return max(_DELIMITERS, key=widths)


def label_place(path: Path, header: list[str], label: str | None, text: str | None = None) -> int:
    """Where the column of labels is: the named one, or one that is called so, or the last.

    text: a column of texts, which then is not the label; of several others it is not the last that is taken.

    Raises ValueError for a name that no column has, with the nearest, for a single column, and where the label is to be
    named.
    """
    if len(header) < 2:
        raise ValueError(f"{path} has a single column, {header[0]!r}: a table needs a label and at least one feature")
    if text is not None and text not in header:
        raise ValueError(f"{path} has no column {text!r}: {suggestion(text, header)}")
    if text is not None and label == text:
        raise ValueError(f"column {text!r} of {path} holds the texts: name another with --label")
    if label is None:
        others = [i for i, name in enumerate(header) if name != text]
        known = [i for wanted in LABELS for i in others if header[i].lower() == wanted]
        if not known and text is not None and len(others) > 1:
            names = " or ".join(header[i] for i in others[:20])
            raise ValueError(f"the label in {path} may be {names}: name its column with --label")
        return known[0] if known else others[-1]
    if label not in header:
        raise ValueError(f"{path} has no column {label!r}: {suggestion(label, header)}")
    return header.index(label)


def check_categories(path: Path, header: list[str], label: int, categories: Sequence[str]) -> None:
    """Raises ValueError for a category that no column is called, with the nearest, and for the column of labels."""
    for name in categories:
        if name not in header:
            raise ValueError(f"{path} has no column {name!r}: {suggestion(name, header)}")
        if header.index(name) == label:
            raise ValueError(f"column {name!r} of {path} is the label, whose values are classes: name other columns")


def check_label_cells(path: Path, name: str, lines: list[int], labels: list[str]) -> None:
    """Raises ValueError for a label that is missing, with its line."""
    for line, label in zip(lines, labels, strict=True):
        if not is_label(label):
            raise ValueError(
                f"line {line} of {path} has no label in column {name!r} ({label!r}): fill it or drop the row"
            )


def is_label(cell: str) -> bool:
    """Whether a cell names a class, and is no gap."""
    return cell.lower() not in _NO_LABEL


def check_text_cells(path: Path, name: str, lines: list[int], texts: list[str]) -> None:
    """Raises ValueError for a text that is missing, with its line."""
    for line, text in zip(lines, texts, strict=True):
        if not text:
            raise ValueError(f"line {line} of {path} has no text in column {name!r}: fill it or drop the row")


def _encoded(
    path: Path, name: str, lines: list[int], cells: list[str], training: np.ndarray, words: bool
) -> np.ndarray:
    """One column of the file as float32 columns, [R, 1] for numbers and [R, values] for texts."""
    try:
        values = numbers(name, np.asarray(cells, dtype=str if words else object))
        if values is not None and np.isnan(values).any():
            gap = int(np.isnan(values).argmax())
            fault = f"has no value in column {name!r} ({cells[gap]!r}): fill the cell or drop the row"
            raise CellError(gap, fault, column=name)
    except CellError as error:
        place = f"line {lines[error.row]} of {path}"
        raise ValueError(error.at(place, "--source.categories")) from None
    if values is not None:
        return standardised(values, *moments(values[training]))[:, None].astype(np.float32)
    # As they are written, a gap too: a run that was trained before finds its columns where they were.
    texts, places = np.unique(np.asarray(cells), return_inverse=True)
    if len(texts) > _MOST:
        raise ValueError(
            f"column {name!r} of {path} has {len(texts):,} different texts, more than {_MOST:,}: drop it "
            "or group its values"
        )
    one_hot: np.ndarray = (places[:, None] == np.arange(len(texts))[None]).astype(np.float32)
    return one_hot
