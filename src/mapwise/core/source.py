"""Sources of tasks: what they are asked, and what they say of themselves."""

import warnings
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple, Protocol, Self

import torch

from mapwise.core.fields import check_fields, quote
from mapwise.core.problem import Problem
from mapwise.core.renamed import renamed
from mapwise.core.spec import Inputs, Spec, plain_shape
from mapwise.core.task import Task


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
    inputs: Inputs
    """What one row is."""
    outputs: int
    """W, the number of columns of y, at most."""


class TaskSource(Protocol):
    """A distribution of tasks: a pure function of its seed and the step.

    Calling it with a step gives the same batch of T tasks every time, so that any episode can be
    reproduced and a run resumed exactly.
    """

    @property
    def problem(self) -> Problem:
        """What the tasks ask for, such as `mapwise.Classification()`."""
        ...

    @property
    def inputs(self) -> Inputs:
        """What one row is: a tensor, or a dict of tensors by name."""
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


@renamed
class Source:
    """The settings of a task source that is a frozen dataclass, by their names."""

    def __post_init__(self) -> None:
        """Raises ValueError for a setting of another type, and for a device that torch doesn't know."""
        check_fields(self)
        device: Any = getattr(self, "device", "cpu")
        try:
            torch.device(device)
        except RuntimeError:
            raise ValueError(f"device is {quote(device)}: give cpu, cuda, or another that torch knows") from None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one row of float32; use `inputs` instead, this goes with the next version."""
        warnings.warn("input_shape is deprecated: read inputs.shape", DeprecationWarning, stacklevel=2)
        return plain_shape(self.inputs, "input_shape")  # type: ignore[attr-defined]

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

    @property
    def class_counts(self) -> tuple[int, int] | None:
        """The number of classes that its tasks are of, and of all classes of its data; None without such."""
        return None


def inputs_of(source: Any) -> Inputs:
    """What one row of a source is; a source of a user's own may still have the `input_shape` of earlier versions."""
    if hasattr(source, "inputs"):
        inputs: Inputs = source.inputs
        return inputs
    message = f"{type(source).__name__} has input_shape, which is deprecated: give it inputs, such as mw.Spec((4,))"
    warnings.warn(message, DeprecationWarning, stacklevel=2)
    return Spec(tuple(source.input_shape))
