"""Streams: rows in order, each predicted before its label is seen.

A task without query rows is a stream: the rows of its support, in their order.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch.utils import _pytree as pytree

from mapwise.core import context
from mapwise.core.capabilities import Causal
from mapwise.core.scores import Scores
from mapwise.core.task import Examples, Task, reweighted
from mapwise.core.tree import Params

if TYPE_CHECKING:
    from mapwise.core.learner import Learner


def is_stream(task: Task) -> bool:
    """Whether a task, or a batch of them, is a stream."""
    return task.query.weight.numel() == 0


def scored_rows(task: Task) -> Examples:
    """The rows on which a task, or a batch of them, is judged: its queries, or every row of a stream."""
    return task.support if is_stream(task) else task.query


def scores_along(learner: "Learner", params: Params, rows: Examples) -> Scores:
    """The scores of each row of a stream from the rows before it, [N, W].

    In one pass if the learner is `Causal`; otherwise after adapting to every prefix.
    """
    return learner.causal(params, rows) if isinstance(learner, Causal) else after_prefixes(learner, params, rows)


def after_prefixes(learner: "Learner", params: Params, rows: Examples) -> Scores:
    """The same for any learner: later rows get the weight 0."""
    places = torch.arange(len(rows.y), device=rows.y.device)

    def one(place: torch.Tensor) -> Any:
        before = reweighted(rows, places < place)
        row = pytree.tree_map(lambda leaf: leaf.index_select(0, place[None]), rows.x)
        return learner.predict(params, learner.adapt(params, before), row)

    # The whole stream may have no padding, but its prefixes do.
    with context.within(all_rows_count=False):
        try:
            scores = torch.vmap(one)(places)  # [N, 1, W]
        except RuntimeError:
            # An operation without a rule under vmap; a fault of the learner itself is raised by the loop as well.
            each = [one(place) for place in places]
            scores = pytree.tree_map(lambda *leaves: torch.stack(leaves), *each)
    every_row: Scores = pytree.tree_map(lambda leaf: leaf[:, 0], scores)
    return every_row
