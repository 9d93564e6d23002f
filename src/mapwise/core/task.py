"""Tasks: a few labelled rows to learn from, and rows to be judged on.

The letters used in every shape of the library:

    T  tasks in a batch        S  support rows of a task      Q  query rows of a task
    N  rows, of either kind    W  classes of a task, or regression targets, or bits
    D  length of an embedding
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mapwise.core.arrays import check_labels, real_rows

if TYPE_CHECKING:
    from mapwise.core.problem import Problem


class Examples(NamedTuple):
    """Labelled rows of one task; a batch of tasks has one more leading axis everywhere.

    x:      [N, *input], float32 and already scaled; or a dict of such tensors.
    y:      [N, W], one-hot over the task's W classes, or W regression targets, or W bits that are 0 or 1 each.
    weight: [N], 1 for a row that counts and 0 for padding.
    key:    [], int64; all randomness of the task comes from it. 0 for your own data.
    """

    x: Any
    y: Float[Tensor, "N W"]
    weight: Float[Tensor, "N"]
    key: Int64[Tensor, ""]


class Task(NamedTuple):
    """A support set to adapt to, and a query set on which the adapted predictor is judged."""

    support: Examples
    query: Examples


class About(NamedTuple):
    """What the tasks of a source are, in the words of a protocol line."""

    source: str
    """What the data is called."""
    split: str
    ways: str
    """"5", or "5-20" when drawn per task; "" without classes."""
    shots: str
    """For bits, the length of a sequence."""
    queries: int
    """Query rows per class, or per task without classes; the largest number when it is drawn."""
    seed: int


class TaskShape(NamedTuple):
    """All that a learner must know of the tasks it is made for."""

    problem: str
    """The name of what the tasks ask for."""
    input_shape: tuple[int, ...]
    """The shape of one input row, without any leading axis."""
    outputs: int
    """W, the number of columns of y, at most."""


class TaskSource(Protocol):
    """A distribution of tasks: a pure function of its seed and the step.

    Calling it with a step gives the same batch of T tasks every time, so that any episode can be
    reproduced and a run resumed exactly.
    """

    @property
    def problem(self) -> "Problem":
        """What the tasks ask for, such as `mapwise.Classification()`."""
        ...

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input row, without any leading axis."""
        ...

    @property
    def outputs(self) -> int:
        """W, the number of columns of y: the (largest) number of classes, or of targets, or of bits."""
        ...

    @property
    def about(self) -> About:
        """What the tasks are, for reports."""
        ...

    @property
    def remarks(self) -> Sequence[str]:
        """Remarks about its data for the user, such as duplicates."""
        ...

    def __call__(self, step: int) -> Task:
        """The batch of tasks of this step, its tensors with a leading axis T."""
        ...

    def split(self, name: str) -> "TaskSource":
        """The same source over the classes (or functions) of "train", "val" or "test"."""
        ...

    def with_(self, **changes: Any) -> "TaskSource":
        """The same source with other settings, such as tasks, seed, shots or queries."""
        ...

    def names(self, step: int) -> list[list[str]]:
        """The W class names of each of the T tasks of this step; empty lists without classes."""
        ...


class Source:
    """The settings of a task source that is a frozen dataclass, by their names."""

    def with_(self, **changes: Any) -> Self:
        """The same source with other settings, such as tasks, seed, shots or queries.

        Raises ValueError for a setting it doesn't have, and for a value it refuses.
        """
        known = [field.name for field in fields(self)]  # type: ignore[arg-type]
        for name in changes:
            if name not in known:
                raise ValueError(f"{type(self).__name__} has no setting {name!r}: it has {', '.join(known)}")
        return replace(self, **changes)  # type: ignore[type-var]

    @property
    def remarks(self) -> Sequence[str]:
        """Remarks about its data for the user, such as duplicates."""
        return ()


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
