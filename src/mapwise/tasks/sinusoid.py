"""Sinusoid regression: every task is a sine curve of its own amplitude and phase."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mapwise.core.renamed import renamed
from mapwise.tasks.curves import Curves


@renamed
@dataclass(frozen=True, eq=False)
class Sinusoid(Curves):
    """Fit y = amplitude * sin(x - phase) from a few points of one curve.

    Finn, Abbeel, Levine 2017, arXiv:1703.03400, section 5.1: amplitude uniform in 0.1..5, phase in
    0..pi, x in -5..5, support and query drawn alike and independently.

    shots, queries: points of a task to adapt to, and to be judged on.
    tasks:          T, curves in a batch.
    part:           "train", "val" or "test": streams of curves that share no random numbers.
    noise:          standard deviation of a Gaussian error on every y, support and query; 0 in the paper.
    device:         where the tasks are put.

    Raises ValueError for an unknown part, counts below 1, a negative seed and a negative noise.

    >>> Sinusoid(shots=10, queries=15, tasks=4)(step=0).support.x.shape
    torch.Size([4, 10, 1])
    """

    name: ClassVar[str] = "sinusoid"
    ranges: ClassVar[tuple[tuple[float, float], ...]] = (0.1, 5.0), (0.0, np.pi)
    """Of the amplitude, and of the phase in radians."""

    def y(self, x: np.ndarray, *numbers: np.ndarray) -> np.ndarray:
        """amplitude * sin(x - phase)."""
        amplitude, phase = numbers
        return np.asarray(amplitude * np.sin(x - phase))
