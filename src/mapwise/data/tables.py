"""A table: the rows of a CSV file, with a column of class labels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mapwise.data.cells import CellError, moments, numbers, standardised
from mapwise.data.csv_files import cells_of, check_categories, check_label_cells, label_place
from mapwise.data.rows import LabelledRows, deal

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
