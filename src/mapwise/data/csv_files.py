"""A CSV file: its header and its cells, and what its columns of labels and texts must hold."""

import csv
import io
import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mapwise.core.spelling import suggestion
from mapwise.data.cells import GAPS, parse_number
from mapwise.data.files import read_bytes

LABELS = ("label", "class", "target")
"""Names by which the label column is known; otherwise it is the last."""
_NO_LABEL = GAPS - {"none"}  # a class may well be called so
MOST_COLUMNS, MOST_CELLS = 10_000, 5_000_000
"""Of a table that is read."""
_DELIMITERS = ",;\t|"


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
