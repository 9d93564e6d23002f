"""A memory-augmented neural network as one writes it by hand: streams side by side as a batch, and a loop over rows.

Weights are given as mapwise names them, so that both compute the same.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.peers.plain_generators import body

EPS = 1e-8
EMPTY = 1e-6
"""What is in a slot at first."""


def mann_loss(
    weights: dict[str, Any], x: Tensor, y: Tensor, *, heads: int, slots: int, width: int, decay: float
) -> Tensor:
    """The cross-entropy of every row, [T, N, D], before its label, [T, N, W], is seen."""
    cell = weights["lstm"]
    streams, _, ways = y.shape
    units = cell["recurrent"].shape[0] // 4
    before = torch.cat([y.new_zeros(streams, 1, ways), y[:, :-1]], 1)
    message = F.linear(torch.cat([body(weights["encoder"], x.flatten(2)), before], -1), cell["input"], cell["bias"])
    h = c = x.new_zeros(streams, units)
    memory = x.new_full((streams, slots, width), EMPTY)
    reads = F.one_hot(torch.zeros(streams, heads, dtype=torch.long), slots).to(x)
    usage, seen, answer = reads[:, 0], x.new_zeros(streams, heads * width), []
    for tell in message.unbind(1):
        let_in, keep, candidate, let_out = (tell + F.linear(torch.cat([h, seen], 1), cell["recurrent"])).chunk(4, 1)
        c = torch.sigmoid(keep) * c + torch.sigmoid(let_in) * torch.tanh(candidate)
        h = torch.sigmoid(let_out) * torch.tanh(c)
        spoken = F.linear(h, weights["heads"]["weight"], weights["heads"]["bias"]).view(streams, heads, -1)
        keys, adds, gate, strength = spoken.split([width, width, 1, 1], -1)
        keys, adds = torch.tanh(keys), torch.tanh(adds)
        least = F.one_hot(usage.detach().argsort(dim=1, stable=True)[:, :heads], slots).to(x)
        writes = torch.sigmoid(gate) * reads + (1 - torch.sigmoid(gate)) * least
        memory = memory * (1 - least.sum(1))[:, :, None] + writes.mT @ adds
        lengths = ((memory**2).sum(2) + EPS).sqrt()[:, None] * ((keys**2).sum(2) + EPS).sqrt()[:, :, None]
        reads = torch.softmax(F.softplus(strength) * (keys @ memory.mT) / lengths, -1)
        usage = decay * usage + (reads + writes).sum(1)
        seen = (reads @ memory).flatten(1)
        answer.append(torch.cat([h, seen], 1))
    scores = F.linear(torch.stack(answer, 1), weights["out"]["weight"], weights["out"]["bias"])
    return F.cross_entropy(scores.flatten(0, 1), y.flatten(0, 1))
