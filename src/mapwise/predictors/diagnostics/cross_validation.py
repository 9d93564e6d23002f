"""How good a predictor is by its own examples: each is predicted without it."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mapwise.core.scores import means
from mapwise.core.task import Examples
from mapwise.predictors.classes import Predictor
from mapwise.predictors.evidence.cross_validation import SECONDS, held_out
from mapwise.predictors.evidence.held_out import HeldOut
from mapwise.predictors.targets import TargetPredictor

FEWEST = 3
"""Different rows that tell how far predictions lie from the truth."""
MOST = 200
"""Rows that are predicted for it: each by a learner of its own."""


def report(predictor: Predictor, *, seconds: float = SECONDS) -> HeldOut:
    """The cross-validated accuracy of a predictor, and the learning curve it implies.

    seconds: that it may take, or a little more; an encoder that was tuned was judged when it was.
    """
    if not len(predictor.rows):
        return HeldOut(None, None, None, 0, why="too few to tell: there are no examples")
    if predictor.large:
        return HeldOut(None, None, None, 0, why=f"too many to tell: {predictor.size_fault} for cross-validation")
    if predictor.crossed is not None:
        judged = predictor.crossed.report(predictor.columns, predictor.weight, predictor.classes)
    else:
        support = predictor.support
        learner = predictor.learner_for(support)
        params = predictor.params_of(learner)
        judged = held_out(learner, params, support, predictor.classes, digests=predictor.digests, seconds=seconds)
    return judged.corrected(predictor.optimism)


def deviation(predictor: TargetPredictor) -> Float[np.ndarray, ""] | Float[np.ndarray, "W"]:
    """The root of the mean squared leave-one-out error of the support, in the units of the targets.

    Rows that equal one another are one row, left out together: a copy would predict the row it copies. Of more than
    200, 200 are predicted, drawn by a fixed seed.

    Raises ValueError for fewer than three different rows.
    """
    table = np.column_stack([predictor.labels, predictor.rows.reshape(len(predictor.rows), -1)])
    _, first, group = np.unique(table, axis=0, return_index=True, return_inverse=True)
    if len(first) < FEWEST:
        raise ValueError(
            f"there are {len(first)} different examples and {FEWEST} are needed to tell how far answers lie from "
            "the truth: give more"
        )
    support = predictor.support
    counts = torch.as_tensor(np.bincount(group.ravel(), predictor.weight))
    known = support._replace(x=support.x[first], y=support.y[first], weight=counts)
    places = np.random.Generator(np.random.Philox(0)).permutation(len(first))[:MOST]
    with torch.no_grad():
        misses = torch.stack([_without(predictor, known, int(row)) - known.y[row] for row in places])
    share = counts[places] / counts[places].sum()
    errors: np.ndarray = (share @ misses**2).sqrt().numpy()
    return errors.reshape(predictor.targets.shape[1:])


def _without(predictor: TargetPredictor, known: Examples, row: int) -> Float[Tensor, "W"]:
    """The prediction of a row by a learner fitted without it."""
    weight = known.weight.clone()
    weight[row] = 0
    rest = known._replace(weight=weight)
    learner = predictor.learner_for(rest)  # for a smaller support another one
    params = predictor.params_of(learner)
    return means(learner.predict(params, learner.adapt(params, rest), known.x[row : row + 1]))[0]
