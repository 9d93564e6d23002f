"""A linear probe: logistic regression on the features of a supervised encoder."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from mapwise.core.families.logistic_head import check_solver, logistic_head, mean_square, score_by
from mapwise.core.task import Examples, present_classes
from mapwise.core.tree import Fast, Params
from mapwise.learners.pretraining.supervised import Supervised
from mapwise.learners.row import encoder_row


@dataclass(frozen=True)
class LinearProbe(Supervised):
    """Train one classifier on all base classes, and fit a logistic regression to its features for a new task.

    Paper:   Tian, Wang, Krishnan, Tenenbaum, Isola 2020, arXiv:2003.11539, section 3.
    Fast:    {"head": [D + 1, W], "present": [W]}; with norm "support" also {"statistics": ...}.
    Loss:    pretraining as `supervised`.
    Differs: features are taken as they are, where the paper scales them to length 1; the bias is held small, too.

    strength:     weight of half the squared head beside the sum of the rows' cross-entropies, in units of the mean
                  squared length of the support's features.
    solver_steps: of the solver, each to the minimum of a quadratic above the sum.

    Breaks `query_loss`: training asks for base classes. A net with norm "batch" breaks `alone`, `padding` and
    `weights`.

    Raises ValueError for a strength that isn't positive, and for no step.

    >>> fast = learner.adapt(params, support)
    >>> fast["head"].shape
    torch.Size([65, 5])
    """

    strength: float = 0.03
    solver_steps: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        check_solver(self.strength, self.solver_steps)

    def adapt(self, params: Params, support: Examples) -> Fast:
        """The head with the least penalised cross-entropy of the support."""
        z, seen = self.embed_support(params, support)
        head = logistic_head(
            z, support.y, support.weight, self.strength * mean_square(z, support.weight), self.solver_steps
        )
        return {"head": head, "present": present_classes(support), **seen}

    def predict(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "Q W"]:
        """[f(x), 1] head."""
        return score_by(fast["head"], self.embed(params, fast, x), fast["present"])


ROWS = {
    "linear_probe": encoder_row(
        LinearProbe,
        "Tian 2020",
        "logistic regression on the features of a classifier",
        pretraining=True,
        tuned={"optimizer.lr": (0.001, 0.003), "strength": (0.01, 0.1)},
    ),
}
