"""Class means, distances and cosines of embedded rows."""

import torch
from jaxtyping import Float
from torch import Tensor

from mapwise.core import context
from mapwise.core.task import Examples, by_token


def class_means(z: Float[Tensor, "N *L D"], rows: Examples) -> Float[Tensor, "W D"]:
    """The weighted mean of each class's rows, or tokens; zeros for a class without any."""
    z, rows = z if z.dim() == 2 else z.flatten(0, -2), by_token(rows)
    tiny = torch.finfo(rows.weight.dtype).tiny
    share = rows.y * rows.weight[:, None]  # [N, W]
    if not context.every_row_counts_once(rows.weight):
        # Weights may be too small for their products. A row of zeros is added, since a stream begins without any.
        largest = torch.nn.functional.pad(share, (0, 0, 0, 1)).amax(0)
        share = share / largest.clamp(min=tiny)
    return (share.T @ z) / share.sum(0).clamp(min=tiny)[:, None]


def squared_distances(z: Float[Tensor, "*N D"], centres: Float[Tensor, "*N W D"]) -> Float[Tensor, "*N W"]:
    """|z - c|^2, written out: torch.cdist can't be differentiated twice."""
    return (z**2).sum(-1, keepdim=True) - 2 * z @ centres.mT + (centres**2).sum(-1)


def cosines(z: Float[Tensor, "*N D"], centres: Float[Tensor, "*N W D"]) -> Float[Tensor, "*N W"]:
    """The cosine of the angle between every row and every centre; 0 where one of them is zero."""
    unit = torch.nn.functional.normalize
    return unit(z, dim=-1) @ unit(centres, dim=-1).mT
