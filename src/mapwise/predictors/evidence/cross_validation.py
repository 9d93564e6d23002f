"""Cross-validated accuracy of a support set, and the learning curve it implies."""

import math
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mapwise.core.families.embedding import learned_features
from mapwise.core.interval import wilson
from mapwise.core.learner import Learner
from mapwise.core.task import Examples
from mapwise.core.tree import Params
from mapwise.predictors.evidence.duplicates import distinct
from mapwise.predictors.evidence.held_out import Expected, HeldOut
from mapwise.predictors.evidence.novelty import held_out_novelty

FEWEST = 3
"""Rows a class needs: of two, one would have to speak for the class alone."""
MORE = (1, 5, 20)
"""Further examples of each class, for which the accuracy is predicted."""
SECONDS = 20.0
"""That cross-validation takes, or a little more: of a large support some rows are asked, by a few predictors."""
_FOLDS = 25  # at most, of one training size
_SIZES = 5  # training sizes
_ASKED, _MOST_ROUNDS = 400, 6  # out-of-fold answers of one size, and how often a row is asked for them
_COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.5)
_USUAL, _ERRORS = -0.3, 10.0  # the power of a usual learning curve, and as how many errors that counts
_LEARNED = 0.1  # Cohen's kappa, beyond its standard error, from which a learning curve is believed
_SPREAD, _FARTHER = 1.25, 0.5  # rows of one support err together: so many count as one, and more far away
_TOGETHER = 1 << 20  # numbers of the supports that are trained on at a time


class OutOfFold(NamedTuple):
    """Answers to rows by predictors that were trained on other rows, all on as many."""

    rows: Int64[np.ndarray, "A"]
    """Which row of the support was asked."""
    scores: Float[np.ndarray, "A W"]
    left_out: Float[np.ndarray, "W"]
    """How many rows of each class that has rows were left out of training."""


def held_out(
    learner: Learner,
    params: Params,
    support: Examples,
    names: Sequence[str],
    *,
    digests: Int64[np.ndarray, "S"] | None = None,
    seed: int = 0,
    seconds: float = SECONDS,
) -> HeldOut:
    """Cross-validate a learner on a support, each fold leaving out the same share of every class, drawn by the seed.

    digests: of each row's content: rows of one class with the same one are copies; 0 where it isn't known.

    Leaving out one row alone would be unfair to its class, which then has a row less than the others: its mean is
    less certain, so farther away. Folds that leave out of every class alike answer for a support of the same
    proportions. Supports of several sizes give a learning curve: errors fall by a power of the number of rows
    (Hestness et al. 2017), drawn a little toward a usual one, and only as far as the largest size is better than
    chance beyond its standard error. It leads from there to the whole support and beyond it. Copies count as one
    row. After the seconds no further fold is asked. The interval is Wilson's (1927); rows of one support err
    together, and the farther it extrapolates the wider it is.
    """
    support, places = distinct(support, digests)
    columns = support.y.argmax(1).numpy()
    if why := too_few(np.bincount(columns, minlength=len(names)), names):
        return HeldOut(None, None, None, 0, why=why)
    answers = _out_of_fold(learner, params, support, np.random.Generator(np.random.Philox(seed)), seconds)
    with torch.no_grad():
        x = learned_features(learner, params, learner.adapt(params, support), support.x)
    novelty = held_out_novelty(support._replace(x=x))
    return summary(answers, columns, support.weight.numpy(), names, places, novelty)


def too_few(counts: Int64[np.ndarray, "W"], names: Sequence[str]) -> str:
    """Why a support with so many rows of each class says nothing of itself; "" when it does."""
    few = [place for place in np.argsort(counts, kind="stable") if 0 < counts[place] < FEWEST]
    if few:
        has = f"{names[few[0]]} has {counts[few[0]]} example{'s' if counts[few[0]] > 1 else ''}"
        return f"too few to tell: {has}, and {FEWEST} of each class are needed"
    return "" if (counts > 0).sum() > 1 else "too few to tell: there is one class, and two are needed"


