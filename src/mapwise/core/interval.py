"""95 % intervals: of a mean of a few values, and of a share."""

import math
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float

_NORMAL = 1.959964  # the 97.5 % quantile of the normal distribution
_STEPS = 1000
"""Of Newton's, at most; about ten where one in twenty cases lies above."""
_NODES = np.linspace(-4.5, 4.5, 301)
_BEYOND = np.exp(np.pi / 2 * np.sinh(_NODES))
_WEIGHTS = _BEYOND * np.pi / 2 * np.cosh(_NODES) * (_NODES[1] - _NODES[0])
_STEPS = 200
_GRID = np.linspace(0, 1, 1025)
_SIMPSON = np.array([1, *(4, 2) * 511, 4, 1]) / 3072


def half_width(values: Float[np.ndarray, "N"]) -> float:
    """Half the width of the 95 % interval of a mean, by Student's t; NaN for fewer than two values."""
    if len(values) < 2:
        return math.nan
    return student_quantile(len(values) - 1, 0.025) * float(values.std(ddof=1)) / math.sqrt(len(values))


def wilson(share: float, rows: float) -> tuple[float, float]:
    """The 95 % interval of a share of so many independent rows (Wilson 1927); within 0..1."""
    square = _NORMAL**2 / rows
    middle = (share + square / 2) / (1 + square)
    half = math.sqrt(square * share * (1 - share) + square**2 / 4) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)


@cache
def student_quantile(freedom: float, tail: float) -> float:
    """The number above which Student's t, with so many degrees of freedom, lies in a share `tail` of cases, in (0, 1).

    To eleven digits where the share is 1e-9 or more. SciPy has it too, and takes a tenth of a second to import.
    """

    def density(t: float | Float[np.ndarray, "N"]) -> Any:
        return np.exp(-(freedom + 1) / 2 * np.log1p(np.square(t) / freedom))

    def above(t: float) -> float:
        # By exp-sinh quadrature (Takahasi and Mori 1974), which asks nothing of how fast the density falls.
        return float(density(t + _BEYOND) @ _WEIGHTS)

    # Above 0 the density falls, so Newton's steps from there on never go too far.
    whole, t = 2 * above(0.0), 0.0
    for _ in range(_STEPS):
        step = (above(t) - min(tail, 1 - tail) * whole) / float(density(t))
        t += step
        if step <= 1e-14 * t:
            break
    return math.copysign(t, 0.5 - tail)
