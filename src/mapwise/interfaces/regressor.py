"""The scikit-learn estimator of numbers: fit on a few rows with targets, predict, and say how far off that may be."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from mapwise.core.learner import Learner
from mapwise.encoders.encoder import Encoder
from mapwise.interfaces.few_shot import FewShotEstimator
from mapwise.predictors.target_predictor import TargetPredictor
from mapwise.predictors.trained_learner import TrainedLearner


@dataclass(eq=False, repr=False)
class FewShotRegressor(RegressorMixin, FewShotEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A regression on a few examples: an encoder makes arrays of rows, and a learner adapts to them.

    encoder: as of `FewShotClassifier`.
    learner: what adapts to the encoded rows: "ridge", "kernel_mean", the folder of a run, or a learner.

    X is what `FewShotClassifier` takes. After `fit`: `predictor_`, and for tables `n_features_in_`.
    """

    learner: str | Path | Learner | TrainedLearner = "ridge"

    _taught = TargetPredictor

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn from rows with targets alone, forgetting those of before.

        X:             N rows.
        y:             [N] or [N, W], N numbers or rows of numbers.
        sample_weight: how often each row counts; a row of weight 0 is as good as absent.

        Raises ValueError for rows, targets or weights that can't be meant, and for fewer than two rows.
        """
        self.predictor_ = self._begun(X, y, sample_weight, 2)
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn from more rows, keeping those of before.

        The encoder keeps the scale of the first rows. Raises ValueError as `fit` does, but takes a single row, and for
        another number of targets than before.
        """
        before = getattr(self, "predictor_", None)
        if before is None:
            self.predictor_ = self._begun(X, y, sample_weight, 1)
            return self
        X, targets, weight = self._aimed(X, y, sample_weight, None)
        if targets.shape[1:] != before.targets.shape[1:]:
            raise ValueError(
                f"y has {_each(targets)} a row and the rows of before have {_each(before.targets)}: give as many, or "
                "fit anew"
            )
        self.predictor_ = before.with_rows(X, targets, weight).checked()
        return self

    def predict(self, X: Any, return_std: bool = False) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """The number of every row, [N], or the numbers, [N, W], as y was.

        return_std: also how far off they may be, in an array of the same shape: the root of the mean squared error of
                    the examples, each asked of a predictor taught without it. It is one number for all rows of a
                    target, and is true of rows like the examples.

        Raises ValueError, with return_std, for fewer than three different examples.
        """
        check_is_fitted(self)
        found = self.predictor_.answers(self._rows(X))
        return (found, np.broadcast_to(self.predictor_.error, found.shape).copy()) if return_std else found

    def save(self, path: str | Path) -> None:
        """Write what was learned into one safetensors file, which holds the embeddings of the rows, and their targets.

        Raises ValueError for a learner of one's own.
        """
        check_is_fitted(self)
        self.predictor_.save(path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """What was learned, from a file that `save` wrote.

        Raises ValueError for a file that is missing, damaged, of a later version, of classes, or of another encoder,
        and for one whose pretrained model is not on this machine.
        """
        predictor = TargetPredictor.load(path)
        found = cls(encoder=predictor.encoder.name, learner=predictor.head.setting)
        found.predictor_ = predictor
        found._opened(predictor.encoder)
        return found

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _begun(self, X: Any, y: Any, sample_weight: Any, fewest: int) -> TargetPredictor:
        head, encoder = self._chosen(X)
        X, targets, weight = self._aimed(X, y, sample_weight, encoder)
        if len(targets) < fewest:
            raise ValueError(
                "there is one row that counts (n_samples=1), from which nothing follows for others: give two or more"
            )
        return TargetPredictor.of(encoder, head, X, targets, weight).checked()

    def _aimed(self, X: Any, y: Any, sample_weight: Any, encoder: Encoder | None) -> tuple[Any, np.ndarray, np.ndarray]:
        """Checked rows, targets and weights, of the rows that count."""
        if y is None:
            raise ValueError(
                "FewShotRegressor requires y to be passed, but the target y is None: give a number for each row"
            )
        rows = self._rows(X, encoder)
        return self._counted(rows, _numbers(y), sample_weight, "target")


def _numbers(y: Any) -> np.ndarray:
    """Targets as numbers, [N] or [N, W]; raises ValueError for anything else."""
    given = np.asarray(y)
    words = [cell for cell in given.flat if isinstance(cell, str)] if given.dtype.kind in "OUS" else []
    if words or given.dtype.kind not in "biufO":
        what = f"the text {str(words[0])!r}" if words else f"values of type {given.dtype}"
        raise ValueError(f"y holds {what} and numbers are needed: make numbers of it, or take FewShotClassifier")
    try:
        targets: np.ndarray = given.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError("y holds what is no number: give one number for each row, [N], or as many, [N, W]") from None
    if targets.ndim not in (1, 2) or 0 in targets.shape[1:]:
        raise ValueError(f"y has shape {targets.shape}: give one number for each row, [N], or as many, [N, W]")
    if not np.isfinite(targets).all():
        wrong = "NaN" if np.isnan(targets).any() else "infinity"
        row = int(np.flatnonzero(~np.isfinite(targets.reshape(len(targets), -1)).all(1))[0])
        raise ValueError(f"y holds {wrong}, first in row {row}: fill it or drop the row")
    return targets


def _each(targets: np.ndarray) -> str:
    return "a single number" if targets.ndim == 1 else f"{targets.shape[1]} numbers in a list"
