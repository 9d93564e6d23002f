"""A linear map that starts as the identity."""

import math

from torch import Tensor, nn

from mapwise.core.fields import check_arguments, check_sizes

_WIDTH = 64
"""Numbers of a row from which on the map moves slower with Adam, so that rows of any length turn as far in a step."""


class Residual(nn.Module):
    """Rows plus a linear map of them, which starts at zero: a net for embeddings that are good as they are.

    input_shape: the shape of one row; it is flattened to D numbers.
    outputs:     length of the output, by a linear head; None: the D numbers of the mapped row (an encoder).

    Adam moves every weight by about the same in a step, so the map is multiplied by 64 / D where D is larger than 64.

    [N, *input_shape] -> [N, outputs].
    """

    def __init__(self, input_shape: tuple[int, ...], outputs: int | None = None) -> None:
        super().__init__()
        check_arguments(Residual.__init__, locals())
        check_sizes(outputs=outputs)
        check_sizes(0, input_shape=input_shape)
        width = math.prod(input_shape)
        self.factor = min(1.0, _WIDTH / max(1, width))
        self.map = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.map.weight)
        self.head: nn.Module = nn.Identity() if outputs is None else nn.Linear(width, outputs)
        self.output_shape = (width if outputs is None else outputs,)

    def forward(self, x: Tensor) -> Tensor:
        """[N, *input_shape] -> [N, outputs]."""
        x = x.flatten(1)
        out: Tensor = self.head(x + self.factor * self.map(x))
        return out
