"""Ridge Regression Differentiable Discriminator."""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mapwise.core import functional, solvers
from mapwise.core.capabilities import VoteScale
from mapwise.core.families.embedding import EmbeddingLearner
from mapwise.core.losses import Loss, cross_entropy, loss_named
from mapwise.core.scores import without_absent
from mapwise.core.task import Examples, present_classes
from mapwise.core.tree import Fast, Params
from mapwise.learners.row import FIXED, LearnerRow


@dataclass(frozen=True)
class R2D2(EmbeddingLearner):
    """A ridge regression from learned features to labels or targets, solved in closed form and differentiated through.

    Paper:   Bertinetto, Henriques, Torr, Vedaldi 2019, arXiv:1805.08136, section 3.2 (R2-D2).
    Fast:    {"head": [D + 1, W]}; for the cross-entropy also {"present": [W]}; with norm "support" also
             {"statistics": ...}.
    Loss:    cross-entropy of scale * regression + bias, or another loss of it.
    Differs: by default support features and labels are divided by sqrt(rows), as in the published code: the ridge
             weighs against a mean over rows, where the paper's weighs against a sum. Targets, and a constant that is
             not held small (`centred`), are ours.

    encoder:     [N, *input] -> [N, D]; a column of ones is added to its features.
    ridge:       weight of the squared head beside the mean squared error of a row, in units of a feature squared.
    learn_ridge: learn it, as its logarithm; otherwise it stays.
    errors:      what it weighs beside: "mean", of the rows' squared errors, or "sum", as in the paper.
    scale:       what the regression is multiplied by at the start; learned. Much lower, the cross-entropy starts out
                 flat; of targets it should be 1.
    centred:     take the means of the support off rows and labels first, so that the ridge doesn't hold the constant
                 small: a shift of all targets then shifts every answer.
    loss:        "cross_entropy", "squared_error", another loss's name, or a function (scores, rows) -> scalar.

    The learned bias is one number for all classes, so it moves no probability; it is kept because the paper has it.

    A net with norm "batch" breaks `alone`, `padding` and `weights`; one with "frozen" does so until measured.

    >>> fast = learner.adapt(params, support)
    >>> fast["head"].shape
    torch.Size([65, 5])
    """

    votes_add_to: ClassVar[VoteScale] = "scores"

    ridge: float = 50.0
    learn_ridge: bool = False
    scale: float = 10.0
    errors: Literal["mean", "sum"] = "mean"
    centred: bool = False
    loss: str | Loss = field(default="cross_entropy", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.ridge > 0:
            raise ValueError(f"the ridge is {self.ridge} and must be positive: give a number above 0, such as 50")

    @property
    def criterion(self) -> Loss:
        """The loss of the queries."""
        return loss_named(self.loss)

    def init(self, seed: int) -> Params:
        """The encoder's weights, scale and bias, and the logarithm of the ridge when that is learned."""
        encoder = functional.initial_weights(self.encoder, seed)
        learned = {"log_ridge": torch.tensor(math.log(self.ridge))} if self.learn_ridge else {}
        return {"encoder": encoder, "scale": torch.tensor(float(self.scale)), "bias": torch.zeros(()), **learned}

    def adapt(self, params: Params, support: Examples) -> Fast:
        """W = argmin |X W - Y|^2 + ridge |W|^2, where a row of X is [f(x_i), 1], for "mean" over sqrt(rows)."""
        z, seen = self.embed_support(params, support)
        head = self._fit_head(params, z, support.weight, support.y)
        # Another loss may not read columns as classes, of which one could be absent.
        present = {"present": present_classes(support)} if self.criterion is cross_entropy else {}
        return {"head": head, **present, **seen}

    def _fit_head(self, params: Params, z: Tensor, weight: Tensor, y: Tensor) -> Float[Tensor, "D+1 W"]:
        part = weight / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)
        share = (part if self.errors == "mean" else weight).sqrt()[:, None]  # 0 for a row that doesn't count
        strength = params["log_ridge"].exp() if self.learn_ridge else self.ridge
        if not self.centred:
            return solvers.ridge(share * _with_ones(z), share * y, strength)
        middle, usual = part @ z, part @ y
        slope = solvers.ridge(share * (z - middle), share * (y - usual), strength)
        return torch.cat([slope, (usual - middle @ slope)[None]])

    def predict(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "Q W"]:
        """scale * [f(x), 1] W + bias."""
        regression = _with_ones(self.embed(params, fast, x)) @ fast["head"]
        scores = params["scale"] * regression + params["bias"]
        return without_absent(scores, fast["present"]) if "present" in fast else scores

    def votes(self, params: Params, fast: Fast, support: Examples, x: Any) -> Float[Tensor, "Q S W"]:
        """Every support row votes for its own class: the solution is linear in the labels.

        What a row's label alone would make the regression say, times `scale`. The column of ones is part of it; the
        bias, one number for all classes, is not.
        """
        z, _ = self.embed_support(params, support)
        alone = torch.eye(len(support.y), dtype=z.dtype, device=z.device)
        each = _with_ones(self.embed(params, fast, x)) @ self._fit_head(params, z, support.weight, alone)  # [Q, S]
        votes: Tensor = params["scale"] * each[:, :, None] * support.y
        return votes


def _with_ones(z: Tensor) -> Tensor:
    return torch.cat([z, z.new_ones(z.shape[0], 1)], 1)


ROWS = {
    "r2d2": LearnerRow(
        R2D2,
        "Bertinetto 2019",
        "ridge regression on learned features, in closed form",
        nets=FIXED,
        # What a ridge is small for depends on the size of the features.
        tuned={"optimizer.lr": (0.003, 0.01), "ridge": (1.0, 50.0)},
        # The mean of the targets is the task's, and no sum of squares to be held small.
        of_columns={"targets": {"centred": True, "scale": 1.0}},
    ),
}