def summary(
    answers: Sequence[OutOfFold],
    columns: Int64[np.ndarray, "S"],
    weight: Float[np.ndarray, "S"],
    names: Sequence[str],
    places: Int64[np.ndarray, "S"],
    novelty: Float[np.ndarray, "S"],
) -> HeldOut:
    """What out-of-fold answers say of the whole support.

    answers: by supports of one size or several, the largest first. Of one size they say nothing of a learning curve,
             and the accuracy is that of this size.
    columns: the class of each different row.
    weight:  of each of these rows: a class's share of all weights is how often it is expected.
    places:  what each of these rows is called.
    novelty: of each row, by a support without it.
    """
    counts = np.bincount(columns)
    counts = counts[counts > 0]
    share = np.bincount(columns, weight, minlength=len(names)) / weight.sum()  # [W]
    alike = (share > 0) / (share > 0).sum()
    correct = [_correct(one.rows, one.scores.argmax(1) == columns[one.rows]) for one in answers]
    by_class = np.stack([_by_class(one, columns, len(names)) for one in correct])  # [sizes, W]
    rows = np.array(list(correct[0]))
    per_class = np.bincount(columns[rows], minlength=len(names))
    errors = np.clip(1 - by_class @ share, 0, 1)  # shares of many classes add up to 1 but for rounding
    sizes = np.array([_size(counts - one.left_out) for one in answers])
    power = 0.0
    if len(answers) > 1:
        power = _power(sizes, errors, 1 - _by_guessing(answers[0], columns, share), len(rows))

    def expected(more: int, weights: Float[np.ndarray, "W"]) -> Expected:
        size = _size(counts + more)
        error = max(0.0, float(1 - by_class[0] @ weights)) * (size / sizes[0]) ** power
        independent = 1 / (weights**2 / np.maximum(per_class, 1)).sum()
        together = _SPREAD + _FARTHER * math.log(size / _size(counts))
        return Expected(1 - error, *wilson(1 - error, independent / together))

    balanced = expected(0, alike)
    classes, confusions, doubtful = _confused(answers[0].rows, answers[0].scores, columns, names)
    nearest = rows[np.argsort(novelty[rows], kind="stable")]
    coverages = sorted({max(1, round(part * len(rows))) for part in _COVERAGES}, reverse=True)
    of_row = share[columns] / np.maximum(per_class, 1)[columns]
    right = np.array([correct[0][row] for row in nearest])
    return HeldOut(
        *expected(0, share),
        rows=len(rows),
        classes=classes,
        confusions=confusions,
        doubtful=[(int(places[row]), name, taken) for row, name, taken in doubtful],
        more={more: expected(more, share) for more in MORE} if len(answers) > 1 else {},
        by_coverage=[(n / len(rows), float(np.average(right[:n], weights=of_row[nearest[:n]]))) for n in coverages],
        balanced=balanced,
        chance=float(share.max()),
        training_share=None if len(answers) > 1 else float(sizes[0] / _size(counts)),
        by_row={int(places[row]): part for row, part in correct[0].items()},
    ).corrected(0.0)


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
    with torch.no_grad():
        parts = [
            torch.vmap(one)(*part) for part in zip(torch.split(given, together), torch.split(x, together), strict=True)
        ]
    return torch.cat(parts).numpy()


