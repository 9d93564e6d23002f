"""Linear systems, solved in closed form or by steps; differentiable as often as asked and safe under vmap."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from mapwise.core import tree
from mapwise.core.losses import without_absent
from mapwise.core.tree import Tree


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


def logistic(
    x: Float[Tensor, "N D"],
    y: Float[Tensor, "N W"],
    weight: Float[Tensor, "N"],
    strength: float | Tensor,
    *,
    steps: int,
) -> Float[Tensor, "D W"]:
    """The w after so many steps towards the least sum of weight * cross-entropy(x w, y) + strength / 2 |w|^2.

    y: one-hot, or other shares of the classes; a class without a row that counts is taken out of the softmax.

    Every step solves the quadratic that touches the sum at this point and is nowhere below it (Boehning 1992), so no
    rate is needed and one matrix serves all steps; momentum (Nesterov 1983) makes the steps fewer. The system is
    N x N or D x D, whichever is smaller. A row of weight 0 changes nothing.
    """
    rows, width = x.shape
    root = weight.sqrt()[:, None]
    scaled = root * x
    present = (y * weight[:, None]).sum(0)
    # w = scaled' c, or c itself: of the two unknowns the one with fewer rows.
    few = rows < width
    readout, back = (x @ scaled.T, root) if few else (x, scaled.T)
    gram, size = (scaled @ scaled.T, rows) if few else (scaled.T @ scaled, width)
    inverse = torch.linalg.inv(gram / 2 + strength * _identity(x, size))
    point = ahead = x.new_zeros(size, y.shape[1])
    for step in range(steps):
        chances = torch.softmax(without_absent(readout @ ahead, present), dim=-1)
        error = back * (chances - y) if few else back @ (root * (chances - y))
        before, point = point, ahead - inverse @ (error + strength * ahead)
        ahead = point + step / (step + 3) * (point - before)
    return scaled.T @ point if few else point


def conjugate_gradient(
    product: Callable[[Tree], Tree], target: Tree, *, steps: int, damping: float = 0.0, tolerance: float = 1e-10
) -> Tree:
    """The x that solves (A + damping I) x = target, for a symmetric A known by its products with trees.

    product:   x -> A x.
    steps:     at most so many products; as many as there are unknowns solve it but for rounding.
    tolerance: the length of the residual, relative to the target's, at which x is left as it is.

    The system should be positive definite. Where it isn't, and a direction is met along which it doesn't curve upwards,
    x is left as it is too; if that is the first direction, x is the target. (Newton methods do so: Nocedal and
    Wright 2006, algorithm 7.1.) So x never points against the target.
    """
    solution, residual, direction = tree.zeros_like(target), target, target
    squared = tree.dot(target, target)
    enough = tolerance**2 * squared
    going = squared > 0
    for step in range(steps):
        image = tree.map(lambda a, d: a + damping * d, product(direction), direction)
        curve = tree.dot(direction, image)
        upwards = curve > 0
        otherwise = torch.full_like(curve, 1.0 if step == 0 else 0.0)
        length = torch.where(upwards, squared / torch.where(upwards, curve, 1), otherwise) * going
        solution = tree.map(lambda x, d, by=length: x + by * d, solution, direction)
        residual = tree.map(lambda r, i, by=length: r - by * i, residual, image)
        before, squared = squared, tree.dot(residual, residual)
        going = going & upwards & (squared > enough)
        share = squared / torch.where(before > 0, before, 1)
        direction = tree.map(lambda r, d, by=share: r + by * d, residual, direction)
    return solution


def _identity(like: Tensor, size: int) -> Tensor:
    return torch.eye(size, dtype=like.dtype, device=like.device)
