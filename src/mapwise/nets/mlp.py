"""A multi-layer perceptron."""

import math
from collections.abc import Sequence
from functools import cache, partial
from typing import Literal

from torch import Tensor, nn

from mapwise.core.fields import check_arguments, check_sizes
from mapwise.core.functional import Net
from mapwise.nets.activation import ACTIVATIONS
from mapwise.nets.norm import Norm, NormKind


class MLP(nn.Module):
    """Linear layers with an activation between them.

    input_shape: the shape of one row; it is flattened.
    outputs:     length of the output; None stops at the last hidden layer (an encoder).
    hidden:      units of each hidden layer.
    norm:        a Norm before every activation; None for none.
    activation:  "relu", "tanh", "elu" or "sigmoid".

    [N, *input_shape] -> [N, outputs].
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int | None = None,
        *,
        hidden: Sequence[int] = (64, 64),
        norm: NormKind | None = None,
        activation: Literal["relu", "tanh", "elu", "sigmoid"] = "relu",
    ) -> None:
        super().__init__()
        check_arguments(MLP.__init__, locals())
        check_sizes(hidden=hidden, outputs=outputs)
        check_sizes(0, input_shape=input_shape)
        layers: list[nn.Module] = [nn.Flatten()]
        width = math.prod(input_shape)
        for units in hidden:
            layers.append(nn.Linear(width, units))
            if norm is not None:
                layers.append(Norm(units, norm))
            layers.append(ACTIVATIONS[activation]())
            width = units
        self.body = nn.Sequential(*layers)
        self.head = nn.Identity() if outputs is None else nn.Linear(width, outputs)
        self.output_shape = (width if outputs is None else outputs,)

    def forward(self, x: Tensor) -> Tensor:
        """[N, *input_shape] -> [N, outputs]."""
        out: Tensor = self.head(self.body(x))
        return out


@cache  # a net is known by its blueprint, of which there is then one
def stack(inputs: int, layers: int, width: int, outputs: int) -> Net:
    """What builds an MLP of so many linear layers, all but the last of one width."""
    return partial(MLP, (inputs,), outputs, hidden=(width,) * (layers - 1))
