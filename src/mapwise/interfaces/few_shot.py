"""What the scikit-learn estimators share: raw rows as an encoder reads them, and how often each counts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import Tags
from sklearn.utils.validation import validate_data

from mapwise.core.learner import Learner
from mapwise.encoders.encoder import Encoder
from mapwise.interfaces import inputs
from mapwise.predictors.heads import Head, encoder_for
from mapwise.predictors.taught import Taught
from mapwise.predictors.trained_learner import TrainedLearner


@dataclass(eq=False, repr=False)
class FewShotEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """An encoder by name before a learner; what extends it fits, keeps what was taught, and predicts."""

    encoder: str = "auto"
    learner: str | Path | Learner | TrainedLearner = "auto"

    _taught: ClassVar[type[Taught]]
    """What is kept of a fit, as `predictor_`."""

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _chosen(self, X: Any) -> tuple[Head, Encoder]:
        """What is asked for, for rows like these: what stands behind the encoder, and the encoder."""
        head = self._taught.head_of(self.learner)
        return head, encoder_for(self.encoder, inputs.kind_of(X), head)

    def _rows(self, X: Any, encoder: Encoder | None = None) -> Any:
        """Raw rows as the encoder reads them; None: that of the rows which were fitted.

        Nothing of the estimator changes but what scikit-learn keeps of the columns: a fit that fails leaves what was
        fitted before.
        """
        first = encoder is not None
        reads = (self.predictor_.encoder if encoder is None else encoder).reads
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

    def _counted(self, rows: Any, y: np.ndarray, sample_weight: Any, what: str) -> tuple[Any, np.ndarray, np.ndarray]:
        """Of raw rows, what they are labelled with and their weights, those that count; raises ValueError.

        what: y holds, in the plural.
        """
        count = _count(rows)
        if len(y) != count:
            raise ValueError(f"X has {count} rows and y has {len(y)} {what}s: give one {what} for each row")
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
        return _among(rows, counts), y[counts], weight[counts]

    def _opened(self, encoder: Encoder) -> None:
        """Take over what scikit-learn wants to know of the columns of a file's encoder."""
        if encoder.reads == "table":
            names = list(encoder.state)
            self.n_features_in_ = len(names)
            if names != [str(place) for place in range(len(names))]:
                self.feature_names_in_ = np.asarray(names, dtype=object)


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
