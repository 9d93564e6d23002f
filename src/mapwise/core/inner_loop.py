"""The one differentiable inner loop: gradient steps as a function of where they start."""

import contextvars
import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Protocol, Self, TypeAlias

import torch
from torch import Tensor
from torch._C._functorch import peek_interpreter_stack
from torch.autograd import Function
from torch.utils import _pytree as pytree

from mapwise.core import context, tree
from mapwise.core.tree import Tree

Rate: TypeAlias = float | Tensor | Tree | Callable[[int], Any]
"""One number for all leaves, a tree like the point (a number or an array per leaf), or a function of the step."""
StepLoss: TypeAlias = Callable[..., Tensor]
"""(point, step, *given) -> a scalar"""


class Carry(NamedTuple):
    """What one step hands to the next."""

    point: Tree
    state: Tree
    """Of the rule."""


class Rule(Protocol):
    """How a gradient becomes a step."""

    deep: ClassVar[bool]
    """Whether a step has a large graph of its own, worth recomputing even where gradients are constants."""

    def at(self, t: int) -> Self:
        """The rule of step t, its rates numbers or tensors; it must be a pytree of torch's, so that they are seen."""
        ...

    def start(self, point: Tree) -> Tree:
        """The state before the first step."""
        ...

    def step(self, point: Tree, gradient: Tree, state: Tree, t: int, value: Tensor) -> tuple[Tree, Tree]:
        """The point and the state after step t (counted from 0), given the gradient and the value of the loss."""
        ...


@tree.register_dataclass  # so that a step sees the rates it is a function of
@dataclass(frozen=True)
class SGD:
    """Gradient descent, with heavy-ball momentum when asked for (as torch.optim.SGD)."""

    deep: ClassVar[bool] = False
    rate: Rate
    momentum: float = 0.0

    def at(self, t: int) -> Self:
        """With the rate of step t."""
        return replace(self, rate=self.rate(t)) if callable(self.rate) else self

    def start(self, point: Tree) -> Tree:
        """Zero velocity, if there is momentum."""
        return tree.zeros_like(point) if self.momentum else {}

    def step(self, point: Tree, gradient: Tree, state: Tree, t: int, value: Tensor) -> tuple[Tree, Tree]:
        """point - rate * gradient, or point - rate * velocity."""
        if self.momentum:
            state = tree.map(lambda v, g: self.momentum * v + g, state, gradient)
            gradient = state
        return _step_along(point, gradient, self.rate), state


@tree.register_dataclass  # so that a step sees the rates it is a function of
@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba 2015, algorithm 1), its moments starting afresh."""

    deep: ClassVar[bool] = False
    rate: Rate
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def at(self, t: int) -> Self:
        """With the rate of step t."""
        return replace(self, rate=self.rate(t)) if callable(self.rate) else self

    def start(self, point: Tree) -> Tree:
        """Zero moments."""
        return {"first": tree.zeros_like(point), "second": tree.zeros_like(point)}

    def step(self, point: Tree, gradient: Tree, state: Tree, t: int, value: Tensor) -> tuple[Tree, Tree]:
        """point - rate * m_hat / (sqrt(v_hat) + epsilon)."""
        b1, b2 = self.beta1, self.beta2
        first = tree.map(lambda m, g: torch.lerp(m, g, 1 - b1), state["first"], gradient)
        second = tree.map(lambda v, g: torch.addcmul(b2 * v, g, g, value=1 - b2), state["second"], gradient)
        # The corrections of both moments are a factor of the rate, a number, and not of large tensors.
        root_correction = math.sqrt(1 - b2 ** (t + 1))
        factor, epsilon = root_correction / (1 - b1 ** (t + 1)), self.epsilon * root_correction
        direction = tree.map(lambda m, v: m / (_root(v) + epsilon), first, second)
        rate: Any = self.rate
        rate = tree.map(lambda r: r * factor, rate) if isinstance(rate, dict) else rate * factor
        return _step_along(point, direction, rate), {"first": first, "second": second}


def _root(v: Tensor) -> Tensor:
    """The square root, whose derivative at zero is infinite: a coordinate that never moved must not turn into NaN."""
    if not torch.is_grad_enabled():
        return v.sqrt()
    return torch.sqrt(torch.where(v > 0, v, 1)) * (v > 0)


def _step_along(point: Tree, direction: Tree, rate: Any) -> Tree:
    """point - rate * direction, in one operation a leaf."""
    if isinstance(rate, dict):
        return tree.map(lambda p, d, r: torch.addcmul(p, d, r, value=-1), point, direction, rate)
    if isinstance(rate, Tensor):
        return tree.map(lambda p, d: torch.addcmul(p, d, rate, value=-1), point, direction)
    # Not a sum with alpha=-rate: torch's compiler fuses it with a matrix product and drops alpha (decision 0037).
    return tree.map(lambda p, d: torch.sub(p, d, alpha=rate), point, direction)


def gradient(loss: Callable[[Tree], Tensor], point: Tree, *, first_order: bool = False) -> Tree:
    """The gradient of a scalar loss at a point.

    first_order: the gradient as a constant; no graph for a second derivative is built.
    """
    return value_and_gradient(loss, point, first_order=first_order)[1]


def value_and_gradient(
    loss: Callable[[Tree], Tensor], point: Tree, *, first_order: bool = False
) -> tuple[Tensor, Tree]:
    """A scalar loss at a point, and its gradient there; both are constants in first order."""
    constant = first_order or not torch.is_grad_enabled()
    if peek_interpreter_stack() is None and (constant or any(leaf.requires_grad for leaf in pytree.tree_leaves(point))):
        return _gradient_of_graph(loss, point, constant)
    if first_order:
        value, pull, *_ = torch.func.vjp(loss, tree.detach(point))
        (gradient,) = pull(torch.ones_like(value), retain_graph=False, create_graph=False)
        return value.detach(), tree.detach(gradient)
    gradient, value = torch.func.grad_and_value(loss)(point)
    return value, gradient


def _gradient_of_graph(loss: Callable[[Tree], Tensor], point: Tree, constant: bool) -> tuple[Tensor, Tree]:
    """The same by autograd's plain graph, outside every transform of torch.func: a tenth faster."""
    # A pytree and not a flat dict: a branch without leaves must be there for the loss, too.
    leaves, form = pytree.tree_flatten(point)
    # A view is a place of its own in the graph: a leaf may be a function of another one (a head made from the
    # body's features), and the gradient along the other must not pass through it.
    live = [
        leaf.detach().requires_grad_() if constant or not leaf.requires_grad else leaf.view_as(leaf) for leaf in leaves
    ]
    with torch.enable_grad():
        value = loss(pytree.tree_unflatten(live, form))
        own_value = value.detach() if constant else value
        if not (live and value.requires_grad):
            return own_value, tree.zeros_like(point)
        gradients = torch.autograd.grad(
            value, live, create_graph=not constant, allow_unused=True, materialize_grads=True
        )
    return own_value, pytree.tree_unflatten(gradients, form)


