"""A learner that knows something of a task's classes before it sees an example: rows that describe them."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils import _pytree as pytree

from mapwise.core.families.embedding import learned_features
from mapwise.core.learner import Learner
from mapwise.core.scores import Scores
from mapwise.core.task import Examples
from mapwise.core.tree import Fast, Params


@dataclass(frozen=True)
class Described(Learner):
    """A learner whose every support is joined by rows that describe the classes, such as their names.

    The descriptions are params and no examples: a cross-validation never leaves them out, and never asks them.

    learner: takes the support and, behind it, the descriptions.

    >>> fast = Described(learner).adapt(described_params(params, descriptions), support)
    """

    learner: Learner

    @property
    def keeps(self) -> frozenset[str]:
        """All that the learner keeps but for `relabel`: descriptions are of the task's classes in their order."""
        return self.learner.keeps - {"relabel"}

    def adapt(self, params: Params, support: Examples) -> Fast:
        """As the learner adapts to the support with the descriptions behind it."""
        return self.learner.adapt(params["learner"], joined_support(support, Examples(**params["descriptions"])))

    def predict(self, params: Params, fast: Fast, x: Any) -> Scores:
        """As the learner predicts."""
        return self.learner.predict(params["learner"], fast, x)

    def embed(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "N D"]:
        """Rows where the learner compares them."""
        return learned_features(self.learner, params["learner"], fast, x)

    def over_embedded(self, params: Params) -> None:
        """None: its descriptions are not embedded."""


def described_params(params: Params, descriptions: Examples) -> Params:
    """The params of a `Described` learner: those of its learner, and the descriptions [H, *input] with y [H, W]."""
    return {"learner": params, "descriptions": descriptions._asdict()}


def joined_support(support: Examples, descriptions: Examples) -> Examples:
    """A support with the descriptions as its last rows; the key is the support's."""
    x = pytree.tree_map(lambda *parts: torch.cat(parts), support.x, descriptions.x)
    y, weight = (torch.cat([getattr(part, name) for part in (support, descriptions)]) for name in ("y", "weight"))
    return Examples(x, y, weight, support.key)
