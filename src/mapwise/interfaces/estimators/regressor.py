"""The scikit-learn estimator of numbers: fit on a few rows with targets, predict, and say how far off that may be."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import Tags

from mapwise.core.fields import check_flag
from mapwise.core.learner import Learner
from mapwise.data import inputs
from mapwise.interfaces.estimators.few_shot import FewShotEstimator, FittedState, columns_of, warn_of_truncated
from mapwise.predictors.diagnostics.cross_validation import deviation
from mapwise.predictors.examples import LabelledExamples
from mapwise.predictors.fit import Fitted, fit, targets_of, with_numbers
from mapwise.predictors.heads.head import Head
from mapwise.predictors.targets import TargetPredictor


@dataclass(frozen=True, eq=False)
class TargetState(FittedState[TargetPredictor]):
    """What a regressor learned."""

    @cached_property
    def deviation(self) -> np.ndarray:
        """How far predictions lie from the truth, see `cross_validation.deviation`."""
        return deviation(self.predictor)


@dataclass(eq=False, repr=False)
class FewShotRegressor(RegressorMixin, FewShotEstimator[TargetState]):  # type: ignore[misc]  # scikit-learn has no types
    """A regression on a few examples: an encoder makes arrays of rows, and a learner adapts to them.

    encoder: as of `FewShotClassifier`.
    learner: what adapts to the encoded rows: "ridge", "kernel_mean", the folder of a run, or a learner.

    X is what `FewShotClassifier` takes. After `fit`: `predictor_`, and for tables `n_features_in_`.
    """

    learner: str | Path | Learner | Head = "ridge"

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn from rows with targets alone, forgetting those of before.

        X:             N rows.
        y:             [N] or [N, W], N numbers or rows of numbers.
        sample_weight: how often each row counts; a row of weight 0 is as good as absent.

        Raises ValueError for rows, targets or weights that can't be meant, and for fewer than two rows.
        """
        with self._writing:
            return self._keep(self._begun(X, y, sample_weight, least=2))

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn from more rows, keeping those of before.

        The encoder keeps the scale of the first rows. Raises ValueError as `fit` does, but takes a single row, and for
        another number of targets than before.
        """
        with self._writing:
            if not self.__sklearn_is_fitted__():
                return self._keep(self._begun(X, y, sample_weight, least=1))
            state = self._fitted
            rows = self._rows_for(state, X)
            examples = LabelledExamples(rows, state.predictor.encoder.reads, _targets(y), sample_weight)
            return self._keep(replace(state, fitted=Fitted(with_numbers(state.predictor, examples))))

    def predict(self, X: Any, return_std: bool = False) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """The number of every row, [N], or the numbers, [N, W], as y was.

        return_std: also how far off they may be, in an array of the same shape: the root of the mean squared error of
                    the examples, each predicted by one fitted without it. It is one number for all rows of a
                    target, and is true of rows like the examples.

        Raises ValueError, with return_std, for fewer than three different examples.
        """
        state = self._fitted
        check_flag("return_std", return_std)
        answers = state.predictor.answers(self._rows_for(state, X))
        return (answers, np.broadcast_to(state.deviation, answers.shape).copy()) if return_std else answers

    @property
    def predictor_(self) -> TargetPredictor:
        """What was fitted."""
        return self._fitted.predictor

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """What was learned, from a file that `save` wrote.

        Raises ValueError for a file that is missing, damaged, of a later version, of classes, or of another encoder,
        and for one whose pretrained model is not on this machine.
        """
        predictor = TargetPredictor.load(path)
        estimator = cls(encoder=predictor.encoder.name, learner=predictor.head.setting)
        return estimator._keep(TargetState(Fitted(predictor), columns_of(predictor.encoder)))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _begun(self, X: Any, y: Any, sample_weight: Any, least: int) -> TargetState:
        """A fit to these rows alone."""
        X = inputs.arrays_of(X)
        modality = inputs.modality_of(X)
        rows, columns = self._read(X, modality, None)
        examples = LabelledExamples(rows, modality, _targets(y), sample_weight)
        fitted = fit(examples, encoder=self.encoder, learner=self.learner, least=least)
        warn_of_truncated(fitted.predictor.encoder, rows)
        return TargetState(fitted, columns)


def _targets(y: Any) -> np.ndarray:
    if y is None:
        raise ValueError(
            "FewShotRegressor requires y to be passed, but the target y is None: give a number for each row"
        )
    return targets_of(inputs.arrays_of(y))
