"""Tasks: a few labelled rows to learn from, and rows to be judged on.

The letters used in every shape of the library:

    T  tasks in a batch        S  support rows of a task      Q  query rows of a task
    N  rows, of either kind    W  classes of a task, or regression targets, or bits
    D  length of an embedding  L  tokens of a row
"""

from typing import Any, NamedTuple

from jaxtyping import Float, Int64
from torch import Tensor
from torch.utils import _pytree as pytree


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
    return rows if rows.y.dim() == 2 else rows._replace(y=rows.y.flatten(0, -2), weight=rows.weight.flatten())


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


def __getattr__(name: str) -> Any:
    from mapwise.core.renamed import moved  # here, since all of core stands on this file

    return moved(__name__)(name)
