"""Line regression: every task is a straight line of its own slope and intercept."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from mapwise.core.renamed import renamed
from mapwise.tasks.curves import Curves


@renamed
@dataclass(frozen=True, eq=False)
class Lines(Curves):
    """Fit y = slope * x + intercept from a few points of one line, x uniform in -5..5.

    shots, queries: points of a task to adapt to, and to be judged on.
    tasks:          T, lines in a batch.
    part:           "train", "val" or "test": streams of lines that share no random numbers.
    slope:          the steepest; slopes are uniform from minus this to this.
    intercept:      the largest y at x = 0, likewise.
    noise:          standard deviation of a Gaussian error on every y, support and query.
    device:         where the tasks are put.

    Raises ValueError for an unknown part, counts below 1, a negative seed, and a negative slope, intercept or noise.

    >>> Lines(shots=5, tasks=4)(step=0).support.y.shape
    torch.Size([4, 5, 1])
    """

    name: ClassVar[str] = "lines"

    slope: float = field(default=3.0, kw_only=True)
    intercept: float = field(default=3.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        for what, largest in (("slope", self.slope), ("intercept", self.intercept)):
            if not 0 <= largest < np.inf:
                raise ValueError(f"{what} is {largest}: give the largest size, 0 or more")

    @property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        """Of the slope, and of the intercept."""
        return (-self.slope, self.slope), (-self.intercept, self.intercept)

    def y(self, x: np.ndarray, *numbers: np.ndarray) -> np.ndarray:
        """slope * x + intercept."""
        slope, intercept = numbers
        return np.asarray(slope * x + intercept)
