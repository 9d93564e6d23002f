"""Logistic regression on the features of a fixed encoder."""

from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from mapwise.core import functional
from mapwise.core.families.embedding import EmbeddingLearner
from mapwise.core.families.logistic_head import check_solver, logistic_head, score_by
from mapwise.core.task import Examples, present_classes
from mapwise.core.tree import Fast, Params


@dataclass(frozen=True)
class Logistic(EmbeddingLearner):
    """Embed the support with an encoder that stays as it is, and fit a logistic regression to its labels.

    Paper:   Tian, Wang, Krishnan, Tenenbaum, Isola 2020, arXiv:2003.11539, section 3.
    Fast:    {"head": [D + 1, W], "present": [W]}; with norm "support" also {"statistics": ...}.
    Loss:    cross-entropy; nothing is learned through the fit but what the encoder is descended for.
    Differs: features are taken as they are, where the paper scales them to length 1; the bias is held small, too.

    encoder:  [N, *input] -> [N, D]; a column of ones is added to its features.
    strength: weight of half the squared head beside the sum of the rows' cross-entropies.
    steps:    of the solver.

    A net with norm "batch" breaks `alone`, `padding` and `weights`; one with "frozen" does so until measured.

    >>> fast = learner.adapt(params, support)
    >>> fast["head"].shape
    torch.Size([65, 5])
    """

    encoder_part: ClassVar[str] = ""

    strength: float = 1.0
    steps: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        check_solver(self.strength, self.steps)

    def init(self, seed: int) -> Params:
        """The encoder's weights."""
        return functional.initial_weights(self.encoder, seed)

    def adapt(self, params: Params, support: Examples) -> Fast:
        """The head with the least penalised cross-entropy of the support."""
        z, seen = self.embed_support(params, support)
        head = logistic_head(z, support.y, support.weight, self.strength, self.steps)
        return {"head": head, "present": present_classes(support), **seen}

    def predict(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "Q W"]:
        """[f(x), 1] head."""
        return score_by(fast["head"], self.embed(params, fast, x), fast["present"])
