"""A logistic head on features that stay as they are: what the learners that fit one have in common."""

import torch
from jaxtyping import Float
from torch import Tensor

from mapwise.core import solvers
from mapwise.core.scores import without_absent


def check_solver(strength: float, steps: int) -> None:
    """Raises ValueError for a penalty that isn't positive, and for no step."""
    if not strength > 0:
        raise ValueError(f"the strength is {strength} and must be positive: give a number above 0, such as 1")
    if steps < 1:
        raise ValueError(f"the solver's steps are {steps} and it takes at least one: give a number such as 100")


def mean_square(z: Float[Tensor, "N D"], weight: Float[Tensor, "N"]) -> Float[Tensor, ""]:
    """The mean squared length of the rows: what holds weights small is in its units, so an encoder's scale is none.

    1 where there are no rows but zeros.
    """
    mean = (weight * (z**2).sum(1)).sum() / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)
    return torch.where(mean > 0, mean, torch.ones_like(mean))


def logistic_head(
    z: Float[Tensor, "N D"],
    y: Float[Tensor, "N W"],
    weight: Float[Tensor, "N"],
    strength: float | Tensor,
    steps: int,
) -> Float[Tensor, "D+1 W"]:
    """The head with the least sum of cross-entropies + strength / 2 times its square; its last row is the bias."""
    return solvers.logistic(_with_ones(z), y, weight, strength, steps=steps)


def score_by(
    head: Float[Tensor, "D+1 W"], z: Float[Tensor, "N D"], present: Float[Tensor, "W"]
) -> Float[Tensor, "N W"]:
    """[z, 1] head."""
    return without_absent(_with_ones(z) @ head, present)


def _with_ones(z: Tensor) -> Tensor:
    return torch.cat([z, z.new_ones(z.shape[0], 1)], 1)
