"""The scikit-learn estimator: fit on a few labelled rows, predict, and use every tool that takes an estimator."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from mapwise.catalog import ENCODERS, named
from mapwise.core.learner import Learner
from mapwise.predictor import Predictor


@dataclass(eq=False, repr=False)
class FewShotClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A classifier of a few examples: an encoder makes arrays of rows, and a learner adapts to them.

    encoder: "table" standardises numbers, each column by the rows of the first fit, and fills gaps (NaN) with its mean.
    learner: what adapts to the encoded rows: "nearest_mean", "ridge", "logistic", or a learner.

    After `fit`: `classes_`, `predictor_`, `n_features_in_`.
    """

    encoder: str = "table"
    learner: str | Learner = "nearest_mean"

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn from labelled rows alone, forgetting those of before.

        X:             [N, columns], numbers.
        y:             N labels.
        sample_weight: how often each row counts; a row of weight 0 is as good as absent.

        Raises ValueError for rows, labels or weights that can't be meant, and for fewer than two classes.
        """
        X, y, weight = self._labelled(X, y, sample_weight, first=True)
        classes, columns = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(
                f"the rows that count are of 1 class, {str(classes[0])!r} (n_samples={len(y)}): give examples of "
                "at least two classes"
            )
        self.classes_ = classes
        self.predictor_ = self._begun(X, columns, weight)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Learn from more rows, keeping those of before; a class may be new.

        classes: names that will come later, known now; never needed.

        The encoder keeps the scale of the first rows. Raises ValueError as `fit` does, but takes a single class.
        """
        first = not hasattr(self, "predictor_")
        X, y, weight = self._labelled(X, y, sample_weight, first=first)
        known = y[:0] if first else self.classes_
        named_now = y if classes is None else np.concatenate([y, np.asarray(classes)])
        found = np.unique(np.concatenate([known, named_now]))
        columns = np.searchsorted(found, y)
        before = None if first else self.predictor_
        self.classes_ = found
        if before is None:
            self.predictor_ = self._begun(X, columns, weight)
        else:
            moved = before.with_classes([str(name) for name in found], np.searchsorted(found, known))
            self.predictor_ = moved.with_rows(X, columns, weight)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The class of every row, by its name."""
        check_is_fitted(self)
        found: np.ndarray = self.classes_[self.predictor_.scores(self._rows(X)).argmax(1)]
        return found

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of every class of `classes_` for every row, [N, W]."""
        check_is_fitted(self)
        return self.predictor_.probabilities(self._rows(X))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _begun(self, X: np.ndarray, columns: np.ndarray, weight: np.ndarray) -> Predictor:
        encoder = named(ENCODERS, self.encoder, "encoder")()
        names: Sequence[str] = [str(name) for name in self.classes_]
        return Predictor.of(encoder, self.learner, X, columns, weight, names)

    def _rows(self, X: Any, *, first: bool = False) -> np.ndarray:
        rows: np.ndarray = validate_data(self, X, reset=first, dtype=np.float64, ensure_all_finite="allow-nan")
        return rows

    def _labelled(
        self, X: Any, y: Any, sample_weight: Any, *, first: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Checked rows, labels and weights, of the rows that count."""
        if y is None:
            raise ValueError(
                "FewShotClassifier requires y to be passed, but the target y is None: give a label for each row"
            )
        rows = self._rows(X, first=first)
        labels = column_or_1d(y, warn=True)
        check_classification_targets(labels)
        if len(labels) != len(rows):
            raise ValueError(f"X has {len(rows)} rows and y has {len(labels)} labels: give one label for each row")
        weight = np.ones(len(rows)) if sample_weight is None else np.asarray(sample_weight, np.float64)
        if weight.ndim == 0:
            weight = np.full(len(rows), float(weight))
        if weight.shape != (len(rows),):
            raise ValueError(f"sample_weight has shape {weight.shape}: give one weight for each row, ({len(rows)},)")
        if not (np.isfinite(weight).all() and (weight >= 0).all()):
            raise ValueError("sample_weight holds a negative number, NaN or infinity: give weights of 0 and above")
        if not weight.any():
            raise ValueError("sample_weight is zero for all rows, so that none counts: give a weight above 0 to some")
        counts = weight > 0
        return rows[counts], labels[counts], weight[counts]
