"""A map of a predictor's examples: where it compares them, in their first two principal components."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from jaxtyping import Float

from mapwise.predictors.classes import Predictor


@dataclass(frozen=True, eq=False)
class Plane:
    """The plane in which the rows of a predictor are farthest apart.

    centre: [D], their mean.
    axes:   [2, D], of length 1; the second is 0 where the rows lie on a line.
    shares: of the variance that lies along each axis, 0..1.
    """

    centre: Float[np.ndarray, "D"]
    axes: Float[np.ndarray, "2 D"]
    shares: tuple[float, float]

    @classmethod
    def of(cls, predictor: Predictor) -> Self:
        """The plane of a predictor's examples; raises ValueError where there is none."""
        if not len(predictor.rows):
            raise ValueError("there are no examples to draw a map of: give some")
        z = _placed(predictor, predictor.rows)
        centre = z.mean(0)
        _, sizes, axes = np.linalg.svd(z - centre, full_matrices=False)
        squares = sizes**2 / (sizes**2).sum() if (sizes**2).sum() > 0 else np.zeros(len(sizes))
        plane, shares = np.zeros((2, z.shape[1])), np.zeros(2)
        count = min(2, len(axes))
        # Of the two directions of an axis, the one whose largest number is above 0: so that a map doesn't flip.
        signs = np.sign(axes[np.arange(count), np.abs(axes[:count]).argmax(1)])
        plane[:count], shares[:count] = axes[:count] * signs[:, None], squares[:count]
        return cls(centre, plane, (float(shares[0]), float(shares[1])))

    def place(self, predictor: Predictor, rows: Float[np.ndarray, "Q D"]) -> Float[np.ndarray, "Q 2"]:
        """Where encoded rows lie on it."""
        coordinates: np.ndarray = (_placed(predictor, rows) - self.centre) @ self.axes.T
        return coordinates


def _placed(predictor: Predictor, rows: np.ndarray) -> Float[np.ndarray, "Q E"]:
    placed: np.ndarray = predictor.placed(torch.as_tensor(rows, dtype=torch.float64)).numpy()
    return placed.reshape(len(rows), -1)
