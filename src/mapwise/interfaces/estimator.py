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
from mapwise.encoders.encoder import Encoder
from mapwise.interfaces import inputs
from mapwise.predictor import Predictor


@dataclass(eq=False, repr=False)
class FewShotClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A classifier of a few examples: an encoder makes arrays of rows, and a learner adapts to them.

    encoder: "table" (numbers and words in columns), "text-hash" (strings), "drawings" (pictures), or "auto": the one
             that reads what X looks like.
    learner: what adapts to the encoded rows: "nearest_mean", "ridge", "logistic", or a learner.

    X is a matrix, a table of pandas or polars, a list of strings, or a list of paths, Pillow images or arrays. A list
    whose every string ends like the name of a picture's file is one of paths.

    After `fit`: `classes_`, `predictor_`, and for tables `n_features_in_`.
    """

    encoder: str = "auto"
    learner: str | Learner = "nearest_mean"

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn from labelled rows alone, forgetting those of before.

        X:             N rows.
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

    def _begun(self, X: Any, columns: np.ndarray, weight: np.ndarray) -> Predictor:
        names: Sequence[str] = [str(name) for name in self.classes_]
        return Predictor.of(self._encoder, self.learner, X, columns, weight, names)

    def _rows(self, X: Any, *, first: bool = False) -> Any:
        """Raw rows as the encoder reads them."""
        if first:
            self._encoder = _encoder_for(self.encoder, X)
        reads = self._encoder.reads
        if reads == "texts":
            return inputs.texts(X)
        if reads == "pictures":
            return inputs.pictures(X)
        words = inputs.is_frame(X) or _has_words(X)
        checks = {"skip_check_array": True} if words else {"dtype": np.float64, "ensure_all_finite": "allow-nan"}
        checked = validate_data(self, X, reset=first, **checks)
        if len(checked) == 0:
            raise ValueError("X has 0 rows: give at least one")
        return inputs.columns(checked)

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
        count = _count(rows)
        if len(labels) != count:
            raise ValueError(f"X has {count} rows and y has {len(labels)} labels: give one label for each row")
        weight = np.ones(count) if sample_weight is None else np.asarray(sample_weight, np.float64)
        if weight.ndim == 0:
            weight = np.full(count, float(weight))
        if weight.shape != (count,):
            raise ValueError(f"sample_weight has shape {weight.shape}: give one weight for each row, ({count},)")
        if not (np.isfinite(weight).all() and (weight >= 0).all()):
            raise ValueError("sample_weight holds a negative number, NaN or infinity: give weights of 0 and above")
        if not weight.any():
            raise ValueError("sample_weight is zero for all rows, so that none counts: give a weight above 0 to some")
        counts = weight > 0
        return _among(rows, counts), labels[counts], weight[counts]


def _encoder_for(name: str, X: Any) -> Encoder:
    """The encoder of this name, or for "auto" the first that reads what X looks like.

    Raises ValueError for a name that isn't there, and for an encoder that reads something else.
    """
    kind = inputs.kind_of(X)
    if name == "auto":
        return next(made for make in ENCODERS.values() if (made := make()).reads == kind)
    encoder: Encoder = named(ENCODERS, name, "encoder")()
    if kind != encoder.reads and not (encoder.reads == "pictures" and kind == "texts"):  # paths of unusual names
        raise ValueError(
            f"the encoder {name} reads {encoder.reads} and X looks like {kind}: take another encoder, or leave it to "
            "auto"
        )
    return encoder


def _has_words(X: Any) -> bool:
    """Whether a matrix holds a text that is to be read as one."""
    if hasattr(X, "dtype") and getattr(X.dtype, "kind", "f") not in "OUST":
        return False
    matrix = X if isinstance(X, np.ndarray) else None if hasattr(X, "toarray") else np.asarray(X, dtype=object)
    return matrix is not None and matrix.ndim == 2 and any(isinstance(cell, str) for cell in matrix.flat)


def _count(rows: Any) -> int:
    return len(next(iter(rows.values()))) if isinstance(rows, dict) else len(rows)


def _among(rows: Any, counts: np.ndarray) -> Any:
    if isinstance(rows, dict):
        return {name: cells[counts] for name, cells in rows.items()}
    return [row for row, counted in zip(rows, counts, strict=True) if counted]
