"""The rows of a task in mini-batches, for inner steps that see a few at a time."""

import torch

from mapwise.core import random
from mapwise.core.task import Examples, row_weight, rows_at


def mini_batch(support: Examples, step: int, size: int) -> Examples:
    """The rows of this step: passes over the support follow one another, each in a random order of its own.

    Rows of weight 0 are left out and don't change the order of the others.
    """
    counts = row_weight(support.weight) > 0  # [S]
    rows = counts.sum().clamp(min=1)
    place = torch.arange(step * size, (step + 1) * size, device=counts.device)  # [B], among the rows of all passes
    drawn = torch.vmap(lambda number: random.bits(random.fold(support.key, number), tuple(counts.shape)))(place // rows)
    # The n-th row that counts has the n-th number, whatever padding lies between.
    drawn = torch.where(counts, drawn[:, (counts.cumsum(0) - 1).clamp(min=0)], torch.iinfo(drawn.dtype).max)  # [B, S]
    chosen = drawn.argsort(1).gather(1, (place % rows)[:, None])[:, 0]  # [B]
    return Examples(rows_at(support.x, chosen), support.y[chosen], support.weight[chosen], support.key)
