"""A small network that scores how similar two feature maps are."""

import math

from jaxtyping import Float
from torch import Tensor, nn

from mapwise.core.fields import check_arguments, check_sizes
from mapwise.nets.conv4 import channels_last
from mapwise.nets.norm import Norm, NormKind


class Compare(nn.Module):
    """Two convolution blocks over every pair of a class's map and a query's, stacked along channels, and two layers.

    shape:   (C, h, w) of a map. A block halves the sides that are longer than 1; along one of 1 a kernel is 1 long.
    filters: channels of both blocks.
    units:   of the layer before the last.
    norm:    whose statistics normalise, see Norm; its rows are the pairs, query by query.

    ([W, C, h, w], [Q, C, h, w]) -> logits [Q, W].
    """

    def __init__(self, shape: tuple[int, ...], *, filters: int = 64, units: int = 8, norm: NormKind = "frozen") -> None:
        super().__init__()
        check_arguments(Compare.__init__, locals())
        check_sizes(filters=filters, units=units, shape=shape)
        channels, *space = shape
        first = _convolution(2 * channels, filters, space)
        # The convolution of stacked maps is a sum of two: W + Q maps are convolved then, and not W * Q pairs.
        of_class, of_query = (half.contiguous() for half in first.weight.detach().chunk(2, dim=1))
        self.of_class, self.of_query = (_convolution(channels, filters, space) for _ in range(2))
        self.of_class.weight, self.of_query.weight = nn.Parameter(of_class), nn.Parameter(of_query)
        between = _halved(space)
        features = filters * math.prod(_halved(between))
        self.pairs = nn.Sequential(
            *(Norm(filters, norm), nn.ReLU(), _halving(space)),
            *(_convolution(filters, filters, between), Norm(filters, norm), nn.ReLU(), _halving(between)),
        )
        last = nn.Linear(units, 1)
        nn.init.normal_(last.weight, std=0.01)
        nn.init.zeros_(last.bias)
        self.score = nn.Sequential(nn.Flatten(), nn.Linear(features, units), nn.ReLU(), last)

    def forward(self, maps: tuple[Tensor, Tensor]) -> Float[Tensor, "Q W"]:
        """(maps of classes, maps of queries) -> logits."""
        # Between flat embeddings and here the layout of the encoder is lost.
        classes, queries = map(channels_last, maps)
        both = self.of_query(queries)[:, None] + self.of_class(classes)  # [Q, W, filters, h, w]
        logits: Tensor = self.score(self.pairs(both.flatten(0, 1)))  # [Q * W, 1]
        return logits.reshape(len(queries), len(classes))


def _convolution(channels: int, filters: int, space: list[int]) -> nn.Conv2d:
    tall, wide = (3 if side > 1 else 1 for side in space)
    # No bias: the norm's shift takes its place.
    return nn.Conv2d(channels, filters, (tall, wide), padding=(tall // 2, wide // 2), bias=False)


def _halving(space: list[int]) -> nn.MaxPool2d:
    return nn.MaxPool2d(tuple(min(2, side) for side in space))


def _halved(space: list[int]) -> list[int]:
    return [max(1, side // 2) for side in space]
