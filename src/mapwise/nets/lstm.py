"""A long short-term memory written from matrix products: torch's own has no rule under vmap."""

from jaxtyping import Float, Int64
from torch import Tensor

from mapwise.core import random
from mapwise.core.tree import Params

State = tuple[Tensor, Tensor]
"""(h, c): a cell's last output, and its cell state."""


def lstm_cell(x: Float[Tensor, "*N I"], state: State, weights: Params) -> State:
    """One step (Hochreiter and Schmidhuber 1997, with the forget gate of Gers 2000).

    state:   h, [*N, R], and c, [*N, H]; R is H unless the weights were made for more, such as h beside a read-out.
    weights: {"input": [4 H, I], "recurrent": [4 H, R], "bias": [4 H]}; gates in torch's order, input, forget,
             candidate, output.

    Returns the new h, [*N, H], and c.
    """
    h, c = state
    return lstm_gated(x @ weights["input"].T + h @ weights["recurrent"].T + weights["bias"], c)


def lstm_gated(gates: Float[Tensor, "*N 4H"], c: Float[Tensor, "*N H"]) -> State:
    """The new h and c from gates before their squashing, a part of which may be computed for all steps at once."""
    let_in, keep, candidate, let_out = gates.chunk(4, -1)
    c = keep.sigmoid() * c + let_in.sigmoid() * candidate.tanh()
    return let_out.sigmoid() * c.tanh(), c


def lstm_weights(key: Int64[Tensor, ""], inputs: int, units: int, recurrent: int | None = None) -> Params:
    """First weights of a cell, uniform up to 1 / sqrt(units), as torch's.

    recurrent: length of what is fed back; None: `units`.
    """
    shapes = {
        "input": (4 * units, inputs),
        "recurrent": (4 * units, units if recurrent is None else recurrent),
        "bias": (4 * units,),
    }
    return {
        name: (2 * random.uniform(random.fold(key, place), shape) - 1) * units**-0.5
        for place, (name, shape) in enumerate(shapes.items())
    }
