"""Calibration: a temperature that divides scores before their softmax, fitted to out-of-fold answers.

Guo, Pleiss, Sun, Weinberger 2017, "On Calibration of Modern Neural Networks". A temperature changes how sure answers
are, and never which class has the highest probability.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mapwise.core.task import Examples

FOLDS = 5
"""At most, each answered by a learner fitted to the others."""
ENOUGH = 1000
"""Out-of-fold answers after which no further fold is answered: there is one number to fit."""
UNKNOWN = 1.0
"""The temperature where there is no answer to fit it to."""
CENTRE, SPREAD = 1.0, 1.2
"""The prior: the median of the temperature over the median lead, and the standard deviation of its logarithm."""
_SURE = 0.95
"""How far an answer's probability is believed."""
_LOWEST, _HIGHEST, _STEPS = 1e-2, 1e2, 60  # of that ratio, equally far apart in logarithms
_ERROR = 0.25  # what the squared error of an answer is about, by which it is counted


def temperature(
    scores: Float[np.ndarray, "A W"], columns: Int64[np.ndarray, "A"], weight: Float[np.ndarray, "A"]
) -> float:
    """The temperature after these answers, whose right classes and weights are given; 1 without answers.

    It minimizes the Brier score of softmax(scores / temperature), each answer counted by its weight over the mean one,
    and beside it a normal prior of its logarithm. The likelihood would follow the few surest errors, where scores have
    heavy tails. The prior is in units of the median lead of the best score over the next, so that it is the same for
    every learner; it decides where answers are few.
    """
    best = np.sort(scores, axis=1)[:, -2:]
    lead = float(np.median(best[:, -1] - best[:, 0])) if len(scores) else 0.0
    if not 0 < lead < math.inf:
        return UNKNOWN
    share = weight / weight.mean()
    right = np.arange(scores.shape[1]) == columns[:, None]
    with np.errstate(over="ignore"):  # a class without rows is out of reach, at whatever temperature
        relative = torch.as_tensor(scores / lead)

    def cost(logarithm: float) -> float:
        chances = torch.softmax(relative * math.exp(-logarithm), dim=1).numpy()
        brier = ((chances - right) ** 2).sum(1)
        return float(share @ brier) / (2 * _ERROR) + (logarithm - math.log(CENTRE)) ** 2 / (2 * SPREAD**2)

    from scipy.optimize import minimize_scalar  # here, since most who load this never ask

    grid = np.linspace(math.log(_LOWEST), math.log(_HIGHEST), _STEPS)
    place = int(np.argmin([cost(logarithm) for logarithm in grid]))
    bounds = (grid[max(place - 1, 0)], grid[min(place + 1, _STEPS - 1)])
    return lead * math.exp(float(minimize_scalar(cost, bounds=bounds, method="bounded").x))


def out_of_fold(
    support: Examples, score: Callable[[Examples, Tensor], np.ndarray]
) -> tuple[Int64[np.ndarray, "A"], Float[np.ndarray, "A W"]]:
    """Rows of a support, and their scores by learners fitted to other rows of it; none where no class has two.

    score: a support, rows -> their scores.

    Folds leave out of every class the same share, so that training is on four fifths where there are five rows of
    each class. The only row of a class is never left out. A row's fold follows from its numbers and not from its place,
    so that the order of rows and classes changes nothing.
    """
    columns = support.y.argmax(1).numpy()
    counts = np.bincount(columns)
    several = counts[counts > 1]
    count = int(np.clip(several.min(), 2, FOLDS)) if len(several) else 0
    x = support.x.flatten(1).numpy()
    direction = np.random.Generator(np.random.Philox(0)).normal(size=x.shape[1])
    fold = _folds(columns, x @ direction, count)
    rows, scores = list[np.ndarray](), list[np.ndarray]()
    for place in range(count):
        rest, left_out = (torch.as_tensor(np.flatnonzero(part)) for part in (fold != place, fold == place))
        training = support._replace(x=support.x[rest], y=support.y[rest], weight=support.weight[rest])
        answers = score(training, support.x[left_out])
        finite = np.isfinite(answers).all(1)
        rows.append(left_out.numpy()[finite])
        scores.append(answers[finite])
        if sum(map(len, rows)) >= ENOUGH:
            break
    if not rows:
        return np.zeros(0, np.int64), np.zeros((0, support.y.shape[1]))
    return np.concatenate(rows), np.concatenate(scores)


def log_probabilities(
    scores: Float[np.ndarray, "A W"], columns: Int64[np.ndarray, "A"], divisor: float, ways: int
) -> Float[np.ndarray, "A"]:
    """The logarithm of the probability that scores, divided by the temperature, give each row's class by a softmax.

    ways: classes with examples. With a probability of one in twenty an answer is taken for a guess among these, so that
          a single sure and wrong one doesn't outweigh all others.
    """
    chances = torch.softmax(torch.as_tensor(scores) / divisor, dim=1).numpy()[np.arange(len(columns)), columns]
    logarithms: np.ndarray = np.log(_SURE * chances + (1 - _SURE) / ways)
    return logarithms


def _folds(columns: Int64[np.ndarray, "S"], along: Float[np.ndarray, "S"], count: int) -> Int64[np.ndarray, "S"]:
    """The fold of each row, of so many, in turns along a direction; -1 for the only row of a class."""
    fold = np.full(len(columns), -1)
    for c in np.unique(columns):
        rows = np.flatnonzero(columns == c)
        if len(rows) > 1:
            fold[rows[np.argsort(along[rows], kind="stable")]] = np.arange(len(rows)) % count
    return fold
