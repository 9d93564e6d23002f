"""Prototypical Networks."""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mapwise.core import functional
from mapwise.core.capabilities import VoteScale
from mapwise.core.families.embedding import EmbeddingLearner
from mapwise.core.geometry import class_means, cosines, squared_distances
from mapwise.core.scores import without_absent
from mapwise.core.task import Examples, present_classes
from mapwise.core.tree import Fast, Params
from mapwise.learners.row import OF_CLASSES, LearnerRow, encoder_row

Distance = Literal["euclidean", "cosine"]


@dataclass(frozen=True)
class ProtoNet(EmbeddingLearner):
    """A class is the mean of its embedded support rows; a query goes to the nearest.

    Paper:   Snell, Swersky, Zemel 2017, arXiv:1703.05175, eq. 1-2.
    Fast:    {"prototypes": [W, D], "present": [W]}; with norm "support" also {"statistics": ...}. Where every token
             has a label, a prototype is the mean of a class's tokens, and prototypes are [1, W, D].
    Loss:    cross-entropy of minus squared distance.
    Differs: nothing; "cosine" scores are `scale` times the cosine, which the paper compares and finds worse.

    encoder:  [N, *input] -> [N, D], or [N, L, D] where every token has a label.
    distance: "euclidean" (squared) or "cosine".
    scale:    what a cosine is multiplied by; without effect on squared distances.

    A net with norm "batch" breaks `alone`, `padding` and `weights`; one with "frozen" does so until measured.

    >>> fast = learner.adapt(params, support)
    >>> fast["prototypes"].shape
    torch.Size([5, 64])
    """

    takes_tokens: ClassVar[bool] = True
    encoder_part: ClassVar[str] = ""
    votes_add_to: ClassVar[VoteScale] = "scores"

    distance: Distance = "euclidean"
    scale: float = 10.0

    def init(self, seed: int) -> Params:
        """The encoder's weights."""
        return functional.initial_weights(self.encoder, seed)

    def adapt(self, params: Params, support: Examples) -> Fast:
        """c_k = the mean of f(x_i) over the support rows of class k (eq. 1)."""
        z, seen = self.embed_support(params, support)
        prototypes = class_means(z, support)  # [W, D]
        # As many axes as z, so that a query's tokens are told from features of several axes.
        for _ in range(z.dim() - 2):
            prototypes = prototypes[None]
        return {"prototypes": prototypes, "present": present_classes(support), **seen}

    def embed(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "N *L D"]:
        """Rows, or their tokens, in the learned space."""
        z = functional.apply(self.encoder, self.encoder_weights(params, fast), x)
        return z.flatten(fast["prototypes"].dim() - 1)

    def predict(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "Q *L W"]:
        """Minus the squared distance to every prototype (eq. 2)."""
        z = self.embed(params, fast, x)
        if self.distance == "cosine":
            scores = self.scale * cosines(z, fast["prototypes"])
        else:
            scores = -squared_distances(z, fast["prototypes"])
        return without_absent(scores, fast["present"])

    def votes(self, params: Params, fast: Fast, support: Examples, x: Any) -> Float[Tensor, "Q S W"]:
        """Every support row votes for its own class, by its share in the class's mean.

        A mean c is as far as its rows s are, less what they are scattered: |x - c|^2 is the mean of
        |x - s|^2 - |s - c|^2. A row's vote is how much less that is than the mean distance to all classes. A cosine
        with a mean is a sum over the mean's rows as it stands.
        """
        z, rows = self.embed(params, fast, x), self.embed_support(params, support)[0]
        counts = support.y * support.weight[:, None]
        share = counts / counts.sum(0).clamp(min=torch.finfo(counts.dtype).tiny)  # [S, W]
        means, present = fast["prototypes"], fast["present"]
        if self.distance == "cosine":
            along = torch.nn.functional.normalize(z, dim=-1) @ rows.T  # [Q, S]
            nearer = self.scale * along[:, :, None] / means.norm(dim=-1).clamp(min=1e-12)
        else:
            usual = (squared_distances(z, means) * present).sum(1) / present.sum().clamp(min=1)  # [Q]
            near = squared_distances(z, rows)[:, :, None] - squared_distances(rows, means)
            nearer = usual[:, None, None] - near
        votes: Tensor = share * nearer  # [Q, S, W]
        return votes


ROWS = {
    "protonet": encoder_row(ProtoNet, "Snell 2017", "nearest class mean in a learned space"),
    "protonet_cosine": encoder_row(
        partial(ProtoNet, distance="cosine"), "Snell 2017", "protonet with cosines for distances"
    ),
    "nearest_mean": LearnerRow(
        partial(ProtoNet, encoder=nn.Flatten),
        "Snell 2017",
        "nearest class mean of the raw inputs; nothing to train",
        page="nearest_mean",
        columns=OF_CLASSES,
    ),
}
