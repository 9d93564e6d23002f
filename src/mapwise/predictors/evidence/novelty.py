"""None of these: how far a row lies from every class, and beyond what distance it is taken for none of them."""

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mapwise.core.fields import is_number, quote
from mapwise.core.geometry import class_means, squared_distances
from mapwise.core.interval import student_quantile
from mapwise.core.task import Examples
from mapwise.encoders.encoder import Spread

FEWEST = 3
"""Rows from which a spread can be estimated, where none is known."""
REFUSE = 0.05
"""The share of known rows that may be refused, by default."""
FEWEST_CLASSES = 3
"""Classes of which one can be left out, so that there are classes still."""
_FLOOR = 1e-3  # of the mean: a row that equals others has no logarithm


@dataclass(frozen=True)
class Detection:
    """How many rows of other classes a predictor rejects, estimated by leaving out each of its classes in turn.

    refuse:  the share of rows of the classes that may be rejected.
    rate:    0..1; None where it can't be estimated, and `why` says why.
    classes: that were left out, one after the other.
    rows:    of these.
    """

    refuse: float
    rate: float | None = None
    classes: int = 0
    rows: int = 0
    why: str = ""

    def __str__(self) -> str:
        if self.rate is None:
            return f"how many rows of other classes are rejected is unknown: {self.why}"
        return (
            f"rejects about {100 * self.rate:.0f} % of rows of other classes and up to {100 * self.refuse:g} % of its "
            "own, estimated by leaving out each class"
        )

    def to_json(self) -> dict[str, Any]:
        """As a JSON-ready object."""
        return asdict(self)


class ClassCentres(NamedTuple):
    """What a support tells of its classes: their means, and how many rows these are of."""

    means: Float[Tensor, "W D"]
    counts: Float[Tensor, "W"]


def class_centres(support: Examples) -> ClassCentres:
    """Of each class of a support, with weights; a class without rows counts none."""
    counts = (support.y * support.weight[:, None]).sum(0)
    return ClassCentres(class_means(support.x.flatten(1), support), counts)


def novelty(support: Examples, x: Float[Tensor, "Q D"]) -> Float[np.ndarray, "Q"]:
    """The squared distance to the nearest class's mean, over 1 + 1/n for a mean of n rows.

    A row of the class is expected that much farther from a mean of n rows than from the true one, so the numbers of
    supports of different sizes can be compared. The level tells what no class is like; the probabilities don't, since
    they say only which class is nearer.
    """
    return novelty_beside(class_centres(support), x)


def novelty_beside(centres: ClassCentres, x: Float[Tensor, "Q D"]) -> Float[np.ndarray, "Q"]:
    """The same, beside centres that are known already."""
    return _from_classes(centres, x).min(1).values.numpy()


def held_out_novelty(support: Examples) -> Float[np.ndarray, "S"]:
    """The novelty of each row of the support by a support without it; NaN for the only row of a class."""
    near, several = _held_out_from_classes(support)
    return torch.where(several, near.min(1).values, math.nan).numpy()


def leave_classes_out(support: Examples, share: float, known: Spread | None = None) -> Detection:
    """How many rows of other classes are rejected, by leaving out each class of the support in turn.

    share, known: as for `limit`, which is found without the class.

    Each class counts alike. Classes that are left out are like those that stay: rows of something else may lie
    farther away, or nearer.
    """
    column = support.y.argmax(1).numpy()
    classes = np.flatnonzero(np.bincount(column))
    if len(classes) < FEWEST_CLASSES:
        there = "is 1 class" if len(classes) == 1 else f"are {len(classes)} classes"
        return Detection(share, why=f"there {there}, and {FEWEST_CLASSES} are needed to leave out one of them")
    from_own, several = _held_out_from_classes(support)
    known_rows, foreign_rows = (
        part.topk(2, largest=False) for part in (from_own, _from_classes(class_centres(support), support.x))
    )
    rates = []
    for c in classes.tolist():
        inside = column != c
        novelties = np.where(several, _without_class(known_rows, c), math.nan)[inside]
        try:
            end = limit(novelties, share, known)
        except ValueError as few:
            return Detection(share, why=str(few))
        rates.append(float((_without_class(foreign_rows, c)[~inside] > end).mean()))
    return Detection(share, float(np.mean(rates)), len(classes), len(column))


def check_share(share: float) -> None:
    """Raises ValueError for a share of known rows to refuse that is none."""
    if not (is_number(share) and 0 < share < 1):
        raise ValueError(
            f"the share of known rows to refuse is {quote(share)}: give one above 0 and below 1, such as 0.05"
        )


def limit(novelties: Float[np.ndarray, "S"], share: float, known: Spread | None = None) -> float:
    """The novelty that a share of the rows of the known classes exceeds.

    novelties: of rows of the known classes; NaN is none.
    share: in (0, 1): of known rows that may be refused.
    known: what was measured before, which counts as rows beside those.

    The logarithm of a novelty is taken for normal, and the limit is a quantile of the next one: by Student's t, wider
    the fewer rows there are (Hahn and Meeker 1991, chapter 4). Raises ValueError for another share, and when fewer
    than three rows tell how far they usually lie.
    """
    check_share(share)
    finite = novelties[np.isfinite(novelties)]
    if known is None and len(finite) < FEWEST:
        raise ValueError(
            f"{len(finite)} of the examples have another of their class beside them, and {FEWEST} are needed to tell "
            "what is none of the classes: give a second example of each"
        )
    logs = np.log(np.maximum(finite, _FLOOR * finite.mean() + 1e-300)) if len(finite) else finite
    before = Spread(0.0, 0.0, 0.0) if known is None else known
    rows = len(logs) + before.rows
    mean = (logs.sum() + before.rows * before.mean) / rows
    squares = ((logs - mean) ** 2).sum() + before.rows * (before.sd**2 + (before.mean - mean) ** 2)
    sd = math.sqrt(squares / (rows - 1))
    return float(np.exp(mean + student_quantile(rows - 1, share) * sd * math.sqrt(1 + 1 / rows)))


def _without_class(nearest: torch.return_types.topk, c: int) -> Float[np.ndarray, "S"]:
    """The distance to the nearest class but this one, of rows whose two nearest are given."""
    first, second = nearest.values.T
    return torch.where(nearest.indices[:, 0] == c, second, first).numpy()


def _held_out_from_classes(support: Examples) -> tuple[Float[Tensor, "S W"], Bool[Tensor, "S"]]:
    """As `_from_classes`, of each row by a support without it; and whether its class has others."""
    centres = class_centres(support)
    near, counts = _from_classes(centres, support.x), centres.counts
    column = support.y.argmax(1)
    rows = torch.arange(len(column))
    rest = counts[column] - support.weight
    # The class's mean without the row lies W / (W - w) times as far from it.
    alone = near[rows, column] * (1 + 1 / counts[column]) * (counts[column] / rest) ** 2 / (1 + 1 / rest)
    near[rows, column] = alone
    return near, rest > 1e-9 * counts[column]


def _from_classes(centres: ClassCentres, x: Tensor) -> Float[Tensor, "Q W"]:
    """Squared distances over 1 + 1/n, infinite for a class without rows."""
    means, counts = centres
    near = squared_distances(x.flatten(1), means).clamp(min=0) / (1 + 1 / counts)
    return torch.where(counts > 0, near, math.inf)
