"""Normalisation that says whose statistics it uses."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mapwise.core import context
from mapwise.core.fields import check_arguments, check_sizes
from mapwise.core.functional import widened
from mapwise.nets.statistics import per_channel, row_statistics

NormKind = Literal["batch", "support", "frozen", "group", "layer"]

_KEEP_IN = {"batch": None, "support": "statistics", "frozen": "measured"}


class Norm(nn.Module):
    """Normalise each channel, then scale and shift it by learned weights.

    kind: "batch"    statistics of the rows at hand: predictions depend on their neighbours.
          "support"  queries are normalised by the statistics of their support rows.
          "frozen"   rows at hand while training, population statistics afterwards.
          "group"    each row by itself, over groups of channels (Wu and He 2018).
          "layer"    each row by itself, over all channels (Ba, Kiros and Hinton 2016).

    Rows are [N, C, *space]; a row takes part in a statistic by its weight.
    """

    def __init__(self, channels: int, kind: NormKind = "batch", epsilon: float = 1e-5) -> None:
        super().__init__()
        check_arguments(Norm.__init__, locals())
        check_sizes(channels=channels)
        self.kind = kind
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        if kind in _KEEP_IN:
            self.keep_in = _KEEP_IN[kind]
        self.groups = {"group": max(1, channels // 8), "layer": 1}.get(kind, 0)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, *space] -> the same shape."""
        if self.groups:
            # Flat, since torch has no rule under vmap for maps whose channels lie side by side.
            rows = x.reshape(*x.shape[:2], -1)  # [N, C, space]
            return nn.functional.group_norm(rows, self.groups, self.weight, self.bias, self.epsilon).reshape(x.shape)
        return scaled(x, *self.affine(x))

    def affine(self, x: Tensor, turned: Tensor | None = None) -> tuple[Float[Tensor, "C"], Float[Tensor, "C"]]:
        """The scale and the shift of every channel that normalise rows like x; not for kinds "group" and "layer".

        turned: [C], -1 for a channel that x holds with its sign turned, else 1; None: none is turned.
        """
        call = context.current().call
        given = call.given_to(self)
        if given is not None:
            mean, variance = given.unbind(0)
            mean = mean if turned is None else mean * turned
        else:
            rows = widened(x)
            mean, variance = row_statistics(rows) if call.weight is None else _weighted_statistics(rows, call.weight)
            if call.collects(self.keep_in):
                call.collect(self, torch.stack([mean if turned is None else mean * turned, variance]))
        weight = self.weight if turned is None else self.weight * turned
        scale = weight * torch.rsqrt(variance + self.epsilon)
        return scale, self.bias - mean * scale


def scaled(x: Float[Tensor, "N C *space"], scale: Float[Tensor, "C"], shift: Float[Tensor, "C"]) -> Tensor:
    """scale * x + shift, channel by channel."""
    return torch.addcmul(per_channel(shift, x), x, per_channel(scale, x))


def _weighted_statistics(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of every channel over the rows that count, each [C]."""
    if x.ndim > 2:
        # Per row first: one pass over the large array, and the rest is on [N, C].
        variance, mean = torch.var_mean(x, dim=tuple(range(2, x.ndim)), correction=0)  # [N, C]
    else:
        variance, mean = torch.zeros_like(x), x
    share = weight.to(x.dtype)
    share = (share / share.sum().clamp(min=1e-12))[:, None]  # [N, 1]
    centre = (share * mean).sum(0)
    return centre, (share * (variance + (mean - centre) ** 2)).sum(0)
