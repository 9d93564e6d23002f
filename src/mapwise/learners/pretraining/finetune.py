"""Fine-tuning: a new head on a pretrained encoder, and a fixed number of steps for both."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mapwise.core import functional
from mapwise.core.capabilities import OverEmbedded
from mapwise.core.inner_loop import SGD, descend
from mapwise.core.learner import Learner
from mapwise.core.scores import without_absent
from mapwise.core.task import Examples, present_classes
from mapwise.core.tree import Fast, Params
from mapwise.learners.pretraining.supervised import Supervised
from mapwise.learners.row import encoder_row


@dataclass(frozen=True)
class Finetune(Supervised):
    """Put a fresh linear head on the pretrained features and train it, and the encoder, on the support.

    Paper:   Chen, Liu, Kira, Wang, Huang 2019, arXiv:1904.04232 (Baseline), section 3.2.
    Fast:    {"head": {"weight": [W, D], "bias": [W]}, "body": moved encoder weights, "present": [W]};
             with norm "support" also {"statistics": ...}.
    Loss:    pretraining as `supervised`; cross-entropy on the support when adapting.
    Differs: the paper keeps the encoder fixed; `body_lr=0` does that. The head starts at zero, so that
             no class is preferred.

    Breaks `query_loss`: training asks for base classes. A net with norm "batch" breaks `alone` and `padding`.

    tune_steps: gradient steps of an adaptation, on the whole support.
    head_lr:    their rate for the head.
    body_lr:    their rate for the encoder; 0 leaves it as it is.
    """

    tune_steps: int = 50
    head_lr: float = 0.1
    body_lr: float = 0.01

    def adapt(self, params: Params, support: Examples) -> Fast:
        """Steps down the support loss, from a zero head and the pretrained encoder."""
        encoder = functional.headless(self.net)
        body = functional.body_weights(self.net, params)
        moved = {name: leaf for name, leaf in body.items() if name not in functional.RESERVED} if self.body_lr else {}
        width = functional.apply(encoder, body, support.x, support.weight).flatten(1).shape[1]
        present = present_classes(support)
        ways = support.y.shape[1]
        start = {"head": {"weight": support.y.new_zeros(ways, width), "bias": support.y.new_zeros(ways)}, "body": moved}

        def support_loss(point: Params, step: int, body: Params, support: Examples, present: Tensor) -> Tensor:
            features = functional.apply(encoder, {**body, **point["body"]}, support.x, support.weight)
            return self.criterion(without_absent(_linear(point["head"], features), present), support)

        rates = {
            "head": {"weight": torch.as_tensor(self.head_lr), "bias": torch.as_tensor(self.head_lr)},
            "body": {name: torch.as_tensor(self.body_lr) for name in moved},
        }
        given = (body, support, present)
        # First order: nothing is learned through these steps.
        fast = descend(support_loss, start, SGD(rates), self.tune_steps, given=given, first_order=True)
        _, seen = functional.observe(encoder, {**body, **fast["body"]}, support.x, support.weight)
        return {**fast, **seen, "present": present}

    def predict(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "Q W"]:
        """The new head on the tuned features."""
        return without_absent(_linear(fast["head"], self.embed(params, fast, x)), fast["present"])

    def embed(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "N D"]:
        """The tuned features."""
        # A branch without leaves (body_lr=0) is not in a saved file.
        return super().embed({**params, **fast.get("body", {})}, fast, x)

    def over_embedded(self, params: Params) -> OverEmbedded[Learner] | None:
        """As `Supervised`, and None unless the encoder is left as it is."""
        return None if self.body_lr else super().over_embedded(params)


def _linear(head: Params, features: Tensor) -> Tensor:
    return nn.functional.linear(features.flatten(1), head["weight"], head["bias"])


ROWS = {
    "finetune": encoder_row(
        Finetune,
        "Chen 2019",
        "a supervised encoder, tuned on each support set",
        pretraining=True,
        tuned={"optimizer.lr": (0.001, 0.003), "body_lr": (0.0, 0.01)},
    ),
}
