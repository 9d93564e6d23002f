"""mapwise as a contender: a batch of tasks becomes a gradient."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

import mapwise as mw
from benchmarks.side_by_side import CLOCKS
from mapwise.core import tree
from mapwise.core.execution import How
from mapwise.core.learner import Learner
from mapwise.core.task import Task
from mapwise.core.tree import Params
from mapwise.engine.gradient import fastest


def ours(
    learner: Learner, params: Params, tasks: Task, *, how: How, **options: Any
) -> Callable[[], tuple[list[Tensor], Tensor]]:
    """A function that computes the gradients, in the order of params, and the loss.

    options: compile, remat.
    """

    def run() -> tuple[list[Tensor], Tensor]:
        gradients, loss = mw.meta_gradient(learner, params, tasks, how=how, **options)
        return list(tree.flatten(gradients).values()), loss

    return run


def chosen(learner: Learner, params: Params, tasks: Task, *, clock: str = "wall") -> How:
    """How training would map such a batch, measured once."""
    return fastest(learner, params, tasks, clock=CLOCKS[clock])
