"""Meta Networks as one writes them by hand: all tasks as one batch, and the gradients of the rows in closed form.

Weights are given as mapwise names them, so that both compute the same.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.peers.plain_generators import body

P = 7.0
"""Gradients below exp(-P) in size are not told by their logarithm."""


def meta_networks_loss(
    weights: dict[str, Any], x: Tensor, y: Tensor, x_query: Tensor, y_query: Tensor, *, chunks: int
) -> Tensor:
    """The cross-entropy of the queries; rows are [T, N, ...], and a chunk is as many support rows as the next."""
    z, options = body(weights["encoder"], x.flatten(2)), body(weights["encoder"], x_query.flatten(2))
    base, key = ({**weights[name], "head": weights[name]["head"][: y.shape[-1]]} for name in ("base", "key"))
    with torch.no_grad():
        dense, head = (_log_and_sign(slope) for slope in slopes(z, y, base))  # [T, S, E, D, 2], [T, S, W, E, 2]
        of_rows = slopes(z, y, key)[0]
        by_chunk = _log_and_sign(of_rows.unflatten(1, (chunks, -1)).mean(2)).movedim(1, 0)
    dense, head = _written(weights["rows"], dense), _written(weights["rows"], head)

    writer, shape = weights["chunks"], by_chunk.shape[1:-1]
    cell = writer["lstm"]
    h = c = z.new_zeros(shape.numel(), cell["recurrent"].shape[1])
    for chunk in by_chunk.flatten(1, -2):
        gates = F.linear(chunk, cell["input"], cell["bias"]) + F.linear(h, cell["recurrent"])
        let_in, keep, candidate, let_out = gates.chunk(4, -1)
        c = keep.sigmoid() * c + let_in.sigmoid() * candidate.tanh()
        h = let_out.sigmoid() * c.tanh()
    fast = (h @ writer["weight"] + writer["bias"]).reshape(shape)  # [T, E, D]

    layer = (weights["key"]["dense"] + fast).mT
    alike = F.normalize(options @ layer, dim=-1) @ F.normalize(z @ layer, dim=-1).mT
    attention = (weights["log_strength"].exp() * alike).softmax(-1)  # [T, Q, S]
    g = torch.relu(F.linear(options, base["dense"]))
    g = g + torch.relu(_read(attention, dense, options))
    scores = F.linear(g, base["head"]) + _read(attention, head, g)
    return -(y_query * scores.log_softmax(-1)).sum(-1).mean()


def slopes(z: Tensor, y: Tensor, layers: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The gradient of every row's cross-entropy along both layers, [T, S, E, D] and [T, S, W, E]."""
    before = F.linear(z, layers["dense"])
    hidden = torch.relu(before)
    missed = F.linear(hidden, layers["head"]).softmax(-1) - y
    back = (missed @ layers["head"]) * (before > 0)
    return back[..., None] * z[:, :, None], missed[..., None] * hidden[:, :, None]


def _log_and_sign(x: Tensor) -> Tensor:
    """The log of the size, and the sign."""
    large = x.abs() >= math.exp(-P)
    size = torch.where(large, x.abs().clamp(min=math.exp(-P)).log() / P, -1)
    return torch.stack([size, torch.where(large, x.sign(), math.exp(P) * x)], -1)


def _written(layers: dict[str, dict[str, Tensor]], x: Tensor) -> Tensor:
    for name in ("layer0", "layer1"):
        x = torch.relu(F.linear(x, layers[name]["weight"], layers[name]["bias"]))
    return F.linear(x, layers["layer2"]["weight"], layers["layer2"]["bias"])[..., 0]


def _read(attention: Tensor, memory: Tensor, x: Tensor) -> Tensor:
    """Every query through its mixture of the support rows' weights, [T, Q, M]."""
    each = torch.einsum("tqk,tsmk->tqsm", x, memory)
    return torch.einsum("tqs,tqsm->tqm", attention, each)
