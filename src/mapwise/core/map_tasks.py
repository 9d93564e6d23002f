"""Apply a function written for one task to every task of a batch."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _pytree as pytree

from mapwise.core import context
from mapwise.core.execution import How
from mapwise.core.task import Task


def tasks_in(batch: Any) -> int:
    """T, the leading axis of a batch."""
    leaf = batch
    while not isinstance(leaf, torch.Tensor):
        leaf = next(iter(leaf.values() if isinstance(leaf, dict) else leaf))
    return int(leaf.shape[0])


def task_at(batch: Any, index: int) -> Any:
    """One task of a batch, without the leading axis."""
    return pytree.tree_map(lambda leaf: leaf[index], batch)


def chunks(batch: Any, how: How) -> list[Any]:
    """The batch cut into the pieces that are computed together, each with its leading axis."""
    total = tasks_in(batch)
    size = {"vmap": total, "loop": 1}.get(how, how) if isinstance(how, str) else how
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"how is {how!r}: give 'vmap', 'loop', or the number of tasks to do at a time")
    if size >= total:
        return [batch]
    return [pytree.tree_map(lambda leaf, i=i: leaf[i : i + size], batch) for i in range(0, total, size)]


def map_tasks(function: Callable[[Task], Any], batch: Task, how: How = "vmap") -> Any:
    """function(task) for every task of the batch, results stacked along a leading axis T.

    how: "vmap" (all tasks as one computation), "loop" (one after another), or an int (chunks).
         The results are the same; memory and speed differ.

    >>> map_tasks(lambda task: task.query.y.sum(), batch).shape
    torch.Size([4])
    """
    known = context.current().all_rows_count
    with context.within(all_rows_count=all_count_once(batch) if known is None else known):
        pieces = [
            _alone(function, piece) if how == "loop" else _together(function, piece) for piece in chunks(batch, how)
        ]
    return pieces[0] if len(pieces) == 1 else pytree.tree_map(lambda *leaves: torch.cat(leaves), *pieces)


def all_count_once(batch: Task) -> bool:
    """Whether every row of every task has the weight 1."""
    return bool((batch.support.weight == 1).all() & (batch.query.weight == 1).all())


def _together(function: Callable[[Task], Any], piece: Task) -> Any:
    return torch.vmap(function)(piece)


def _alone(function: Callable[[Task], Any], piece: Task) -> Any:
    return pytree.tree_map(lambda leaf: leaf[None], function(task_at(piece, 0)))
