"""Copies of nets that compute the same function from another place among the weights."""

from itertools import pairwise

import torch


def permuted(params, layers):
    """The same function with the hidden units of every layer in another order.

    layers: the names of the layers' weights, in the net's order.
    """
    moved = dict(params)
    for before, after in pairwise(layers):
        order = torch.randperm(len(params[before]), generator=torch.Generator().manual_seed(0))
        bias = before.replace("weight", "bias")
        moved |= {before: moved[before][order], bias: moved[bias][order], after: moved[after][:, order]}
    return moved
