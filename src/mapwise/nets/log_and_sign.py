"""Gradients as inputs of a network that reads them one by one."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def log_and_sign(x: Tensor, p: float = 10.0) -> Float[Tensor, "*shape 2"]:
    """(log|x| / p, sign x), and (-1, e^p x) for |x| < e^-p, so that gradients of every size are represented.

    Andrychowicz et al. 2016, arXiv:1606.04474, appendix A.

    p: numbers below exp(-p) in size are represented by themselves, not by their logarithm.
    """
    large = x.abs() >= math.exp(-p)
    size = torch.where(large, x.abs(), 1).log() / p
    return torch.stack([torch.where(large, size, -1), torch.where(large, x.sign(), math.exp(p) * x)], -1)
