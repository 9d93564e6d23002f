"""Independent normal distributions, each a mean and the log of a standard deviation."""

import torch
from jaxtyping import Float

from mapwise.core.tree import Params


def divergence(q: Params, p: Params) -> Float[torch.Tensor, ""]:
    """KL(q || p) of two independent normals, summed over all numbers, in nats."""
    ratio = q["log_sigma"] - p["log_sigma"]
    apart = (q["mean"] - p["mean"]) * torch.exp(-p["log_sigma"])
    nats: torch.Tensor = (0.5 * (torch.exp(2 * ratio) + apart**2 - 1) - ratio).sum()
    return nats
