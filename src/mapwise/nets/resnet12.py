"""ResNet-12: the deeper standard encoder of few-shot images (Oreshkin 2018, Lee 2019)."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from mapwise.core.fields import check_arguments, check_sizes
from mapwise.nets.conv4 import no_head
from mapwise.nets.norm import Norm, NormKind


class ResNet12(nn.Module):
    """Four residual blocks of three 3x3 convolutions, each followed by 2x2 pooling; a mean over space.

    input_shape: (C, H, W), H and W at least 16.
    outputs:     length of the output; None stops at the features (an encoder).
    filters:     channels of the four blocks; the reference is (64, 160, 320, 640).
    norm:        whose statistics normalise, see Norm.
    pool:        "max", or "average" for a smooth net.
    maps:        end in the feature maps, without the mean over space: an encoder for learners that convolve them.

    Differs: no DropBlock; randomness inside a net would not come from the task's key.

    [N, C, H, W] -> [N, outputs]; without outputs [N, filters[-1]], or [N, filters[-1], h, w] with maps.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int | None = None,
        *,
        filters: Sequence[int] = (64, 160, 320, 640),
        norm: NormKind = "frozen",
        pool: Literal["max", "average"] = "max",
        maps: bool = False,
    ) -> None:
        super().__init__()
        check_arguments(ResNet12.__init__, locals())
        if len(input_shape) != 3 or min(input_shape[1:]) < 16:
            raise ValueError(
                f"resnet12 reads images (C, H, W) of at least 16x16 and the rows have shape {input_shape}: use net mlp"
            )
        if maps and outputs is not None:
            raise ValueError(no_head(outputs))
        check_sizes(filters=filters, outputs=outputs, input_shape=input_shape)
        widths = [input_shape[0], *filters]
        self.body = nn.Sequential(*(_Residual(below, above, norm, pool) for below, above in pairwise(widths)))
        self.head = nn.Identity() if outputs is None else nn.Linear(widths[-1], outputs)
        self.maps = maps
        space = (side // 16 for side in input_shape[1:])
        self.output_shape = (widths[-1], *space) if maps else (widths[-1] if outputs is None else outputs,)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, outputs]."""
        maps: Tensor = self.body(x)  # [N, filters[-1], h, w]
        if self.maps:
            return maps
        out: Tensor = self.head(maps.mean((2, 3)))
        return out


class _Residual(nn.Module):
    def __init__(self, channels: int, filters: int, norm: NormKind, pool: str) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs in (channels, filters, filters):
            layers += [nn.Conv2d(inputs, filters, 3, padding=1, bias=False), Norm(filters, norm), nn.LeakyReLU(0.1)]
        self.path = nn.Sequential(*layers[:-1])
        self.skip = nn.Sequential(nn.Conv2d(channels, filters, 1, bias=False), Norm(filters, norm))
        self.activation = nn.LeakyReLU(0.1)
        self.pool = nn.MaxPool2d(2) if pool == "max" else nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pool(self.activation(self.path(x) + self.skip(x)))
        return out