def curvature(loss: Callable[..., Tensor], point: Tree, vector: Tree, *, given: tuple[Any, ...] = ()) -> Tree:
    """The Hessian-vector product of a scalar loss at a point, as a constant.

    loss:  (point, *given) -> a scalar.
    given: all other tensors that the loss uses, as in `descend`.

    Costs about two gradients; the Hessian is not formed.
    """
    ends, form = pytree.tree_flatten((point, given))
    places = [i for i, leaf in enumerate(ends) if isinstance(leaf, Tensor)]
    along, like = pytree.tree_flatten(tree.map(lambda _, v: v, point, vector))  # in the order of the point

    def flat(*tensors: Tensor) -> Tensor:
        filled = list(ends)
        for i, tensor in zip(places, tensors, strict=True):
            filled[i] = tensor
        here, rest = pytree.tree_unflatten(filled, form)
        value: Tensor = loss(here, *rest)
        return value

    tensors = [tensor.detach() for tensor in (*along, *(ends[i] for i in places))]
    products = _Curvature.apply(flat, len(along), *tensors)  # type: ignore[no-untyped-call]
    return pytree.tree_unflatten(list(products), like)  # type: ignore[no-any-return]


class _Curvature(Function):
    @staticmethod
    def forward(loss: Callable[..., Tensor], count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        vector, point, given = tensors[:count], tensors[count : 2 * count], tensors[2 * count :]
        ask: dict[str, Any] = {"allow_unused": True, "materialize_grads": True}
        with torch.enable_grad():
            live = [leaf.detach().requires_grad_() for leaf in point]
            value = loss(*live, *given)
            gradients = torch.autograd.grad(value, live, create_graph=True, **ask) if value.requires_grad else ()
            # The gradient along a leaf in which the loss is linear, or absent, is a constant without a graph.
            bent = [i for i, gradient in enumerate(gradients) if gradient.requires_grad]
            if not bent:
                return tuple(torch.zeros_like(leaf) for leaf in point)
            return torch.autograd.grad([gradients[i] for i in bent], live, [vector[i] for i in bent], **ask)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(*output)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], loss: Any, count: int, *tensors: Tensor) -> Any:
        # Tasks don't mix in the second derivative of the sum of their losses. So only the loss is mapped, and it is
        # differentiated outside of the map: convolutions and their maxima can't be differentiated twice within.
        spread = [
            tensor.expand(info.batch_size, *tensor.shape) if axis is None else tensor.movedim(axis, 0)
            for tensor, axis in zip(tensors, in_dims[2:], strict=True)
        ]

        def summed(*each: Tensor) -> Tensor:
            losses: Tensor = torch.vmap(loss)(*each)
            return losses.sum()

        products = _Curvature.apply(summed, count, *spread)  # type: ignore[no-untyped-call]
        return products, (0,) * count


def trajectory(
    loss: StepLoss, point: Tree, rule: Rule, steps: int, *, given: tuple[Any, ...] = (), first_order: bool = False
) -> Iterator[Tree]:
    """The points after 1, 2, ... `steps` steps on the loss; see `descend`."""
    carry = Carry(point, rule.start(point))
    for reached in walk(loss, carry, rule, range(steps), given=given, first_order=first_order):
        yield reached.point


