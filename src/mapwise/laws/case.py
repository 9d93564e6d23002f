"""A learner and a source of tasks, examined: what several laws need of them, and how they compare."""

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from mapwise.core import random, tree
from mapwise.core.learner import Learner, nets_of
from mapwise.core.map_tasks import map_tasks, task_at, tasks_in
from mapwise.core.source import TaskSource
from mapwise.core.task import Examples, Task, rows_at
from mapwise.core.tree import Params

SAME = 1e-8
"""Largest difference of two float64 scores, relative to the largest of them, that counts as no difference."""
ROUNDED = 1e-5
"""The same for float32."""
EARLY = (0.0, 0.5)
"""Progress of a training at which laws 1 and 5 are tested most closely."""
YOUNG = 10
"""Steps after which laws 1 and 5 are tested: parts that start at zero have moved, and gradients are still large."""
Finding = tuple[bool | None, str]
"""(whether the law is kept, or None where it doesn't apply; the evidence)"""


@dataclass(frozen=True, eq=False)
class Case:
    """A learner, a source, and what several laws need of them, computed at first use."""

    learner: Learner
    source: TaskSource
    seed: int = 0
    steps: int = 100
    lr: float = 0.01

    @cached_property
    def start(self) -> Params:
        """Params before training."""
        return self.learner.init(self.seed)

    @cached_property
    def path(self) -> tuple[Params, Params]:
        """Params after the first few steps of a training, and after all of them."""
        young = last = self.start
        for step, last in enumerate(descend_from(self.learner, self.start, self.source, self.steps, self.lr), start=1):
            young = last if step <= YOUNG else young
        return young, last

    @cached_property
    def trained(self) -> Params:
        """Params after training, measured."""
        return self.learner.measure(self.path[1], self.source)

    @cached_property
    def unseen(self) -> TaskSource:
        """Tasks that were not trained on."""
        return self.source.split("val")

    @cached_property
    def double(self) -> Learner:
        """The learner, the frozen weights of its nets in float64."""
        nets: dict[str, Any] = {name: copy.deepcopy(net).double() for name, net in nets_of(self.learner).items()}
        return dataclasses.replace(self.learner, **nets)

    def scores(self, task: Task) -> Any:
        """Scores of the trained learner in float64."""
        return adapted_scores(self.double, as_double(self.trained), task)

    def loss(self, task: Task) -> Tensor:
        """The objective of the trained learner in float64."""
        return self.double.objective(as_double(self.trained), task).detach()

    def tasks(self) -> list[Task]:
        """Two unseen tasks, in float64."""
        batch = as_double(first_tasks(self.unseen, 2))
        return [task_at(batch, i) for i in range(2)]


def descend_from(learner: Learner, params: Params, source: TaskSource, steps: int, lr: float) -> Iterator[Params]:
    """Params after 1, 2, ... steps of plain meta-training; the laws stand below the engine and can't use it."""
    leaves = {path: leaf.detach().clone().requires_grad_() for path, leaf in learned_leaves(params).items()}
    if not leaves:
        return
    rest = {name: params[name] for name in params if name == "measured"}
    optimizer = torch.optim.Adam(list(leaves.values()), lr=lr)
    for step in range(steps):
        now, live = learner.at(step / steps), {**tree.unflatten(leaves), **rest}
        loss = over_tasks(partial(objective_of, now, live), source(step)).mean()
        if not bool(torch.isfinite(loss)):
            raise ValueError(f"the loss is {float(loss)} at step {step} of training: lower lr, or the learner's rates")
        gradient = gradient_of(loss, live)
        for path, leaf in leaves.items():
            leaf.grad = gradient[path]
        optimizer.step()
        yield {**tree.unflatten({path: leaf.detach().clone() for path, leaf in leaves.items()}), **rest}


def distinct_learners(learners: Iterable[Learner]) -> list[Learner]:
    """The learners without repetitions."""
    different: list[Learner] = []
    for learner in learners:
        if learner not in different:
            different.append(learner)
    return different


def moments_of(learner: Learner) -> list[Learner]:
    """The distinct learners among those at every tenth of a training."""
    return distinct_learners(learner.at(tenth / 10) for tenth in range(11))


def learned_leaves(params: Params) -> dict[str, Tensor]:
    """The leaves that training learns, by path."""
    return tree.flatten({name: leaf for name, leaf in params.items() if name != "measured"})


