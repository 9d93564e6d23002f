"""Why a predictor answers as it does: the examples that voted, and the answer without each of them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from mapwise.predictors.classes import Predictor
from mapwise.predictors.diagnostics.diagnostic import Diagnostic
from mapwise.predictors.evidence.cross_validation import scores_under
from mapwise.predictors.evidence.occlusion import reddened, region
from mapwise.predictors.evidence.votes import Explanation, explained


def explain(
    predictor: Predictor, X: Any, *, regions: bool | Path = False, names: Sequence[Any] | None = None
) -> list[Explanation]:
    """Show which examples voted for the answer to each row, and what it would be without each of them.

    regions: folder for copies of the pictures, red where the answer came from; True: the regions without copies.
    names:   of the classes, where they are called otherwise.

    Raises ValueError for a support of one class, for rows that can't be read, and for regions of rows that are no
    pictures, or without Captum.
    """
    encoder = predictor.encoder
    if regions and encoder.reads != "pictures":
        raise ValueError(
            f"regions are parts of pictures and the encoder {encoder.name} reads {encoder.reads}: leave regions out"
        )
    predictor.check_two_classes()
    rows = predictor.encoded(X)
    predictor.scores_of(rows)  # raises where an answer is not finite
    x = torch.as_tensor(rows, dtype=torch.float64)
    named = predictor.classes if names is None else names
    explanations = explained(
        *(predictor.learner, predictor.params, predictor.fast, predictor.support, x),
        *(without_each(predictor, x), named, predictor.sources),
    )
    if not regions:
        return explanations
    drawn = [region(row, place, predictor.scores) for place, row in enumerate(X)]
    if isinstance(regions, Path):
        regions.mkdir(parents=True, exist_ok=True)
        for place, row in enumerate(X):
            name = Path(row).stem if isinstance(row, str | Path) else "picture"
            path = regions / f"{place}-{name}.png"
            reddened(row, place, drawn[place]).save(path)
            drawn[place] = replace(drawn[place], picture=str(path))
    return [replace(one, region=where) for one, where in zip(explanations, drawn, strict=True)]


def without_each(predictor: Predictor, rows: Float[torch.Tensor, "Q D"]) -> Float[np.ndarray, "S Q W"]:
    """The scores of encoded rows without each of the support's rows: exact, since a learner is fitted without it."""
    support = predictor.support
    weights = np.tile(predictor.weight, (len(predictor.weight), 1))
    np.fill_diagonal(weights, 0)
    # A learner made for a support set is another for a smaller one; rows of one weight share theirs.
    learners = [predictor.head.learner_for(support._replace(weight=torch.as_tensor(weight))) for weight in weights]
    scores = np.empty((len(weights), len(rows), len(predictor.classes)))
    for learner in dict.fromkeys(learners):
        those = [row for row, one in enumerate(learners) if one == learner]
        queries = rows.expand(len(those), *rows.shape)
        scores[those] = scores_under(learner, predictor.params_of(learner), support, weights[those], queries)
    return scores


DIAGNOSTIC = Diagnostic(explain, key="explanations")
