"""The one place where a batch of tasks becomes a gradient."""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from mapwise.core import tree
from mapwise.core.learner import Learner
from mapwise.core.map_tasks import How, chunks, map_tasks, tasks_in
from mapwise.core.task import Task
from mapwise.core.tree import Params
from mapwise.engine.aggregate import Aggregate, aggregate_named, mean

Gradient = tuple[Params, Tensor]


def meta_gradient(
    learner: Learner,
    params: Params,
    tasks: Task,
    *,
    how: How | Literal["auto"] = "auto",
    aggregate: str | Aggregate = "mean",
) -> Gradient:
    """The gradient of the weighted objective over a batch of tasks, and the value of that objective.

    tasks:     a batch, every tensor with a leading axis T.
    how:       "vmap", "loop", a number of tasks at a time, or "auto", which measures and takes the fastest.
    aggregate: "mean", or a function from detached losses [T] to weights [T] that sum to one.

    Returns (gradients, loss): gradients have the form of params without its "measured" part, and are
    sum_t weights_t grad L_t; loss is sum_t weights_t L_t.

    Piecewise (loop or chunks) the tasks' graphs are freed one piece after another, so memory does not
    grow with T. Weights that depend on the losses need all of them first: the losses are then computed
    once more beforehand, without a graph.
    """
    if how == "auto":
        how = fastest(learner, params, tasks, aggregate=aggregate)
    weigh = aggregate_named(aggregate)
    pieces = chunks(tasks, how)
    leaves = {path: leaf.detach().requires_grad_() for path, leaf in tree.flatten(_learned(params)).items()}
    live = tree.unflatten(leaves) | {name: params[name] for name in params if name == "measured"}

    def losses_of(piece: Task) -> Tensor:
        losses: Tensor = map_tasks(
            lambda task: learner.objective(live, task), piece, "loop" if how == "loop" else "vmap"
        )
        return losses

    weights = None
    if len(pieces) > 1:
        if weigh is mean:
            weights = mean(torch.empty(tasks_in(tasks), dtype=torch.float64))
        else:
            with torch.no_grad():
                weights = weigh(torch.cat([losses_of(piece) for piece in pieces]).detach())

    total: Tensor | None = None
    gradients: dict[str, Tensor] = {}
    done = 0
    for piece in pieces:
        losses = losses_of(piece)
        share = weigh(losses.detach()) if weights is None else weights[done : done + len(losses)].to(losses)
        done += len(losses)
        loss = (share * losses).sum()
        total = loss.detach() if total is None else total + loss.detach()
        if leaves and loss.requires_grad:
            found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
            for path, gradient in zip(leaves, found, strict=True):
                if gradient is not None:
                    gradients[path] = gradients[path] + gradient if path in gradients else gradient
    assert total is not None
    full = {path: gradients.get(path, torch.zeros_like(leaf)) for path, leaf in leaves.items()}
    return tree.unflatten({path: gradient.detach() for path, gradient in full.items()}), total


def fastest(
    learner: Learner,
    params: Params,
    tasks: Task,
    *,
    aggregate: str | Aggregate = "mean",
    repeats: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> How:
    """The quickest way to map this learner over such a batch, by measuring each on the batch itself.

    A way that fails (an operation without a rule under vmap) is left out; the loop always works.
    """
    total = tasks_in(tasks)
    ways: list[How] = ["loop"]
    if total > 1:
        ways.append("vmap")
    if total > 4:
        ways.append(4)
    medians: dict[How, float] = {}
    for way in ways:
        run = partial(meta_gradient, learner, params, tasks, how=way, aggregate=aggregate)
        try:
            medians[way] = _time(run, repeats, clock)
        except (RuntimeError, ValueError):
            if way == "loop":
                raise
    return min(medians, key=lambda way: medians[way])


def _time(run: Callable[[], object], repeats: int, clock: Callable[[], float]) -> float:
    run()  # the first call pays for caches
    spans = []
    for _ in range(repeats):
        start = clock()
        run()
        _wait()
        spans.append(clock() - start)
    return statistics.median(spans)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _learned(params: Params) -> Params:
    return {name: leaf for name, leaf in params.items() if name != "measured"}
