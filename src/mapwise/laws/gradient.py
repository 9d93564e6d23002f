"""The law that the meta-gradient is that of the surrogate which defines it, by finite differences."""

import copy
import dataclasses
import math
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from mapwise.core import random, tree
from mapwise.core.learner import Learner, nets_of
from mapwise.core.map_tasks import task_at
from mapwise.core.task import Task
from mapwise.core.tree import Params
from mapwise.laws.case import (
    EARLY,
    Case,
    Finding,
    adapted_scores,
    as_double,
    distinct_learners,
    gradient_of,
    learned_leaves,
    moments_of,
)

GRADIENT = 1e-6


def finite_differences(case: Case) -> Finding:
    """The meta-gradient equals finite differences of the surrogate that defines it, to 1e-6."""
    holds, detail = _differences(case)
    if holds is not None:
        return holds, detail
    nets: dict[str, Any] = {name: _smooth(net) for name, net in nets_of(case.learner).items()}
    if not nets:
        return None, f"{detail}, and the learner has no net with a smooth variant"
    holds, detail = _differences(dataclasses.replace(case, learner=dataclasses.replace(case.learner, **nets)))
    if holds is None:
        return (
            False,
            f"{detail}, and on the smooth variant of the net too: a number may be rounded to float32 on the way",
        )
    return holds, f"{detail}, on the smooth variant of the net (tanh, average pooling)"


def _smooth(net: nn.Module) -> nn.Module:
    """The same net with tanh instead of kinks and means instead of maxima; other layers have a method `smooth`."""
    net = copy.deepcopy(net)
    for part in list(net.modules()):
        for name, child in list(part.named_children()):
            if isinstance(child, _KINKED):
                setattr(part, name, nn.Tanh())
            elif isinstance(child, nn.MaxPool2d):
                setattr(part, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding))
        if isinstance(part, _Smooth):
            part.smooth()
    return net


@runtime_checkable
class _Smooth(Protocol):
    def smooth(self) -> None: ...


_KINKED = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Threshold)


def _differences(case: Case) -> Finding:
    params, task = as_double(case.path[0]), as_double(task_at(case.source(0), 0))
    close = distinct_learners(case.double.at(progress) for progress in EARLY)
    worst, judged, undecided, moved = 0.0, 0, 0, set[str]()
    for moment in moments_of(case.double):
        live = tree.map(lambda leaf: leaf.detach().requires_grad_(), params)
        gradient = gradient_of(moment.objective(live, task), live)
        if not gradient:
            return True, "there are no params to differentiate"
        moved |= {path for path, leaf in gradient.items() if bool((leaf != 0).any())}
        ways = list(_ways(gradient, case.seed))
        # At most moments of a schedule the gradient's own direction is enough.
        errors = [_error(moment, params, task, gradient, way) for way in (ways if moment in close else ways[:1])]
        defined = [error for error in errors if error is not None]
        judged, worst = judged + len(defined), max([worst, *defined])
        undecided += 2 * len(defined) < len(errors)
    if undecided:
        return None, "the loss has kinks, so finite differences are undecided"
    if idle := [path for path in sorted(gradient.keys() - moved) if _is_idle(case.double, params, task, path)]:
        return False, f"nothing depends on the learned {', '.join(idle)}"
    return worst <= GRADIENT, f"differs from central differences by {worst:.1e} of the gradient, on {judged} directions"


def _is_idle(learner: Learner, params: Params, task: Task, path: str) -> bool:
    """Whether neither the objective nor a score depends on this leaf, not even as a constant of the gradient."""
    leaves = tree.flatten(params)
    noise = 0.01 * random.normal(torch.tensor(0), tuple(leaves[path].shape)).double()
    other = tree.unflatten({**leaves, path: leaves[path] + noise})
    moments = moments_of(learner)
    numbers = [
        pytree.tree_leaves(
            [adapted_scores(learner, point, task), [moment.objective(point, task) for moment in moments]]
        )
        for point in (params, other)
    ]
    return all(torch.equal(a, b) for a, b in zip(*numbers, strict=True))


def _error(
    learner: Learner, params: Params, task: Task, gradient: dict[str, Tensor], way: dict[str, Tensor]
) -> float | None:
    """The relative error of the gradient along a direction; None where there is a kink close by."""
    defined, leaves = learner.surrogate(params, task), learned_leaves(params)
    rest = {name: params[name] for name in params if name == "measured"}

    def along(h: float) -> float:
        point = {path: leaf + h * way[path] for path, leaf in leaves.items()}
        return float(defined({**tree.unflatten(point), **rest}).detach())

    def difference(h: float) -> float:
        """The directional derivative by central differences, to fourth order."""
        near, far = along(h) - along(-h), along(2 * h) - along(-2 * h)
        return (8 * near - far) / (12 * h)

    claimed = float(sum((gradient[path] * way[path]).sum() for path in gradient))
    # Along a way almost across the gradient, the derivative alone would be as small as rounding.
    scale = max(abs(claimed), 1e-2 * _length(gradient), 1e-8)
    wide, narrow = difference(1e-4), difference(5e-5)
    if not abs(claimed - narrow) <= GRADIENT * scale and abs(wide - narrow) > 0.1 * GRADIENT * scale:
        return None  # the differences don't agree among themselves
    return abs(claimed - narrow) / scale


def _length(leaves: dict[str, Tensor]) -> float:
    return math.sqrt(sum(float((leaf**2).sum()) for leaf in leaves.values()))


def _ways(gradient: dict[str, Tensor], seed: int) -> Iterator[dict[str, Tensor]]:
    """Directions of length 1: the gradient's own, three random ones, and the steepest coordinate of three leaves."""
    if length := _length(gradient):
        yield {path: leaf / length for path, leaf in gradient.items()}
    for number in range(3):
        key = random.fold(torch.tensor(seed), number)
        drawn = {
            path: random.normal(random.fold(key, place), tuple(leaf.shape)).double()
            for place, (path, leaf) in enumerate(gradient.items())
        }
        yield {path: leaf / _length(drawn) for path, leaf in drawn.items()}
    for path in list(gradient)[:: max(1, len(gradient) // 3)][:3]:
        way = {name: torch.zeros_like(leaf) for name, leaf in gradient.items()}
        way[path].view(-1)[int(gradient[path].abs().argmax())] = 1
        yield way
