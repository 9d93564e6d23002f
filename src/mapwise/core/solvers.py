"""Linear systems, solved in closed form or iteratively; differentiable any number of times and safe under vmap."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from mapwise.core import context, tree
from mapwise.core.scores import without_absent
from mapwise.core.tree import Tree

_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)  # torch 2.6 has the latter alone
STEPS = 200
"""The most steps of each of the two passes in which a ridge regression is solved by matrix products."""

INVERSION_STEPS = 40
"""Of an inverse by matrix products."""

TOLERANCE = 1e-10
"""The norm of the residual, relative to that of the target, at which iteration stops."""


def ridge(x: Float[Tensor, "N D"], y: Float[Tensor, "N W"], strength: float | Tensor) -> Float[Tensor, "D W"]:
    """The w that minimises |x w - y|^2 + strength |w|^2, for a positive strength.

    Solves whichever system is smaller, N x N or D x D: by Woodbury's identity both give the same w. A row of
    zeros in x changes nothing.
    """
    if context.current().in_products:
        return _ridge_in_products(x, y, strength)
    rows, width = x.shape
    solution: Tensor
    if rows < width:
        solution = x.T @ torch.linalg.solve(x @ x.T + strength * _identity(x, rows), y)
    else:
        solution = torch.linalg.solve(x.T @ x + strength * _identity(x, width), x.T @ y)
    return solution


def _ridge_in_products(x: Tensor, y: Tensor, strength: float | Tensor) -> Float[Tensor, "D W"]:
    """The same by conjugate gradients, and a second pass on the remaining residual.

    The second pass begins at a residual computed from the rows, which shows the rounding of the first.

    With k = 1 + |x|^2 / strength, |x| the largest singular value, and r the rank of x, a pass of n steps divides the
    error by (1 + 2 / sqrt(k))^n / 2 or more, and is over after r steps but for rounding. So 200 are enough for supports
    of up to 200 rows or columns, and for any with k up to 1,000.
    """

    def product(w: Tree) -> Tree:
        return {"w": ((x @ w["w"]).T @ x).T}  # x.T beside x would be two names of one tensor, which the loop refuses

    def solved(target: Tensor) -> Tensor:
        if _exporting():
            return _looped(product, target, strength)
        solution: Tensor = conjugate_gradient(product, {"w": target}, steps=STEPS, damping=strength)["w"]
        return solution

    first = solved(x.T @ y)
    return first + solved(x.T @ (y - x @ first) - strength * first)


def _looped(product: Callable[[Tree], Tree], target: Tensor, damping: float | Tensor) -> Tensor:
    """Conjugate gradients as a loop in the exported graph, which would have megabytes if unrolled."""
    from torch._higher_order_ops import while_loop

    squared = (target * target).sum()
    enough = TOLERANCE**2 * squared

    def on(step: Tensor, *state: Tensor) -> Tensor:
        return (step < STEPS) & state[-1]

    def ahead(step: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        solution, residual, direction = ({"w": part} for part in state[:3])
        squared, going = state[3:]
        now = _Ascent(solution, residual, direction, squared, going).next(product, damping, enough, otherwise=0.0)
        return step + 1, *(part["w"] for part in now[:3]), *now[3:]

    start = torch.zeros((), dtype=torch.int64, device=target.device)
    state = (start, torch.zeros_like(target), target.clone(), target.clone(), squared, squared > 0)
    solution: Tensor = while_loop(on, ahead, state)[1]  # type: ignore[no-untyped-call]  # torch has no types for it
    return solution


def logistic(
    x: Float[Tensor, "N D"],
    y: Float[Tensor, "N W"],
    weight: Float[Tensor, "N"],
    strength: float | Tensor,
    *,
    steps: int,
) -> Float[Tensor, "D W"]:
    """The w after `steps` steps towards the minimum of sum of weight * cross-entropy(x w, y) + strength / 2 |w|^2.

    y: one-hot, or other shares of the classes; a class without a row that counts is taken out of the softmax.

    Every step solves the quadratic that touches the sum at this point and is nowhere below it (Boehning 1992), so no
    rate is needed and one matrix serves all steps; momentum (Nesterov 1983) makes the steps fewer. The system is
    N x N or D x D, whichever is smaller. A row of weight 0 changes nothing.
    """
    rows, width = x.shape
    products = context.current().in_products
    root = weight.sqrt()[:, None]
    scaled = root * x
    present = (y * weight[:, None]).sum(0)
    # w = scaled' c, or w itself: of the two unknowns the one with fewer rows. Products don't look at sizes.
    few = products or rows < width
    gram, size = (scaled @ scaled.T, rows) if few else (scaled.T @ scaled, width)
    inverse = (_inverse_in_products if products else torch.linalg.inv)(gram / 2 + strength * _identity(x, size))

    def error(scores: Tensor) -> Tensor:
        return root * (torch.softmax(without_absent(scores, present), dim=-1) - y)

    def after(step: int | Tensor, point: Tensor, ahead: Tensor) -> tuple[Tensor, Tensor]:
        target = ahead - inverse @ (scaled.T @ error(x @ ahead) + strength * ahead)
        return target, target + step / (step + 3) * (target - point)

    # With few rows gram c is kept beside c: gram inverse = 2 - 2 strength inverse saves a product a step, where the
    # inverse is exact.
    def after_few(step: int | Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        point, of_point, ahead, of_ahead = state
        slope = error(of_ahead / counted) + strength * ahead
        down = inverse @ slope
        target = ahead - down
        of_target = gram @ target if products else of_ahead - 2 * (slope - strength * down)
        momentum = step / (step + 3)
        return target, of_target, target + momentum * (target - point), of_target + momentum * (of_target - of_point)

    start = x.new_zeros(size, y.shape[1])
    if not few:
        return _repeated(after, (start, start), steps)[0]
    counted = torch.where(root > 0, root, torch.ones_like(root))  # a row of weight 0 has no error anyway
    return scaled.T @ _repeated(after_few, (start,) * 4, steps)[0]


def _inverse_in_products(matrix: Float[Tensor, "N N"]) -> Float[Tensor, "N N"]:
    """The inverse of a positive definite matrix by matrix products (Schulz 1933).

    The error is squared with every step. After 40 it has vanished, but for rounding, of matrices whose largest
    row sum is up to 10^11 times the smallest eigenvalue.
    """
    twice = 2 * _identity(matrix, matrix.shape[0])
    start = _identity(matrix, matrix.shape[0]) / matrix.abs().sum(1).amax(0)

    def after(step: int | Tensor, inverse: Tensor) -> tuple[Tensor]:
        return (inverse @ (twice - matrix @ inverse),)

    return _repeated(after, (start,), INVERSION_STEPS)[0]


def _repeated(after: Callable[..., tuple[Tensor, ...]], state: tuple[Tensor, ...], steps: int) -> tuple[Tensor, ...]:
    """The state after so many steps: in an exported graph a loop, which would have megabytes if unrolled."""
    if not _exporting():
        for step in range(steps):
            state = after(step, *state)
        return state
    from torch._higher_order_ops import while_loop

    def going(step: Tensor, *state: Tensor) -> Tensor:
        return step < steps

    def next_of(step: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        return step + 1, *after(step, *state)

    # Each a tensor of its own: the loop refuses two names of one.
    begin = (torch.zeros((), dtype=torch.int64, device=state[0].device), *(part.clone() for part in state))
    end: tuple[Tensor, ...] = while_loop(going, next_of, begin)  # type: ignore[no-untyped-call]  # torch has no types
    return end[1:]


def conjugate_gradient(
    product: Callable[[Tree], Tree],
    target: Tree,
    *,
    steps: int,
    damping: float | Tensor = 0.0,
    tolerance: float = TOLERANCE,
) -> Tree:
    """The x that solves (A + damping I) x = target, for a symmetric A known by its products with trees.

    product:   x -> A x.
    steps:     the most products; as many as there are unknowns solve it up to rounding.
    tolerance: the norm of the residual, relative to the target's, at which iteration stops.

    The system should be positive definite. Iteration also stops at a direction of non-positive curvature; if that is
    the first direction, x is the target. (As in Newton methods: Nocedal and Wright 2006, algorithm 7.1.) So x never
    points against the target.
    """
    squared = tree.dot(target, target)
    state = _Ascent(tree.zeros_like(target), target, target, squared, squared > 0)
    for step in range(steps):
        state = state.next(product, damping, tolerance**2 * squared, otherwise=0.0 if step else 1.0)
    return state.solution


class _Ascent(NamedTuple):
    """The state of conjugate gradients."""

    solution: Tree
    residual: Tree
    direction: Tree
    squared: Tensor
    """The squared length of the residual."""
    going: Tensor
    """False once iteration has stopped."""

    def next(
        self, product: Callable[[Tree], Tree], damping: float | Tensor, enough: Tensor, otherwise: float
    ) -> "_Ascent":
        """The next state; `otherwise` is the step length along a direction of non-positive curvature."""
        image = tree.map(lambda a, d: a + damping * d, product(self.direction), self.direction)
        curve = tree.dot(self.direction, image)
        upwards = curve > 0
        length = torch.where(upwards, self.squared / torch.where(upwards, curve, 1), otherwise) * self.going
        solution = tree.map(lambda x, d: x + length * d, self.solution, self.direction)
        residual = tree.map(lambda r, i: r - length * i, self.residual, image)
        squared = tree.dot(residual, residual)
        share = squared / torch.where(self.squared > 0, self.squared, 1)
        direction = tree.map(lambda r, d: r + share * d, residual, self.direction)
        return _Ascent(solution, residual, direction, squared, self.going & upwards & (squared > enough))


def _identity(like: Tensor, size: int) -> Tensor:
    return torch.eye(size, dtype=like.dtype, device=like.device)
