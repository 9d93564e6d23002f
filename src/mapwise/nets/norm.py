"""Normalisation that says whose statistics it uses."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch._C._functorch import TransformType, get_interpreter_stack

from mapwise.core.functional import current_call

NormKind = Literal["batch", "support", "frozen", "group", "layer"]

_KEEP_IN = {"batch": None, "support": "statistics", "frozen": "measured"}


class Norm(nn.Module):
    """Normalise each channel, then scale and shift it by learned weights.

    kind: "batch"    statistics of the rows at hand: predictions depend on their neighbours.
          "support"  queries are normalised by the statistics of their support rows.
          "frozen"   rows at hand while training, population statistics afterwards.
          "group"    each row by itself, over groups of channels (Wu and He 2018).
          "layer"    each row by itself, over all channels (Ba, Kiros and Hinton 2016).

    Rows are [N, C, *space]; rows of weight 0 take no part in any statistic.
    """

    def __init__(self, channels: int, kind: NormKind = "batch", epsilon: float = 1e-5) -> None:
        super().__init__()
        if kind not in (*_KEEP_IN, "group", "layer"):
            raise ValueError(f"there is no norm {kind!r}: give one of batch, support, frozen, group, layer")
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
            return nn.functional.group_norm(x, self.groups, self.weight, self.bias, self.epsilon)
        call = current_call()
        statistics = call.given_to(self)
        collects = call.collects(self.keep_in)
        # The kernel refuses a single number per channel, such as one row of an MLP.
        plain = call.weight is not None or collects or x.numel() == x.shape[1] or _differentiated_under_vmap()
        if statistics is None and not plain:
            # The same numbers by torch's own kernel, several times as fast as the plain formula on a CPU.
            return nn.functional.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.epsilon)
        if statistics is None:
            statistics = _statistics(x, call.weight)
            if collects:
                call.collect(self, statistics)
        mean, variance = statistics.unbind(0)
        scale = self.weight * torch.rsqrt(variance + self.epsilon)
        shape = (-1, *(1,) * (x.ndim - 2))
        return x * scale.reshape(shape) + (self.bias - mean * scale).reshape(shape)


def _differentiated_under_vmap() -> bool:
    """Whether this call runs inside both vmap and a gradient.

    There torch 2.13's batch_norm takes its statistics for constants when it is differentiated a second
    time, and the second derivative is silently wrong.
    """
    kinds = {transform.key() for transform in get_interpreter_stack() or ()}
    return TransformType.Vmap in kinds and TransformType.Grad in kinds


def _statistics(x: Tensor, weight: Tensor | None) -> Tensor:
    """Mean and variance of every channel over the rows that count, [2, C]."""
    if x.ndim > 2:
        # Per row first: one pass over the large array, and the rest is on [N, C].
        variance, mean = torch.var_mean(x, dim=tuple(range(2, x.ndim)), correction=0)  # [N, C]
    else:
        variance, mean = torch.zeros_like(x), x
    share = x.new_ones(x.shape[0]) if weight is None else weight.to(x.dtype)
    share = (share / share.sum().clamp(min=1e-12))[:, None]  # [N, 1]
    centre = (share * mean).sum(0)
    return torch.stack([centre, (share * (variance + (mean - centre) ** 2)).sum(0)])
