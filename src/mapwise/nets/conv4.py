"""Four convolution blocks: the standard encoder of few-shot images (Vinyals 2016, Finn 2017)."""

import math
from collections import OrderedDict
from typing import Literal

from torch import Tensor, nn

from mapwise.nets.mlp import ACTIVATIONS
from mapwise.nets.norm import Norm, NormKind


class Conv4(nn.Module):
    """Four blocks of 3x3 convolution, norm and activation, each halving the image.

    input_shape: (C, H, W), H and W at least 16 with pooling.
    outputs:     length of the output; None stops at the features (an encoder).
    filters:     channels of every block.
    norm:        whose statistics normalise, see Norm.
    down:        "pool" halves by 2x2 maxima and flattens at the end; "average" likewise by means;
                 "stride" halves by strided convolutions and takes the mean over space at the end.
    activation:  "relu" or "tanh".

    [N, C, H, W] -> [N, outputs], or [N, D] without outputs.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int | None = None,
        *,
        filters: int = 64,
        norm: NormKind = "batch",
        down: Literal["pool", "average", "stride"] = "pool",
        activation: Literal["relu", "tanh"] = "relu",
    ) -> None:
        super().__init__()
        if len(input_shape) != 3:
            raise ValueError(f"conv4 reads images (C, H, W) and the rows have shape {input_shape}: use net mlp")
        channels, *space = input_shape
        if down != "stride" and min(space) < 16:
            raise ValueError(f"images of {space[0]}x{space[1]} vanish when halved four times: set net.down to stride")
        blocks: list[nn.Module] = []
        for _ in range(4):
            blocks.append(_block(channels, filters, norm, down, activation))
            channels = filters
            space = [-(-side // 2) if down == "stride" else side // 2 for side in space]
        self.body = nn.Sequential(*blocks)
        self.average = down == "stride"
        features = filters if self.average else filters * math.prod(space)
        self.head = nn.Identity() if outputs is None else nn.Linear(features, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, outputs]."""
        maps = self.body(channels_last(x))  # [N, filters, h, w]
        out: Tensor = self.head(maps.mean((2, 3)) if self.average else maps.flatten(1))
        return out


def channels_last(x: Tensor) -> Tensor:
    """The same images with the channels of a pixel side by side in memory, where CPU convolutions are fastest.

    By permuting, since asking for the memory format has no rule under vmap.
    """
    return x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def _block(channels: int, filters: int, norm: NormKind, down: str, activation: str) -> nn.Module:
    stride = 2 if down == "stride" else 1
    layers: dict[str, nn.Module] = {
        # No bias: the norm's shift takes its place.
        "conv": nn.Conv2d(channels, filters, 3, stride=stride, padding=1, bias=False),
        "norm": Norm(filters, norm),
    }
    # Maxima commute with a rising activation, so pooling first gives the same numbers from a quarter of the work.
    if down == "pool":
        layers["pool"] = nn.MaxPool2d(2)
    layers["activation"] = ACTIVATIONS[activation]()
    if down == "average":
        layers["pool"] = nn.AvgPool2d(2)
    return nn.Sequential(OrderedDict(layers))
