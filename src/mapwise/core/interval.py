"""95 % intervals: of a mean of a few values, and of a share."""

import math
from functools import cache

import numpy as np
from jaxtyping import Float

_NORMAL = 1.959964  # the 97.5 % quantile of the normal distribution


def half_width(values: Float[np.ndarray, "N"]) -> float:
    """Half the width of the 95 % interval of a mean, by Student's t; NaN for fewer than two values."""
    if len(values) < 2:
        return math.nan
    return _quantile(len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))


def wilson(share: float, rows: float) -> tuple[float, float]:
    """The 95 % interval of a share of so many independent rows (Wilson 1927); within 0..1."""
    square = _NORMAL**2 / rows
    middle = (share + square / 2) / (1 + square)
    half = math.sqrt(square * share * (1 - share) + square**2 / 4) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)


@cache
def _quantile(freedom: int) -> float:
    from scipy.special import stdtrit  # here: importing mapwise must stay fast

    return float(stdtrit(freedom, 0.975))
