"""Weights of a loss that rise in the first part of a training."""

import math

LEVELS = 5
"""Moments of the annealing; each is another program to compile."""


def rise(progress: float, anneal: float) -> float:
    """The share of a weight that rises from 0 to 1 in this share of the training, in levels."""
    annealed = min(1.0, progress / anneal) if anneal else 1.0
    return math.floor(LEVELS * annealed) / LEVELS
