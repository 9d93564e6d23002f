"""MAML with TorchOpt 0.7, after its examples `few-shot/maml_omniglot.py` (MetaSGD) and its functional interface."""

from collections.abc import Callable

import torch
import torchopt

from benchmarks.peers import Gradient, Problem


def meta_gradient(problem: Problem) -> Callable[[], Gradient]:
    """MetaSGD, which always keeps the graph; in first order the functional optimizer, which need not."""
    return _first_order(problem) if problem.first_order else _second_order(problem)


def _second_order(problem: Problem) -> Callable[[], Gradient]:
    net, tasks = problem.net, problem.tasks
    inner = torchopt.MetaSGD(net, lr=problem.inner_lr)
    leaves = list(net.parameters())

    def run() -> Gradient:
        net.zero_grad()
        total = torch.zeros((), device=tasks[0][0].device)
        start = torchopt.extract_state_dict(net, by="reference", detach_buffers=True)
        state = torchopt.extract_state_dict(inner, by="reference")
        for x, y, query_x, query_y in tasks:
            for _ in range(problem.inner_steps):
                inner.step(problem.loss(net(x), y))
            loss = problem.loss(net(query_x), query_y) / len(tasks)
            torchopt.recover_state_dict(net, start)
            torchopt.recover_state_dict(inner, state)
            # The example adds up the losses and goes backward once: by task it needs less memory and no more time.
            loss.backward()
            total += loss.detach()
        return [p.grad for p in leaves], total

    return run


def _first_order(problem: Problem) -> Callable[[], Gradient]:
    net, tasks = problem.net, problem.tasks
    names = [name for name, _ in net.named_parameters()]
    leaves = tuple(net.parameters())
    rule = torchopt.sgd(lr=problem.inner_lr)

    def forward(params: tuple[torch.Tensor, ...], x: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(net, dict(zip(names, params, strict=True)), (x,))

    def run() -> Gradient:
        net.zero_grad()
        total = torch.zeros((), device=tasks[0][0].device)
        for x, y, query_x, query_y in tasks:
            params, state = leaves, rule.init(leaves)
            for _ in range(problem.inner_steps):
                gradients = torch.autograd.grad(problem.loss(forward(params, x), y), params)
                updates, state = rule.update(gradients, state, inplace=False)
                params = torchopt.apply_updates(params, updates, inplace=False)
            loss = problem.loss(forward(params, query_x), query_y) / len(tasks)
            loss.backward()
            total += loss.detach()
        return [p.grad for p in leaves], total

    return run
