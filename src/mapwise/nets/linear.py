"""A linear map."""

import math

from torch import Tensor, nn

from mapwise.core.fields import check_arguments, check_sizes


class Linear(nn.Module):
    """One linear map of a row, with or without a bias.

    input_shape: the shape of one row; it is flattened.
    outputs:     length of the output; None: as long as the row.
    bias:        whether a learned number is added to each output.

    [N, *input_shape] -> [N, outputs].
    """

    def __init__(self, input_shape: tuple[int, ...], outputs: int | None = None, *, bias: bool = False) -> None:
        super().__init__()
        check_arguments(Linear.__init__, locals())
        check_sizes(outputs=outputs)
        check_sizes(0, input_shape=input_shape)
        width = math.prod(input_shape)
        outputs = width if outputs is None else outputs
        self.flat = nn.Flatten()
        self.head = nn.Linear(width, outputs, bias=bias)
        self.output_shape = (outputs,)

    def forward(self, x: Tensor) -> Tensor:
        """[N, *input_shape] -> [N, outputs]."""
        out: Tensor = self.head(self.flat(x))
        return out
