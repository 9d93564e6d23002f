"""Table rows: numbers brought to one scale."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class Table:
    """Every column with mean 0 and standard deviation 1 over the rows it was fitted on; a gap becomes the mean.

    A column that never changes becomes zeros there, and elsewhere the distance from what it was.
    """

    mean: Float[np.ndarray, "D"] | None = None
    spread: Float[np.ndarray, "D"] | None = None

    @property
    def name(self) -> str:
        """What it is called in the catalog."""
        return "table"

    def fitted(self, rows: Float[np.ndarray, "N D"], weight: Float[np.ndarray, "N"]) -> Self:
        """With the means and spreads of these rows, gaps (NaN) left out."""
        there = np.isfinite(rows)
        share = weight[:, None] * there
        share = share / np.maximum(share.sum(0), np.finfo(np.float64).tiny)
        known = np.where(there, rows, 0.0)
        mean = (share * known).sum(0)
        spread = np.sqrt((share * (known - mean) ** 2).sum(0))
        # Rounding leaves a constant column a spread of some 1e-16 of its size, by which nothing may be divided.
        still = spread <= 1e-12 * np.maximum(np.abs(mean), np.finfo(np.float64).tiny)
        return type(self)(mean, np.where(still, 1.0, spread))

    def __call__(self, rows: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
        """Standardised rows, float64."""
        assert self.mean is not None and self.spread is not None
        scaled: np.ndarray = (rows - self.mean) / self.spread
        return np.where(np.isfinite(rows), scaled, 0.0)
