"""A CSV table that goes back to the user: their own columns as they were read, and further ones behind them."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

INPUT = "input"
"""The column of what has no columns of its own, such as a text or the path of a picture."""
_PREFIX = "predicted_"
_FORMULA = re.compile(r"\s*'*\s*[=+\-@]")


def spreadsheet_cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula: those but numbers begin with an apostrophe.

    `text_of_cell` takes it off again, and leaves every other text as it is.
    """
    try:
        float(text)
    except ValueError:
        return f"'{text}" if _FORMULA.match(text) else text
    return text


def text_of_cell(cell: str) -> str:
    """The text that `spreadsheet_cell` made this cell of."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell


@dataclass(frozen=True)
class Sheet:
    """Cells by row under the names of their columns; `str` gives it as CSV."""

    header: tuple[str, ...]
    cells: Sequence[Sequence[str]]

    @classmethod
    def of_inputs(cls, inputs: Iterable[str]) -> Self:
        """The inputs alone, as cells that no spreadsheet takes for formulas."""
        return cls((INPUT,), [[spreadsheet_cell(one)] for one in inputs])

    def among(self, rows: Iterable[int]) -> Self:
        """These rows, in this order."""
        return type(self)(self.header, [self.cells[row] for row in rows])

    def with_columns(self, columns: Mapping[str, Sequence[object]]) -> Self:
        """With further columns, a cell for each row.

        One whose name is taken is called predicted_NAME, and where that is taken too, predicted_NAME_2 and so on.
        """
        header = list(self.header)
        for name in columns:
            header.append(_free_name(name, header))
        rows = zip(self.cells, zip(*columns.values(), strict=True), strict=True)
        return type(self)(tuple(header), [[*cells, *map(str, more)] for cells, more in rows])

    def __str__(self) -> str:
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(self.header)
        writer.writerows(self.cells)
        return file.getvalue().rstrip("\n")


def joined(sheets: Sequence[Sheet | None]) -> Sheet | None:
    """The rows of all sheets; None where one is missing, or has other columns than the first."""
    whole = [sheet for sheet in sheets if sheet is not None and sheets[0] is not None]
    if len(whole) < len(sheets) or any(sheet.header != whole[0].header for sheet in whole):
        return None
    return Sheet(whole[0].header, [cells for sheet in whole for cells in sheet.cells])


def _free_name(name: str, taken: Sequence[str]) -> str:
    if name not in taken:
        return name
    free, number = f"{_PREFIX}{name}", 2
    while free in taken:
        free, number = f"{_PREFIX}{name}_{number}", number + 1
    return free
