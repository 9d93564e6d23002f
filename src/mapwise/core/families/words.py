"""What learners that judge every word of a text have in common: what a row holds, and the loss of a path of tags."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mapwise.core import functional
from mapwise.core.capabilities import OverEmbedded
from mapwise.core.chain import log_likelihood
from mapwise.core.functional import Net
from mapwise.core.learner import Learner
from mapwise.core.tags import Moves, learned_moves
from mapwise.core.task import Examples, row_weight
from mapwise.core.tree import Fast, Params

_UNIT = 10.0
"""Of a learned table's numbers: rates of optimizers suit weights of which hundreds add up to a score."""


class Vectors(nn.Module):
    """Stands in for an encoder where words have vectors already."""

    def __init__(self, output_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.output_shape = output_shape

    def forward(self, x: Mapping[str, Tensor]) -> Float[Tensor, "N L D"]:
        """The vectors, [N, L, D]."""
        return x["vectors"]


@dataclass(frozen=True)
class WordLearner(Learner):
    """A learner that gives every word of a text a tag by its vector; its params hold those of the encoder as "encoder".

    x is a dict of tensors; where it has "described", [N], rows with 1 there are names of types and no texts, and where
    it has "starts", [N, L], words are the pieces with 1 there.

    encoder: [N, L] pieces -> [N, L, D], with whatever is frozen inside it.
    """

    takes_tokens: ClassVar[bool] = True

    encoder: Net

    def encode(self, params: Params, x: Any) -> Float[Tensor, "N L D"]:
        """The vector of each word; with params that have no encoder, the encoder's own weights."""
        return functional.apply(self.encoder, params.get("encoder", {}), pieces_alone(x))

    def over_embedded(self, params: Params) -> OverEmbedded[Learner] | None:
        """The same learner over texts whose words have vectors already.

        Its rows are {"vectors": [N, L, D], "described": [N]}, and "starts" where x has them.
        """
        return self._over(params)

    def over_adapted(self, fast: Fast) -> OverEmbedded[Learner]:
        """The same learner over texts whose words have vectors of the encoder as it was adapted."""
        return self._over(fast)

    def resume(self, params: Params, fast: Fast, support: Examples, steps: int) -> Fast:
        """Adapt to this support, where an adaptation takes no steps."""
        return self.adapt(params, support)

    def _over(self, params: Params) -> OverEmbedded[Learner]:
        rest = {name: part for name, part in params.items() if name != "encoder"}
        net = partial(Vectors, functional.output_shape(self.encoder))
        return OverEmbedded(partial(self._with_vectors, params), replace(self, encoder=net), {**rest, "encoder": {}})

    def _with_vectors(self, params: Params, x: Any) -> dict[str, Tensor]:
        starts = {"starts": x["starts"]} if isinstance(x, Mapping) and "starts" in x else {}
        return {"vectors": self.encode(params, x), "described": is_name(x), **starts}


def check_tags(y: Tensor, learner: str) -> None:
    """Raises ValueError for labels that aren't tags of pieces, for a learner of this name."""
    if y.dim() != 3 or y.shape[-1] % 2 == 0:
        raise ValueError(
            f"the labels of a task are {list(y.shape)}: {learner} takes one tag for each piece of a text, "
            "[N, L, 2 T + 1], as the problem spans has them"
        )


def of_types(y: Float[Tensor, "N L W"]) -> Float[Tensor, "N L T"]:
    """1 for the type of a word that is in a span, from its tag."""
    types: Tensor = y[..., 1::2] + y[..., 2::2]
    return types


def of_places(y: Float[Tensor, "N L W"]) -> Float[Tensor, "N L 3"]:
    """1 for O, B or I, from the tag of a word."""
    return torch.stack([y[..., 0], y[..., 1::2].sum(-1), y[..., 2::2].sum(-1)], -1)


def is_name(x: Any) -> Float[Tensor, "N"]:
    """1 for rows that are names of types, where x says so."""
    if isinstance(x, Mapping) and "described" in x:
        named: Tensor = x["described"]
        return named.to(torch.get_default_dtype())
    rows = next(iter(x.values())) if isinstance(x, Mapping) else x
    return torch.zeros(len(rows), device=rows.device)


def starts_of(x: Any, scores: Float[Tensor, "N L S"]) -> Float[Tensor, "N L"]:
    """1 at the first piece of each word, where x says so; otherwise every position is a word."""
    if isinstance(x, Mapping) and "starts" in x:
        starts: Tensor = x["starts"]
        return starts.to(scores.dtype)
    return torch.ones_like(scores[..., 0])


def pieces_alone(x: Any) -> Any:
    """What an encoder reads of such rows."""
    return {name: part for name, part in x.items() if name != "described"} if isinstance(x, Mapping) else x


def zero_table() -> Params:
    """A table of moves between O, B and I that says nothing yet."""
    return {"moves": torch.zeros(3, 3), "start": torch.zeros(3)}


def moves_of(table: Params, types: int) -> Moves:
    """The moves between the tags of T types that a table makes, ten times its numbers; barred where not allowed."""
    return learned_moves(_UNIT * table["moves"], _UNIT * table["start"], types)


def path_loss(
    scores: Float[Tensor, "N L S"], moves: Moves, rows: Examples, words: Float[Tensor, "N L"]
) -> Float[Tensor, ""]:
    """The negative log-likelihood of the true path of each text, a mean over all words that count, in nats.

    scores: of every state at every word, whose paths `moves` scores too.
    rows:   y is [N, L, S], of the states. A word of weight 0 may be in any state, and so may the first word of a text
            that goes on with a span from before.
    words:  above 0 at positions that are words; the chain passes over the others.
    """
    first = (words > 0).cumsum(-1) <= 1
    known = (rows.weight > 0) & ~(first & (rows.y[..., 2::2].sum(-1) > 0))
    each = -log_likelihood(scores, (rows.y > 0) | ~known[..., None], *moves, words)
    total = rows.weight.sum().clamp(min=torch.finfo(scores.dtype).tiny)
    return (each * row_weight(rows.weight)).sum() / total
