"""Which rows to label next: those that would bring an example near to many rows whose answer is open.

Facility location over rows weighed by their uncertainty, after Wei, Iyer, Bilmes 2015, "Submodularity in Data Subset
Selection and Active Learning". Where there are few labels, what covers the rows does better than uncertainty alone:
Hacohen, Dekel, Weinshall 2022, arXiv:2202.02794 (TypiClust); Yehuda et al. 2022, arXiv:2205.11320 (ProbCover). Here
both count, and no radius and no number of clusters need be chosen.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from mapwise.core.fields import is_whole, quote

_JUDGES = 2000  # rows that say how much an example would be worth to them; of more, some are drawn
_TOGETHER = 1 << 22  # distances at a time


@dataclass(frozen=True)
class Suggestion:
    """A row worth a label, and why.

    row:       its place among the rows that were given.
    label:     what it is taken for now.
    runner_up: what it would be otherwise.
    unsure:    whether its lead is less than half of the median lead.
    unlike:    whether it is farther from all examples than half of the rows are.
    like:      other rows that are nearer to it than to any example.
    """

    row: int
    label: Any
    runner_up: Any
    unsure: bool
    unlike: bool
    like: int

    @property
    def reason(self) -> str:
        """In words."""
        first = f"between {self.label} and {self.runner_up}" if self.unsure else f"probably {self.label}"
        unlike = ["unlike every example so far"] if self.unlike else []
        many = f"{self.like} other{'s' if self.like > 1 else ''} that {'are' if self.like > 1 else 'is'} not labelled"
        return ", ".join([first, *unlike, *([f"like {many}"] if self.like else [])])

    def __str__(self) -> str:
        """As one line."""
        return f"row {self.row}: {self.reason}"

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**vars(self), "reason": self.reason}


def best_to_label(
    rows: Float[np.ndarray, "U D"],
    scores: Float[np.ndarray, "U W"],
    labelled: Float[np.ndarray, "S D"],
    names: Sequence[Any],
    n: int,
    *,
    seed: int = 0,
) -> list[Suggestion]:
    """The n rows worth labelling, the best first; each is chosen as if those before it were labelled.

    rows:     encoded, without labels.
    scores:   theirs, by a predictor of the labelled rows; of two classes at least.
    seed:     of the rows that are drawn where there are more than 2,000.

    The worth of a row is the sum, over all rows, of how much nearer the nearest example would be, times
    exp(-lead / median lead), where the lead is that of the best score over the next. Nothing depends on the units of
    either, nor on what the learner is.

    Raises ValueError for no rows, for an n that they don't allow, and for NaN and infinity.
    """
    if not len(rows):
        raise ValueError("there are no rows to choose from: give at least one that has no label")
    if not (is_whole(n) and 1 <= n <= len(rows)):
        raise ValueError(
            f"n is {quote(n)} and there are {len(rows)} rows without a label: give a number from 1 to {len(rows)}"
        )
    for what, part in (("row {}", rows), ("the score of row {}", scores), ("labelled row {}", labelled)):
        lost = np.flatnonzero(~np.isfinite(part).all(axis=1))
        if len(lost):
            raise ValueError(f"{what.format(lost[0])} is NaN or infinite: leave the row out")
    # By a power of two, which is exact: squares of the largest numbers exceed float64.
    exponent = int(np.frexp(max(np.abs(part).max(initial=0) for part in (rows, labelled)))[1])
    rows, labelled = (np.ldexp(part.astype(np.float64), -exponent) for part in (rows, labelled))
    best = np.argsort(-scores, axis=1, kind="stable")[:, :2]
    first, second = np.take_along_axis(scores, best, axis=1).T
    lead = first - second
    middle = float(np.median(lead))
    with np.errstate(over="ignore"):  # leads of the class that all are sure of
        open_ = np.exp(-lead / max(middle, np.finfo(np.float64).tiny))
    far = _by_parts(lambda part: _distances(part, labelled).min(1), rows, len(labelled))  # [U]
    usual = float(np.median(far))
    judges = np.arange(len(rows))
    if len(rows) > _JUDGES:
        judges = np.sort(np.random.Generator(np.random.Philox(seed)).permutation(len(rows))[:_JUDGES])

    def worth(part: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N"]:
        gained: np.ndarray = (far[judges] - _distances(part, rows[judges])).clip(min=0) @ open_[judges]
        return gained

    # A row is worth no more after others than before them: an old figure is a bound (Minoux 1978), few are made anew.
    bound = _by_parts(worth, rows, len(judges))
    suggestions = []
    for _ in range(n):
        while True:
            row = int(bound.argmax())
            bound[row] = worth(rows[row : row + 1])[0]
            if bound[row] >= bound.max():
                break
        near = _distances(rows[row : row + 1], rows)[0]
        like = near < far
        like[row] = False
        label, runner_up = (names[place] for place in best[row])
        unlike = bool(far[row] > usual)
        suggestions.append(Suggestion(row, label, runner_up, bool(lead[row] < middle / 2), unlike, int(like.sum())))
        bound[row], far = -np.inf, np.minimum(far, near)
    return suggestions


def _by_parts(figure: Callable[[np.ndarray], np.ndarray], rows: np.ndarray, beside: int) -> np.ndarray:
    """Something of every row, so many at a time that their distances to others find room."""
    together = max(1, _TOGETHER // max(1, beside))
    return np.concatenate([figure(rows[start : start + together]) for start in range(0, len(rows), together)])


def _distances(a: Float[np.ndarray, "N D"], b: Float[np.ndarray, "M D"]) -> Float[np.ndarray, "N M"]:
    squared = (a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1)[None]
    distances: np.ndarray = np.sqrt(squared.clip(min=0))
    return distances
