"""A mean with its 95 % interval."""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A mean over episodes with the half-width of its 95 % interval (1.96 standard errors)."""

    mean: float
    ci95: float
    episodes: int

    @classmethod
    def of(cls, values: np.ndarray) -> "Estimate":
        """The estimate from one value per episode, [E]."""
        values = np.asarray(values, dtype=np.float64)
        spread = float(values.std(ddof=1)) if len(values) > 1 else math.nan
        return cls(float(values.mean()), 1.96 * spread / math.sqrt(len(values)), len(values))
