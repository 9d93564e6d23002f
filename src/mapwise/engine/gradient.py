"""The one place where a batch of tasks becomes a gradient."""

import contextvars
import math
import os
import statistics
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Literal

import torch
from torch import Tensor

from mapwise.core import context, tree
from mapwise.core.execution import How, Precision
from mapwise.core.fields import quote
from mapwise.core.learner import Learner, check_tasks
from mapwise.core.map_tasks import all_count_once, chunks, map_tasks, tasks_in
from mapwise.core.task import Task
from mapwise.core.tree import Params
from mapwise.engine.aggregate import Aggregate, aggregate_named, mean
from mapwise.engine.compiled import NotCompiled, run_compiled
from mapwise.engine.ranks import ALONE, Ranks
from mapwise.engine.remembered import check_names, remembered_way
from mapwise.engine.settings import Execution

Gradient = tuple[Params, Tensor]


def meta_gradient(
    learner: Learner,
    params: Params,
    tasks: Task,
    *,
    how: How | Literal["auto"] = "auto",
    compile: bool = False,
    remat: bool = False,
    precision: Precision = "full",
    aggregate: str | Aggregate = "mean",
    ranks: Ranks = ALONE,
) -> Gradient:
    """The gradient of the weighted objective over a batch of tasks, and the value of that objective.

    tasks:     a batch, every tensor with a leading axis T.
    how:       "vmap", "loop", a number of tasks at a time, or "auto", which takes the fastest. It is measured once
               for a learner, the form of its inputs and these settings.
    compile:   make one program of it, which takes from seconds to minutes at the first call and pays for
               small networks. Warns, and goes on without, where it can't be made or gives another gradient.
    remat:     keep only each inner step's weights and recompute the step in the backward pass: memory then
               hardly grows with the number of steps, and each costs about two thirds more time.
    precision: "bfloat16" lets nets compute in it (torch.autocast), forward and backward; statistics, distances and
               losses stay in the params' dtype. "full" is the params' dtype throughout.
    aggregate: "mean", "max", "inverse", "pyramid", or a function from detached losses [T] to weights [T] that
               sum to one.
    ranks:     the processes that share the batch; each passes the whole batch and gets the whole gradient.

    Returns (gradients, loss): gradients have the form of params without its "measured" part, and are
    sum_t weights_t grad L_t; loss is sum_t weights_t L_t. They don't depend on how, compile and remat, except
    for rounding.

    Piecewise (loop or chunks) the tasks' graphs are freed one piece after another, so memory does not
    grow with T. Weights that depend on the losses need all of them first: piecewise, or in many processes,
    the losses are then computed once more beforehand, without a graph.

    Raises ValueError for any other setting, for params whose names aren't those of learner.init, and for tasks with a
    label for every token where the learner answers by row alone.
    """
    Execution(how=how, compile=compile, remat=remat, precision=precision)  # checks them
    if not isinstance(ranks, Ranks):
        raise ValueError(f"ranks is {quote(ranks)}: give mapwise.Ranks, or leave it out")
    weigh = aggregate_named(aggregate)
    check_tasks(learner, tasks)
    check_names(learner, params)
    every, tasks = tasks_in(tasks), ranks.share(tasks)
    if how == "auto":
        measure = partial(fastest, learner, params, tasks, aggregate=aggregate, remat=remat, precision=precision)
        quickest: How = ranks.first(lambda: remembered_way(learner, params, tasks, (remat, precision, weigh), measure))
        how = quickest
    pieces = chunks(tasks, how)
    one: How = "loop" if how == "loop" else "vmap"
    whole = all_count_once(tasks)  # looked at here, since a compiled program can't look

    def gradient_of(piece: Task, share: Tensor | None) -> Gradient:
        run: Callable[..., Gradient] = partial(_piece, learner, one, remat, weigh)
        if compile:
            try:
                if learner.uncompiled:
                    raise NotCompiled(f"{type(learner).__name__} isn't compiled, since {learner.uncompiled}")
                owner = (learner, one, remat, weigh, whole, precision)
                gradient: Gradient = run_compiled(run, owner, params, piece, share)
                return gradient
            except NotCompiled as reason:
                warnings.warn(f"{reason}, so it runs uncompiled", RuntimeWarning, stacklevel=3)
        return run(params, piece, share)

    with context.within(all_rows_count=whole, precision=precision):
        weights = None
        if weigh is mean:
            weights = ranks.share(mean(torch.empty(every, dtype=torch.float64)))
        elif len(pieces) > 1 or ranks.world > 1:
            with torch.no_grad():
                losses = torch.cat([_losses(learner, params, piece, one) for piece in pieces])
                weights = ranks.share(weigh(ranks.gather(losses)))
        sizes = [tasks_in(piece) for piece in pieces]
        shares = [None] * len(pieces) if weights is None else torch.split(weights, sizes)
        # A compiled program has its threads inside, and is made for their number.
        work = map(gradient_of, pieces, shares) if compile else _side_by_side(gradient_of, pieces, shares)
        (gradients, total), *others = work
    for gradient, loss in others:
        gradients, total = tree.map(torch.add, gradients, gradient), total + loss
    leaves = tree.flatten(gradients)
    *summed, total = ranks.sum([*leaves.values(), total])
    return tree.unflatten(dict(zip(leaves, summed, strict=True))), total


