"""Examples from a user's plain arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mapwise.core.task import Examples
from mapwise.data.arrays import check_labels, real_rows


def examples(
    X: Any, labels: Sequence[Any] | np.ndarray | Tensor, classes: Sequence[str] | None = None
) -> tuple[Examples, list[str]]:
    """Labelled rows from plain arrays, with the names of their classes.

    X:       [N, *input], an array or a tensor. Bytes (uint8) are scaled to 0..1; anything else
             becomes float32 as it is.
    labels:  N labels: strings, integers or booleans name classes; floating-point numbers, [N] or
             [N, W], are regression targets.
    classes: the classes and their order; by default those of `labels`, sorted. Give the support's
             names here when making its query.

    Returns the examples and the class names (an empty list for regression).

    Raises ValueError when X holds anything but real numbers that float32 can hold, when the lengths
    differ, for a label that is missing (None, NaN), a date or a complex number, for labels of two types
    that have one name, and when a label is not among `classes`.

    >>> rows, names = examples([[0.0], [1.0], [5.0]], ["cat", "cat", "dog"])
    >>> names, rows.y.tolist()
    (['cat', 'dog'], [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    """
    x = _float_rows(X)
    if isinstance(labels, Tensor):
        labels = labels.detach().cpu().numpy()
    values = np.asarray(labels)
    if values.shape[:1] != (x.shape[0],):
        given = len(values) if values.ndim else "no"
        raise ValueError(f"X has {x.shape[0]} rows and there are {given} labels: give one label for each row")
    weight = torch.ones(x.shape[0])
    key = torch.zeros((), dtype=torch.int64)
    if values.dtype.kind == "f":
        targets = torch.as_tensor(values.astype(np.float32)).reshape(x.shape[0], -1)
        if not bool(torch.isfinite(targets).all()):
            raise ValueError("the targets hold NaN or infinity: drop or fill those rows first")
        return Examples(x, targets, weight, key), []
    if values.ndim != 1:
        raise ValueError(f"class labels have shape {values.shape}: give one label for each row, shape ({x.shape[0]},)")
    check_labels(values if values.dtype.kind in "cmM" else labels)
    if classes is not None:
        check_labels(classes, "classes")
    given_names = [str(label) for label in values.tolist()]
    names = sorted(set(given_names), key=_natural) if classes is None else [str(name) for name in classes]
    place = {name: i for i, name in enumerate(names)}
    if len(place) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise ValueError(f"classes names {twice!r} twice: name each class once")
    unknown = sorted(set(given_names) - place.keys())
    if unknown:
        raise ValueError(f"label {unknown[0]!r} is not one of the classes {names}: add it to classes or drop its rows")
    columns = torch.tensor([place[name] for name in given_names], dtype=torch.int64)
    y = torch.nn.functional.one_hot(columns, num_classes=max(1, len(names))).to(torch.float32)
    return Examples(x, y, weight, key), names


def _float_rows(X: Any) -> Tensor:
    rows = torch.as_tensor(real_rows(X))
    return rows.to(torch.float32) / 255 if rows.dtype == torch.uint8 else rows.to(torch.float32)


def _natural(name: str) -> tuple[int, float, str]:
    """Numbers by value, before words by spelling: 2 comes before 10."""
    try:
        return (0, float(name), name)
    except ValueError:
        return (1, 0.0, name)
