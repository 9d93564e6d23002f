"""What an encoder is: a mapping from raw rows to arrays, which may first look at the rows it will be used on."""

from typing import Any, Protocol, Self

import numpy as np


class Encoder(Protocol):
    """Raw rows to an array; a value, so that looking at rows returns another encoder."""

    @property
    def name(self) -> str:
        """What it is called in the catalog."""
        ...

    def fitted(self, rows: Any, weight: np.ndarray) -> Self:
        """The encoder for rows like these, of which each counts as often as its weight, [N], says."""
        ...

    def __call__(self, rows: Any) -> np.ndarray:
        """[N, D], floating-point; raises ValueError for rows it can't read, naming the first."""
        ...
