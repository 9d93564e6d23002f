"""Pretrained networks that come with the package: each is a folder of mapwise/pretrained."""

import hashlib
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib.resources import files
from typing import Any, Self

import numpy as np
import safetensors.torch
import torch
from jaxtyping import Float
from torch import nn

from mapwise.core import functional, tree
from mapwise.core.functional import Net
from mapwise.core.tree import Params
from mapwise.data.modality import Modality
from mapwise.encoders.encoder import Frozen, Spread
from mapwise.encoders.pixels import Ink, Pixels

WEIGHTS = "weights.safetensors"
ABOUT = "net.toml"
FOLDERS = files("mapwise").joinpath("pretrained")
_BATCH = 256
_ROWS: dict[str, type[Ink | Pixels]] = {"ink": Ink, "pixels": Pixels}


@dataclass(frozen=True)
class Bundled(Frozen):
    """Rows as a frozen network sees them; its distances are trained ones.

    name:    of the folder in mapwise/pretrained, and in the catalog.
    rows:    what makes the rows that the network reads.
    net:     what the folder's weights are of, [N, *input] -> [N, D].
    usual:   how far a row lies from its class, of classes the network wasn't trained on.
    weights: the bytes of the folder's weights.
    """

    name: str
    rows: Ink | Pixels
    net: Net
    usual: Spread
    weights: bytes = field(repr=False)

    @classmethod
    def of(cls, name: str, nets: Mapping[str, Callable[..., nn.Module]]) -> Self:
        """The encoder of a folder: net.toml names one of the nets, its options, and the rows that it reads."""
        folder = FOLDERS.joinpath(name)
        about = tomllib.loads(folder.joinpath(ABOUT).read_text(encoding="utf-8"))
        return cls(
            name,
            _ROWS[about["rows"]]().of_shape(about["shape"]),
            partial(nets[about["net"]], tuple(about["shape"]), **about["net_options"]),
            Spread(**about["usual"]),
            folder.joinpath(WEIGHTS).read_bytes(),
        )

    @property
    def reads(self) -> Modality:
        """What its rows are."""
        return self.rows.reads

    @cached_property
    def version(self) -> str:
        """The weights' digest."""
        return hashlib.sha256(self.weights).hexdigest()[:16]

    def __call__(self, rows: Sequence[Any]) -> Float[np.ndarray, "N D"]:
        """[N, D], float32, of paths, Pillow images, or arrays [H, W], [C, H, W] or [H, W, C] of bytes or of 0..1.

        Raises ValueError for a file that is no image, naming it, and for an array that is none.
        """
        return self.features(self.rows(rows))

    @property
    def near(self) -> int:
        """The pixels a side that it reads."""
        return max(self.rows.shape[1:])

    def features(self, x: Float[np.ndarray, "N *input"]) -> Float[np.ndarray, "N D"]:
        """What the network makes of rows that `rows` made."""
        with torch.no_grad():
            parts = torch.split(torch.as_tensor(x), _BATCH)
            return torch.cat([functional.apply(self.net, self._params, part).flatten(1) for part in parts]).numpy()

    @cached_property
    def _params(self) -> Params:
        # The file is in half precision.
        return tree.map(torch.Tensor.float, tree.unflatten(safetensors.torch.load(self.weights)))
