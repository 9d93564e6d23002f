"""MAML with higher 0.2, after its example `maml-omniglot.py`: the meta-gradient is accumulated task by task."""

from collections.abc import Callable

import higher
import torch

from benchmarks.peers import Gradient, Problem


def meta_gradient(problem: Problem) -> Callable[[], Gradient]:
    """The optimizer is patched to be differentiable; in first order it is run in its test mode."""
    net, tasks = problem.net, problem.tasks
    inner = torch.optim.SGD(net.parameters(), lr=problem.inner_lr)

    def run() -> Gradient:
        net.zero_grad()
        total = torch.zeros((), device=tasks[0][0].device)
        for x, y, query_x, query_y in tasks:
            with higher.innerloop_ctx(
                net, inner, copy_initial_weights=False, track_higher_grads=not problem.first_order
            ) as (fast, step):
                for _ in range(problem.inner_steps):
                    step.step(problem.loss(fast(x), y))
                loss = problem.loss(fast(query_x), query_y) / len(tasks)
                if problem.first_order:
                    # The last weights are leaves in test mode: their gradient is the first-order one.
                    result = torch.autograd.grad(loss, list(fast.parameters()))
                    for p, gradient in zip(net.parameters(), result, strict=True):
                        p.grad = gradient if p.grad is None else p.grad + gradient
                else:
                    loss.backward()
            total += loss.detach()
        return [p.grad for p in net.parameters()], total

    return run
