"""Pictures as their own numbers: what the networks of runs were trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from jaxtyping import Float

from mapwise.data.modality import Modality
from mapwise.data.pictures import ink, inks, of_channels, open_picture, stretched

if TYPE_CHECKING:
    from PIL.Image import Image

MOST = 4096
"""Pixels a side."""


@dataclass(frozen=True)
class _Plain:
    """Pictures of one size and number of channels.

    shape: (C, H, W) of a row; C is 1 or 3.
    """

    usual: ClassVar[None] = None
    """Not measured: pixels have no distance of their own."""

    name: ClassVar[str]
    reads: ClassVar[Modality] = "pictures"
    version: ClassVar[str] = "1"
    channels: ClassVar[tuple[int, ...]] = (1, 3)

    shape: tuple[int, int, int]

    @property
    def state(self) -> Mapping[str, Any]:
        """The shape."""
        return {"shape": list(self.shape)}

    def with_state(self, state: Mapping[str, Any]) -> Self:
        """The encoder of another shape; raises ValueError for what is no shape of a picture."""
        return self.of_shape(state["shape"])

    def of_shape(self, shape: Sequence[int]) -> Self:
        """The encoder of another shape; raises ValueError for one that no picture has here."""
        sides = [side for side in shape if type(side) is int and 1 <= side <= MOST]
        if len(sides) != len(shape) or len(sides) != 3 or sides[0] not in self.channels:
            counts = " or ".join(map(str, self.channels))
            raise ValueError(f"rows of shape {tuple(shape)} are no pictures of {counts} channels, [C, H, W]")
        return replace(self, shape=(sides[0], sides[1], sides[2]))

    def fitted(self, rows: Sequence[Any], weight: np.ndarray) -> Self:
        """Itself."""
        return self

    def __call__(self, rows: Sequence[Any] | np.ndarray) -> Float[np.ndarray, "N C H W"]:
        """[N, C, H, W], float32 in 0..1, of paths, Pillow images, or arrays [H, W], [C, H, W] or [H, W, C].

        Raises ValueError for a file that is no image, naming it, and for an array that is none.
        """
        near = max(self.shape[1:])
        return np.stack([self._numbers(open_picture(row, place, near)) for place, row in enumerate(rows)])

    def _numbers(self, image: "Image") -> Float[np.ndarray, "C H W"]:
        raise NotImplementedError


@dataclass(frozen=True)
class Pixels(_Plain):
    """Each picture stretched to one size, in colour or in grey, as `mapwise train` reads a folder of images."""

    name: ClassVar[str] = "pixels"

    shape: tuple[int, int, int] = (3, 32, 32)

    def _numbers(self, image: "Image") -> Float[np.ndarray, "C H W"]:
        channels, height, width = self.shape
        # Stretched before it is made grey, as there.
        return of_channels(stretched(image, height, width), channels).astype(np.float32) / 255


@dataclass(frozen=True)
class Ink(_Plain):
    """Each picture as ink on paper: laid on a square of its paper and shrunk; ink is 1 and paper 0.

    Paper is what lies along the border, light or dark, and the ink farthest from it is as strong as ink gets. Colours
    are read as grey.
    """

    name: ClassVar[str] = "ink"
    channels: ClassVar[tuple[int, ...]] = (1,)

    shape: tuple[int, int, int] = (1, 28, 28)

    def of_shape(self, shape: Sequence[int]) -> Self:
        """The encoder of another size; raises ValueError for rows that are no squares of one channel."""
        encoder = super().of_shape(shape)
        if encoder.shape[1] != encoder.shape[2]:
            raise ValueError(f"rows of shape {encoder.shape} are no squares, as drawings are")
        return encoder

    def __call__(self, rows: Sequence[Any] | np.ndarray) -> Float[np.ndarray, "N 1 S S"]:
        """As of any pictures; an array of bytes [N, S, S], which has its size, is made ink at once."""
        if isinstance(rows, np.ndarray) and rows.dtype == np.uint8 and rows.shape[1:] == self.shape[1:]:
            return inks(rows)[:, None]
        return super().__call__(rows)

    def _numbers(self, image: "Image") -> Float[np.ndarray, "1 S S"]:
        return ink(image, self.shape[1])[None]