def _side_by_side(
    function: Callable[[Task, Tensor | None], Gradient], pieces: list[Task], shares: Sequence[Tensor | None]
) -> list[Gradient]:
    """function(piece, share) of each; on a CPU as many at a time as torch has threads, each on one thread.

    One task is too little work for several threads; several tasks are enough. Sums inside a piece are in the order
    of one thread, and pieces are added up in their order, so the bits don't depend on which piece was finished first.

    Sets torch's number of threads to one in its worker threads, or process-wide where a library has only one number.
    The number is restored when this returns or raises, and callers in several threads take turns.
    """
    if torch.get_num_threads() == 1 or len(pieces) == 1 or pieces[0].query.y.device.type != "cpu":
        return [function(piece, share) for piece, share in zip(pieces, shares, strict=True)]
    with _turn:
        threads, futures = torch.get_num_threads(), []
        try:
            # Each in its own copy of the context, in which layers find whether all rows count.
            for piece, share in zip(pieces, shares, strict=True):
                run = contextvars.copy_context().run
                futures.append(_pool(threads, os.getpid()).submit(run, function, piece, share))
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()
            wait(futures)
            torch.set_num_threads(threads)


_turn = threading.Lock()


@lru_cache(maxsize=1)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Threads that are reused from step to step; a forked process makes its own."""
    return ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))


def _losses(learner: Learner, params: Params, piece: Task, how: How) -> Tensor:
    losses: Tensor = map_tasks(lambda task: learner.objective(params, task), piece, how)
    return losses


def _piece(
    learner: Learner, how: How, remat: bool, weigh: Aggregate, params: Params, piece: Task, share: Tensor | None
) -> Gradient:
    """The gradient and the value of one piece's part of the weighted sum; share: its tasks' weights, where known."""
    leaves = {path: leaf.detach().requires_grad_() for path, leaf in tree.flatten(_learned(params)).items()}
    live = tree.unflatten(leaves) | {name: params[name] for name in params if name == "measured"}
    with torch.enable_grad(), context.within(recomputes=remat):
        losses = _losses(learner, live, piece, how)
        loss = ((weigh(losses.detach()) if share is None else share.to(losses)) * losses).sum()
        gradients: tuple[Tensor | None, ...] = (None,) * len(leaves)
        if leaves and loss.requires_grad:
            gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    pairs = zip(leaves.items(), gradients, strict=True)
    full = {path: torch.zeros_like(leaf) if gradient is None else gradient.detach() for (path, leaf), gradient in pairs}
    return tree.unflatten(full), loss.detach()


@dataclass(frozen=True)
class Compilation:
    """The cost and the gain of compiling a meta-gradient, in seconds."""

    once: float
    """Of the compilation."""
    uncompiled: float
    """Of a meta-gradient."""
    compiled: float

    @property
    def pays_after(self) -> int | None:
        """Steps after which the time is won back; None: never."""
        won = self.uncompiled - self.compiled
        return math.ceil(self.once / won) if won > 0 else None


def compilation(
    learner: Learner,
    params: Params,
    tasks: Task,
    *,
    how: How,
    remat: bool = False,
    precision: Precision = "full",
    aggregate: str | Aggregate = "mean",
    clock: Callable[[], float] = time.perf_counter,
) -> Compilation:
    """Compile the meta-gradient of such a batch now, and measure the gain.

    Raises NotCompiled, with the reason, when it can't be compiled.
    """
    run = partial(meta_gradient, learner, params, tasks, how=how, remat=remat, precision=precision, aggregate=aggregate)
    uncompiled = seconds(run, clock=clock)
    start = clock()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            run(compile=True)
        except RuntimeWarning as reason:
            raise NotCompiled(str(reason)) from None
    _wait()
    return Compilation(clock() - start, uncompiled, seconds(partial(run, compile=True), clock=clock))


def fastest(
    learner: Learner,
    params: Params,
    tasks: Task,
    *,
    aggregate: str | Aggregate = "mean",
    remat: bool = False,
    precision: Precision = "full",
    repeats: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> How:
    """The fastest way to map this learner over such a batch, measured on the batch itself.

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
        run = partial(
            meta_gradient, learner, params, tasks, how=way, aggregate=aggregate, remat=remat, precision=precision
        )
        try:
            medians[way] = seconds(run, repeats, clock)
        except (RuntimeError, ValueError):
            if way == "loop":
                raise
    return min(medians, key=lambda way: medians[way])


def seconds(run: Callable[[], object], repeats: int = 3, clock: Callable[[], float] = time.perf_counter) -> float:
    """The median time of a call, after one that pays for caches."""
    run()
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
