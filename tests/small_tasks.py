"""A small classifier and a small task in float64, smooth enough for finite differences."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from mapwise.core.task import Examples, Task


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def rows_of(x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor | None = None) -> Examples:
    return Examples(x, y, torch.ones(len(y), dtype=y.dtype) if weight is None else weight, torch.tensor(0))


def net(outputs: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, outputs)).double()


def rows(count: int, ways: int = 3, seed: int = 0) -> Examples:
    """Random rows, the classes in turn."""
    random = np.random.default_rng(seed)
    y = F.one_hot(torch.arange(count) % ways, ways).double()
    return Examples(torch.from_numpy(random.normal(size=(count, 4))), y, torch.ones(count).double(), torch.tensor(seed))


TASK = Task(rows(6), rows(9, seed=1))
