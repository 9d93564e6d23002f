"""MAML with learn2learn 0.2, after its example `maml_omniglot.py`."""

import contextlib
import io
import warnings
from collections.abc import Callable

import torch

from benchmarks.peers import Gradient, Problem


def _import_torchvision() -> None:
    """learn2learn imports torchvision, and MAML uses nothing of it.

    Where torchvision's wheel was built for another torch (with CUDA, and torch without), its compiled operators
    don't load and the import stops at their absence: their names are enough for it to go on.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise ImportError(str(error)) from None
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor boxes, Tensor scores, float threshold) -> Tensor")


with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):  # gym tells everyone that it is old
    warnings.simplefilter("ignore")
    _import_torchvision()
    import learn2learn


def meta_gradient(problem: Problem) -> Callable[[], Gradient]:
    """A wrapped module is cloned for every task and adapted by its own method."""
    net, tasks = problem.net, problem.tasks
    maml = learn2learn.algorithms.MAML(net, lr=problem.inner_lr, first_order=problem.first_order)

    def run() -> Gradient:
        net.zero_grad()
        total = torch.zeros((), device=tasks[0][0].device)
        for x, y, query_x, query_y in tasks:
            learner = maml.clone()
            for _ in range(problem.inner_steps):
                learner.adapt(problem.loss(learner(x), y))
            loss = problem.loss(learner(query_x), query_y) / len(tasks)
            loss.backward()
            total += loss.detach()
        return [p.grad for p in net.parameters()], total

    return run