def walk(
    loss: StepLoss,
    carry: Carry,
    rule: Rule,
    steps: range,
    *,
    given: tuple[Any, ...] = (),
    first_order: bool = False,
) -> Iterator[Carry]:
    """What each of these steps hands to the next, from what an earlier one handed on; see `descend`.

    steps: their numbers, counted from 0 where the descent began.
    """
    point, state = carry
    again = context.current().recomputes and (rule.deep or not first_order)
    if again:
        _closes_over_no_tensor(loss)
    for t in steps:

        def step(point: Tree, state: Tree, rule: Rule, given: tuple[Any, ...], t: int = t) -> tuple[Tree, Tree]:
            value, gradient = value_and_gradient(lambda p: loss(p, t, *given), point, first_order=first_order)
            return rule.step(point, gradient, state, t, value)

        take = recomputed(step) if again else step
        point, state = take(point, state, rule.at(t), given)
        yield Carry(point, state)


def descend(
    loss: StepLoss, point: Tree, rule: Rule, steps: int, *, given: tuple[Any, ...] = (), first_order: bool = False
) -> Tree:
    """The point after `steps` steps, differentiable in the start, the rates and `given`.

    loss:        (point, step, *given) -> a scalar; the step lets a loss go through mini-batches.
    given:       all other tensors that the loss uses: weights that don't move, the support rows. A tensor that a
                 loss only closes over gets no gradient when steps are recomputed.
    first_order: gradients enter as constants, so the derivative with respect to the start is the identity's.

    Returns the starting point itself for zero steps.
    """
    last = point
    for reached in trajectory(loss, point, rule, steps, given=given, first_order=first_order):
        last = reached
    return last


def replay(
    loss: StepLoss, point: Tree, rule: Rule, steps: int, *, given: tuple[Any, ...] = ()
) -> Callable[[Tree, Rule], Iterator[Tree]]:
    """The steps of a first-order `trajectory` as a function of their start and their rule.

    Losses and gradients are constants, those of the steps from `point`. The gradient of a first-order learner is by
    definition that of such a function (Learner.surrogate).
    """
    points = [point, *trajectory(loss, point, rule, steps, given=given, first_order=True)]
    seen = [
        value_and_gradient(lambda p, t=t: loss(p, t, *given), at, first_order=True)  # type: ignore[misc]
        for t, at in enumerate(points[:-1])
    ]

    def again(point: Tree, rule: Rule) -> Iterator[Tree]:
        state = rule.start(point)
        for t, (value, gradient) in enumerate(seen):
            point, state = rule.at(t).step(point, gradient, state, t, value)
            yield point

    return again


def recomputed(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function of trees, recomputed in the backward pass: only its arguments are kept.

    The gradient reaches the tensors of the arguments, but none that the function closes over.
    """

    def call(*arguments: Any) -> Any:
        leaves, form = pytree.tree_flatten(arguments)
        live = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        out_form: list[Any] = []

        def flat(*tensors: Tensor) -> tuple[Tensor, ...]:
            filled = list(leaves)
            for i, tensor in zip(live, tensors, strict=True):
                filled[i] = tensor
            out_leaves, own_form = pytree.tree_flatten(function(*pytree.tree_unflatten(filled, form)))
            out_form[:] = [own_form]
            return tuple(out_leaves)

        tensors = [leaves[i] for i in live]
        outputs = _Recomputed.apply(flat, contextvars.copy_context(), *tensors)  # type: ignore[no-untyped-call]
        return pytree.tree_unflatten(list(outputs), out_form[0])

    return call


def _closes_over_no_tensor(loss: StepLoss) -> None:
    for name, value in inspect.getclosurevars(loss).nonlocals.items() if inspect.isfunction(loss) else ():
        if any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(value)):
            raise ValueError(
                f"the inner loop's loss closes over {name!r}, whose gradient would be lost when steps are recomputed: "
                "hand it over in descend(..., given=(...)) and take it as an argument of the loss"
            )


class _Recomputed(Function):
    @staticmethod
    def forward(function: Callable[..., tuple[Tensor, ...]], context: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        return function(*tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.function, ctx.context, *tensors = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        filled = list(ctx.saved_tensors)
        real = [i for i, tensor in enumerate(filled) if tensor.is_floating_point()]  # token ids and keys have none

        def of_real(*tensors: Tensor) -> Any:
            for i, tensor in zip(real, tensors, strict=True):
                filled[i] = tensor
            return ctx.function(*filled)

        # In the context of the forward pass, so that layers see what they saw then.
        _, pull = ctx.context.run(torch.func.vjp, of_real, *(filled[i] for i in real))
        by_place = dict(zip(real, pull(gradients), strict=True))
        return None, None, *(by_place.get(i) for i in range(len(filled)))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], function: Any, context: Any, *tensors: Tensor) -> Any:
        # The gradient is taken outside of the map: convolutions can't be differentiated twice within.
        batched = torch.vmap(function, in_dims=in_dims[2:])
        outputs = _Recomputed.apply(batched, context, *tensors)  # type: ignore[no-untyped-call]
        return outputs, (0,) * len(outputs)
