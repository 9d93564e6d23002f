"""MAML++."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from mapwise.core import functional, tree
from mapwise.core.families.fixed_head import FixedHeadLearner
from mapwise.core.functional import Net
from mapwise.core.inner_loop import SGD, descend, replay, trajectory
from mapwise.core.learner import MOMENT
from mapwise.core.task import Examples, Task
from mapwise.core.tree import Fast, Params
from mapwise.learners.row import gradient_row
from mapwise.nets.norm import Norm

LEVELS = 5
"""Moments of the annealing. Each is another program to compile; the paper's change by epochs, not by steps."""
_NORMS = (Norm, _NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


@dataclass(frozen=True)
class MAMLPlusPlus(FixedHeadLearner):
    """MAML with a learned rate for every layer and step, separate norms for every step, and a loss after every step.

    Paper:   Antoniou, Edwards, Storkey 2019, arXiv:1810.09502, section 4.
    Fast:    the moved weights by name and the last step's scales and shifts of the norms; with norm "support"
             also {"statistics": ...}; with the cross-entropy also {"present": [W]}.
    Loss:    value of the query loss after the last step; early in training the gradient is that of the query losses
             after every step, weighted (section 4, multi-step loss optimization).
    Differs: the weights anneal in five levels to 0, where the published code anneals by epoch to 0.03 / K and
             then drops to 0. The support loss is a mean over rows. No running statistics are kept, neither by step,
             as in the paper, nor at all: norms use the rows at hand or the support's.

    net:               [N, *input] -> [N, W]; its head is fixed in ways.
    train_steps:       K, gradient steps while training; so many rates a layer and norms are learned.
    inner_steps:       steps of an adaptation; None: K. A later step than the K-th takes the K-th's rates and norms.
    inner_lr:          what every rate starts at. A learned rate may turn negative: then its layer climbs.
    learn_rates:       a learned rate for every parameter tensor and step; otherwise all are `inner_lr`.
    step_norms:        norm layers have a learned scale and shift for every step, which the steps don't move; otherwise
                       they have one, which moves as all weights do.
    anneal:            share of the training, 0..1, in which the steps before the last lose their weight, from 1 / K
                       to 0; 0: only the last step counts from the beginning.
    second_order_from: progress, 0..1, until which second derivatives are left out.
    first_order:       leave them out always.
    earlier:           what `at` sets by `anneal`: weight of each step before the last, in units of 1 / K.
    loss:              "cross_entropy", "squared_error", another loss's name, or a function (scores, rows) -> scalar.

    Params: {"net": weights by name, "rates": {name: [K]}, "norms": {name: [K, C]}}, without what is switched off.
    Everything switched off is MAML. The outer rate's cosine is the training's: train with the schedule "cosine".
    Norm "batch", the rows at hand, is the paper's.

    Breaks `relabel`: each column of a learned head has its own start. A net whose norm uses the rows
    at hand also breaks `alone`, `padding` and `weights` (unless its rows are the support's).

    Raises ValueError for a task with more classes than the head has columns, and for train_steps below 1.

    >>> learner.init(0)["rates"]["head.bias"].shape
    torch.Size([5])
    """

    net_part: ClassVar[str] = "net"

    train_steps: int = 5
    inner_steps: int | None = None
    inner_lr: float = 0.1
    learn_rates: bool = True
    step_norms: bool = True
    anneal: float = 0.1
    second_order_from: float = 0.0
    first_order: bool = False
    earlier: float = field(default=0.0, metadata=MOMENT)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.train_steps < 1:
            raise ValueError(f"train_steps is {self.train_steps}: give at least 1, since each has rates to be learned")
        for name in ("anneal", "second_order_from"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}: give a share of the training, from 0 to 1")

    @property
    def _steps(self) -> int:
        return self.train_steps if self.inner_steps is None else self.inner_steps

    def init(self, seed: int) -> Params:
        """The net's weights; rates by weight and step; the norms' scales and shifts by step."""
        net = functional.initial_weights(self.net, seed)
        apart = _norm_weights(self.net) if self.step_norms else set()
        norms = {name: torch.stack([net.pop(name)] * self.train_steps) for name in list(net) if name in apart}
        rates = (
            {name: leaf.new_full((self.train_steps,), self.inner_lr) for name, leaf in net.items()}
            if self.learn_rates
            else {}
        )
        # An empty part would be gone from a saved file.
        return {"net": net, **({"rates": rates} if rates else {}), **({"norms": norms} if norms else {})}

    def at(self, progress: float) -> Self:
        """Training takes `train_steps`; earlier steps' weight and the order of the derivatives are the moment's."""
        annealed = min(1.0, progress / self.anneal) if self.anneal else 1.0
        return replace(
            self,
            inner_steps=self.train_steps,
            earlier=1 - math.floor(LEVELS * annealed) / LEVELS,
            first_order=self.first_order or progress < self.second_order_from,
        )

    def adapt(self, params: Params, support: Examples) -> Fast:
        """theta_t+1 = theta_t - alpha_t * grad L_support(theta_t, gamma_t, beta_t), K times."""
        rule, given = self._rule(params), self._given(params, support)
        last = descend(self._support_loss, params["net"], rule, self._steps, given=given, first_order=self.first_order)
        return self._fast(params, last, self._steps, support)

    def start(self, params: Params, support: Examples) -> Fast:
        """The learned start, with the scales and shifts of the first step's norms."""
        return self._fast(params, params["net"], 0, support)

    def objective(self, params: Params, task: Task) -> Float[Tensor, ""]:
        """In value the query loss, in gradient the weighted sum of the query losses after every step."""
        if not self.earlier or self._steps < 2:
            return super().objective(params, task)
        losses = self._query_losses(params, self._points(params, task.support), task)
        weighted = self._weighted(losses)
        return losses[-1].detach() + weighted - weighted.detach()

    def surrogate(self, params: Params, task: Task) -> Callable[[Params], Tensor]:
        """The weighted sum of the query losses; in first order with the steps' gradients held constant."""
        if self.first_order and self._steps:
            given = self._given(params, task.support)
            again = replay(self._support_loss, params["net"], self._rule(params), self._steps, given=given)
            return lambda point: self._weighted(self._query_losses(point, again(point["net"], self._rule(point)), task))
        if not self.earlier or self._steps < 2:
            return super().surrogate(params, task)
        return lambda point: self._weighted(self._query_losses(point, self._points(point, task.support), task))

    def _points(self, params: Params, support: Examples) -> Iterator[Params]:
        """The weights after 1, 2, ... K steps."""
        rule, given = self._rule(params), self._given(params, support)
        return trajectory(
            self._support_loss, params["net"], rule, self._steps, given=given, first_order=self.first_order
        )

    def _support_loss(self, weights: Params, step: int, norms: Params, support: Examples, present: Params) -> Tensor:
        return self.loss_of({**weights, **_of_step(norms, step)}, support, present)

    def _given(self, params: Params, support: Examples) -> tuple[Params, Examples, Params]:
        return params.get("norms", {}), support, self.present_in(support)

    def _rule(self, params: Params) -> SGD:
        rates = params.get("rates")
        return SGD(self.inner_lr if rates is None else lambda t: _of_step(rates, t))

    def _fast(self, params: Params, moved: Params, steps: int, support: Examples) -> Fast:
        """What a predictor needs after so many steps; the norms are those of the last step taken."""
        norms = _of_step(params.get("norms", {}), max(0, steps - 1))
        return {**self.fast_of(moved, support, held=norms), **norms}

    def _query_losses(self, params: Params, points: Iterable[Params], task: Task) -> list[Tensor]:
        """After 1, 2, ... steps."""
        fasts = (self._fast(params, moved, t, task.support) for t, moved in enumerate(points, start=1))
        return [self.criterion(self.predict(params, fast, task.query.x), task.query) for fast in fasts]

    def _weighted(self, losses: list[Tensor]) -> Tensor:
        """Each step before the last weighs earlier / K, and the last the rest of 1."""
        *before, last = losses
        weight = self.earlier / len(losses)
        return last if not before else weight * torch.stack(before).sum() + (1 - weight * len(before)) * last


def _of_step(stacked: Params, step: int) -> Params:
    """The entries of this step, of the last one that was learned when there are not so many."""
    return tree.map(lambda entries: entries[min(step, len(entries) - 1)], stacked)


def _norm_weights(net: Net) -> set[str]:
    """Names of the scales and shifts of all norm layers."""
    layers = [(name, part) for name, part in functional.blueprint(net).named_modules() if isinstance(part, _NORMS)]
    return {f"{name}.{leaf}".lstrip(".") for name, part in layers for leaf, _ in part.named_parameters(recurse=False)}


ROWS = {
    "maml_pp": gradient_row(
        MAMLPlusPlus,
        "Antoniou 2019",
        "maml with learned rates and norms for every step, and losses of all steps",
        recipe={"schedule": "cosine"},
    ),
}
