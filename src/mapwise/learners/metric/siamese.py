"""Siamese networks."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from mapwise.core import functional
from mapwise.core.families.embedding import EmbeddingLearner
from mapwise.core.scores import without_absent
from mapwise.core.task import Examples, Task, present_classes
from mapwise.core.tree import Fast, Params
from mapwise.learners.row import encoder_row


@dataclass(frozen=True)
class Siamese(EmbeddingLearner):
    """One encoder embeds two rows, and a unit decides from their differences whether they are of the same class.

    Paper:   Koch, Zemel, Salakhutdinov 2015, Siamese Neural Networks for One-shot Image Recognition, section 3.
    Fast:    {"rows": [S, D], "classes": [S, W], "present": [W]}; with norm "support" also {"statistics": ...}.
    Loss:    cross-entropy of "same or not" over all pairs of a query and a support row, same ones weighted by ways - 1.
    Differs: pairs come from episodes and not from all classes at once. Shots, which the paper has none of, combine by
             the mean probability of their pairs. The head starts at one negative weight for all, and is not drawn.

    encoder: [N, *input] -> [N, D], with its attribute `output_shape`.

    Breaks `query_loss`: it trains on pairs, which are combined into scores only afterwards.
    A net with norm "batch" breaks `alone`, `padding` and `weights`; one with "frozen" does so until measured.

    Raises ValueError for an encoder without `output_shape`.

    >>> fast = learner.adapt(params, support)
    >>> learner.predict(params, fast, query.x).sigmoid()  # the probability of "same", class by class
    """

    @property
    def keeps(self) -> frozenset[str]:
        """All but `query_loss`, unless the encoder normalises by the rows at hand."""
        return super().keeps - {"query_loss"}

    def init(self, seed: int) -> Params:
        """The encoder's weights, and a head for which a larger difference means less similar."""
        width = math.prod(functional.output_shape(self.encoder))
        head = {"weight": torch.full((width,), -(width**-0.5)), "bias": torch.ones(())}
        return {"encoder": functional.initial_weights(self.encoder, seed), "head": head}

    def adapt(self, params: Params, support: Examples) -> Fast:
        """Store the embedded rows, and the class of each."""
        z, seen = self.embed_support(params, support)
        classes = support.y * support.weight[:, None]  # a padding row speaks for none
        return {"rows": z, "classes": classes, "present": present_classes(support), **seen}

    def pairs(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "Q S"]:
        """The logit of "same" for every pair: sum_j a_j |h_j(x) - h_j(x_i)| + b."""
        gaps = (self.embed(params, fast, x)[:, None] - fast["rows"]).abs()  # [Q, S, D]
        logits: Tensor = gaps @ params["head"]["weight"] + params["head"]["bias"]
        return logits

    def predict(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "Q W"]:
        """The logit of the mean probability of "same" over each class's rows."""
        pairs, classes = self.pairs(params, fast, x)[:, :, None], fast["classes"]  # [Q, S, 1] and [S, W]
        share = torch.where(classes > 0, classes.clamp(min=1e-12).log(), torch.finfo(pairs.dtype).min / 2)
        # log sum p - log sum (1 - p): a probability that rounds to 1 still has a logit.
        same, other = ((logsigmoid(logit) + share).logsumexp(1) for logit in (pairs, -pairs))  # [Q, W]
        return without_absent(same - other, fast["present"])

    def objective(self, params: Params, task: Task) -> Float[Tensor, ""]:
        """Cross-entropy of all pairs; same ones are ways - 1 times as rare and weigh as much more."""
        support, query = task
        fast = self.adapt(params, support)
        pairs, same = self.pairs(params, fast, query.x), query.y @ support.y.T  # [Q, S]
        weight = torch.where(same > 0, fast["present"].sum() - 1, 1) * query.weight[:, None] * support.weight
        return (weight * (softplus(pairs) - same * pairs)).sum() / weight.sum().clamp(
            min=torch.finfo(weight.dtype).tiny
        )


ROWS = {
    "siamese": encoder_row(Siamese, "Koch 2015", "whether a query and a support row are of one class, pair by pair"),
}
