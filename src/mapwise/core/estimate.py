"""A mean with its 95 % interval."""

from dataclasses import dataclass

import numpy as np

from mapwise.core.interval import half_width


@dataclass(frozen=True)
class Estimate:
    """A mean over episodes with the half-width of its 95 % interval, by Student's t."""

    mean: float
    ci95: float
    episodes: int

    @classmethod
    def of(cls, values: np.ndarray) -> "Estimate":
        """The estimate from one value per episode, [E]."""
        values = np.asarray(values, dtype=np.float64)
        return cls(float(values.mean()), half_width(values), len(values))
