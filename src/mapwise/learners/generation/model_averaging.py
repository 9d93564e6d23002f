"""Averaged predictions of several learners, each with params of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, Literal, Self

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from mapwise.core.learner import WAIVABLE, Learner
from mapwise.core.losses import Loss, binary_cross_entropy, cross_entropy, squared_error
from mapwise.core.scores import Gaussian, Scores, means
from mapwise.core.seeds import LARGEST_SEED
from mapwise.core.source import TaskSource
from mapwise.core.task import Examples
from mapwise.core.tree import Fast, Params
from mapwise.learners.row import LearnerRow


@dataclass(frozen=True)
class ModelAveraging(Learner):
    """Every member adapts to the support by itself, and what they predict is averaged.

    Paper:   Lakshminarayanan, Pritzel, Blundell 2017, arXiv:1612.01474, section 2.4.
    Fast:    {"0": fast of the first member, "1": of the second, ...}.
    Loss:    of the averaged prediction; by `mapwise average` the members are trained before, each by itself.
    Differs: members may be of different learners.

    members:  the learners whose predictions are averaged; in Python only.
    averages: what is averaged. "probabilities": those of the classes, and the scores are their logarithms; "bits":
              those of every bit, and the scores are their logits; "values": predictions of targets. Gaussians become
              the one with the mean and the variance of their mixture.

    Params: {"0": params of the first member, ..., "measured": {"0": what was measured for it, ...}}.
    Breaks what one of its members breaks, for its reason: `order`, `relabel`, `padding`, `alone`, `weights`, `embeds`.

    Raises ValueError without any member.

    >>> learner.predict(params, fast, x).exp().sum(-1)  # with averages="probabilities"
    tensor([1., 1.])
    """

    members: tuple[Learner, ...]
    averages: Literal["probabilities", "values", "bits"] = "probabilities"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.members:
            raise ValueError("members is empty: give one learner or more")

    @property
    def keeps(self) -> frozenset[str]:
        """What all members keep; and `query_loss`, since the objective is its own."""
        return reduce(frozenset.intersection, (member.keeps for member in self.members), WAIVABLE) | {"query_loss"}

    @property
    def criterion(self) -> Loss:
        """Of targets the loss that all members share, or the squared error."""
        shared = {member.criterion for member in self.members}
        if self.averages == "values":
            return shared.pop() if len(shared) == 1 else squared_error
        return {"probabilities": cross_entropy, "bits": binary_cross_entropy}[self.averages]

    def init(self, seed: int) -> Params:
        """Every member's params, each under a seed of its own: this one, the next, and so on."""
        members = enumerate(self.members)
        return joined_params([member.init((seed + place) % LARGEST_SEED) for place, member in members])

    def at(self, progress: float) -> Self:
        """All members at this moment of training."""
        return replace(self, members=tuple(member.at(progress) for member in self.members))

    def adapt(self, params: Params, support: Examples) -> Fast:
        """What each member makes of the support."""
        return {str(i): one.adapt(member_params(params, i), support) for i, one in enumerate(self.members)}

    def predict(self, params: Params, fast: Fast, x: Any) -> Scores:
        """The average of what the members predict."""
        # A fast without any leaf is gone once it was saved.
        scores = [one.predict(member_params(params, i), fast.get(str(i), {}), x) for i, one in enumerate(self.members)]
        return _AVERAGES[self.averages](scores)

    def measure(self, params: Params, source: TaskSource) -> Params:
        """What each member measures."""
        return joined_params([one.measure(member_params(params, i), source) for i, one in enumerate(self.members)])


def member_params(params: Params, place: int) -> Params:
    """The params of one member, with what was measured for it."""
    measured = params.get("measured", {}).get(str(place), {})
    own: Params = params.get(str(place), {})
    return {**own, "measured": measured} if measured else own


def joined_params(members: Sequence[Params]) -> Params:
    """The params of an average, from those of its members."""
    measured = {str(i): own["measured"] for i, own in enumerate(members) if "measured" in own}
    parts = {str(i): {name: leaf for name, leaf in own.items() if name != "measured"} for i, own in enumerate(members)}
    return {**parts, "measured": measured} if measured else parts


def averaged_probabilities(members: Sequence[Scores]) -> Float[Tensor, "N W"]:
    """log mean_m softmax(scores_m); a class that can't be chosen stays so."""
    scores = torch.stack([means(one) for one in members])  # [M, N, W]
    least = torch.finfo(scores.dtype).min / 2
    absent = (scores < least / 2).all(0)
    mean = torch.log_softmax(scores, -1).logsumexp(0) - _log(len(members))
    return torch.where(absent, least, mean)


def averaged_bits(members: Sequence[Scores]) -> Float[Tensor, "N W"]:
    """The logit of mean_m sigmoid(scores_m)."""
    scores = torch.stack([means(one) for one in members])
    return logsigmoid(scores).logsumexp(0) - logsigmoid(-scores).logsumexp(0)


def averaged_values(members: Sequence[Scores]) -> Scores:
    """The mean of the predictions; of Gaussians alone, the Gaussian with the moments of their mixture."""
    mean = torch.stack([means(one) for one in members]).mean(0)
    gaussians = [one for one in members if isinstance(one, Gaussian)]
    if len(gaussians) < len(members):
        return mean
    # About the mean, and not the mean of the squares minus its square: that loses digits.
    variance = torch.stack([one.scale**2 + (one.mean - mean) ** 2 for one in gaussians]).mean(0)
    return Gaussian(mean, variance.sqrt())


def _log(count: int) -> Tensor:
    return torch.tensor(float(count)).log()


_AVERAGES: dict[str, Callable[[Sequence[Scores]], Scores]] = {
    "probabilities": averaged_probabilities,
    "values": averaged_values,
    "bits": averaged_bits,
}

ROWS = {
    "model_averaging": LearnerRow(
        ModelAveraging,
        "Lakshminarayanan 2017",
        "what several trained runs predict, averaged; made by mapwise average",
        of_columns={"targets": {"averages": "values"}, "bits": {"averages": "bits"}},
        columns=("classes", "targets", "bits"),
        of_runs=True,
    ),
}
