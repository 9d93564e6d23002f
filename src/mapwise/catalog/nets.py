"""Every net by name."""

import inspect

from torch import nn

from mapwise.catalog.rows import keyword_only, named
from mapwise.nets import MLP, Conv4, Residual, ResNet12

NETS: dict[str, type[nn.Module]] = {"mlp": MLP, "conv4": Conv4, "resnet12": ResNet12, "residual": Residual}


def net_options(net: str) -> dict[str, inspect.Parameter]:
    """The options of a network by name."""
    return keyword_only(named(NETS, net, "net"))
