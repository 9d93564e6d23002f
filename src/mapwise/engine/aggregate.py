"""How the tasks of a batch are weighted."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

Aggregate: TypeAlias = Callable[[Tensor], Tensor]
"""losses [T] -> weights [T], non-negative and summing to one; always called on detached losses."""


def mean(losses: Float[Tensor, "T"]) -> Float[Tensor, "T"]:
    """Equal weights."""
    return torch.full_like(losses, 1 / losses.shape[0])


def worst(losses: Float[Tensor, "T"]) -> Float[Tensor, "T"]:
    """All weight on the largest loss; tasks that share it share the weight."""
    largest = (losses == losses.max()).to(losses)
    return largest / largest.sum()


def inverse(losses: Float[Tensor, "T"]) -> Float[Tensor, "T"]:
    """Weights proportional to 1 / loss; a loss below 1e-6, zero and negative ones too, counts as 1e-6."""
    ease = 1 / losses.clamp(min=1e-6)
    return ease / ease.sum()


def pyramid(losses: Float[Tensor, "T"]) -> Float[Tensor, "T"]:
    """Weights a_t / sum a_t, where a_t solves a = sigmoid(a L_t): they rise with the loss, and saturate."""
    attention = pyramid_attention(losses)
    return attention / attention.sum()


def pyramid_attention(losses: Float[Tensor, "T"]) -> Float[Tensor, "T"]:
    """The root of a = sigmoid(a L) in (0, 1) of each loss L, by 30 bisections: there is one, to 1e-9."""
    low, high = torch.zeros_like(losses), torch.ones_like(losses)
    for _ in range(30):
        middle = (low + high) / 2
        below = torch.sigmoid(middle * losses) > middle
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


AGGREGATES: dict[str, Aggregate] = {"mean": mean, "max": worst, "inverse": inverse, "pyramid": pyramid}


def aggregate_named(aggregate: str | Aggregate) -> Aggregate:
    """The aggregate of this name, or the function itself; raises ValueError for an unknown name."""
    if callable(aggregate):
        return aggregate
    if not isinstance(aggregate, str) or aggregate not in AGGREGATES:
        names = ", ".join(AGGREGATES)
        raise ValueError(
            f"there is no aggregate {aggregate!r}: give one of {names}, or a function from losses to weights"
        )
    return AGGREGATES[aggregate]
