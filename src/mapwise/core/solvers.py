"""Linear systems solved in closed form, differentiable as often as asked and safe under vmap."""

import torch
from jaxtyping import Float
from torch import Tensor


def ridge(x: Float[Tensor, "N D"], y: Float[Tensor, "N W"], strength: float | Tensor) -> Float[Tensor, "D W"]:
    """The w that minimises |x w - y|^2 + strength |w|^2, for a positive strength.

    Solves whichever system is smaller, N x N or D x D: by Woodbury's identity both give the same w. A row of
    zeros in x changes nothing.
    """
    rows, width = x.shape
    solution: Tensor
    if rows < width:
        solution = x.T @ torch.linalg.solve(x @ x.T + strength * _identity(x, rows), y)
    else:
        solution = torch.linalg.solve(x.T @ x + strength * _identity(x, width), x.T @ y)
    return solution


def _identity(like: Tensor, size: int) -> Tensor:
    return torch.eye(size, dtype=like.dtype, device=like.device)
