"""The scikit-learn estimator: fit on a few labelled rows, predict, and use every tool that takes an estimator."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from mapwise.core.explanation import Explanation
from mapwise.core.held_out import HeldOut
from mapwise.core.which_next import Suggestion
from mapwise.encoders.encoder import Encoder
from mapwise.interfaces import inputs
from mapwise.interfaces.few_shot import FewShotEstimator
from mapwise.predictors.choosing import SECONDS, USUAL, Tried, choose, seconds_of
from mapwise.predictors.heads import AUTO, Head, encoder_for
from mapwise.predictors.predictor import Predictor


@dataclass(eq=False, repr=False)
class FewShotClassifier(ClassifierMixin, FewShotEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A classifier of a few examples: an encoder makes arrays of rows, and a learner adapts to them.

    encoder: "table" (numbers and words in columns), "text-hash" (strings), "drawings" (pictures), "auto": the one of
             these that reads what X looks like, or "hf:NAME": a pretrained model by its folder or its name on the hub.
    learner: what adapts to the encoded rows: "nearest_mean", "ridge", "logistic", "lora" (which tunes a pretrained
             encoder too), the folder of a run that was trained (its encoder then is its own), a learner, or "auto": the
             one of these names that does best on examples it didn't see.

    X is a matrix, a table of pandas or polars, a list of strings, or a list of paths, Pillow images or arrays. A list
    whose every string ends like the name of a picture's file is one of paths.

    After `fit`: `classes_`, `predictor_`, `tried_` (of "auto"), and for tables `n_features_in_`.
    """

    _taught = Predictor

    def _chosen(self, X: Any) -> tuple[Head, Encoder]:
        if self.learner != AUTO:
            return super()._chosen(X)
        head = Predictor.head_of(USUAL)
        return head, encoder_for(self.encoder, inputs.kind_of(X), head)

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, budget: str | float = "30s") -> Self:
        """Learn from labelled rows alone, forgetting those of before.

        X:             N rows.
        y:             N labels.
        sample_weight: how often each row counts; a row of weight 0 is as good as absent.
        budget:        time to choose a learner in, or to ask examples of an encoder that wasn't tuned on them, as "30s"
                       or seconds; beside it only tuning takes long.

        Raises ValueError for rows, labels or weights that can't be meant, and for fewer than two classes.
        """
        seconds = seconds_of(budget)
        head, encoder = self._chosen(X)
        X, y, weight = self._labelled(X, y, sample_weight, encoder)
        classes, columns = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(
                f"the rows that count are of 1 class, {str(classes[0])!r} (n_samples={len(y)}): give examples of "
                "at least two classes"
            )
        taught, tried = self._begun(head, encoder, X, columns, weight, [str(name) for name in classes], seconds)
        self.classes_, self.predictor_, self.tried_ = classes, taught, tried  # all or none
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Learn from more rows, keeping those of before; a class may be new.

        classes: names that will come later, known now; never needed.

        The encoder keeps the scale of the first rows, and the learner is the one that was chosen by them. Raises
        ValueError as `fit` does, but takes a single class.
        """
        first = not hasattr(self, "predictor_")
        head, encoder = self._chosen(X) if first else (None, None)
        X, y, weight = self._labelled(X, y, sample_weight, encoder)
        known = y[:0] if first else self.classes_
        _same_kind(known, y)
        named_now = y if classes is None else np.concatenate([y, np.asarray(classes)])
        found = np.unique(np.concatenate([known, named_now]))
        if head is not None and encoder is not None:
            names = [str(name) for name in found]
            taught, tried = self._begun(head, encoder, X, np.searchsorted(found, y), weight, names, SECONDS)
        else:
            taught, tried = self._with_rows(X, y, weight, found).checked(), self.tried_
        self.classes_, self.predictor_, self.tried_ = found, taught, tried  # all or none
        return self

    def predict(
        self, X: Any, *, unknown: bool = False, refuse: float = 0.05
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """The class of every row, by its name.

        unknown: also whether each row is none of the classes, as a second array, of bool.
        refuse: in (0, 1): the share of rows of these classes that may be taken for none of them.

        Raises ValueError when the examples are too few to tell what is none of the classes.
        """
        check_is_fitted(self)
        rows = self.predictor_.encoded(self._rows(X))
        found: np.ndarray = self._names[self.predictor_.scores_of(rows).argmax(1)]
        return (found, self.predictor_.unknown_of(rows, refuse)) if unknown else found

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of every class of `classes_` for every row, [N, W]."""
        check_is_fitted(self)
        chances: np.ndarray = self.predictor_.probabilities(self._rows(X))[:, self._columns(self.classes_)]
        return chances

    def explain(self, X: Any, regions: bool = False) -> list[Explanation]:
        """Why each row is answered as it is: the examples that voted, and the answer without each of them.

        regions: of pictures, also where in each its answer came from; this takes a second a picture.

        An example is known by its place among those that were fitted, rows of weight 0 left out. Raises ValueError for
        rows that can't be read, for examples of one class, and for regions of what is no picture or without Captum.
        """
        check_is_fitted(self)
        found = self.predictor_.explain(self._rows(X), regions=regions, names=self._names.tolist())
        columns = self._columns(self.classes_)
        return [one if one.votes is None else replace(one, votes=one.votes[:, columns]) for one in found]

    def which_next(self, X: Any, n: int = 1) -> list[Suggestion]:
        """The rows most worth a label, the best first: their places in X, and why, in words.

        X: rows without labels, such as are asked about later.
        n: how many; each is chosen as if those before it were labelled.

        Raises ValueError for no rows, an n that they don't allow, rows that can't be read, and examples of one class.
        """
        check_is_fitted(self)
        if isinstance(X, Sequence) and not len(X):
            raise ValueError("there are no rows to choose from: give at least one that has no label")
        return self.predictor_.which_next(self._rows(X), n, names=self._names.tolist())

    def add_class(self, name: Any, X: Any) -> str:
        """Learn one more class from rows of it alone; what that cost the others, as a sentence.

        Raises ValueError for a name that is there, and for rows that can't be read.
        """
        check_is_fitted(self)
        if name in self.classes_.tolist():
            raise ValueError(f"there is a class {str(name)!r} already: give another name, or use partial_fit")
        before = self.predictor_.report
        self.partial_fit(X, np.asarray([name] * len(X)))
        return _cost(before, self.predictor_.report)

    def remove_class(self, name: Any) -> str:
        """Forget a class and its rows; what that did to the others, as a sentence.

        Raises ValueError for a name that isn't there, and when less than two would be left.
        """
        check_is_fitted(self)
        before = self.predictor_.report
        self.predictor_ = self.predictor_.without_class(str(name))
        self.classes_ = self.classes_[self.classes_.astype(str) != str(name)]
        return _cost(before, self.predictor_.report)

    def rename_class(self, old: Any, new: Any) -> Self:
        """Call a class by another name; raises ValueError for a name that isn't there, and for one that is."""
        check_is_fitted(self)
        renamed = self.predictor_.renamed(str(old), str(new))
        names = np.asarray([new if str(name) == str(old) else name for name in self.classes_.tolist()])
        _same_kind(self.classes_, names)
        self.classes_, self.predictor_ = np.sort(names), renamed
        return self

    @property
    def report_(self) -> HeldOut:
        """How good this is by the support alone: each row asked of a predictor that didn't see it."""
        check_is_fitted(self)
        return self.predictor_.report

    def save(self, path: str | Path) -> None:
        """Write what was learned into one safetensors file, which holds the embeddings of the rows.

        Raises ValueError when the labels are no strings, as which they would come back, and for a learner of one's own.
        """
        check_is_fitted(self)
        if self.classes_.dtype.kind not in "UO":
            raise ValueError(f"the labels are of type {self.classes_.dtype} and a file holds names: fit with strings")
        self.predictor_.save(path)

    def export_onnx(self, path: str | Path) -> None:
        """Write the learner as an ONNX file that is given examples, classes and queries: to add classes elsewhere.

        Raises ValueError for a learner that no such file can hold, and when the extra `onnx` isn't installed.
        """
        check_is_fitted(self)
        self.predictor_.export_onnx(path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """What was learned, from a file that `save` or `mapwise fit` wrote.

        Raises ValueError for a file that is missing, damaged, of a later version, or of another encoder, and for one
        whose pretrained model is not on this machine.
        """
        predictor = Predictor.load(path)
        found = cls(encoder=predictor.encoder.name, learner=predictor.head.setting)
        found.classes_ = np.sort(np.asarray(predictor.classes))
        found.predictor_, found.tried_ = predictor, []
        found._opened(predictor.encoder)
        return found

    @property
    def _names(self) -> np.ndarray:
        """The classes in the order of the predictor's columns.

        scikit-learn wants `classes_` sorted, and a learner whose answers depend on the columns, such as MAML, must keep
        those that its classes had.
        """
        by_name = {str(name): place for place, name in enumerate(self.classes_)}
        names: np.ndarray = self.classes_[[by_name[name] for name in self.predictor_.classes]]
        return names

    def _columns(self, labels: np.ndarray) -> list[int]:
        """The predictor's columns of these classes."""
        return [self.predictor_.classes.index(str(name)) for name in labels]

    def _with_rows(self, X: Any, y: np.ndarray, weight: np.ndarray, classes: np.ndarray) -> Predictor:
        """The predictor with more rows, new classes behind those that it has."""
        known = self.predictor_.classes
        names = [*known, *(name for name in map(str, classes) if name not in known)]
        moved = self.predictor_.with_classes(names, np.arange(len(known)))
        place = {name: column for column, name in enumerate(names)}
        return moved.with_rows(X, np.asarray([place[str(label)] for label in y]), weight)

    def _begun(
        self,
        head: Head,
        encoder: Encoder,
        X: Any,
        columns: np.ndarray,
        weight: np.ndarray,
        names: Sequence[str],
        seconds: float,
    ) -> tuple[Predictor, list[Tried]]:
        if self.learner != AUTO:
            return Predictor.of(encoder, head, X, columns, weight, names, seconds=seconds).checked(), []
        return choose(Predictor.of(encoder, head, X, columns, weight, names), X, seconds)

    def _labelled(
        self, X: Any, y: Any, sample_weight: Any, encoder: Encoder | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Checked rows, labels and weights, of the rows that count."""
        if y is None:
            raise ValueError(
                "FewShotClassifier requires y to be passed, but the target y is None: give a label for each row"
            )
        rows = self._rows(X, encoder)
        labels = column_or_1d(y, warn=True)
        check_classification_targets(labels)
        return self._counted(rows, labels, sample_weight, "label")


def _same_kind(known: np.ndarray, new: np.ndarray) -> None:
    """Numbers among names would become names in silence."""
    kinds = {"O": "U"}
    if len(known) and kinds.get(known.dtype.kind, known.dtype.kind) in "U" and new.dtype.kind in "biuf":
        raise ValueError(f"the classes are names and {new[0]!r} is a number: give it as a string")
    if len(known) and known.dtype.kind in "biuf" and new.dtype.kind in "UO":
        raise ValueError(f"the classes are numbers and {str(new[0])!r} is a name: give a number")


def _cost(before: HeldOut, after: HeldOut) -> str:
    """What a change did to the classes that were there before and after it."""
    if before.accuracy is None or after.accuracy is None:
        return f"what this did to the other classes can't be told: {before.why or after.why}"
    shared = [name for name in before.classes if name in after.classes]
    was, now = (np.mean([found.classes[name][0] for name in shared]) for found in (before, after))
    return f"the other classes: {100 * was:.0f} % before and {100 * now:.0f} % now, each row asked without it"
