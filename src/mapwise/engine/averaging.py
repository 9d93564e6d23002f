"""Averages of weights: the mean, the barrier on the way there, and the greedy soup."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mapwise.core import tree
from mapwise.core.estimate import Estimate
from mapwise.core.execution import How
from mapwise.core.learner import Learner
from mapwise.core.map_tasks import map_tasks
from mapwise.core.problem import Metric
from mapwise.core.source import TaskSource
from mapwise.core.stream import is_stream, scores_along
from mapwise.core.task import Task
from mapwise.core.tree import Params

POINTS = 11
"""Of the line between two members, its ends among them."""


@dataclass(frozen=True)
class Barrier:
    """How far the loss rises on the line between two params.

    excess: the largest mean excess over the line between the losses of the ends, with its 95 % interval over episodes;
            infinite where the loss is no number.
    at:     how far from the first params that is, 0 to 1.
    """

    excess: Estimate
    at: float

    def stops(self, allowed: float) -> bool:
        """Whether the excess is above this by more than its interval."""
        uncertain = self.excess.ci95 if math.isfinite(self.excess.ci95) else 0.0
        return not self.excess.mean - uncertain <= allowed


def mean_params(members: Sequence[Params], weights: Sequence[float] | None = None) -> Params:
    """The mean of what was learned, leaf by leaf; what was measured is left out, since it is to be measured again.

    weights: of the members, summing to one; None: all alike.
    """
    shares = torch.tensor([1 / len(members)] * len(members) if weights is None else weights, dtype=torch.float64)
    plain = [{name: leaf for name, leaf in member.items() if name != "measured"} for member in members]

    def mean(*leaves: Tensor) -> Tensor:
        # In double precision, so that the order of the members has no effect.
        together = torch.stack(leaves).double()  # [M, ...]
        return torch.tensordot(shares.to(together.device), together, 1).to(leaves[0].dtype)  # type: ignore[no-any-return]

    return tree.map(mean, *plain)


def episode_losses(
    learner: Learner, params: Params, source: TaskSource, episodes: int, how: How = "vmap"
) -> Float[np.ndarray, "E"]:
    """The query loss after adapting of each of the first so many tasks; of a stream, that of all its rows."""

    def one(task: Task) -> Tensor:
        if is_stream(task):
            return learner.criterion(scores_along(learner, params, task.support), task.support)
        return learner.criterion(learner.predict(params, learner.adapt(params, task.support), task.query.x), task.query)

    values = list[np.ndarray]()
    for step in itertools.count():
        with torch.no_grad():
            values.append(map_tasks(one, source(step), how).double().cpu().numpy())
        if sum(map(len, values)) >= episodes:
            return np.concatenate(values)[:episodes]
    raise AssertionError  # the loop has no other end


def barriers(
    losses: Callable[[Params], Float[np.ndarray, "E"]], members: Sequence[Params], *, points: int = POINTS
) -> dict[tuple[int, int], Barrier]:
    """The barrier between every two members, by their places (Frankle 2020, arXiv:1912.05671, section 2).

    losses: params -> the loss of every episode, the same ones at every point; measures again what is measured.
    points: of each line, its ends among them.
    """
    ends = [losses(member) for member in members]
    between = np.linspace(0, 1, points)[1:-1]
    heights = {}
    for first, second in combinations(range(len(members)), 2):
        excess = np.stack(
            [
                losses(mean_params([members[first], members[second]], [1 - t, t]))
                - ((1 - t) * ends[first] + t * ends[second])
                for t in between
            ]
        )  # [points - 2, E]
        means = np.where(np.isfinite(excess).all(1), excess.mean(1), np.inf)
        highest = int(means.argmax())
        finite = math.isfinite(means[highest])
        estimate = Estimate.of(excess[highest]) if finite else Estimate(math.inf, math.nan, excess.shape[1])
        heights[first, second] = Barrier(estimate, float(between[highest]))
    return heights


def greedy_soup(judge: Callable[[Params], float], members: Sequence[Params], metric: Metric) -> list[int]:
    """The places of the members whose mean is the greedy soup (Wortsman 2022, arXiv:2203.05482, recipe 1).

    From the best member on, each one stays if the value of the mean with it is not worse than without.

    judge: params -> the value of the metric on validation episodes; measures again what is measured.
    """
    values = [judge(member) for member in members]
    worth = [math.inf if math.isnan(value) else value * (1 if metric.lower_is_better else -1) for value in values]
    first, *rest = sorted(range(len(members)), key=lambda place: worth[place])
    chosen, best = [first], values[first]
    for place in rest:
        value = judge(mean_params([members[i] for i in (*chosen, place)]))
        if not metric.improves(best, value):
            chosen, best = [*chosen, place], value
    return chosen
