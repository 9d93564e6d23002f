"""Cross-fitted predictions, for encoders that were tuned on the support."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mapwise.core import tree
from mapwise.core.learner import Learner
from mapwise.core.task import Examples
from mapwise.encoders.encoder import Tunable
from mapwise.predictors.evidence.cross_validation import OutOfFold, summary, too_few
from mapwise.predictors.evidence.duplicates import distinct
from mapwise.predictors.evidence.held_out import HeldOut
from mapwise.predictors.evidence.novelty import novelty

FOLDS = 3
"""Folds: each is predicted by an encoder and a learner fitted to the others."""
COST = FOLDS - 1
"""Tunings on all rows that these take together: each is on (FOLDS - 1) / FOLDS of the rows."""
CHANGED = (
    "too little is known to tell: the encoder was tuned on other examples than these, and saw the labels of those it "
    "shares with them; fit again with all of them"
)
"""Why nothing is known of a support that came to have other rows than the encoder was tuned on."""


@dataclass(frozen=True, eq=False)
class Crossed:
    """The out-of-fold answers to rows of a support: encoder and learner were fitted to others of its rows.

    rows:    which rows were asked, [A].
    scores:  what was said of them, [A, W].
    novelty: how far each lay from the classes, as its predictor's encoder sees it, [A].
    training_share: the share of the rows that each predictor was fitted to.
    why:     why there are none; "" where there are.
    """

    rows: Int64[np.ndarray, "A"] = field(default_factory=lambda: np.empty(0, np.int64))
    scores: Float[np.ndarray, "A W"] = field(default_factory=lambda: np.empty((0, 0)))
    novelty: Float[np.ndarray, "A"] = field(default_factory=lambda: np.empty(0))
    training_share: float = (FOLDS - 1) / FOLDS
    why: str = ""

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What a file keeps as arrays."""
        return {"rows": self.rows, "scores": self.scores, "novelty": self.novelty}

    @classmethod
    def of_file(cls, about: Any, arrays: Mapping[str, np.ndarray], support: int, classes: int) -> Self:
        """What a file keeps of a support of so many rows and classes; raises ValueError for what can't be that."""
        if not isinstance(about, dict) or not isinstance(about["why"], str) or not 0 < float(about["taught"]) < 1:
            raise ValueError("what was said of its rows is of no form that is known")
        rows, scores, far = (arrays[name] for name in ("rows", "scores", "novelty"))
        whole = rows.dtype == np.int64 and scores.dtype == far.dtype == np.float64
        shapes = (rows.shape, scores.shape, far.shape)
        if not whole or shapes != ((len(rows),), (len(rows), classes if len(rows) else 0), (len(rows),)):
            raise ValueError(f"what was said of its rows is of shapes {shapes}")
        if bool(len(rows)) == bool(about["why"]) or len(np.unique(rows)) < len(rows):
            raise ValueError("what was said of its rows is missing, or there twice")
        if len(rows) and (
            rows.min() < 0 or rows.max() >= support or not np.isfinite(scores).all() or np.isinf(far).any()
        ):
            raise ValueError("what was said of its rows holds NaN, or is of rows that aren't there")
        return cls(rows, scores, far, float(about["taught"]), about["why"])

    def among(self, classes: int, places: Int64[np.ndarray, "W"]) -> Self:
        """The same with so many classes, among which those of before stand at these places."""
        if self.why:
            return self
        scores = np.full((len(self.rows), classes), np.finfo(np.float32).min / 2)
        scores[:, places] = self.scores
        return replace(self, scores=scores)

    def report(
        self,
        columns: Int64[np.ndarray, "S"],
        weight: Float[np.ndarray, "S"],
        names: Sequence[str],
    ) -> HeldOut:
        """What the answers say of predictors that are trained on that share of the rows.

        They are all trained on as many, so there is no learning curve that could lead to the whole support.

        columns, weight: the class and the weight of each row of the support.
        """
        if self.why:
            return HeldOut(None, None, None, 0, why=self.why)
        counts = np.bincount(columns)
        far = np.full(len(columns), np.nan)
        far[self.rows] = self.novelty
        answers = OutOfFold(self.rows, self.scores, (1 - self.training_share) * counts[counts > 0])
        return summary([answers], columns, weight, names, np.arange(len(columns)), far)


def crossed(
    encoder: Tunable,
    X: Sequence[Any],
    support: Examples,
    digests: Int64[np.ndarray, "S"],
    names: Sequence[str],
    made_for: Callable[[Examples], Learner],
    seconds: float,
    tuning: float,
) -> Crossed:
    """Predict each third of the rows by a predictor fitted to the others, its encoder tuned on them too.

    X:        raw rows, [S].
    support:  the same as the encoder gives them when it isn't tuned.
    digests:  of each raw row's content: copies, by these or by their encoded rows, are in one fold.
    made_for: the learner for a support.
    seconds:  that all of it may take; a third for which none are left is not predicted.
    tuning:   seconds that tuning takes on all rows.
    """
    end = time.monotonic() + seconds
    known, places = distinct(support, digests)
    columns, weight = known.y.argmax(1).numpy(), known.weight.numpy()
    if why := too_few(np.bincount(columns, minlength=len(names)), names):
        return Crossed(why=why)
    fold = _folds(columns)
    rows, scores, far = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()
    took = tuning * COST / FOLDS
    for place in range(FOLDS):
        if time.monotonic() + took > end:
            break
        start = time.monotonic()
        rest, queries = np.flatnonzero(fold != place), np.flatnonzero(fold == place)
        tuned = encoder.tuned([X[int(row)] for row in places[rest]], columns[rest], weight[rest])
        z = torch.as_tensor(
            tuned([X[int(row)] for row in places[np.concatenate([rest, queries])]]), dtype=torch.float64
        )
        training = known._replace(x=z[: len(rest)], y=known.y[rest], weight=known.weight[rest])
        rows.append(places[queries])
        scores.append(_scores(made_for(training), training, z[len(rest) :]))
        far.append(novelty(training, z[len(rest) :]))
        took = time.monotonic() - start
    if not rows:
        return Crossed(
            why="too little time to tell: tuning the encoder, and again without the examples that are asked, takes "
            f"about {format_seconds((1 + COST) * tuning)}; give fit a longer budget"
        )
    return Crossed(np.concatenate(rows), np.concatenate(scores), np.concatenate(far))


def format_seconds(seconds: float) -> str:
    """A time as a person says it: 40 s, 3 min."""
    return f"{max(1, round(seconds)):.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _folds(columns: Int64[np.ndarray, "S"]) -> Int64[np.ndarray, "S"]:
    """The fold of each row, drawn by a fixed seed: of each class as many rows in every fold, but for one."""
    random = np.random.Generator(np.random.Philox(0))
    fold = np.empty(len(columns), np.int64)
    for c in np.unique(columns):
        rows = random.permutation(np.flatnonzero(columns == c))
        fold[rows] = (np.arange(len(rows)) + c) % FOLDS
    return fold


def _scores(learner: Learner, support: Examples, x: Float[Tensor, "Q D"]) -> Float[np.ndarray, "Q W"]:
    params = tree.map(Tensor.double, learner.init(0))
    with torch.no_grad():
        scores = learner.predict(params, learner.adapt(params, support), x)
    assert isinstance(scores, Tensor)
    return scores.numpy()
