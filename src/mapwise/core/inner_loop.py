"""The one differentiable inner loop: gradient steps as a function of where they start."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from mapwise.core import tree
from mapwise.core.tree import Tree

Rate: TypeAlias = float | Tensor | Tree | Callable[[int], Any]
"""One number for all, a tree like the point (a number or an array per leaf), or a function of the step."""
StepLoss: TypeAlias = Callable[[Tree, int], Tensor]
"""(point, step) -> a scalar"""


class Rule(Protocol):
    """How a gradient becomes a step."""

    def start(self, point: Tree) -> Tree:
        """The state before the first step."""
        ...

    def step(self, slope: Tree, state: Tree, t: int) -> tuple[Tree, Tree]:
        """What is added to the point at step t (counted from 0), and the next state."""
        ...


@dataclass(frozen=True)
class SGD:
    """Gradient descent, with heavy-ball momentum when asked for (as torch.optim.SGD)."""

    rate: Rate
    momentum: float = 0.0

    def start(self, point: Tree) -> Tree:
        """Zero velocity, if there is momentum."""
        return tree.zeros_like(point) if self.momentum else {}

    def step(self, slope: Tree, state: Tree, t: int) -> tuple[Tree, Tree]:
        """-rate * slope, or -rate * velocity."""
        if self.momentum:
            state = tree.map(lambda v, g: self.momentum * v + g, state, slope)
            slope = state
        return _scaled(slope, self.rate, t), state


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba 2015, algorithm 1), its moments starting afresh."""

    rate: Rate
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def start(self, point: Tree) -> Tree:
        """Zero moments."""
        return {"first": tree.zeros_like(point), "second": tree.zeros_like(point)}

    def step(self, slope: Tree, state: Tree, t: int) -> tuple[Tree, Tree]:
        """-rate * m_hat / (sqrt(v_hat) + epsilon)."""
        b1, b2 = self.beta1, self.beta2
        first = tree.map(lambda m, g: b1 * m + (1 - b1) * g, state["first"], slope)
        second = tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state["second"], slope)

        def towards(m: Tensor, v: Tensor) -> Tensor:
            # The square root's slope at zero is infinite: a coordinate that never moved must not turn into NaN.
            root = torch.sqrt(torch.where(v > 0, v, 1)) * (v > 0)
            direction: Tensor = (m / (1 - b1 ** (t + 1))) / (root / math.sqrt(1 - b2 ** (t + 1)) + self.epsilon)
            return direction

        return _scaled(tree.map(towards, first, second), self.rate, t), {"first": first, "second": second}


def _scaled(step: Tree, rate: Rate, t: int) -> Tree:
    now: Any = rate(t) if callable(rate) else rate
    if isinstance(now, dict):
        return tree.map(lambda g, r: -r * g, step, now)
    return tree.map(lambda g: -now * g, step)


def slope(loss: Callable[[Tree], Tensor], point: Tree, *, first_order: bool = False) -> Tree:
    """The gradient of a scalar loss at a point.

    first_order: the gradient as a constant; no graph for a second derivative is built.
    """
    if first_order:
        value, pull, *_ = torch.func.vjp(loss, tree.detach(point))
        (gradient,) = pull(torch.ones_like(value), retain_graph=False, create_graph=False)
        return tree.detach(gradient)
    return torch.func.grad(loss)(point)  # type: ignore[no-any-return]


def trajectory(loss: StepLoss, point: Tree, rule: Rule, steps: int, *, first_order: bool = False) -> Iterator[Tree]:
    """The points after 1, 2, ... `steps` steps down the loss, differentiable in the starting point."""
    state = rule.start(point)
    for t in range(steps):
        gradient = slope(lambda p, t=t: loss(p, t), point, first_order=first_order)  # type: ignore[misc]
        step, state = rule.step(gradient, state, t)
        point = tree.map(torch.add, point, step)
        yield point


def descend(loss: StepLoss, point: Tree, rule: Rule, steps: int, *, first_order: bool = False) -> Tree:
    """The point after `steps` steps; the starting point itself after none.

    loss:        (point, step) -> a scalar; the step lets a loss walk through mini-batches.
    first_order: gradients enter as constants, so the derivative with respect to the start is the identity's.
    """
    last = point
    for reached in trajectory(loss, point, rule, steps, first_order=first_order):
        last = reached
    return last
