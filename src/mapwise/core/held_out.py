"""What a support set says of itself: each row asked of a predictor that was taught without it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mapwise.core.learner import Learner
from mapwise.core.novelty import held_out_novelty
from mapwise.core.task import Examples
from mapwise.core.tree import Params

FEWEST = 3
"""Rows a class needs: of two, one would have to speak for the class alone."""
_MOST, _LEAST = 400, 50  # answers in all; more of a large support say little more
_WORK = 1e11  # multiplications of a ridge regression for each of them
_MOST_ROUNDS = 5
_COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.5)
_TOGETHER = 1 << 22  # numbers of the supports that are taught at a time


@dataclass(frozen=True)
class HeldOut:
    """How often a row's class is found by a predictor that didn't see the row.

    accuracy: 0..1, of the whole support; None when a class has fewer than three rows, which is too few to tell.
    low, high: the 95 % interval of the accuracy (Wilson 1927).
    rows: how many were asked.
    classes: class name -> the accuracy with a row of each class less, and the rows of it that were asked.
    confusions: (class, what its rows were taken for, share of the class's answers), the largest first.
    doubtful: rows that were taken for another class every time, as (row, its class, what it was taken for): the
              surest first. Some may be mislabelled.
    """

    accuracy: float | None
    low: float | None
    high: float | None
    rows: int
    classes: dict[str, tuple[float, int]]
    confusions: list[tuple[str, str, float]]
    doubtful: list[tuple[int, str, str]]
    by_coverage: list[tuple[float, float]] = field(default_factory=list)
    """(share of the rows that are answered, accuracy on these): all, 95, 90, 80 and 50 %, the rest refused as being
    farthest from every class."""
    why: str = ""
    """Why there is no accuracy."""

    def __str__(self) -> str:
        """As one line for a person."""
        if self.accuracy is None or self.low is None or self.high is None:
            return self.why
        text = f"{100 * self.accuracy:.0f} % ({100 * self.low:.0f} to {100 * self.high:.0f} %), leaving out one of each"
        pairs = ", ".join(f"{a} taken for {b}" for a, b, _ in self.confusions[:3])
        return f"{text} class, {self.rows} rows" + (f"; {pairs}" if pairs else "")


def held_out(learner: Learner, params: Params, support: Examples, names: Sequence[str], *, seed: int = 0) -> HeldOut:
    """Ask every row of a predictor taught without it, and without a row of each other class, drawn by the seed.

    Leaving out the row alone would be unfair to its class, which then has a row less than the others: its mean is less
    certain, so farther away. With a row less in every class the answer is that of an even support, one row smaller.
    The same with two rows less says what a row is worth, and so, errors falling as one by the number of rows, what
    the whole support is. Of a large support some rows are asked.
    """
    columns = support.y.argmax(1).numpy()
    weight = support.weight.numpy()
    counts = np.bincount(columns[weight > 0], minlength=len(names))
    few = [place for place in np.argsort(counts, kind="stable") if 0 < counts[place] < FEWEST]
    if few:
        has = f"{names[few[0]]} has {counts[few[0]]} example{'s' if counts[few[0]] > 1 else ''}"
        why = f"too few to tell: {has}, and {FEWEST} of each class are needed"
        return HeldOut(None, None, None, 0, {}, [], [], why=why)
    if (counts > 0).sum() < 2:
        why = "too few to tell: there is one class, and two are needed"
        return HeldOut(None, None, None, 0, {}, [], [], why=why)
    random = np.random.Generator(np.random.Philox(seed))
    rows = np.flatnonzero(weight > 0)
    most = int(min(_MOST, max(_LEAST, _WORK / (len(rows) * support.x.numel()))))
    if len(rows) > most:
        rows = np.sort(random.permutation(rows)[:most])
    rounds = max(1, min(_MOST_ROUNDS, most // len(rows)))
    asked = np.tile(rows, rounds)
    x = support.x[torch.as_tensor(asked)][:, None]

    def answers(fewer: int) -> np.ndarray:
        kept = np.stack([_without(row, columns, weight, fewer, random) for row in asked])
        return scores_under(learner, params, support, kept, x)[:, 0].reshape(rounds, len(rows), -1)

    one, two = answers(1), answers(2)
    least = int(counts[counts > 0].min())
    gain = (np.mean(one.argmax(2) == columns[rows]) - np.mean(two.argmax(2) == columns[rows])) * (least - 2) / least
    return _found(one, max(0.0, float(gain)), rows, columns, names, held_out_novelty(support)[rows])


def scores_under(
    learner: Learner, params: Params, support: Examples, weights: Float[np.ndarray, "K S"], x: Float[Tensor, "K Q D"]
) -> Float[np.ndarray, "K Q W"]:
    """The scores of x under each of K weightings of one support; x has a row of queries for each."""

    def one(weight: Tensor, x: Tensor) -> Tensor:
        scores = learner.predict(params, learner.adapt(params, support._replace(weight=weight)), x)
        assert isinstance(scores, Tensor)
        return scores

    together = max(1, _TOGETHER // max(1, support.x.numel()))
    given = torch.as_tensor(weights, dtype=support.weight.dtype)
    with torch.no_grad():
        parts = [
            torch.vmap(one)(*part) for part in zip(torch.split(given, together), torch.split(x, together), strict=True)
        ]
    return torch.cat(parts).numpy()


def _without(row: int, columns: np.ndarray, weight: np.ndarray, fewer: int, random: np.random.Generator) -> np.ndarray:
    """The weights without this row, and without so many rows of each class, it among them."""
    kept = weight.copy()
    kept[row] = 0
    for column in np.unique(columns[weight > 0]):
        others = np.flatnonzero((columns == column) & (kept > 0))
        kept[random.choice(others, fewer - (column == columns[row]), replace=False)] = 0
    return kept


def _found(
    scores: np.ndarray, gain: float, rows: np.ndarray, columns: np.ndarray, names: Sequence[str], novelty: np.ndarray
) -> HeldOut:
    said = scores.argmax(2)  # [rounds, rows asked]
    true = columns[rows]
    right = (said == true).mean(0)  # [rows asked], over the rounds
    accuracy, asked = min(1.0, float(right.mean()) + gain), len(rows)
    low, high = _wilson(accuracy, asked)
    classes = {names[c]: (float(right[true == c].mean()), int((true == c).sum())) for c in np.unique(true)}
    confusions = []
    for c in np.unique(true):
        answers = np.bincount(said[:, true == c].ravel(), minlength=len(names)) / said[:, true == c].size
        confusions += [(names[c], names[k], float(share)) for k, share in enumerate(answers) if k != c and share > 0]
    own = np.take_along_axis(scores, true[None, :, None], 2)[..., 0]
    lead = (scores.max(2) - own).mean(0)
    wrong = [place for place in np.argsort(-lead, kind="stable") if (said[:, place] != true[place]).all()]
    doubtful = [(int(rows[p]), names[int(true[p])], names[int(np.bincount(said[:, p]).argmax())]) for p in wrong]
    confusions.sort(key=lambda pair: -pair[2])
    nearest = right[np.argsort(novelty, kind="stable")]
    kept = [max(1, round(share * asked)) for share in _COVERAGES]
    by_coverage = [(count / asked, float(nearest[:count].mean())) for count in kept]
    return HeldOut(accuracy, low, high, asked, classes, confusions, doubtful, by_coverage)


def _wilson(share: float, rows: int, z: float = 1.96) -> tuple[float, float]:
    middle = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z / (1 + z**2 / rows) * math.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2))
    return max(0.0, middle - half), min(1.0, middle + half)
