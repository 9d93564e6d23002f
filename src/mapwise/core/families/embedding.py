"""What learners that embed rows and compare them in a learned space have in common."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mapwise.core import functional
from mapwise.core.capabilities import Embeds, OverEmbedded
from mapwise.core.functional import Net
from mapwise.core.learner import BY_ROWS, WAIVABLE, Learner
from mapwise.core.source import TaskSource
from mapwise.core.task import Examples, counted_inputs
from mapwise.core.tree import Fast, Params

MEASURED_BATCHES = 20
"""Batches of training supports that make the population statistics of a frozen norm."""


def kept_laws(*nets: Net) -> frozenset[str]:
    """All laws, unless one of the nets normalises by the rows at hand: predictions then depend on other queries."""
    kinds = frozenset[str]().union(*(functional.statistics_kept(net) for net in nets))
    return WAIVABLE - (BY_ROWS if "rows" in kinds else frozenset())


class Embedded(nn.Module):
    """Stands in for an encoder: passes on rows that are embedded already, in the encoder's output shape."""

    def __init__(self, output_shape: tuple[int, ...]):
        super().__init__()
        self.output_shape = output_shape

    def forward(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N *D"]:
        """[N, *output_shape]."""
        return x.reshape(len(x), *self.output_shape)


@dataclass(frozen=True)
class EmbeddingLearner(Learner):
    """An encoder embeds support and queries alike, and no task changes its weights.

    A learner that extends this writes `init`, `adapt` and `predict`; the statistics that `embed_support` returns
    belong in its fast. Its params hold the encoder's weights as the part `encoder_part`.

    encoder: [N, *input] -> [N, D], or [N, ...], which is flattened.
    """

    encoder_part: ClassVar[str] = "encoder"
    """The name of the encoder's part of params; "" when all params are the encoder's."""

    encoder: Net

    @property
    def keeps(self) -> frozenset[str]:
        """All, unless the encoder normalises by the rows at hand."""
        return kept_laws(self.encoder)

    def encoder_weights(self, params: Params, fast: Fast | None = None) -> Params:
        """The encoder's weights, with the statistics kept in params and in fast."""
        return functional.part(params, self.encoder_part, fast)

    def embed_support(self, params: Params, support: Examples) -> tuple[Float[Tensor, "S *L D"], Params]:
        """The embedded support rows (or tokens), and with norm "support" their statistics, otherwise {}."""
        z, seen = functional.observe(self.encoder, self.encoder_weights(params), support.x, support.weight)
        axes = support.weight.dim()  # of rows, and of their tokens where those have labels
        if z.dim() <= axes:
            raise ValueError(
                f"the encoder gives {list(z.shape[1:])} for a row and every token has a label: give one of [L, D]"
            )
        return z.flatten(axes), seen

    def encode(self, params: Params, x: Any) -> Float[Tensor, "N D"]:
        """Each row embedded by itself, which is what `over_embedded` takes."""
        return functional.apply(self.encoder, self.encoder_weights(params), x).flatten(1)

    def embed(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "N D"]:
        """Rows in the learned space."""
        return functional.apply(self.encoder, self.encoder_weights(params, fast), x).flatten(1)

    def over_embedded(self, params: Params) -> OverEmbedded[Learner] | None:
        """The same learner over rows that `encode` has embedded.

        None where the embedding of a row depends on other rows, or the encoder has no `output_shape`.
        """
        shape = getattr(functional.blueprint(self.encoder), "output_shape", None)
        if not isinstance(shape, tuple) or functional.statistics_kept(self.encoder) - {"measured"}:
            return None
        rest = {name: part for name, part in params.items() if name != self.encoder_part}
        own: Params = {self.encoder_part: {}, **rest} if self.encoder_part else {}
        return OverEmbedded(partial(self.encode, params), replace(self, encoder=partial(Embedded, shape)), own)

    def measure(self, params: Params, source: TaskSource) -> Params:
        """Population statistics of a frozen norm, from the first training episodes of the source."""
        batches = (counted_inputs(source(step).support) for step in range(MEASURED_BATCHES))
        measured = functional.population(self.encoder, self.encoder_weights(params), batches)
        return {**params, "measured": measured} if measured else params


@torch.no_grad()
def learned_features(learner: Learner, params: Params, fast: Fast, x: Any) -> Float[Tensor, "N D"]:
    """Rows in the learned space of this learner, or flattened as they are when it has none."""
    return learner.embed(params, fast, x) if isinstance(learner, Embeds) else x.flatten(1)
