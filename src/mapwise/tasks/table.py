"""A table: the rows of a CSV file, with a column of class labels."""

import csv
import difflib
import io
import itertools
from pathlib import Path

import numpy as np

from mapwise.tasks.rows import LabelledRows, deal

LABELS = ("label", "class", "target")
"""Names by which the label column is known; otherwise it is the last."""
MISSING = ("", "?", "na", "n/a", "nan", "null")
"""What stands in an empty cell, in any case of letters."""
_DELIMITERS = ",;\t|"
_MOST = 1000  # different texts in a column that becomes one column each


def table(path: str | Path, *, label: str | None = None, seed: int = 0) -> LabelledRows:
    """The rows of a CSV file with a header: numbers standardised, texts as one column per value.

    A column of numbers is brought to mean 0 and standard deviation 1 over the rows of the training
    classes. The classes are dealt out to training, validation and testing by `seed`.

    label: the column that names the classes; by default the one called "label", "class" or "target",
           and otherwise the last.

    x is float32, [R, columns]. Cells may be parted by comma, semicolon, tab or bar.

    Raises ValueError for a file that cannot be read as a table, a missing cell (with its line and
    column), an unknown label column, and fewer than two classes.
    """
    path = Path(path).expanduser()
    header, lines, cells = cells_of(path)
    place = label_place(path, header, label)
    labels = [row[place] for row in cells]
    names = sorted(set(labels))
    if len(names) < 2:
        raise ValueError(
            f"column {header[place]!r} of {path} names only one class, {names[0]!r}: at least two classes are needed; "
            "name another column as the label if this is not the one"
        )
    among = np.asarray(names)[deal(len(names), seed)["train"]]
    training = np.isin(np.asarray(labels), among)
    columns = [
        _encoded(path, name, lines, [row[i] for row in cells], training) for i, name in enumerate(header) if i != place
    ]
    # LabelledRows deals the same names by the same seed: the statistics above are of its training classes.
    return LabelledRows.of(np.concatenate(columns, axis=1), labels, name=path.name, seed=seed)


def cells_of(path: Path, *, gaps: bool = False) -> tuple[list[str], list[int], list[list[str]]]:
    """The header, and the line number and the cells of every row of a CSV file.

    gaps: let cells be missing.

    Raises ValueError for a file that cannot be read as a table, and for a missing cell, with its line and column.
    """
    text = _text(path)
    delimiter = _delimiter(text)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    lines, rows = [], []
    try:
        for row in reader:
            if row and any(cell.strip() for cell in row):
                lines.append(reader.line_num)
                rows.append([cell.strip() for cell in row])
    except csv.Error as problem:
        raise ValueError(f"{path} cannot be read as a table, line {reader.line_num}: {problem}") from None
    if len(rows) < 2:
        raise ValueError(f"{path} has no rows below its header: give a line of column names, then one line per row")
    header = rows.pop(0)
    lines.pop(0)
    if len(header) < 2:
        raise ValueError(f"{path} has a single column, {header[0]!r}: a table needs a label and at least one feature")
    if all(_is_number(name) for name in header):
        raise ValueError(f"the first line of {path} holds numbers and no column names: add a line with a name for each")
    if len(set(header)) < len(header):
        twice = next(name for i, name in enumerate(header) if name in header[:i])
        raise ValueError(f"{path} has two columns called {twice!r}: rename one")
    for line, row in zip(lines, rows, strict=True):
        if len(row) != len(header):
            raise ValueError(
                f"line {line} of {path} has {len(row)} cells and the header has {len(header)}: "
                "give one cell for each column, in quotes where it holds the delimiter"
            )
        for name, cell in zip(header, row, strict=True):
            if not gaps and cell.lower() in MISSING:
                raise ValueError(
                    f"line {line} of {path} has no value in column {name!r} ({cell!r}): fill the cell or drop the row"
                )
    return header, lines, rows


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise ValueError(f"{path} cannot be read ({problem.strerror}): give the path of a CSV file") from None
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"  # both drop the mark itself
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text in UTF-8: save it as a CSV file in UTF-8") from None


def _delimiter(text: str) -> str:
    """The one that cuts the first lines into the most cells, and into equally many."""

    def widths(delimiter: str) -> tuple[bool, int]:
        try:
            rows = list(itertools.islice(csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True), 20))
        except csv.Error:
            return False, 0
        counts = {len(row) for row in rows if row}
        return len(counts) == 1 and counts != {1}, len(rows[0]) if rows else 0

    return max(_DELIMITERS, key=widths)


def label_place(path: Path, header: list[str], label: str | None) -> int:
    """Where the column of labels is: the named one, or one that is called so, or the last.

    Raises ValueError for a name that no column has, with the nearest.
    """
    if label is None:
        known = [i for wanted in LABELS for i, name in enumerate(header) if name.lower() == wanted]
        return known[0] if known else len(header) - 1
    if label not in header:
        near = difflib.get_close_matches(label, header, n=1, cutoff=0)[0]
        raise ValueError(
            f"{path} has no column {label!r}, did you mean {near!r}? Its columns are {', '.join(header[:20])}"
        )
    return header.index(label)


def _encoded(path: Path, name: str, lines: list[int], cells: list[str], training: np.ndarray) -> np.ndarray:
    """One column of the file as float32 columns, [R, 1] for numbers and [R, values] for texts."""
    if all(_is_number(cell) for cell in cells):
        values = np.asarray([float(cell) for cell in cells])[:, None]
        finite = np.isfinite(values[:, 0])
        if not finite.all():
            raise ValueError(
                f"line {lines[int(finite.argmin())]} of {path} has infinity in column {name!r}: "
                "put a number there or drop the row"
            )
        mean, spread = values[training].mean(), values[training].std()
        standard: np.ndarray = ((values - mean) / (spread or 1.0)).astype(np.float32)
        return standard
    texts, places = np.unique(np.asarray(cells), return_inverse=True)
    if len(texts) > _MOST:
        raise ValueError(
            f"column {name!r} of {path} has {len(texts):,} different texts, more than {_MOST:,}: drop it "
            "or group its values"
        )
    one_hot: np.ndarray = (places[:, None] == np.arange(len(texts))[None]).astype(np.float32)
    return one_hot


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # Python reads 1_000 as a number; a table means a text
