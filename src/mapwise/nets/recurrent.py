"""Recurrent cells, written from matrix products: torch's own have no rule under vmap."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from mapwise.core.tree import Params


def lstm_cell(
    x: Float[Tensor, "N I"], h: Float[Tensor, "N H"], c: Float[Tensor, "N H"], weights: Params
) -> tuple[Float[Tensor, "N H"], Float[Tensor, "N H"]]:
    """The next h and c of a long short-term memory (Hochreiter and Schmidhuber 1997, with forget gates).

    weights: by the names, shapes and order of gates of nn.LSTMCell: "weight_ih" [4 H, I], "weight_hh" [4 H, H],
             "bias_ih" and "bias_hh" [4 H].
    """
    gates = linear(x, weights["weight_ih"], weights["bias_ih"]) + linear(h, weights["weight_hh"], weights["bias_hh"])
    into, forget, candidate, out = gates.chunk(4, dim=-1)  # each [N, H]
    c = torch.sigmoid(forget) * c + torch.sigmoid(into) * torch.tanh(candidate)
    return torch.sigmoid(out) * torch.tanh(c), c
