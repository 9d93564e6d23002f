"""Random numbers for each class of a task, by its support rows and not by its column's place."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mapwise.core import random
from mapwise.core.task import Examples


def noise_by_class(support: Examples, samples: int, width: int) -> Float[Tensor, "L W width"]:
    """Standard normal numbers for every class, by its own rows and the task's key."""
    # A noise that classes shared would cancel in the difference of two scores.
    keys = random.fold(support.key, _of_class(support))  # [W]
    drawn = torch.vmap(lambda key: random.normal(key, (samples, width)))(keys)  # [W, L, width]
    return drawn.transpose(0, 1)


def _of_class(support: Examples) -> Int64[Tensor, "W"]:
    """A number for every class, by the bits of its rows in any order; integers add up the same in any order, too."""
    counts = support.y * support.weight[:, None] > 0  # [S, W]
    return torch.where(counts, random.digest(support.x)[:, None], 0).sum(0)
