"""What a user hands over, as raw rows of one modality: columns by name, texts, or pictures."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from mapwise.data.annotated.texts import AnnotatedText
from mapwise.data.arrays import check_real, check_whole_array, held
from mapwise.data.cells import CellError, infinite, shortened, text
from mapwise.data.modality import Columns, Modality

_SUFFIXES = "png jpg jpeg jfif gif bmp tif tiff webp ppm pgm pbm jp2 ico avif heic heif"
SUFFIXES = frozenset(f".{suffix}" for suffix in _SUFFIXES.split(" "))
"""By which a string is known for the path of a picture, where no modality is given."""


def is_frame(X: Any) -> bool:
    """Whether X is a table of pandas, polars, or any other library that narwhals knows."""
    if isinstance(X, list | tuple | np.ndarray):
        return False
    import narwhals.stable.v2 as nw

    try:
        return isinstance(nw.from_native(X, pass_through=True, eager_only=True), nw.DataFrame)
    except nw.exceptions.DuplicateError:
        raise ValueError("X is a table with two columns of one name: rename one of them") from None


def modality_of(X: Any) -> Modality:
    """What rows X holds, recognized by what it looks like.

    A string with the suffix of a picture is its path, and so is one that lies on the disk.

    Raises ValueError for paths among which is something else, and for folders.
    """
    if is_frame(X) or hasattr(X, "toarray"):
        return "table"
    if isinstance(X, np.ndarray) and (X.ndim > 2 or X.ndim == 0):
        return "pictures" if X.ndim in (3, 4) else "table"
    rows = list(X) if isinstance(X, Sequence | np.ndarray) or hasattr(X, "to_list") else None
    if not rows or isinstance(X, str):
        return "table"
    if any(isinstance(row, str) for row in rows) and all(isinstance(row, str) or _is_gap(row) for row in rows):
        return _modality_of_strings([row for row in rows if isinstance(row, str)])
    if all(_is_picture(row) for row in rows):
        return "pictures"
    if all(isinstance(row, AnnotatedText) for row in rows):
        return "texts"
    return "table"


def _modality_of_strings(rows: list[str]) -> Modality:
    there = [_lies_on_disk(row) for row in rows]
    named = [path or _ends_like_picture(row) for path, row in zip(there, rows, strict=True)]
    if not all(named):
        # A word that a folder happens to be called is a word.
        paths = [path and ("/" in row or Path(row).suffix != "") for path, row in zip(there, rows, strict=True)]
        if not any(paths) and 2 * sum(named) <= len(rows):
            return "texts"
    for place, (row, path) in enumerate(zip(rows, named, strict=True)):
        if not path:
            fault = "is no file, and others are paths of files: correct the path, or give all as pictures or as texts"
        elif os.path.isdir(os.path.expanduser(row)):
            fault = "is a folder: give the paths of the pictures in it"
        else:
            continue
        raise ValueError(f"row {place} of X, {shortened(row)}, {fault}")
    return "pictures"


def _is_gap(row: Any) -> bool:
    return row is None or (isinstance(row, float) and math.isnan(row)) or type(row).__name__ == "NAType"


def _lies_on_disk(row: str) -> bool:
    return bool(row) and os.path.exists(os.path.expanduser(row))


def _ends_like_picture(row: str) -> bool:
    return Path(row).suffix.lower() in SUFFIXES


def arrays_of(X: Any) -> Any:
    """X, a tensor of torch as an array; raises ValueError for one that holds no numbers."""
    return held(X).numpy() if isinstance(X, Tensor) else X


def by_class(X: Mapping[Any, Any]) -> tuple[list[Any], list[Any]]:
    """The rows of a dict of class to rows, and the label of each; raises ValueError for a class without a list."""
    for name, rows in X.items():
        if isinstance(rows, str | Path) or not hasattr(rows, "__len__"):
            given = "a single string" if isinstance(rows, str) else f"a value of type {type(rows).__name__}"
            raise ValueError(f"class {str(name)!r} has {given} and a list of rows is needed: put it into a list")
        if is_frame(rows):  # which would be gone through by its columns
            raise ValueError(f"class {str(name)!r} has a table: join the tables of the classes, and give labels as y")
    return [row for rows in X.values() for row in rows], [name for name, rows in X.items() for _ in rows]


def check_table(X: Any) -> None:
    """Raises ValueError for what is no table though it may look like one: dicts, complex numbers, dates and times."""
    check_whole_array(X)
    if isinstance(X, dict) and not hasattr(X, "toarray"):  # a sparse matrix may be one
        raise ValueError("X is a dict: give a matrix, or a table of pandas or polars")
    if isinstance(X, list) and X and isinstance(X[0], dict):
        raise ValueError("row 0 of X is a dict: give a matrix, or a table of pandas or polars")
    kind = getattr(getattr(X, "dtype", None), "kind", "")
    if kind == "c":
        raise ValueError("Complex data not supported: give real and imaginary parts as columns of X")
    check_real(kind if kind in ("m", "M") else "f", "X")


def texts(X: Any) -> list[str]:
    """A list of texts; raises ValueError for anything else, naming the first row.

    An annotated text becomes a string with marks such as [Ada](head).
    """
    rows = [_string(row) for row in _listed(X, "texts")]
    for place, row in enumerate(rows):
        if not isinstance(row, str):
            if _is_gap(row):
                raise ValueError(f"row {place} of X is missing ({row}), and a text is needed: fill it or drop the row")
            raise ValueError(f"row {place} of X is {_describe(row)} and no text: give a list of strings")
    return [str(row) for row in rows]


def _string(row: Any) -> Any:
    if not isinstance(row, AnnotatedText):
        return row
    from mapwise.data.annotated.marks import marked

    return marked(row)


def pictures(X: Any) -> list[Any]:
    """A list of paths, Pillow images or arrays; raises ValueError for anything else, naming the first row."""
    rows = _listed(X, "pictures")
    for place, row in enumerate(rows):
        if not (_is_picture(row) or isinstance(row, str)):
            raise ValueError(
                f"row {place} of X is {_describe(row)} and no picture: give paths, Pillow images, or an array "
                "[N, H, W], [N, C, H, W] or [N, H, W, C]"
            )
    return rows


def columns(X: Any) -> Columns:
    """The columns of a table by name, or of a matrix by their number; see `Columns` for what a cell is.

    A categorical column holds words, whatever they look like.

    Raises ValueError for infinity and NUL characters, naming the row, for cells that are neither numbers nor texts, and
    for dates.
    """
    import narwhals.stable.v2 as nw

    if not is_frame(X):
        matrix = X if isinstance(X, np.ndarray) else np.asarray(X, dtype=object)
        return {str(place): _cells(str(place), matrix[:, place]) for place in range(matrix.shape[1])}
    frame = nw.from_native(X, eager_only=True)
    if not frame.columns:
        raise ValueError("X is a table of 0 columns: give at least one")
    table = {}
    for name, series in zip(frame.columns, frame.iter_columns(), strict=True):
        if series.dtype.is_temporal():
            raise ValueError(f"column {name!r} holds dates or times: make numbers of it, or drop it")
        if series.dtype.is_numeric() or series.dtype == nw.Boolean:
            gaps = series.is_null().to_numpy()
            cells = np.asarray([np.nan if gap else value for gap, value in zip(gaps, series, strict=True)], np.float64)
        else:
            cells = np.asarray([None, *series.to_list()], dtype=object)[1:]
        table[str(name)] = _cells(str(name), cells)
        if series.dtype in (nw.Categorical, nw.Enum):
            table[str(name)] = words(table[str(name)])
    return table


def columns_of_records(rows: Sequence[Mapping[str, Any]]) -> Columns:
    """The columns of rows that are dicts of cells by the names of their columns; a cell that isn't there is a gap.

    Raises ValueError for infinity and NUL characters, naming the row, and for cells that are no numbers or texts.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    table = {}
    for name in names:
        cells = np.empty(len(rows), dtype=object)
        cells[:] = [row.get(name) for row in rows]
        numbers = [cell for cell in cells if cell is not None]
        if numbers and all(isinstance(cell, int | float) for cell in numbers):
            cells = np.asarray([np.nan if cell is None else _float(cell) for cell in cells])
        table[name] = _cells(name, cells)
    return table


