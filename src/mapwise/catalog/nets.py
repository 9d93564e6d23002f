"""Every net by name."""

import inspect

from torch import nn

from mapwise.catalog.rows import keyword_only, named
from mapwise.core.spec import Inputs, plain_shape
from mapwise.encoders.token_model import TokenNetwork
from mapwise.nets import MLP, Conv4, Linear, Residual, ResNet12

_OF_ARRAYS: dict[str, type[nn.Module]] = {"mlp": MLP, "conv4": Conv4, "resnet12": ResNet12, "residual": Residual} | {
    "linear": Linear
}
_OF_PIECES: dict[str, type[nn.Module]] = {"tokens": TokenNetwork}
NETS = _OF_ARRAYS | _OF_PIECES


def reading(net: str, inputs: Inputs) -> Inputs | tuple[int, ...]:
    """The first argument of a network by name: the shape of such rows, or all that describes pieces of texts.

    Raises ValueError for rows that it can't read.
    """
    return inputs if net in _OF_PIECES else plain_shape(inputs, f"net {net}")


def net_options(net: str) -> dict[str, inspect.Parameter]:
    """The options of a network by name."""
    return keyword_only(named(NETS, net, "net"))
