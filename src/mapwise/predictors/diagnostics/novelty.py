"""Rejection: rows that are farther from every class of a predictor than rows of its classes usually are."""

import numpy as np
import torch
from jaxtyping import Bool, Float

from mapwise.core.task import Examples
from mapwise.predictors.classes import Predictor
from mapwise.predictors.evidence.duplicates import distinct
from mapwise.predictors.evidence.novelty import (
    ClassCentres,
    Detection,
    check_share,
    class_centres,
    held_out_novelty,
    leave_classes_out,
    limit,
    novelty_beside,
)


def unknown(predictor: Predictor, rows: Float[np.ndarray, "Q D"], share: float) -> Bool[np.ndarray, "Q"]:
    """Whether each encoded row is none of the classes: farther from all of them than rows of theirs usually lie.

    share: in (0, 1): the false-rejection rate, of rows of these classes that may be taken for none of them.

    Raises ValueError for another share, and for a support too small to tell how far its rows usually lie.
    """
    return novelties(predictor, rows) > furthest(predictor, share)


def centres_of(predictor: Predictor) -> ClassCentres:
    """The means of its classes where its learner compares rows; they stay as long as its examples do."""
    return class_centres(_placed(predictor, predictor.support))


def novelties(
    predictor: Predictor, rows: Float[np.ndarray, "Q D"], centres: ClassCentres | None = None
) -> Float[np.ndarray, "Q"]:
    """How far each encoded row lies from every class, see `evidence.novelty`.

    centres: what `centres_of` gives, where that is known already.
    """
    return novelty_beside(
        centres or centres_of(predictor), predictor.placed(torch.as_tensor(rows, dtype=torch.float64))
    )


def furthest(predictor: Predictor, share: float) -> float:
    """Beyond which novelty a row is none of the classes; raises ValueError as `unknown` does."""
    if not len(predictor.rows):
        raise ValueError("there are no examples to tell what is none of the classes: give two of each class")
    if predictor.large:
        raise ValueError(f"{predictor.size_fault} to tell what is none of the classes: leave it out")
    crossed = predictor.crossed
    if crossed is not None and crossed.why:
        raise ValueError(crossed.why)
    if crossed is None:
        known = held_out_novelty(_placed(predictor, distinct(predictor.support, predictor.digests)[0]))
    else:
        known = crossed.novelty
    return limit(known, share, predictor.encoder.usual)


def detection(predictor: Predictor, share: float) -> Detection:
    """How many rows of other classes `unknown` finds, estimated on the support by leaving out each class in turn.

    share: as for `unknown`; raises ValueError for another.
    """
    check_share(share)
    if not len(predictor.rows):
        return Detection(share, why="there are no examples")
    if predictor.large:
        return Detection(share, why=predictor.size_fault)
    if predictor.crossed is not None:
        return Detection(share, why=predictor.crossed.why or "the encoder was tuned on all of the classes")
    known, _ = distinct(predictor.support, predictor.digests)
    return leave_classes_out(_placed(predictor, known), share, predictor.encoder.usual)


def _placed(predictor: Predictor, support: Examples) -> Examples:
    return support._replace(x=predictor.placed(support.x))
