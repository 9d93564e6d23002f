"""How the tasks of a batch are weighed against one another."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

Aggregate: TypeAlias = Callable[[Tensor], Tensor]
"""losses [T] -> weights [T], non-negative and summing to one; always called on detached losses."""


def mean(losses: Float[Tensor, "T"]) -> Float[Tensor, "T"]:
    """Every task alike."""
    return torch.full_like(losses, 1 / losses.shape[0])


AGGREGATES: dict[str, Aggregate] = {"mean": mean}


def aggregate_named(aggregate: str | Aggregate) -> Aggregate:
    """The aggregate of this name, or the function itself; raises ValueError for an unknown name."""
    if callable(aggregate):
        return aggregate
    if aggregate not in AGGREGATES:
        names = ", ".join(AGGREGATES)
        raise ValueError(
            f"there is no aggregate {aggregate!r}: give one of {names}, or a function from losses to weights"
        )
    return AGGREGATES[aggregate]
