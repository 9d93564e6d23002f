"""Plain PyTorch: the nets every peer is given, the floor, and the methods as one writes them by hand."""

import copy
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.peers import Gradient, Problem

Order = Literal["relu, pool", "pool, relu"]


def mlp(inputs: int, outputs: int, hidden: Sequence[int]) -> nn.Module:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for units in hidden:
        layers += [nn.Linear(inputs, units), nn.ReLU()]
        inputs = units
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


def conv4(
    channels: int, outputs: int | None, *, filters: int, features: int, order: Order, channels_last: bool
) -> nn.Module:
    """Four blocks of convolution, batch norm of the rows at hand, ReLU and 2x2 maxima, in either order of the two."""
    layers: list[nn.Module] = []
    for _ in range(4):
        layers += [
            # No bias: the norm's shift takes its place.
            nn.Conv2d(channels, filters, 3, padding=1, bias=False),
            nn.BatchNorm2d(filters, track_running_stats=False),
            *((nn.ReLU(), nn.MaxPool2d(2)) if order == "relu, pool" else (nn.MaxPool2d(2), nn.ReLU())),
        ]
        channels = filters
    layers.append(nn.Flatten())
    if outputs is not None:
        layers.append(nn.Linear(features, outputs))
    net = nn.Sequential(*layers)
    return net.to(memory_format=torch.channels_last) if channels_last else net


def with_weights(net: nn.Module, leaves: Sequence[Tensor]) -> nn.Module:
    """A copy of the net, of the leaves' type and place, with these weights."""
    net = copy.deepcopy(net).to(leaves[0])
    with torch.no_grad():
        for p, leaf in zip(net.parameters(), leaves, strict=True):
            assert p.shape == leaf.shape
            p.copy_(leaf)
    return net


def floor(problem: Problem) -> Callable[[], Gradient]:
    """One forward and backward pass, as one batch with shared weights, over the rows that a meta-step sees.

    Those are, of every task, its support once for each inner step, and its query.
    """
    xs, ys = [], []
    for x, y, query_x, query_y in problem.tasks:
        xs += [x] * problem.inner_steps + [query_x]
        ys += [y] * problem.inner_steps + [query_y]
    x, y = torch.cat(xs), torch.cat(ys)
    if any(p.dim() == 4 and p.is_contiguous(memory_format=torch.channels_last) for p in problem.net.parameters()):
        x = x.contiguous(memory_format=torch.channels_last)
    return forward_backward(problem.net, problem.loss, x, y)


def forward_backward(
    net: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor
) -> Callable[[], Gradient]:
    """One pass forward and back."""

    def run() -> Gradient:
        net.zero_grad()
        value = loss(net(x), y)
        value.backward()
        return [p.grad for p in net.parameters()], value.detach()

    return run


def rows_of(problem: Problem) -> int:
    """How many rows a meta-step sees."""
    return sum(len(x) * problem.inner_steps + len(query_x) for x, _, query_x, _ in problem.tasks)


def protonet(net: nn.Module, tasks: Sequence[tuple[Tensor, Tensor, Tensor, Tensor]]) -> Callable[[], Gradient]:
    """ProtoNet for one support row or more a class, the classes in order: class means, and squared distances."""

    def run() -> Gradient:
        net.zero_grad()
        total = torch.zeros((), device=tasks[0][0].device)
        for x, y, query_x, query_y in tasks:
            scores = protonet_scores(net(x), y, net(query_x))
            loss = F.cross_entropy(scores, query_y) / len(tasks)
            loss.backward()
            total += loss.detach()
        return [p.grad for p in net.parameters()], total

    return run


def protonet_scores(z: Tensor, y: Tensor, query_z: Tensor) -> Tensor:
    """Minus the squared distance of every query to the mean of every class, [Q, W]."""
    ways = int(y.max()) + 1
    prototypes = torch.stack([z[y == c].mean(0) for c in range(ways)])
    return -((query_z[:, None] - prototypes[None]) ** 2).sum(-1)


def adapted(net: nn.Module, x: Tensor, y: Tensor, *, steps: int, lr: float) -> nn.Module:
    """A copy of the net after some steps of SGD on the support: how one adapts when nothing is to be differentiated."""
    net = copy.deepcopy(net)
    inner = torch.optim.SGD(net.parameters(), lr=lr)
    for _ in range(steps):
        inner.zero_grad()
        F.cross_entropy(net(x), y).backward()
        inner.step()
    return net