def gradient_of(loss: Tensor, live: Params) -> dict[str, Tensor]:
    """The gradient of a loss for every learned leaf; zero where the loss doesn't depend on it."""
    leaves = learned_leaves(live)
    if not leaves or not loss.requires_grad:
        return {path: torch.zeros_like(leaf) for path, leaf in leaves.items()}
    gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    return {
        path: torch.zeros_like(leaf) if part is None else part
        for (path, leaf), part in zip(leaves.items(), gradients, strict=True)
    }


def objective_of(learner: Learner, params: Params, task: Task) -> Tensor:
    """The objective, for `functools.partial`."""
    return learner.objective(params, task)


def adapted_scores(learner: Learner, params: Params, task: Task) -> Any:
    """Scores of the queries after adapting to the support, without gradients."""
    # Detached and not under no_grad: a learner may need gradients to adapt.
    scores = learner.predict(params, learner.adapt(params, task.support), task.query.x)
    return pytree.tree_map(torch.Tensor.detach, scores)


def over_tasks(function: Callable[[Task], Any], batch: Task) -> Any:
    """Over all tasks at once, or one by one if vmap fails; whether it works is tested by law 1."""
    try:
        return map_tasks(function, batch, "vmap")
    except RuntimeError:
        return map_tasks(function, batch, "loop")


def first_tasks(source: TaskSource, tasks: int) -> Task:
    """The first tasks of a source as one batch, whatever the size of its own."""
    pieces = [source(0)]
    while sum(map(tasks_in, pieces)) < tasks:
        pieces.append(source(len(pieces)))
    return pytree.tree_map(lambda *leaves: torch.cat(leaves)[:tasks], *pieces)  # type: ignore[no-any-return]


def as_double(state: Any) -> Any:
    """Every floating-point leaf in float64."""
    return pytree.tree_map(lambda leaf: leaf.double() if leaf.is_floating_point() else leaf, state)


def pick_rows(rows: Examples, places: Tensor) -> Examples:
    """These rows, in this order."""
    return Examples(rows_at(rows.x, places), rows.y[places], rows.weight[places], rows.key)


def with_garbage(rows: Examples, seed: int) -> Examples:
    """Three more rows of weight 0, with inputs and labels that would change any statistic they entered."""
    if not len(rows.y):
        return rows

    def more(leaf: Tensor) -> Tensor:
        extra = leaf[:1].expand(3, *leaf.shape[1:])
        if leaf.is_floating_point():
            extra = 2 + 3 * random.normal(torch.tensor(seed), tuple(extra.shape)).to(leaf)
        else:  # token ids: others that are there
            extra = leaf.flatten()[random.bits(torch.tensor(seed), tuple(extra.shape)) % leaf.numel()]
        return torch.cat([leaf, extra])

    y = torch.cat([rows.y, rows.y[:1].expand(3, *rows.y.shape[1:])])
    weight = torch.cat([rows.weight, rows.weight.new_zeros(3, *rows.weight.shape[1:])])
    return Examples(pytree.tree_map(more, rows.x), y, weight, rows.key)


def without_last_class(task: Task) -> tuple[Task, Task]:
    """The task without its last class, and the same with that class as padding: a column, and rows of weight 0."""
    support = task.support
    last = support.y[..., -1] > 0
    wide = support._replace(weight=support.weight * ~last)
    narrow = wide if last.dim() > 1 else pick_rows(support, (~last).nonzero()[:, 0])  # a row's tokens stay together
    return task._replace(support=narrow._replace(y=narrow.y[..., :-1])), task._replace(support=wide)


def score_rows(scores: Any, first: int, end: int) -> Any:
    """Some rows of scores."""
    return pytree.tree_map(lambda leaf: leaf[first:end], scores)


def scores_gap(scores: Any, expected: Any) -> float:
    """The largest difference of two scores of the same kind."""
    return max(map(relative_gap, pytree.tree_leaves(scores), pytree.tree_leaves(expected)))


def relative_gap(actual: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest expected number; infinite for NaN and for unequal shapes."""
    if actual.shape != expected.shape:
        return float("inf")
    if not expected.numel():
        return 0.0
    # The score of an absent class is a huge number that would hide every difference.
    usual = expected.abs()[expected.abs() < torch.finfo(expected.dtype).max / 4]
    scale = max(float(usual.max()) if usual.numel() else 0.0, 1e-12)
    gap = float((actual - expected).detach().abs().max()) / scale
    return gap if gap == gap else float("inf")