def words(cells: np.ndarray) -> np.ndarray:
    """The cells of a column that are words by declaration, "" for a gap."""
    return np.asarray(["" if cell is None else cell for cell in cells], dtype=str)


def _cells(name: str, cells: np.ndarray) -> np.ndarray:
    if cells.dtype.kind in "biuf":
        numbers = cells.astype(np.float64)
        if np.isinf(numbers).any():
            row = int(np.isinf(numbers).argmax())
            raise infinite(name, row, cells[row])
        return numbers
    column = np.empty(len(cells), dtype=object)
    for row, cell in enumerate(cells):
        column[row] = _cell(name, row, cell)
    return column


def _cell(name: str, row: int, cell: Any) -> str | None:
    if cell is None or isinstance(cell, str):
        if cell is not None and "\0" in cell:
            raise CellError(row, f"has a NUL character in column {name!r}: remove it")
        return cell
    if isinstance(cell, int | float | np.integer | np.floating | np.bool_):
        value = _float(cell)
        if np.isinf(value):
            raise infinite(name, row, cell)
        return None if np.isnan(value) else text(value)
    raise ValueError(
        f"column {name!r} holds {_describe(cell)}, and numbers or texts are needed: convert it, or drop the column"
    )


def _float(cell: Any) -> float:
    """A number; infinite for a whole one that float64 can't hold."""
    try:
        return float(cell)
    except OverflowError:
        return np.inf


def _listed(X: Any, what: str) -> list[Any]:
    if isinstance(X, str | Path) or not hasattr(X, "__len__"):
        raise ValueError(f"X is {_describe(X)} and a list of {what} is needed: put it into a list")
    rows = list(X)
    if not rows:
        raise ValueError(f"X holds no {what}: give at least one")
    return rows


def _is_picture(row: Any) -> bool:
    # A Pillow image is known by what it can do, so that Pillow need not be loaded to look at numbers.
    return isinstance(row, Path) or (isinstance(row, np.ndarray) and row.ndim in (2, 3)) or hasattr(row, "getbands")


def _describe(row: Any) -> str:
    return "a single string" if isinstance(row, str) else f"of type {type(row).__name__}"


def nonempty(text: str, place: int) -> str:
    """The text of this row; raises ValueError when it is empty."""
    if not text.strip():
        raise ValueError(f"the text of row {place} is empty: fill it or drop the row")
    return text
