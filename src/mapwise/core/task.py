"""Tasks: a few labelled rows to learn from, and rows to be judged on.

The letters used in every shape of the library:

    T  tasks in a batch        S  support rows of a task      Q  query rows of a task
    N  rows, of either kind    W  classes of a task, or regression targets, or bits
    D  length of an embedding  L  tokens of a row
"""

import warnings
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

from jaxtyping import Float, Int64
from torch import Tensor
from torch.utils import _pytree as pytree

from mapwise.core.renamed import renamed
from mapwise.core.spec import Inputs, Spec, plain_shape

if TYPE_CHECKING:
    from mapwise.core.problem import Problem


class Examples(NamedTuple):
    """Labelled rows of one task; a batch of tasks has one more leading axis everywhere.

    x:      [N, *input]: real numbers, already scaled, or integers such as token ids; or a dict of such tensors.
    y:      [N, W], one-hot over the task's W classes, or W regression targets, or W bits that are 0 or 1 each;
            [N, L, W] where every token of a row has a label.
    weight: [N], 1 for a row that counts and 0 for padding; [N, L] for tokens, whose labels 0 masks. It says nothing
            of x: what a network is to make of padding, x itself must say.
    key:    [], int64; all randomness of the task comes from it. 0 for your own data.
    """

    x: Any
    y: Float[Tensor, "N *L W"]
    weight: Float[Tensor, "N *L"]
    key: Int64[Tensor, ""]


class Task(NamedTuple):
    """A support set to adapt to, and a query set on which the adapted predictor is judged."""

    support: Examples
    query: Examples


def present_classes(support: Examples) -> Float[Tensor, "W"]:
    """1 for a class with a support row (or token) that counts, else 0."""
    rows = by_token(support)
    return ((rows.y * rows.weight[:, None]).sum(0) > 0).to(rows.weight.dtype)


def by_token(rows: Examples) -> Examples:
    """The labels of one task with a row for every token: y [N * L, W] and weight [N * L]; x stays as it is.

    Rows with one label each stay as they are.
    """
    return rows._replace(y=rows.y.flatten(0, -2), weight=rows.weight.flatten())


def row_weight(weight: Float[Tensor, "N *L"]) -> Float[Tensor, "N"]:
    """How often each row counts: as often as the token that counts most."""
    return weight if weight.dim() == 1 else weight.flatten(1).amax(1)


def reweighted(rows: Examples, factor: Float[Tensor, "N"]) -> Examples:
    """The rows, each with its weight times a factor."""
    return rows._replace(weight=(rows.weight.movedim(0, -1) * factor).movedim(-1, 0))


def rows_at(x: Any, places: Any) -> Any:
    """Some rows of a tensor, or of every tensor of a dict."""
    return pytree.tree_map(lambda leaf: leaf[places], x)


def counted_inputs(rows: Examples) -> Any:
    """The inputs of the rows that count, those of all tasks of a batch one after another."""
    counted = row_weight(rows.weight.flatten(0, 1)) > 0
    return pytree.tree_map(lambda leaf: leaf.flatten(0, 1)[counted], rows.x)


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
    def problem(self) -> "Problem":
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


def inputs_of(source: Any) -> Inputs:
    """What one row of a source is; a source of a user's own may still have the `input_shape` of earlier versions."""
    if hasattr(source, "inputs"):
        inputs: Inputs = source.inputs
        return inputs
    message = f"{type(source).__name__} has input_shape, which is deprecated: give it inputs, such as mw.Spec((4,))"
    warnings.warn(message, DeprecationWarning, stacklevel=2)
    return Spec(tuple(source.input_shape))
