"""Why a predictor answers as it does: the examples that voted, and the answer without each of them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64

from mapwise.core.capabilities import Votes
from mapwise.core.families.described import Described
from mapwise.core.learner import Learner
from mapwise.core.tree import Params
from mapwise.predictors.classes import Predictor
from mapwise.predictors.diagnostics.diagnostic import Diagnostic
from mapwise.predictors.evidence.cross_validation import scores_under
from mapwise.predictors.evidence.occlusion import reddened, region
from mapwise.predictors.evidence.votes import Explanation, explained

FEWEST = 6
"""Examples that are left out in turn at least, where there are so many: as many as an answer in words shows."""
_OPERATIONS = 10_000_000_000
"""Multiplications of all refits together, about a second: of a large support only some examples are left out."""


def explain(
    predictor: Predictor,
    X: Any,
    *,
    regions: bool | Path = False,
    leave_out: int | None = None,
    names: Sequence[Any] | None = None,
    progress: Callable[[Any], Iterable[Any]] = lambda steps: steps,
) -> list[Explanation]:
    """Show which examples voted for the answer to each row, and what it would be without each of them.

    regions:   folder for copies of the pictures, red where the answer came from; True: the regions without copies.
    leave_out: so many examples are left out in turn, each by fitting again, those with the largest votes first (the
               nearest, where there are no votes), shared among the rows; None: all of a small support, or as many as
               take about a second.
    names:     of the classes, where they are called otherwise.
    progress:  steps -> the same steps; by it the fitting can be watched.

    Raises ValueError for a support of one class, for rows that can't be read, for a `leave_out` below 1, and for
    regions of rows that are no pictures, or without Captum.
    """
    if leave_out is not None and leave_out < 1:
        raise ValueError(f"leave_out is {leave_out}: give how many examples to leave out in turn, 1 or more")
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
        *(*_plain(predictor), predictor.fast, predictor.joined_support, x),
        *(partial(without_each, predictor, x, _count(predictor, leave_out), progress=progress), named),
        *(predictor.joined_sources, predictor.temperature),
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


def votes(predictor: Predictor, rows: Float[np.ndarray, "Q D"]) -> Float[np.ndarray, "Q S"] | None:
    """How much each row of the joined support votes for the answer to each encoded row, over the runner-up.

    None for a learner that gives no votes. Raises ValueError for a support of one class.
    """
    predictor.check_two_classes()
    learner, params = _plain(predictor)
    if not isinstance(learner, Votes):
        return None
    x = torch.as_tensor(rows, dtype=torch.float64)
    best = np.argsort(-predictor.scores_of(rows), axis=1, kind="stable")[:, :2]
    with torch.no_grad():
        each = learner.votes(params, predictor.fast, predictor.joined_support, x).numpy()  # [Q, S, W]
    ahead: np.ndarray = np.stack([part[:, a] - part[:, b] for part, (a, b) in zip(each, best, strict=True)])
    return ahead


def without_each(
    predictor: Predictor,
    x: Float[torch.Tensor, "Q D"],
    count: int,
    order: Int64[np.ndarray, "S"],
    *,
    progress: Callable[[Any], Iterable[Any]] = lambda steps: steps,
) -> Float[np.ndarray, "K Q W"]:
    """The scores of encoded rows without each of the first rows of the order: exact, since a learner is fitted anew."""
    support, rows = predictor.joined_support, order[:count]
    weights = np.tile(support.weight.numpy(), (len(rows), 1))
    weights[np.arange(len(rows)), rows] = 0
    # A learner made for a support set is another for a smaller one; rows of one weight share theirs.
    learners = [predictor.head.learner_for(support._replace(weight=torch.as_tensor(weight))) for weight in weights]
    scores = np.empty((len(rows), len(x), len(predictor.classes)))
    for learner in progress(list(dict.fromkeys(learners))):
        those = [place for place, one in enumerate(learners) if one == learner]
        queries = x.expand(len(those), *x.shape)
        scores[those] = scores_under(learner, predictor.params_of(learner), support, weights[those], queries)
    return scores


def _plain(predictor: Predictor) -> tuple[Learner, Params]:
    """The learner that takes descriptions as rows of the support, and its params."""
    learner, params = predictor.learner, predictor.params
    return (learner.learner, params["learner"]) if isinstance(learner, Described) else (learner, params)


def _count(predictor: Predictor, leave_out: int | None) -> int:
    """How many examples are left out in turn."""
    support = predictor.joined_support
    examples = len(support.y)
    if leave_out is not None:
        return min(leave_out, examples)
    affordable = _OPERATIONS // (support.x.numel() * examples)
    return int(min(examples, max(FEWEST, affordable)))


DIAGNOSTIC = Diagnostic(explain, key="explanations")
