"""Truncated unrolls: an update of the loop descends the loss of one window of an adaptation, and goes on from its end.

A batch of tasks is kept for as many updates as its adaptation has windows; then comes the next batch.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mapwise.core import context, tree
from mapwise.core.capabilities import Unrolled
from mapwise.core.execution import How, Precision
from mapwise.core.inner_loop import Carry
from mapwise.core.map_tasks import all_count_once, chunks, map_tasks, tasks_in
from mapwise.core.source import TaskSource
from mapwise.core.task import Task
from mapwise.core.tree import Params, Tree
from mapwise.engine.aggregate import Aggregate
from mapwise.engine.optimizer_state import OptimizerState
from mapwise.engine.ranks import Ranks


@dataclass(frozen=True)
class UnrolledState:
    """Params under their optimizer, and where the tasks at hand stand after the last window.

    carry: {} before the first window of a batch; {"point": ..., "state": ...}, each leaf [T, ...].
    """

    inner: OptimizerState
    carry: Tree

    @property
    def params(self) -> Params:
        """The current params."""
        return self.inner.params

    @property
    def rate(self) -> float:
        """Of the step that led here."""
        return self.inner.rate

    def to_file(self) -> tuple[Tree, dict[str, Any]]:
        """Tensors, and everything else as JSON."""
        tensors, about = self.inner.to_file()
        return {**tensors, **({"carry": self.carry} if self.carry else {})}, about

    def of_file(self, tensors: Tree, about: dict[str, Any]) -> "UnrolledState":
        """The state that `to_file` wrote."""
        return UnrolledState(self.inner.of_file(tensors, about), tensors.get("carry", {}))


def check_unrolled(compile: bool, ranks: Ranks) -> None:
    """Raises ValueError for what truncated unrolls don't do."""
    if compile:
        raise ValueError("compile is True and truncated unrolls aren't compiled: leave it out, or set unroll to none")
    if ranks.world > 1:
        raise ValueError(
            f"{ranks.world} processes train together and truncated unrolls are trained by one: take one, or set unroll "
            "to none"
        )


def unrolled_update(
    source: TaskSource,
    at: Callable[[int], Unrolled],
    *,
    how: How,
    aggregate: Aggregate,
    remat: bool = False,
    precision: Precision = "full",
    clip: float | None = None,
) -> Callable[[UnrolledState, int], tuple[UnrolledState, float, int]]:
    """The update of a loop whose step is one window.

    at: step -> the learner at this moment of training.

    Its loss is the mean over the window's steps; what is descended is their sum.
    """

    def update(state: UnrolledState, step: int) -> tuple[UnrolledState, float, int]:
        learner = at(step)
        windows = windows_of(learner)
        batch, place = source(step // windows), step % windows
        gradient, loss, carry = window_gradient(
            learner,
            state.params,
            batch,
            state.carry if place else {},
            place * _window(learner),
            how=how,
            aggregate=aggregate,
            remat=remat,
            precision=precision,
        )
        inner = state.inner.updated(gradient, step, clip)
        return replace(state, inner=inner, carry=carry), float(loss) / _steps(learner, place), tasks_in(batch)

    return update


def windows_of(learner: Unrolled) -> int:
    """The windows of an adaptation; raises ValueError for one without any step."""
    if learner.inner_steps < 1:
        raise ValueError(f"inner_steps is {learner.inner_steps} and unrolls have steps: give 1 or more")
    return math.ceil(learner.inner_steps / _window(learner))


def window_gradient(
    learner: Unrolled,
    params: Params,
    batch: Task,
    carry: Tree,
    first: int,
    *,
    how: How,
    aggregate: Aggregate,
    remat: bool = False,
    precision: Precision = "full",
) -> tuple[Params, Tensor, Tree]:
    """The gradient of one window's loss, weighted over the tasks, its value, and where the tasks stand then.

    carry: where they stood before, as constants: no gradient passes into an earlier window; {} before the first.
    first: the step that the window begins with, counted from 0.
    """
    leaves = {path: leaf.detach().requires_grad_() for path, leaf in tree.flatten(params).items()}
    live = tree.unflatten(leaves)
    pieces = chunks((batch, carry), how)

    def one(piece: tuple[Task, Tree]) -> tuple[Tensor, Tree]:
        task, before = piece
        start = Carry(before["point"], before["state"]) if before else learner.begin(live, task)
        loss, after = learner.window(live, task, start, first, _steps(learner, first // _window(learner)))
        return loss, {"point": after.point, "state": after.state}

    known = all_count_once(batch)
    with torch.enable_grad(), context.within(recomputes=remat, precision=precision, all_rows_count=known):
        outcomes = [map_tasks(one, piece, "loop" if how == "loop" else "vmap") for piece in pieces]  # type: ignore[arg-type]
        losses = torch.cat([losses for losses, _ in outcomes])
        loss = (aggregate(losses.detach()) * losses).sum()
        gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
    after = tree.map(lambda *parts: torch.cat(parts).detach(), *(carry for _, carry in outcomes))
    return tree.unflatten(dict(zip(leaves, gradients, strict=True))), loss.detach(), after


def _window(learner: Unrolled) -> int:
    assert learner.unroll is not None
    return learner.unroll


def _steps(learner: Unrolled, place: int) -> int:
    """The steps of one window: the last has the rest."""
    return min(_window(learner), learner.inner_steps - place * _window(learner))
