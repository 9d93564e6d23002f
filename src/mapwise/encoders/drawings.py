"""Drawings: ink on paper through a small network that was trained on the characters of Omniglot."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any, Self

import numpy as np
import safetensors.torch
import torch
from jaxtyping import Float

from mapwise.core import functional, tree
from mapwise.core.functional import Net
from mapwise.core.novelty import Spread
from mapwise.core.pictures import ink, opened
from mapwise.core.tree import Params
from mapwise.encoders.encoder import Raw

SIDE = 28
"""Pixels a side that the network reads."""
WEIGHTS = "drawings.safetensors"
_BATCH = 256


@dataclass(frozen=True)
class Drawings:
    """Each picture as one network sees it that tells handwritten characters apart; its distances are trained ones.

    A picture is laid on a square of its paper, shrunk to 28 x 28 and made ink on nothing: paper is what lies along the
    border, light or dark, and the ink farthest from it is as strong as ink gets. Colours are read as grey.

    net: what is in the package's weights, [N, 1, 28, 28] -> [N, D].
    usual: how far a drawing lies from its class, of characters the network wasn't trained on.
    """

    net: Net
    usual: Spread

    @property
    def name(self) -> str:
        """What it is called in the catalog."""
        return "drawings"

    @property
    def reads(self) -> Raw:
        """What its rows are."""
        return "pictures"

    @cached_property
    def version(self) -> str:
        """The weights' digest."""
        return hashlib.sha256(_bytes()).hexdigest()[:16]

    @property
    def state(self) -> Mapping[str, Any]:
        """Nothing: the network is frozen."""
        return {}

    def with_state(self, state: Mapping[str, Any]) -> Self:
        """Itself."""
        return self

    def fitted(self, rows: Sequence[Any], weight: np.ndarray) -> Self:
        """Itself."""
        return self

    def __call__(self, rows: Sequence[Any]) -> Float[np.ndarray, "N D"]:
        """[N, D], float32, of paths, Pillow images, or arrays [H, W], [C, H, W] or [H, W, C] of bytes or of 0..1.

        Raises ValueError for a file that is no image, naming it, and for an array that is none.
        """
        x = torch.as_tensor(np.stack([ink(opened(row, place, SIDE), SIDE) for place, row in enumerate(rows)]))[:, None]
        with torch.no_grad():
            parts = [functional.apply(self.net, self._weights, part).flatten(1) for part in torch.split(x, _BATCH)]
        return torch.cat(parts).numpy()

    @cached_property
    def _weights(self) -> Params:
        stored = tree.unflatten(safetensors.torch.load(_bytes()))
        return tree.map(torch.Tensor.float, stored)


def _bytes() -> bytes:
    return files("mapwise.encoders").joinpath(WEIGHTS).read_bytes()
