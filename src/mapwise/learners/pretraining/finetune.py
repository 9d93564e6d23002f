"""Fine-tuning: a new head on a pretrained encoder, and a fixed number of steps for both."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mapwise.core import functional
from mapwise.core.capabilities import OverEmbedded
from mapwise.core.geometry import class_means, cosines
from mapwise.core.inner_loop import SGD, descend
from mapwise.core.learner import Learner
from mapwise.core.scores import without_absent
from mapwise.core.task import Examples, present_classes
from mapwise.core.tree import Fast, Params
from mapwise.learners.pretraining.supervised import Supervised
from mapwise.learners.row import encoder_row


@dataclass(frozen=True)
class Finetune(Supervised):
    """Put a fresh head on the pretrained features and train it, and the encoder, on the support.

    Paper:   Chen, Liu, Kira, Wang, Huang 2019, arXiv:1904.04232 (Baseline; with a cosine head Baseline++), section 3.2.
    Fast:    {"head": {"weight": [W, D], "bias": [W]}, "body": moved encoder weights, "present": [W]};
             with a cosine head without the bias; with norm "support" also {"statistics": ...}.
    Loss:    pretraining as `supervised`; cross-entropy on the support when adapting.
    Differs: the paper keeps the encoder fixed; `body_lr=0` and `baseline_pp` do that. A linear head starts at zero, so
             that no class is preferred, and a cosine head at the class means in place of random directions. Steps see
             the whole support, without momentum and decay. A cosine head has the scale it was trained under.

    Breaks `query_loss`: training asks for base classes. A net with norm "batch" breaks `alone` and `padding`.

    tune_steps: gradient steps of an adaptation, on the whole support.
    head_lr:    their rate for the head.
    body_lr:    their rate for the encoder; 0 leaves it as it is.
    """

    tune_steps: int = 50
    head_lr: float = 0.1
    body_lr: float = 0.01

    def adapt(self, params: Params, support: Examples) -> Fast:
        """Steps down the support loss, from a head that prefers no class and the pretrained encoder."""
        encoder = functional.headless(self.net)
        body = functional.body_weights(self.net, params)
        moved = {name: leaf for name, leaf in body.items() if name not in functional.RESERVED} if self.body_lr else {}
        present, scale = present_classes(support), self.cosine_scale(params)
        z = functional.apply(encoder, body, support.x, support.weight).flatten(1)
        start = {"head": self._start(z, support), "body": moved}

        def support_loss(
            point: Params, step: int, body: Params, support: Examples, present: Tensor, z: Tensor
        ) -> Tensor:
            if moved:
                z = functional.apply(encoder, {**body, **point["body"]}, support.x, support.weight).flatten(1)
            return self.criterion(without_absent(self._scores(point["head"], z, scale), present), support)

        rates = {
            "head": {name: torch.as_tensor(self.head_lr) for name in start["head"]},
            "body": {name: torch.as_tensor(self.body_lr) for name in moved},
        }
        given = (body, support, present, z)
        # First order: nothing is learned through these steps.
        fast = descend(support_loss, start, SGD(rates), self.tune_steps, given=given, first_order=True)
        _, seen = functional.observe(encoder, {**body, **fast["body"]}, support.x, support.weight)
        return {**fast, **seen, "present": present}

    def predict(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "Q W"]:
        """The new head on the tuned features."""
        scores = self._scores(fast["head"], self.embed(params, fast, x), self.cosine_scale(params))
        return without_absent(scores, fast["present"])

    def embed(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "N D"]:
        """The tuned features."""
        # A branch without leaves (body_lr=0) is not in a saved file.
        return super().embed({**params, **fast.get("body", {})}, fast, x)

    def over_embedded(self, params: Params) -> OverEmbedded[Learner] | None:
        """As `Supervised`, and None unless the encoder is left as it is."""
        return None if self.body_lr else super().over_embedded(params)

    def _start(self, z: Float[Tensor, "S D"], support: Examples) -> Params:
        """The head before the first step."""
        if self.head == "cosine":
            # Of length 1: how far a step turns a direction depends on its length.
            return {"weight": nn.functional.normalize(class_means(z, support), dim=-1)}
        ways = support.y.shape[1]
        return {"weight": z.new_zeros(ways, z.shape[1]), "bias": z.new_zeros(ways)}

    def _scores(self, head: Params, z: Float[Tensor, "N D"], scale: float) -> Float[Tensor, "N W"]:
        if self.head == "cosine":
            return scale * cosines(z, head["weight"])
        return nn.functional.linear(z, head["weight"], head["bias"])


ROWS = {
    "finetune": encoder_row(
        Finetune,
        "Chen 2019",
        "a supervised encoder, tuned on each support set",
        pretraining=True,
        tuned={"optimizer.lr": (0.001, 0.003), "body_lr": (0.0, 0.01)},
    ),
    "baseline_pp": encoder_row(
        partial(Finetune, head="cosine", body_lr=0.0),
        "Chen 2019",
        "a classifier by cosines of all base classes, and a new head of cosines for each support set",
        page="baseline_pp",
        pretraining=True,
        tuned={"optimizer.lr": (0.001, 0.003), "head_lr": (0.1, 1.0)},
    ),
}