def _out_of_fold(
    learner: Learner, params: Params, support: Examples, random: np.random.Generator, seconds: float
) -> list[OutOfFold]:
    """The answers by supports of every size, the largest first: of as many as there is time for."""
    end = time.monotonic() + seconds
    columns, weight = support.y.argmax(1).numpy(), support.weight.numpy()
    counts = np.unique(columns, return_counts=True)[1]
    rounds = max(1, min(_MOST_ROUNDS, _ASKED // len(columns)))
    together = max(1, _TOGETHER // support.x.numel())
    parts: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
    sizes = _left_out(int(counts.min()))
    drawn = [
        [np.stack(list(_folds(columns, _of_each(counts, fewer), random))) for fewer in sizes] for _ in range(rounds)
    ]
    # Of a small support several rounds are one call: its calls take longer than its numbers.
    at_once = max(1, together // max(len(folds) for folds in drawn[0]))
    for begin in range(0, rounds, at_once):
        for fewer, of_rounds in zip(sizes, zip(*drawn[begin : begin + at_once], strict=True), strict=True):
            folds = np.concatenate(of_rounds)
            for rows in np.split(folds, range(together, len(folds), together)):
                if parts and time.monotonic() > end:
                    break
                weights = np.tile(weight, (len(rows), 1))
                np.put_along_axis(weights, rows, 0, 1)
                scores = scores_under(learner, params, support, weights, support.x[torch.as_tensor(rows)])
                parts.setdefault(fewer, []).append((rows.ravel(), scores.reshape(rows.size, -1)))
    return [
        OutOfFold(
            np.concatenate([rows for rows, _ in of_size]),
            np.concatenate([scores for _, scores in of_size]),
            _of_each(counts, fewer),
        )
        for fewer, of_size in sorted(parts.items())
    ]


def _of_each(counts: Int64[np.ndarray, "W"], fewer: int) -> Int64[np.ndarray, "W"]:
    """How many rows of each class to leave out where it is so many of the smallest: the same share."""
    left_out: np.ndarray = np.clip(np.round(counts * (fewer / counts.min())).astype(int), 1, counts - 1)
    return left_out


def _folds(columns: np.ndarray, left_out: Int64[np.ndarray, "W"], random: np.random.Generator) -> Iterator[np.ndarray]:
    """Rows that are left out together, so many of each class; every row once, and some again to fill the last fold."""
    by_class = np.argsort(columns, kind="stable")
    ends = np.cumsum(np.unique(columns, return_counts=True)[1])
    orders = [random.permutation(rows) for rows in np.split(by_class, ends[:-1])]
    needed = max(math.ceil(len(order) / count) for order, count in zip(orders, left_out, strict=True))
    for fold in range(min(needed, _FOLDS)):
        yield np.concatenate(
            [
                order.take(range(fold * count, (fold + 1) * count), mode="wrap")
                for order, count in zip(orders, left_out, strict=True)
            ]
        )


def _left_out(least: int) -> list[int]:
    """How many rows of the smallest class to leave out, the fewest first: up to all but one, or all but a sixteenth."""
    largest = least - math.ceil(least / _FOLDS)
    trained = np.geomspace(max(1, least / 16), largest, _SIZES).round().astype(int)
    return sorted({least - int(size) for size in trained})


def _size(counts: np.ndarray) -> float:
    """The rows of a class of an even support that knows as much: what a mean of n rows lacks falls as 1 / n."""
    return float(1 / np.mean(1 / counts))


def _power(sizes: np.ndarray, errors: np.ndarray, by_guessing: float, count: int) -> float:
    """The power of the number of rows by which errors fall, between 0 and -1; 0 without evidence of any learning.

    errors:      0..1, the largest size's first.
    by_guessing: the error of answers that know nothing, 0..1.
    """
    if not errors.any() or not by_guessing:
        return 0.0
    least = min(1.0, float(errors[0]))
    kappa, its_error = 1 - least / by_guessing, math.sqrt(least * (1 - least) / count) / by_guessing
    learned = min(1.0, max(0.0, kappa - its_error) / _LEARNED)
    logs = np.log(np.maximum(errors, 0.5 / count))
    seen = np.polyfit(np.log(sizes), logs, 1, w=np.sqrt(sizes))[0]
    evidence = count * errors.mean() * np.log(sizes.max() / sizes.min() + 1)
    return learned * float(np.clip((evidence * seen + _ERRORS * _USUAL) / (evidence + _ERRORS), -1, 0))


def _correct(rows: np.ndarray, right: np.ndarray) -> dict[int, float]:
    """The share of right answers of each row that was asked."""
    members, place = np.unique(rows, return_inverse=True)
    share = np.bincount(place, right) / np.bincount(place)
    return dict(zip(members.tolist(), share.tolist(), strict=True))


def _by_class(correct: dict[int, float], columns: np.ndarray, classes: int) -> Float[np.ndarray, "W"]:
    """The share of right answers of each class, every row of it weighed alike; 0 for a class without rows."""
    of = columns[list(correct)]
    right: np.ndarray = np.bincount(of, list(correct.values()), minlength=classes)
    return right / np.maximum(np.bincount(of, minlength=classes), 1)


def _by_guessing(answers: OutOfFold, columns: np.ndarray, share: np.ndarray) -> float:
    """The accuracy of answers that are as frequent and know nothing of a row (Cohen's kappa is relative to it)."""
    of = columns[answers.rows]
    weights = (share / np.maximum(np.bincount(of, minlength=len(share)), 1))[of]
    return float(share @ np.bincount(answers.scores.argmax(1), weights, minlength=len(share)))


_Confused = tuple[dict[str, tuple[float, int]], list[tuple[str, str, float]], list[tuple[int, str, str]]]


def _confused(rows: np.ndarray, scores: np.ndarray, columns: np.ndarray, names: Sequence[str]) -> _Confused:
    """What classes were taken for, and which rows are doubtful."""
    predictions, true = scores.argmax(1), columns[rows]
    answers = np.bincount(true)
    distinct_rows, place, times = np.unique(rows, return_inverse=True, return_counts=True)
    members = np.bincount(columns[distinct_rows], minlength=len(answers))
    shares: dict[int, dict[int, float]] = {int(c): {} for c in np.unique(true)}
    pairs, counts = np.unique(np.stack([true, predictions]), axis=1, return_counts=True)
    for (c, k), count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
        shares[c][k] = float(count / answers[c])
    classes = {names[c]: (share.get(c, 0.0), int(members[c])) for c, share in shares.items()}
    confusions = [(names[c], names[k], part) for c, share in shares.items() for k, part in share.items() if k != c]
    lead = scores.max(1) - scores[np.arange(len(rows)), true]
    mean_lead = np.bincount(place, lead) / times
    always_wrong = np.bincount(place, predictions == true) == 0
    of_row = np.split(np.argsort(place, kind="stable"), np.cumsum(times)[:-1])
    doubtful = []
    for one in np.flatnonzero(always_wrong).tolist():
        taken = int(np.bincount(predictions[of_row[one]]).argmax())
        row = int(distinct_rows[one])
        doubtful.append((float(mean_lead[one]), (row, names[columns[row]], names[taken])))
    confusions.sort(key=lambda pair: -pair[2])
    doubtful.sort(key=lambda pair: -pair[0])
    return classes, confusions, [row for _, row in doubtful]
