"""What the scikit-learn estimators share: raw rows as an encoder reads them, and one value that holds a fit."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any, Generic, Self, TypeVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils import Tags
from sklearn.utils.validation import validate_data

from mapwise.core.learner import Learner
from mapwise.data import inputs
from mapwise.data.modality import Modality
from mapwise.encoders.encoder import Encoder, cut_rows
from mapwise.interfaces.predictor_lines import cut_line
from mapwise.predictors.fit import Fitted, P
from mapwise.predictors.heads.head import Head

S = TypeVar("S")
F = TypeVar("F", bound="FittedState[Any]")


@dataclass(frozen=True, eq=False)
class FittedState(Generic[P]):
    """All that an estimator learned: a change makes another one, so that a prediction is by one of them.

    columns: what scikit-learn keeps of a table: its attributes `n_features_in_` and, with names, `feature_names_in_`.
    """

    fitted: Fitted[P]
    columns: Mapping[str, Any]

    @property
    def predictor(self) -> P:
        """What answers."""
        return self.fitted.predictor


class StatefulEstimator(BaseEstimator, Generic[S]):  # type: ignore[misc]  # scikit-learn has no types
    """All that it learned is one value, its state, which threads change one after another."""

    def __sklearn_is_fitted__(self) -> bool:
        return "_state" in vars(self)

    @property
    def _fitted(self) -> S:
        """The state, to be read once for every answer; raises NotFittedError before the first fit."""
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet: call fit with a few examples first")
        state: S = vars(self)["_state"]
        return state

    @property
    def _writing(self) -> RLock:
        """Held by what changes the state, from reading it to keeping the next, so that no change is lost."""
        lock: RLock = self.__dict__.setdefault("_lock", RLock())  # in one step, whichever thread is the first
        return lock

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_lock"}

    def _keep(self, state: S) -> Self:
        self.__dict__["_state"] = state  # all at once
        return self


@dataclass(eq=False, repr=False)
class FewShotEstimator(StatefulEstimator[F]):
    """An encoder by name before a learner; what extends it fits, and predicts by a `FittedState`."""

    encoder: str = "auto"
    learner: str | Path | Learner | Head = "auto"

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    @property
    def n_features_in_(self) -> int:
        """The number of columns of the table that was fitted."""
        count: int = self._column_attribute("n_features_in_")
        return count

    @property
    def feature_names_in_(self) -> np.ndarray:
        """The names of the columns of the table that was fitted."""
        names: np.ndarray = self._column_attribute("feature_names_in_")
        return names

    def _column_attribute(self, name: str) -> Any:
        columns = self._fitted.columns
        if name not in columns:
            raise AttributeError(f"{type(self).__name__} has no {name}: it was not fitted on such a table")
        return columns[name]

    def save(self, path: str | Path) -> None:
        """Write what was learned into one safetensors file, which holds the embeddings of the rows, and their labels.

        Raises ValueError for a custom learner.
        """
        self._fitted.predictor.save(path)

    def _rows(self, X: Any) -> Any:
        """Raw rows as the encoder that was fitted reads them."""
        return self._rows_for(self._fitted, X)

    def _rows_for(self, state: FittedState[Any], X: Any) -> Any:
        """Raw rows as the encoder of a state reads them."""
        rows = self._read(X, state.predictor.encoder.reads, state.columns)[0]
        warn_of_truncated(state.predictor.encoder, rows)
        return rows

    def _read(self, X: Any, reads: Modality, columns: Mapping[str, Any] | None) -> tuple[Any, dict[str, Any]]:
        """Raw rows as such an encoder reads them, and what scikit-learn keeps of their columns.

        columns: what it kept of the rows that were fitted; None: these are to be fitted.
        """
        X = inputs.arrays_of(X)
        if reads == "texts":
            return inputs.texts(X), {}
        if reads == "pictures":
            return inputs.pictures(X), {}
        inputs.check_table(X)
        words = inputs.is_frame(X) or _has_words(X)
        checks = {"skip_check_array": True} if words else {"dtype": np.float64, "ensure_all_finite": "allow-nan"}
        # scikit-learn writes onto an estimator: onto one of this name that nobody else reads.
        estimator = type(type(self).__name__, (BaseEstimator,), {})()
        vars(estimator).update(columns or {})
        try:
            checked = validate_data(estimator, X, reset=columns is None, **checks)
        except OverflowError:  # for a whole number beyond float64, which is named below
            checked = np.asarray(X, dtype=object)
        except (TypeError, ValueError) as error:
            # Of the type that scikit-learn's tools expect.
            raise (TypeError if isinstance(error, TypeError) else ValueError)(_unreadable(error)) from None
        if len(checked) == 0:
            raise ValueError("X has 0 rows: give at least one")
        return inputs.columns(checked), dict(vars(estimator))


def warn_of_truncated(encoder: Encoder, rows: Any) -> None:
    """Warn where rows are longer than the encoder reads; raises ValueError for rows that it can't read."""
    line = cut_line(len(cut_rows(encoder, rows)), len(rows))
    if line:
        warnings.warn(line, stacklevel=4)  # where the user's own code fits or predicts


def columns_of(encoder: Encoder) -> dict[str, Any]:
    """What scikit-learn would have kept of the columns that an encoder was fitted to."""
    if encoder.reads != "table":
        return {}
    names = list(encoder.state)
    numbered = names == [str(place) for place in range(len(names))]
    return {"n_features_in_": len(names)} | ({} if numbered else {"feature_names_in_": np.asarray(names, dtype=object)})


def one_line(error: Exception) -> str:
    """What a library says, without what it prints of the data, as a part of a sentence."""
    return " ".join(str(error).split("array=")[0].split("tensor(")[0].split()).rstrip(".:")[:300]


def _unreadable(error: Exception) -> str:
    text = str(error)
    if text.startswith("The feature names should match"):  # whose lines scikit-learn's tools read
        return text
    if "Reshape your data" in text:
        return f"X can't be read as a table ({one_line(error)}): Reshape your data to [N, D], as by X.reshape(1, -1)"
    return f"X can't be read as a table ({one_line(error)}): give a matrix of numbers, or a table of pandas or polars"


def _has_words(X: Any) -> bool:
    """Whether a matrix holds a text that is to be read as one."""
    if hasattr(X, "dtype") and getattr(X.dtype, "kind", "f") not in "OUST":
        return False
    matrix = X if isinstance(X, np.ndarray) else None if hasattr(X, "toarray") else np.asarray(X, dtype=object)
    return matrix is not None and matrix.ndim == 2 and any(isinstance(cell, str) for cell in matrix.flat)
