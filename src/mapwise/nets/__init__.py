"""Blueprints: plain modules whose weights are borrowed at every call."""

from mapwise.nets.compare import Compare
from mapwise.nets.conv4 import Conv4
from mapwise.nets.linear import Linear
from mapwise.nets.mlp import MLP
from mapwise.nets.norm import Norm
from mapwise.nets.residual import Residual
from mapwise.nets.resnet12 import ResNet12

__all__ = ["MLP", "Compare", "Conv4", "Linear", "Norm", "ResNet12", "Residual"]
