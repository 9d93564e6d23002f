"""What a user's arrays may hold: real numbers that float32 can hold, and labels that name classes."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import Tensor

from mapwise.core.fields import quote

_REFUSED = {"c": "complex numbers", "m": "dates or times", "M": "dates or times", "U": "texts", "S": "texts"}
"""By the letter of numpy's dtype: what is no real number."""


def check_real(kind: str, what: str) -> None:
    """Raises ValueError for an array of complex numbers, dates, times or texts, by the letter of its dtype."""
    if kind in _REFUSED:
        raise ValueError(f"{what} holds {_REFUSED[kind]} and real numbers are needed: convert it first")


def real_rows(X: Any) -> np.ndarray | Tensor:
    """Rows of a user as an array of real numbers, uint8 as it is and anything else as float32, or a tensor as it is.

    X: [N, *input].

    Raises ValueError for anything but real numbers, for NaN, infinity and numbers beyond float32, with the row.
    """
    if isinstance(X, Tensor):
        X = held(X)
        check_real("c" if X.is_complex() else "f", "X")
        rows = X.detach().cpu().numpy()
    else:
        try:
            rows = np.asarray(X)
        except ValueError:
            raise ValueError("the rows of X are of different shapes: give an array [N, *input]") from None
    check_whole_array(X)
    if rows.ndim == 0:
        raise ValueError("X is a single number: give an array of rows, [N, *input]")
    if not len(rows):
        raise ValueError("X holds no rows: give at least one")
    check_real(rows.dtype.kind, "X")
    if rows.dtype.kind == "V":
        raise ValueError("X is a structured array: give a plain one of numbers, [N, *input]")
    if 0 in rows.shape:
        raise ValueError(f"X has shape {rows.shape}: give rows of at least one number each")
    if rows.dtype.kind == "O":
        rows = _numbers(rows)
    if rows.dtype == np.uint8:
        return X if isinstance(X, Tensor) else rows
    with np.errstate(over="ignore"):
        narrow = np.ascontiguousarray(rows, dtype=np.float32)
    bad = ~np.isfinite(narrow).reshape(len(rows), -1).all(axis=1)
    if bad.any():
        first = int(bad.argmax())
        cell = rows[first].reshape(-1)[int((~np.isfinite(narrow[first].reshape(-1))).argmax())]
        if np.isfinite(cell):
            raise ValueError(f"X holds {cell:g}, first in row {first}, beyond float32: scale it first")
        raise ValueError(
            f"X holds NaN or infinity, first in row {first} ({int(bad.sum())} of {len(rows)} rows): drop or fill those "
            "rows first"
        )
    return X if isinstance(X, Tensor) else narrow


def held(tensor: Tensor) -> Tensor:
    """The numbers of a tensor alone, on the CPU; raises ValueError for a tensor without storage."""
    if tensor.is_meta:
        raise ValueError("X is a tensor of the device meta, which holds no numbers: give one that does")
    return tensor.detach().cpu()


def check_whole_array(X: Any) -> None:
    """Raises ValueError for a masked array that hides some of its numbers."""
    if isinstance(X, np.ma.MaskedArray) and np.ma.is_masked(X):
        raise ValueError("X is a masked array: fill it first, such as by X.filled(numpy.nan)")


def check_labels(labels: Iterable[Any], what: str = "") -> None:
    """Raises ValueError for labels that name no class, naming the row, and for two that would be one class by name.

    what: they are called, where a sentence needs it.
    """
    if not isinstance(labels, Iterable):
        raise ValueError(f"{what or 'labels'} is {quote(labels)}: give a list of names")
    kind = labels.dtype.kind if isinstance(labels, np.ndarray) else "O"
    if kind in "cmM":
        subject = f"{what} holds" if what else "the labels are"
        raise ValueError(f"{subject} {_REFUSED[kind]}: give strings or whole numbers")
    if kind in "biuU":  # of one type, and without gaps
        return
    place = f" of {what}" if what else ""
    seen: dict[str, Any] = {}
    for row, label in enumerate(labels):
        if _is_missing(label):
            raise ValueError(f"row {row}{place} has no label ({label}): give one, or drop the row")
        if (
            isinstance(label, dict | list | set | tuple | bytes)
            or hasattr(label, "isoformat")
            or getattr(type(label), "__repr__", None) is object.__repr__
        ):
            kind = type(label).__name__
            raise ValueError(f"the label of row {row}{place} is of type {kind}: give strings or whole numbers")
        other = seen.setdefault(str(label), label)
        if isinstance(label, str) != isinstance(other, str) or _is_truth(label) != _is_truth(other):
            raise ValueError(f"labels {other!r} and {label!r} would be one class: give labels of one type")


def _numbers(rows: np.ndarray) -> np.ndarray:
    """Objects that are numbers, or None for NaN, as float64."""
    for cell in rows.flat:
        if cell is not None and not isinstance(cell, int | float | np.integer | np.floating | np.bool_):
            what = {str: "text", bytes: "text", complex: "complex number"}.get(type(cell), type(cell).__name__)
            raise ValueError(f"X holds a {what} and real numbers are needed: convert it first")
    try:
        numbers: np.ndarray = rows.astype(np.float64)
    except OverflowError:
        raise ValueError("X holds a whole number beyond float64: scale it first") from None
    return numbers


def _is_missing(label: Any) -> bool:
    if label is None:
        return True
    try:
        return bool(label != label)  # NaN, and dates that are none
    except (TypeError, ValueError):  # the missing value of pandas is neither equal nor different
        return type(label).__name__ == "NAType"


def _is_truth(label: Any) -> bool:
    return isinstance(label, bool | np.bool_)
