"""What a support set says of itself: each row asked of predictors that were taught without it."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mapwise.core.embedding import placed
from mapwise.core.learner import Learner
from mapwise.core.novelty import held_out_novelty
from mapwise.core.task import Examples
from mapwise.core.tree import Params

FEWEST = 3
"""Rows a class needs: of two, one would have to speak for the class alone."""
MORE = (1, 5, 20)
"""Further examples of each class, of which the accuracy is foretold."""
SECONDS = 20.0
"""That asking takes, or a little more: of a large support some rows are asked, by a few predictors."""
_FOLDS = 25  # at most, of one size
_SIZES = 5  # supports of so many sizes are taught
_ASKED, _MOST_ROUNDS = 400, 6  # answers of one size, and how often a row is asked for them
_COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.5)
_SLOPE, _ERRORS = -0.3, 10.0  # how errors usually fall with the rows, and as how many errors that counts
_SPREAD, _FARTHER = 1.25, 0.4  # rows of one support err together: so many say what one would, and more far away
_SMALL = 1 << 18  # numbers of a support for which threads would wait for one another longer than they work
_TOGETHER = 1 << 20  # numbers of the supports that are taught at a time


class Expected(NamedTuple):
    """An accuracy that was not measured.

    accuracy: 0..1.
    low, high: its 95 % interval.
    """

    accuracy: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.accuracy:.0f} % ({100 * self.low:.0f} to {100 * self.high:.0f} %)"


class Answers(NamedTuple):
    """What predictors that were taught without some rows said of these."""

    rows: Int64[np.ndarray, "A"]
    """Which row of the support was asked."""
    scores: Float[np.ndarray, "A W"]
    fewer: int | Float[np.ndarray, "W"]
    """How many rows of each class that has rows the predictor was not taught."""


@dataclass(frozen=True)
class HeldOut:
    """How often a row's class is found by a predictor that didn't see the row.

    accuracy: 0..1, of the whole support; None when a class has fewer than three rows, which is too few to tell.
    low, high: its 95 % interval.
    rows: how many were asked.
    classes: class name -> the accuracy with a row of each class less, and the rows of it that were asked.
    confusions: (class, what its rows were taken for, share of the class's answers), the largest first.
    doubtful: rows that were taken for another class every time, as (row, its class, what it was taken for): the
              surest first. Some may be mislabelled.
    more: so many further examples of each class -> the accuracy to expect of a support with them.
    by_coverage: (share of the rows that are answered, accuracy on these): all, 95, 90, 80 and 50 %, the rest refused
                 as being farthest from every class.
    """

    accuracy: float | None
    low: float | None
    high: float | None
    rows: int
    classes: dict[str, tuple[float, int]] = field(default_factory=dict)
    confusions: list[tuple[str, str, float]] = field(default_factory=list)
    doubtful: list[tuple[int, str, str]] = field(default_factory=list)
    more: dict[int, Expected] = field(default_factory=dict)
    by_coverage: list[tuple[float, float]] = field(default_factory=list)
    why: str = ""
    """Why there is no accuracy."""

    def __str__(self) -> str:
        """As one line for a person."""
        if self.accuracy is None or self.low is None or self.high is None:
            return self.why
        found = Expected(self.accuracy, self.low, self.high)
        pairs = ", ".join(f"{a} taken for {b}" for a, b, _ in self.confusions[:3])
        return f"right {found}, each of {self.rows} rows asked without it" + (f"; {pairs}" if pairs else "")

    @property
    def outlook(self) -> str:
        """What more examples would bring, as one line; "" where that can't be told."""
        told = ", ".join(f"{100 * found.accuracy:.0f} % with {more}" for more, found in self.more.items())
        return f"more examples of each class: {told}" if told else ""


def held_out(
    learner: Learner,
    params: Params,
    support: Examples,
    names: Sequence[str],
    *,
    seed: int = 0,
    seconds: float = SECONDS,
) -> HeldOut:
    """Ask every row of predictors taught without it, and without as many rows of each other class, drawn by the seed.

    Leaving out the row alone would be unfair to its class, which then has a row less than the others: its mean is less
    certain, so farther away. With rows less in every class the answer is that of an even support, smaller by them.
    Supports of several sizes show how errors fall with the rows, and a power of their number (Hestness et al. 2017),
    drawn a little towards a usual one, leads from the largest of them to the whole support and beyond it.
    Rows that equal one another are one row. After the seconds no further row is asked.
    The interval is Wilson's (1927); rows of one support err together, and the farther it foretells the wider it is.
    """
    support, places = distinct(support)
    columns = support.y.argmax(1).numpy()
    counts = np.bincount(columns, minlength=len(names))
    if why := too_few(counts, names):
        return HeldOut(None, None, None, 0, why=why)
    answers = _answers(learner, params, support, np.random.Generator(np.random.Philox(seed)), seconds)
    with torch.no_grad():
        x = placed(learner, params, learner.adapt(params, support), support.x)
    return told(answers, columns, names, places, held_out_novelty(support._replace(x=x)))


def too_few(counts: Int64[np.ndarray, "W"], names: Sequence[str]) -> str:
    """Why a support with so many rows of each class says nothing of itself; "" when it does."""
    few = [place for place in np.argsort(counts, kind="stable") if 0 < counts[place] < FEWEST]
    if few:
        has = f"{names[few[0]]} has {counts[few[0]]} example{'s' if counts[few[0]] > 1 else ''}"
        return f"too few to tell: {has}, and {FEWEST} of each class are needed"
    return "" if (counts > 0).sum() > 1 else "too few to tell: there is one class, and two are needed"


def told(
    answers: Sequence[Answers],
    columns: Int64[np.ndarray, "S"],
    names: Sequence[str],
    places: Int64[np.ndarray, "S"],
    novelty: Float[np.ndarray, "S"],
) -> HeldOut:
    """What answers of held-out rows say of the whole support.

    answers: by supports of one size or several, the largest first.
    columns: the class of each different row.
    places:  what each of these rows is called.
    novelty: of each row, by a support without it.
    """
    counts = np.bincount(columns)
    counts = counts[counts > 0]
    rights = [_shares(one.rows, one.scores.argmax(1) == columns[one.rows]) for one in answers]
    sizes = [_size(counts - one.fewer) for one in answers]
    asked = len(rights[0])
    errors = np.array([1 - np.mean(list(right.values())) for right in rights])
    slope = _slope(np.array(sizes), errors, asked)

    def foretold(more: int) -> Expected:
        far = _size(counts + more) / sizes[0]
        accuracy = float(1 - errors[0] * far**slope)
        together = _SPREAD + _FARTHER * math.log(_size(counts + more) / _size(counts))
        return Expected(accuracy, *_wilson(accuracy, asked / together))

    classes, confusions, doubtful = _confused(answers[0].rows, answers[0].scores, columns, names)
    doubtful = [(int(places[row]), name, taken) for row, name, taken in doubtful]
    nearest = _nearest_first(novelty, rights[0])
    kept = sorted({max(1, round(share * asked)) for share in _COVERAGES}, reverse=True)
    return HeldOut(
        *foretold(0),
        rows=asked,
        classes=classes,
        confusions=confusions,
        doubtful=doubtful,
        more={more: foretold(more) for more in MORE},
        by_coverage=[(count / asked, float(np.mean(nearest[:count]))) for count in kept],
    )


def scores_under(
    learner: Learner, params: Params, support: Examples, weights: Float[np.ndarray, "K S"], x: Float[Tensor, "K Q D"]
) -> Float[np.ndarray, "K Q W"]:
    """The scores of x under each of K weightings of one support; x has a row of queries for each."""

    def one(weight: Tensor, x: Tensor) -> Tensor:
        scores = learner.predict(params, learner.adapt(params, support._replace(weight=weight)), x)
        assert isinstance(scores, Tensor)
        return scores

    together = max(1, _TOGETHER // support.x.numel())
    given = torch.as_tensor(weights, dtype=support.weight.dtype)
    with torch.no_grad(), _one_thread(support.x.numel() < _SMALL):
        parts = [
            torch.vmap(one)(*part) for part in zip(torch.split(given, together), torch.split(x, together), strict=True)
        ]
    return torch.cat(parts).numpy()


@contextmanager
def _one_thread(really: bool) -> Iterator[None]:
    threads = torch.get_num_threads()
    if really:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def distinct(support: Examples) -> tuple[Examples, np.ndarray]:
    """The rows that count, those that equal another of their class but once, with the weight of both; and their places.

    A copy of a row would answer for it when it is left out. The rows stand in an order of their own, so that one
    support is judged alike however it is given.
    """
    y = support.y.argmax(1).numpy()
    counted = np.flatnonzero(support.weight.numpy() > 0)
    table = np.column_stack([y[counted], support.x.flatten(1).numpy()[counted]])
    _, first, group = np.unique(table, axis=0, return_index=True, return_inverse=True)
    weight = np.bincount(group.ravel(), support.weight.numpy()[counted])
    places = counted[first]
    rows = torch.as_tensor(places)
    return support._replace(x=support.x[rows], y=support.y[rows], weight=torch.as_tensor(weight)), places


def _answers(
    learner: Learner, params: Params, support: Examples, random: np.random.Generator, seconds: float
) -> list[Answers]:
    """The answers by supports of every size, the largest first: of as many as there is time for."""
    end = time.monotonic() + seconds
    columns, weight = support.y.argmax(1).numpy(), support.weight.numpy()
    rounds = max(1, min(_MOST_ROUNDS, _ASKED // len(columns)))
    together = max(1, _TOGETHER // support.x.numel())
    found: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
    for fewer in _left_out(int(np.unique(columns, return_counts=True)[1].min())) * rounds:
        folds = np.stack(list(_folds(columns, fewer, random)))
        for rows in np.split(folds, range(together, len(folds), together)):
            if found and time.monotonic() > end:
                break
            kept = np.tile(weight, (len(rows), 1))
            np.put_along_axis(kept, rows, 0, 1)
            scores = scores_under(learner, params, support, kept, support.x[torch.as_tensor(rows)])
            found.setdefault(fewer, []).append((rows.ravel(), scores.reshape(rows.size, -1)))
    return [
        Answers(np.concatenate([rows for rows, _ in parts]), np.concatenate([scores for _, scores in parts]), fewer)
        for fewer, parts in sorted(found.items())
    ]


def _folds(columns: np.ndarray, fewer: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Rows that are left out together, so many of each class; every row once, but those of small classes again."""
    orders = [random.permutation(np.flatnonzero(columns == c)) for c in np.unique(columns)]
    needed = math.ceil(max(map(len, orders)) / fewer)
    for fold in range(min(needed, _FOLDS)):
        yield np.concatenate([order.take(range(fold * fewer, (fold + 1) * fewer), mode="wrap") for order in orders])


def _left_out(least: int) -> list[int]:
    """How many rows of each class to leave out, the fewest first: up to all but one, or all but a sixteenth."""
    largest = least - math.ceil(least / _FOLDS)
    taught = np.geomspace(max(1, least / 16), largest, _SIZES).round().astype(int)
    return sorted({least - int(size) for size in taught})


def _size(counts: np.ndarray) -> float:
    """The rows of a class of an even support that knows as much: what a mean of n rows lacks falls as 1 / n."""
    return float(1 / np.mean(1 / counts))


def _slope(sizes: np.ndarray, errors: np.ndarray, asked: int) -> float:
    """The power of the number of rows by which errors fall, between 0 and -1."""
    if len(sizes) < 2 or not errors.any():
        return _SLOPE
    logs = np.log(np.maximum(errors, 0.5 / asked))
    seen = np.polyfit(np.log(sizes), logs, 1, w=np.sqrt(sizes))[0]
    told = asked * errors.mean() * np.log(sizes.max() / sizes.min() + 1)
    return float(np.clip((told * seen + _ERRORS * _SLOPE) / (told + _ERRORS), -1, 0))


def _shares(rows: np.ndarray, right: np.ndarray) -> dict[int, float]:
    """The share of right answers of each row that was asked."""
    return {int(row): float(right[rows == row].mean()) for row in np.unique(rows)}


_Confused = tuple[dict[str, tuple[float, int]], list[tuple[str, str, float]], list[tuple[int, str, str]]]


def _confused(rows: np.ndarray, scores: np.ndarray, columns: np.ndarray, names: Sequence[str]) -> _Confused:
    """What classes were taken for, and which rows are doubtful."""
    said, true = scores.argmax(1), columns[rows]
    classes: dict[str, tuple[float, int]] = {}
    confusions: list[tuple[str, str, float]] = []
    doubtful: list[tuple[float, tuple[int, str, str]]] = []
    for c in np.unique(true):
        answers = np.bincount(said[true == c], minlength=len(names)) / (true == c).sum()
        classes[names[c]] = (float(answers[c]), len(np.unique(rows[true == c])))
        confusions += [(names[c], names[k], float(share)) for k, share in enumerate(answers) if k != c and share > 0]
    lead = scores.max(1) - scores[np.arange(len(rows)), true]
    for row in np.unique(rows):
        asked = rows == row
        if (said[asked] != true[asked]).all():
            taken = int(np.bincount(said[asked]).argmax())
            doubtful.append((float(lead[asked].mean()), (int(row), names[columns[row]], names[taken])))
    confusions.sort(key=lambda pair: -pair[2])
    doubtful.sort(key=lambda pair: -pair[0])
    return classes, confusions, [row for _, row in doubtful]


def _nearest_first(novelty: np.ndarray, right: dict[int, float]) -> list[float]:
    """The shares of right answers, of the row that is nearest to a class first."""
    return [right[row] for row in sorted(right, key=lambda row: novelty[row])]


def _wilson(share: float, rows: float, z: float = 1.96) -> tuple[float, float]:
    middle = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z / (1 + z**2 / rows) * math.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2))
    return max(0.0, middle - half), min(1.0, middle + half)
