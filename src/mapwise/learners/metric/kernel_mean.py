"""The kernel-weighted mean of the support's targets."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mapwise.core import functional
from mapwise.core.families.embedding import EmbeddingLearner
from mapwise.core.geometry import squared_distances
from mapwise.core.losses import Loss, squared_error
from mapwise.core.task import Examples
from mapwise.core.tree import Fast, Params


@dataclass(frozen=True)
class KernelMean(EmbeddingLearner):
    """Predict a query by the mean of the support's targets, weighted by how near their rows are.

    Paper:   Nadaraya 1964, Theory of Probability and Its Applications 9(1), and Watson 1964, Sankhya A 26(4): the
             kernel regression.
    Fast:    {"rows": [S, D], "targets": [S, W], "weight": [S]}; with norm "support" also {"statistics": ...}.
    Loss:    squared error.
    Differs: distances are those of embedded rows, under an encoder that can be learned. Far from all rows the answer
             is the target of the nearest, where the ratio of the papers becomes 0 / 0.

    encoder:   [N, *input] -> [N, D].
    bandwidth: the distance at which a row's weight falls to exp(-1/2), at the start; learned as its logarithm.

    For targets only: columns of y are not classes.
    A net with norm "batch" breaks `alone`, `padding` and `weights`; one with "frozen" does so until measured.

    Raises ValueError for a bandwidth that isn't positive.

    >>> fast = learner.adapt(params, support)
    >>> fast["targets"].shape
    torch.Size([10, 1])
    """

    bandwidth: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.bandwidth > 0:
            raise ValueError(
                f"the bandwidth is {self.bandwidth} and must be positive: give a number above 0, such as 1"
            )

    @property
    def criterion(self) -> Loss:
        """The squared error."""
        return squared_error

    def init(self, seed: int) -> Params:
        """The encoder's weights, and the logarithm of the bandwidth."""
        encoder = functional.initial_weights(self.encoder, seed)
        return {"encoder": encoder, "log_bandwidth": torch.tensor(math.log(self.bandwidth))}

    def adapt(self, params: Params, support: Examples) -> Fast:
        """Remember the embedded rows, their targets and their weights."""
        z, seen = self.embed_support(params, support)
        return {"rows": z, "targets": support.y, "weight": support.weight, **seen}

    def predict(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "Q W"]:
        """sum_i k_i y_i / sum_i k_i, where k_i = weight_i exp(-|f(x) - f(x_i)|^2 / (2 bandwidth^2))."""
        far = squared_distances(self.embed(params, fast, x), fast["rows"])  # [Q, S]
        weight = fast["weight"]
        near = weight.clamp(min=torch.finfo(weight.dtype).tiny).log() - far * (-2 * params["log_bandwidth"]).exp() / 2
        share = torch.where(weight > 0, near, torch.finfo(near.dtype).min / 2).softmax(-1)
        answer: Tensor = share @ fast["targets"]
        return answer
