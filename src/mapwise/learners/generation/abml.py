"""Amortized Bayesian Meta-Learning."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Literal, Self

import torch
from jaxtyping import Float
from torch import Tensor

from mapwise.core import functional, random, tree
from mapwise.core.annealing import rise
from mapwise.core.families.fixed_head import FixedHeadLearner
from mapwise.core.inner_loop import SGD, descend
from mapwise.core.learner import MOMENT
from mapwise.core.losses import cross_entropy
from mapwise.core.normals import divergence
from mapwise.core.scores import mix, without_absent
from mapwise.core.task import Examples, Task
from mapwise.core.tree import Fast, Params
from mapwise.learners.row import gradient_row

RATE = 0.01
"""The rate of the hyper-prior of a precision, an exponential distribution: Gamma(1, 0.01)."""


@dataclass(frozen=True)
class ABML(FixedHeadLearner):
    """A normal distribution over weights is both prior and start; gradient steps turn it into a task's posterior.

    Paper:   Ravi, Beatson 2019, Amortized Bayesian Meta-Learning, ICLR, section 3; `vampire`: Nguyen, Do, Carneiro
             2020, arXiv:1907.11864.
    Fast:    {"mean": [P], "log_sigma": [P], "key": []}, P weights in the order of their names; with norm "support" also
             {"statistics": of every drawn net}; with the cross-entropy also {"present": [W]}.
    Loss:    value of the query loss of the mean prediction; gradient of the expected loss of support and query
             + outer_kl KL(posterior || prior) + hyper_prior times minus the log of the hyper-prior.
    Differs: losses are means over rows, so a KL weighs as one over the rows would in the paper's sums; by default all
             weigh far less than that, as in re-implementations. The spread starts at one number for all weights.
             No Flipout: a drawn net serves all rows, where the paper's gradients have less variance.

    net:           [N, *input] -> [N, W]; its head is fixed in ways.
    inner_steps:   K, gradient steps from prior to posterior.
    inner_lr:      their rate.
    inner_samples: nets drawn in every step.
    samples:       nets drawn for a prediction, which is the mean of theirs.
    train_samples: the same while training.
    log_sigma:     log of the standard deviation at which every weight starts; learned.
    inner_kl:      weight of KL(posterior || prior) in the steps. They are stable only while
                   inner_lr * inner_kl < 2 sigma^2, and a spread that training makes smaller can leave that.
    outer_kl:      weight of the same KL in training.
    hyper_prior:   weight of the hyper-prior in training: N(0, 1) for a mean, Gamma(1, 0.01) for a precision.
    learns_from:   "all", support and query, or "query".
    anneal:        share of the training, 0..1, in which outer_kl rises from 0 to its value, in five levels.
    risen:         what `at` sets by `anneal`: the share of outer_kl.
    loss:          "cross_entropy", "squared_error", another loss's name, or a function (scores, rows) -> scalar.

    Params: {"mean": weights by name, "log_sigma": {name: as the weight}}. Nets are drawn by the task's key.

    Breaks `relabel`: each column of a learned head has its own start. A net whose norm uses the rows
    at hand also breaks `alone`, `padding` and `weights` (unless its rows are the support's).

    Raises ValueError for a task with more classes than the head has columns, for fewer than one sample, for a negative
    weight, and for steps that can't be stable from the start.
    """

    net_part: ClassVar[str] = "mean"
    uncompiled: ClassVar[str] = "torch's compiler writes a program for it that writes outside its memory (torch 2.13)"

    inner_steps: int = 5
    inner_lr: float = 0.1
    inner_samples: int = 2
    samples: int = 10
    train_samples: int = 2
    log_sigma: float = -4.0
    inner_kl: float = 1e-4
    outer_kl: float = 1e-4
    hyper_prior: float = 1e-7
    learns_from: Literal["all", "query"] = "all"
    anneal: float = 0.0
    risen: float = field(default=1.0, metadata=MOMENT)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("inner_samples", "samples", "train_samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: draw at least one net, or take maml")
        for name in ("inner_kl", "outer_kl", "hyper_prior"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}: give 0 for none, or a positive weight")
        if not 0 <= self.anneal <= 1:
            raise ValueError(f"anneal is {self.anneal}: give a share of the training, from 0 to 1")
        bound = 2 * math.exp(2 * self.log_sigma)
        if self.inner_lr * self.inner_kl >= bound:
            raise ValueError(
                f"inner_lr * inner_kl is {self.inner_lr * self.inner_kl:.2g}, and from 2 sigma^2 = {bound:.2g} on the "
                "steps overshoot the prior ever further: lower one of the two, or raise log_sigma"
            )

    def init(self, seed: int) -> Params:
        """Means are the net's weights; all spreads are one."""
        mean = functional.initial_weights(self.net, seed)
        return {"mean": mean, "log_sigma": tree.map(lambda leaf: torch.full_like(leaf, self.log_sigma), mean)}

    def at(self, progress: float) -> Self:
        """Training draws `train_samples`; the weight of the outer KL is the moment's."""
        return replace(self, samples=self.train_samples, risen=rise(progress, self.anneal))

    def adapt(self, params: Params, support: Examples) -> Fast:
        """lambda' = lambda - inner_lr * grad (E_q[L_support] + inner_kl KL(q || p)), K times from the prior."""
        prior, shapes, present = self._prior(params), self._shapes(params), self.present_in(support)
        # Drawn beforehand: a key isn't floating-point, and a recomputed step sees only what is.
        shape = (self.inner_steps, self.inner_samples, len(prior["mean"]))
        noise = random.normal(random.fold(support.key, 0), shape).to(prior["mean"])

        def bound(q: Params, step: int, prior: Params, noise: Tensor, support: Examples, present: Params) -> Tensor:
            losses = [self.loss_of(weights, support, present) for weights in drawn(q, noise[step], shapes)]
            expected = torch.stack(losses).mean()
            return expected + self.inner_kl * divergence(q, prior) if self.inner_kl else expected

        given = (prior, noise, support, present)
        return self._fast(params, descend(bound, prior, SGD(self.inner_lr), self.inner_steps, given=given), support)

    def start(self, params: Params, support: Examples) -> Fast:
        """The prior."""
        return self._fast(params, self._prior(params), support)

    def _fast(self, params: Params, q: Params, support: Examples) -> Fast:
        """What `predict` needs of a distribution over nets."""
        fast = {**q, "key": support.key, **self.present_in(support)}
        if "statistics" in functional.statistics_kept(self.net):
            seen = [self.fast_of(weights, support)["statistics"] for weights in self._drawn(fast, self._shapes(params))]
            fast["statistics"] = tree.map(lambda *each: torch.stack(each), *seen)  # of every layer [L, ...]
        return fast

    def predict(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "Q W"]:
        """The log of the mean probability over nets drawn from the posterior; the mean output for other losses."""
        return self._together(self._each(params, fast, x), fast)

    def objective(self, params: Params, task: Task) -> Float[Tensor, ""]:
        """In value the query loss of the mean prediction, in gradient the bound."""
        fast = self.adapt(params, task.support)
        each = self._each(params, fast, task.query.x)
        loss = self.criterion(self._together(each, fast), task.query).detach()
        bound = self._bound(params, fast, each, task)
        return loss + (bound - bound.detach())

    def surrogate(self, params: Params, task: Task) -> Callable[[Params], Tensor]:
        """The bound: expected losses, KL and hyper-prior."""

        def bound(point: Params) -> Tensor:
            fast = self.adapt(point, task.support)
            return self._bound(point, fast, self._each(point, fast, task.query.x), task)

        return bound

    def _bound(self, params: Params, fast: Fast, each: Float[Tensor, "L Q W"], task: Task) -> Tensor:
        prior, support, query = self._prior(params), task.support, task.query
        bound = torch.stack([self.criterion(scores, query) for scores in each]).mean()
        if self.learns_from == "all":
            present, nets = self.present_in(support), self._drawn(fast, self._shapes(params))
            of_support = torch.stack([self.loss_of(weights, support, present) for weights in nets]).mean()
            rows, others = query.weight.sum(), support.weight.sum()
            bound = (rows * bound + others * of_support) / (rows + others).clamp(min=1e-12)
        if self.outer_kl:
            bound = bound + self.risen * self.outer_kl * divergence(fast, prior)
        return bound + self.hyper_prior * surprise(prior) if self.hyper_prior else bound

    def _prior(self, params: Params) -> Params:
        return {"mean": _flat(params["mean"]), "log_sigma": _flat(params["log_sigma"])}

    def _shapes(self, params: Params) -> dict[str, torch.Size]:
        return {name: leaf.shape for name, leaf in self.weights_of(params).items()}

    def _drawn(self, fast: Fast, shapes: dict[str, torch.Size]) -> list[Params]:
        """The weights of the nets that predictions are averaged over."""
        noise = random.normal(random.fold(fast["key"], 1), (self.samples, len(fast["mean"])))
        return drawn(fast, noise.to(fast["mean"]), shapes)

    def _each(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "L Q W"]:
        """Every drawn net's scores."""
        beside = [
            {name: tree.map(lambda leaf, i=i: leaf[i], fast[name]) for name in ("statistics",) if name in fast}
            for i in range(self.samples)
        ]
        present = {"present": fast["present"]} if "present" in fast else {}
        nets = self._drawn(fast, self._shapes(params))
        scores = [
            FixedHeadLearner.predict(self, params, {**weights, **seen, **present}, x)
            for weights, seen in zip(nets, beside, strict=True)
        ]
        return torch.stack(scores)

    def _together(self, each: Float[Tensor, "L Q W"], fast: Fast) -> Float[Tensor, "Q W"]:
        if self.criterion is not cross_entropy:
            return each.mean(0)
        return without_absent(mix(each), fast["present"])


def drawn(q: Params, noise: Float[Tensor, "L P"], shapes: Mapping[str, torch.Size]) -> list[Params]:
    """Weights by name, for every row of noise: mean + sigma * noise."""
    names = sorted(shapes)
    sizes = [shapes[name].numel() for name in names]
    flat = torch.addcmul(q["mean"], q["log_sigma"].exp(), noise)  # [L, P]
    nets = [row.split_with_sizes(sizes) for row in flat.unbind(0)]
    return [{name: part.reshape(shapes[name]) for name, part in zip(names, net, strict=True)} for net in nets]


def surprise(prior: Params) -> Float[Tensor, ""]:
    """Minus the log of the hyper-prior, but for a constant: N(0, 1) for means, Gamma(1, RATE) for precisions."""
    nats: Tensor = (prior["mean"] ** 2 / 2 + RATE * torch.exp(-2 * prior["log_sigma"])).sum()
    return nats


def _flat(weights: Params) -> Float[Tensor, "P"]:
    # By name: weights that come from a file come in any order.
    return torch.cat([weights[name].reshape(-1) for name in sorted(weights)])


ROWS = {
    "abml": gradient_row(
        ABML,
        "Ravi 2019",
        "gradient steps from a prior of the weights to a task's posterior; answers averaged over nets",
    ),
    "vampire": gradient_row(
        partial(ABML, outer_kl=0.0, hyper_prior=0.0, learns_from="query"),
        "Nguyen 2020",
        "abml that learns from the queries alone, its prior under no hyper-prior",
    ),
}
