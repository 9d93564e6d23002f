"""Whether descriptions of classes, such as their names, agree with the examples, and what they are worth."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mapwise.catalog.heads import HEADS
from mapwise.core import tree
from mapwise.core.families.described import Described, described_params, joined_support
from mapwise.core.learner import Learner
from mapwise.core.task import Examples
from mapwise.predictors.evidence import calibration

WEIGHTS = (0.0, 0.5, 1.0, 2.0)
"""Of all descriptions of a class together, beside an example's weight of 1."""
ALONE = 1.0
"""The weight where too few classes have two examples, which would choose among the weights."""
_MOST = 1000
"""Examples that are looked at."""
_MEANT = 0.8
"""How often a description is taken to be like its class's examples; otherwise it may be like those of any class."""
_DOUBT = 0.01
"""A description is doubted whose class is so many times as probable as one drawn at random: fewer than one of a hundred
that are right, and more than half of those that were swapped, at five examples of each of ten classes."""
_JUDGE = "ridge"
"""The learner by which descriptions are judged, whichever answers: in closed form, and as easily misled as others."""


class Belief(NamedTuple):
    """What the examples say of the descriptions."""

    weight: float
    """Of all descriptions of a class together, beside an example's; 0: they are not believed."""
    agree: int
    """Descriptions that the examples alone would give their own class."""
    total: int
    """Descriptions of classes with examples."""
    doubted: tuple[int, ...] = ()
    """Places of descriptions that contradict the examples of their class, and are left out."""


UNASKED = Belief(ALONE, 0, 0)
"""Where there is no example that could say something."""


def belief_in(descriptions: Examples, support: Examples) -> Belief:
    """The weight of descriptions that makes the examples, and the descriptions, most probable.

    descriptions: rows of the classes, each with its share of its class's weight, which is 1.
    support:      the examples, copies counted once.

    Two things speak: what learners with this weight say of examples they didn't see, and whether a learner without
    descriptions gives each description its own class. A description that isn't believed would be like the examples of
    any class, so that its probability is one over the number of classes. Names that say something are believed after
    one example of each class, where most lie near it; and shuffled ones are not. Single ones that contradict the
    examples are left out.
    """
    columns = descriptions.y.argmax(1).numpy()
    if not len(support.y):
        return UNASKED
    support = _some(support)
    present = (support.y * support.weight[:, None]).sum(0).numpy() > 0
    known = np.flatnonzero(present[columns])
    ways = int(present.sum())
    if ways < 2 or not len(known):
        return UNASKED
    truth = support.y.argmax(1).numpy()
    first = _answers(support, descriptions, 0.0, truth)
    own = _scores(descriptions, 0.0)(support, descriptions.x[torch.as_tensor(known)])
    if first is None:
        ahead = np.sort(_scores(descriptions, 0.0)(support, support.x), axis=1)
        temperature = _EARLY * float(np.median(ahead[:, -1] - ahead[:, 0])) or 1.0
    else:
        temperature = calibration.temperature(first[1], truth[first[0]], support.weight.numpy()[first[0]])
    ratios = _softmax(own / temperature)[np.arange(len(known)), columns[known]] * ways
    agreement = float(np.log(_MEANT * ratios + 1 - _MEANT).sum())
    agree = int((own.argmax(1) == columns[known]).sum())
    doubted = known[ratios < _DOUBT]
    belief = Belief(0.0, agree, len(known), tuple(doubted.tolist()))
    if first is None:
        return belief._replace(weight=ALONE if agreement > 0 else 0.0)
    believed = descriptions._replace(weight=shares(descriptions.y, doubted.tolist()))
    totals = []
    for weight in WEIGHTS:
        answers = _answers(support, believed, weight, truth) if weight else first
        assert answers is not None  # the same rows as at first
        rows, scores = answers
        scale = calibration.temperature(scores, truth[rows], support.weight.numpy()[rows])
        counts = np.bincount(truth[rows], minlength=len(present))
        alike = len(rows) / (counts > 0).sum() / counts[truth[rows]]  # by which every class counts as much
        likelihood = float(alike @ calibration.log_probabilities(scores, truth[rows], scale, ways))
        totals.append(likelihood + (agreement if weight else 0.0))
    return belief._replace(weight=WEIGHTS[int(np.argmax(totals))])


def shares(y: Float[Tensor, "H W"], doubted: Sequence[int]) -> Float[Tensor, "H"]:
    """The weight of each description: those of a class weigh 1 together, and doubted ones 0.

    y: one-hot.
    """
    counted = torch.ones(len(y), dtype=torch.float64)
    counted[list(doubted)] = 0
    share: Tensor = counted / (y @ (counted @ y)).clamp(min=1)
    return share


def _answers(
    support: Examples, descriptions: Examples, weight: float, truth: Int64[np.ndarray, "S"]
) -> tuple[Int64[np.ndarray, "A"], Float[np.ndarray, "A W"]] | None:
    """Out-of-fold answers with descriptions of this weight; None where too few classes have two examples."""
    rows, scores = calibration.out_of_fold(support, _scores(descriptions, weight))
    classes = len(np.unique(truth[rows]))  # the only example of a class is never asked
    return (rows, scores) if classes >= max(2, len(np.unique(truth)) / 2) else None


_EARLY = 0.1
"""The temperature over the median lead of an example's class, where there are no out-of-fold answers."""


def _scores(descriptions: Examples, weight: float) -> Callable[[Examples, Tensor], Float[np.ndarray, "Q W"]]:
    """What the judge says of rows after a support and descriptions of this weight."""

    def score(support: Examples, x: Tensor) -> np.ndarray:
        weighed = descriptions._replace(weight=descriptions.weight * weight)
        inner: Learner = HEADS[_JUDGE](joined_support(support, weighed))
        learner, params = Described(inner), described_params(tree.map(Tensor.double, inner.init(0)), weighed)
        with torch.no_grad():
            scores = learner.predict(params, learner.adapt(params, support), x)
        assert isinstance(scores, Tensor)
        return scores.numpy()

    return score


def _some(support: Examples) -> Examples:
    """The support, or as many of its examples as are looked at, of every class alike."""
    if len(support.y) <= _MOST:
        return support
    columns = support.y.argmax(1).numpy()
    rows = torch.as_tensor(np.sort(_in_turn(columns)[:_MOST]))
    return support._replace(x=support.x[rows], y=support.y[rows], weight=support.weight[rows])


def _in_turn(columns: Int64[np.ndarray, "S"]) -> Int64[np.ndarray, "S"]:
    """The rows in an order in which the classes take turns."""
    by_class = np.argsort(columns, kind="stable")
    starts = np.searchsorted(columns[by_class], columns[by_class])
    order: np.ndarray = by_class[np.argsort(np.arange(len(columns)) - starts, kind="stable")]
    return order


def _softmax(scores: Float[np.ndarray, "N W"]) -> Float[np.ndarray, "N W"]:
    chances: np.ndarray = torch.softmax(torch.as_tensor(scores), dim=1).numpy()
    return chances
