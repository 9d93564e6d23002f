"""Four convolution blocks: the standard encoder of few-shot images (Vinyals 2016, Finn 2017)."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from mapwise.core.fields import check_arguments, check_sizes
from mapwise.nets.activation import ACTIVATIONS
from mapwise.nets.norm import Norm, NormKind, scaled


class Conv4(nn.Module):
    """Four blocks of 3x3 convolution, norm and activation, each halving the image.

    input_shape: (C, H, W), H and W at least 16 with pooling (2 to the power of `halvings`).
    outputs:     length of the output; None stops at the features (an encoder).
    filters:     channels of every block.
    norm:        whose statistics normalise, see Norm.
    down:        "pool" halves by 2x2 maxima and flattens at the end; "average" likewise by means;
                 "stride" halves by strided convolutions and takes the mean over space at the end.
    halvings:    how many of the blocks halve the image, the first ones.
    maps:        end in the feature maps, neither flattened nor averaged: an encoder for learners that convolve them.
    activation:  "relu" or "tanh".

    [N, C, H, W] -> [N, outputs]; without outputs [N, D], or [N, filters, h, w] with maps.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int | None = None,
        *,
        filters: int = 64,
        norm: NormKind = "batch",
        down: Literal["pool", "average", "stride"] = "pool",
        halvings: int = 4,
        maps: bool = False,
        activation: Literal["relu", "tanh"] = "relu",
    ) -> None:
        super().__init__()
        check_arguments(Conv4.__init__, locals())
        if len(input_shape) != 3:
            raise ValueError(f"conv4 reads images (C, H, W) and the rows have shape {input_shape}: use net mlp")
        check_sizes(filters=filters, outputs=outputs, input_shape=input_shape)
        channels, *space = input_shape
        if not 0 <= halvings <= 4:
            raise ValueError(f"halvings is {halvings} and conv4 has four blocks: give a number from 0 to 4")
        if down != "stride" and min(space) < 2**halvings:
            raise ValueError(
                f"images of {space[0]}x{space[1]} vanish when halved {halvings} times: set net.down to stride"
            )
        if maps and outputs is not None:
            raise ValueError(no_head(outputs))
        blocks: list[nn.Module] = []
        for place in range(4):
            halves = place < halvings
            blocks.append(_Block(channels, filters, norm, down if halves else None, activation))
            channels = filters
            if halves:
                space = [-(-side // 2) if down == "stride" else side // 2 for side in space]
        self.body = nn.Sequential(*blocks)
        self.average = down == "stride"
        self.maps = maps
        features = filters if self.average else filters * math.prod(space)
        self.head = nn.Identity() if outputs is None else nn.Linear(features, outputs)
        self.output_shape = (filters, *space) if maps else (features if outputs is None else outputs,)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, outputs]."""
        maps: Tensor = self.body(channels_last(x))  # [N, filters, h, w]
        if self.maps:
            return maps
        out: Tensor = self.head(maps.mean((2, 3)) if self.average else maps.flatten(1))
        return out


def no_head(outputs: int) -> str:
    """Why maps and outputs exclude each other, for an error."""
    return (
        f"a net that ends in feature maps has no head, and {outputs} outputs are asked for: leave out maps, "
        "or take a learner that asks for an encoder, such as relation"
    )


def channels_last(x: Tensor) -> Tensor:
    """The same images with the channels of a pixel side by side in memory, where CPU convolutions are fastest.

    By permuting, since asking for the memory format has no rule under vmap.
    """
    n, channels, height, width = x.shape
    pixels = x.permute(0, 2, 3, 1).reshape(n, -1)  # [N, H * W * C]
    # Flat and back: a single channel is contiguous either way, and only fresh strides say which way is meant.
    return pixels.reshape(n, height, width, channels).permute(0, 3, 1, 2)


class _Block(nn.Module):
    """Convolution, norm and activation, halving the image in the way that `down` says, or not at all."""

    def __init__(self, channels: int, filters: int, norm: NormKind, down: str | None, activation: str) -> None:
        super().__init__()
        stride = 2 if down == "stride" else 1
        # No bias: the norm's shift takes its place.
        self.conv = nn.Conv2d(channels, filters, 3, stride=stride, padding=1, bias=False)
        # In the layout of the maps: otherwise the filters are copied into it at every call.
        self.conv.weight = nn.Parameter(self.conv.weight.detach().contiguous(memory_format=torch.channels_last))
        self.norm = Norm(filters, norm)
        self.activation = ACTIVATIONS[activation]()
        self.down = down

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels, H, W] -> [N, filters, H // 2, W // 2], or of H x W when nothing is halved."""
        if self.down == "pool":
            return self._pooled_first(x)
        maps: Tensor = self.activation(self.norm(self.conv(x)))
        return nn.functional.avg_pool2d(maps, 2) if self.down == "average" else maps

    def smooth(self) -> None:
        """Halve by means, for the law `gradient`: maxima have kinks."""
        self.down = "average" if self.down == "pool" else self.down

    def _pooled_first(self, x: Tensor) -> Tensor:
        """The maxima of the activations, from those of the convolution: norm and activation on a quarter of the map.

        Maxima commute with whatever rises. A channel with a negative scale falls, so its filter's sign is turned.
        """
        if self.norm.groups:
            out: Tensor = self.activation(nn.functional.max_pool2d(self.norm(self.conv(x)), 2))
            return out
        turned = torch.where(self.norm.weight < 0, -1.0, 1.0).to(x.dtype)  # [filters]
        maps = nn.functional.conv2d(x, self.conv.weight * turned[:, None, None, None], padding=1)
        scale, shift = self.norm.affine(maps, turned)
        out = self.activation(scaled(nn.functional.max_pool2d(maps, 2), scale, shift))
        return out
