"""Learners that put rows into a learned space and compare them there: what they have in common."""

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
from mapwise.core.task import Examples, TaskSource
from mapwise.core.tree import Fast, Params

MEASURED_BATCHES = 20
"""Batches of training supports that make the population statistics of a frozen norm."""


def kept_laws(*nets: Net) -> frozenset[str]:
    """All, unless one of the nets normalises by the rows at hand, for then predictions depend on their neighbours."""
    kinds = frozenset[str]().union(*(functional.statistics_kept(net) for net in nets))
    return WAIVABLE - (BY_ROWS if "rows" in kinds else frozenset())


class Embedded(nn.Module):
    """In the place of an encoder: rows that it has embedded already, in the shape it gave them."""

    def __init__(self, output_shape: tuple[int, ...]):
        super().__init__()
        self.output_shape = output_shape

    def forward(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N *D"]:
        """[N, *output_shape]."""
        return x.reshape(len(x), *self.output_shape)


@dataclass(frozen=True)
class EmbeddingLearner(Learner):
    """An encoder embeds support and queries alike, and nothing of it moves when a new task comes.

    A learner that extends this writes `init`, `adapt` and `predict`; what `embed_support` returns second belongs into
    its fast. Its params hold the encoder's weights as the part `encoder_part`.

    encoder: [N, *input] -> [N, D], or [N, ...], which is flattened.
    """

    encoder_part: ClassVar[str] = "encoder"
    """The name of that part; "" when all params are the encoder's."""

    encoder: Net

    @property
    def keeps(self) -> frozenset[str]:
        """All, unless the encoder normalises by the rows at hand."""
        return kept_laws(self.encoder)

    def encoder_weights(self, params: Params, fast: Fast | None = None) -> Params:
        """The encoder's weights, with the statistics kept in params and in fast."""
        return functional.part(params, self.encoder_part, fast)

    def embed_support(self, params: Params, support: Examples) -> tuple[Float[Tensor, "S D"], Params]:
        """The embedded support rows; and with norm "support" their statistics, {} otherwise."""
        z, seen = functional.observe(self.encoder, self.encoder_weights(params), support.x, support.weight)
        return z.flatten(1), seen

    def encode(self, params: Params, x: Any) -> Float[Tensor, "N D"]:
        """Rows as the encoder makes them of each alone, which is where `over_embedded` begins."""
        return functional.apply(self.encoder, self.encoder_weights(params), x).flatten(1)

    def embed(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "N D"]:
        """Rows in the learned space."""
        return functional.apply(self.encoder, self.encoder_weights(params, fast), x).flatten(1)

    def over_embedded(self, params: Params) -> OverEmbedded | None:
        """The same learner over rows that `encode` made.

        None where the embedding of a row depends on other rows, or the encoder doesn't say its output shape.
        """
        shape = getattr(functional.blueprint(self.encoder), "output_shape", None)
        if not isinstance(shape, tuple) or functional.statistics_kept(self.encoder) - {"measured"}:
            return None
        rest = {name: part for name, part in params.items() if name != self.encoder_part}
        own: Params = {self.encoder_part: {}, **rest} if self.encoder_part else {}
        return OverEmbedded(partial(self.encode, params), replace(self, encoder=partial(Embedded, shape)), own)

    def measure(self, params: Params, source: TaskSource) -> Params:
        """Population statistics of a frozen norm, from the first training episodes of the source."""
        supports = (source(step).support for step in range(MEASURED_BATCHES))
        batches = (rows.x.flatten(0, 1)[rows.weight.flatten() > 0] for rows in supports)
        measured = functional.population(self.encoder, self.encoder_weights(params), batches)
        return {**params, "measured": measured} if measured else params


@torch.no_grad()
def learned_features(learner: Learner, params: Params, fast: Fast, x: Any) -> Float[Tensor, "N D"]:
    """Rows where this learner compares them: in its learned space, if it has one, otherwise as they are."""
    return learner.embed(params, fast, x) if isinstance(learner, Embeds) else x.flatten(1)
