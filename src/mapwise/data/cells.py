"""Cells of a table: numbers, gaps and words, and how a column of numbers is standardised."""

import shlex

import numpy as np
from jaxtyping import Float

GAPS = frozenset({"", "?", "na", "n/a", "nan", "null", "none"})
"""Texts that stand for a missing value, in any case of letters."""
MOSTLY = 0.9
"""From this share of numbers among a column's filled cells on, a word beside them is taken for a mistake."""
_DIFFERENT = 0.9
"""From this share of different values among its filled cells on, a column of several words a cell is free text."""
FAR = 1e6
"""Standard deviations beyond which all values are equally far: distances between such rows stay finite and exact."""


class CellError(ValueError):
    """A cell that its column can't hold.

    row:    its place among the rows.
    fault:  what is wrong and what to do, after the place of the cell in a sentence.
    column: the name of the column, where reading it as categories would help; "" where it would not.
    """

    def __init__(self, row: int, fault: str, *, column: str = ""):
        self.row, self.fault, self.column = row, fault, column
        super().__init__(self.at(f"row {row}"))

    def at(self, place: str, flag: str = "") -> str:
        """The sentence for a row known by another place, and for a command with a flag that names categories."""
        declared = f"{flag} {shlex.quote(self.column)}" if flag else "a categorical column of pandas or polars"
        return f"{place} {self.fault}" + (f", or read the column as categories ({declared})" if self.column else "")


def parse_number(cell: str | None) -> float | None:
    """A cell's number, NaN for a gap and None for a word; infinite for what float64 can't hold."""
    text = "" if cell is None else cell.strip()
    if text.lower() in GAPS:
        return np.nan
    try:
        # Python reads 1_000 as a number, and a table means a text.
        return None if "_" in text else float(text)
    except ValueError:
        return None


def text(value: float) -> str:
    """A number as a word: a whole one without a point, as files have it."""
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))


def numbers(name: str, cells: np.ndarray) -> Float[np.ndarray, "N"] | None:
    """A column as numbers, NaN for a gap; None for a column of words.

    cells: [N], floats, which are numbers as they are; texts as objects, None for a gap, which are numbers where they
           look like it; or texts of numpy's `str`, which are words whatever they look like.

    Raises CellError for infinity, and for a word in a column nine tenths of whose filled cells are numbers.
    """
    if cells.dtype.kind != "O":
        return cells if cells.dtype.kind == "f" else None
    values = [parse_number(cell) for cell in cells]
    words = [row for row, value in enumerate(values) if value is None]
    filled = [row for row, value in enumerate(values) if value is not None and not np.isnan(value)]
    if words and len(filled) < MOSTLY * (len(filled) + len(words)):
        return None
    if words:
        fault = f"holds {shortened(cells[words[0]])} in column {name!r}, where nearly all cells are numbers"
        raise CellError(words[0], f"{fault}: correct the cell or leave it empty", column=name)
    column = np.asarray(values, dtype=np.float64)
    if np.isinf(column).any():
        row = int(np.isinf(column).argmax())
        raise infinite(name, row, cells[row])
    return column


def sentences(cells: np.ndarray) -> bool:
    """Whether a column holds free text: words whose cells nearly all differ, and most of which are of several words.

    A column whose cells are words by declaration does not, nor does one of fewer than four filled cells.
    """
    if cells.dtype.kind != "O":
        return False
    filled = [cell.strip() for cell in cells if cell is not None and cell.strip().lower() not in GAPS]
    if len(filled) < 4 or len(set(filled)) < _DIFFERENT * len(filled):
        return False
    return sum(len(cell.split()) > 1 and parse_number(cell) is None for cell in filled) > len(filled) / 2


def infinite(name: str, row: int, cell: object) -> CellError:
    """The error for a cell of infinity."""
    quoted = f" ({shortened(cell)})" if isinstance(cell, str) else ""
    return CellError(
        row, f"has infinity in column {name!r}{quoted}: put a number there, leave it empty or drop the row"
    )


def moments(values: Float[np.ndarray, "N"], weight: Float[np.ndarray, "N"] | None = None) -> tuple[float, float]:
    """The weighted mean and standard deviation of finite numbers; 1 for the deviation where they don't differ.

    Squares of numbers near 1e200 exceed float64, so the numbers are first divided by a power of two, which is exact.
    """
    if not len(values):
        return 0.0, 1.0
    exponent = int(np.frexp(np.abs(values).max())[1])
    small = np.ldexp(values, -exponent)
    share = None if weight is None else weight / weight.max()
    mean = np.average(small, weights=share)
    deviation = np.sqrt(np.average((small - mean) ** 2, weights=share))
    # Rounding gives a constant column a deviation of some 1e-16 of its size, by which nothing should be divided.
    if not deviation > 1e-12 * abs(mean):
        return float(np.ldexp(mean, exponent)), 1.0
    return float(np.ldexp(mean, exponent)), float(np.ldexp(deviation, exponent)) or 1.0


def standardised(values: Float[np.ndarray, "N"], mean: float, deviation: float) -> Float[np.ndarray, "N"]:
    """(values - mean) / deviation in float64, cut off at `FAR`; NaN stays."""
    with np.errstate(over="ignore"):
        apart: np.ndarray = np.clip((values / 2 - mean / 2) / deviation * 2, -FAR, FAR)
    return apart


def shortened(cell: str) -> str:
    """A cell, or a row, as an error quotes it."""
    return repr(cell if len(cell) <= 40 else f"{cell[:37]}...")
