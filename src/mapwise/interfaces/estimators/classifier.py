"""The scikit-learn estimator: fit on a few labelled rows, predict, and use every tool that takes an estimator."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from mapwise.core.fields import check_flag, check_whole, quote
from mapwise.data import inputs
from mapwise.data.arrays import check_labels
from mapwise.data.modality import Modality
from mapwise.interfaces.estimators.few_shot import (
    FewShotEstimator,
    FittedState,
    columns_of,
    one_line,
    warn_of_truncated,
)
from mapwise.predictors.additions import with_names
from mapwise.predictors.choose import Tried
from mapwise.predictors.classes import Predictor
from mapwise.predictors.descriptions.texts import sentences_of
from mapwise.predictors.diagnostics import novelty
from mapwise.predictors.diagnostics.diagnostic import Finding, diagnostic_named
from mapwise.predictors.evidence.held_out import HeldOut, effect
from mapwise.predictors.evidence.label_next import Suggestion
from mapwise.predictors.evidence.votes import Explanation
from mapwise.predictors.examples import LabelledExamples, check_name
from mapwise.predictors.fit import Fitted, fit
from mapwise.predictors.onnx import export_onnx


@dataclass(frozen=True, eq=False)
class ClassState(FittedState[Predictor]):
    """What a classifier learned.

    classes: as the user calls them, sorted.
    """

    classes: np.ndarray

    @property
    def names(self) -> np.ndarray:
        """The classes in the order of the predictor's columns.

        scikit-learn wants `classes_` sorted, and a learner whose answers depend on the columns, such as MAML, must keep
        those that its classes had.
        """
        by_name = {str(name): place for place, name in enumerate(self.classes)}
        names: np.ndarray = self.classes[[by_name[name] for name in self.predictor.classes]]
        return names

    @property
    def order(self) -> list[int]:
        """The predictor's column of each class."""
        return [self.predictor.classes.index(str(name)) for name in self.classes]


@dataclass(eq=False, repr=False)
class FewShotClassifier(ClassifierMixin, FewShotEstimator[ClassState]):  # type: ignore[misc]  # scikit-learn has no types
    """A classifier of a few examples: an encoder makes arrays of rows, and a learner adapts to them.

    encoder: "table" (numbers and words in columns), "words" or "text-hash" (strings), "drawings" (pictures), "auto":
             the best of those that read such rows and are installed, by examples it didn't see, or "hf:NAME": a
             pretrained model by its folder or its name on the hub.
    learner: what adapts to the encoded rows: "nearest_mean", "ridge", "logistic", "lora" (which tunes a pretrained
             encoder too), the folder of a run that was trained (its encoder then is its own), a learner, or "auto": the
             one of these names that does best on examples it didn't see.
    names:   whether the names of classes of texts teach too, as further examples whose weight the examples choose.
             Names that contradict the examples, and codes or numbers, are left out.

    X is a matrix, a table of pandas or polars, a list of strings, or a list of paths, Pillow images or arrays. A list
    whose every string ends like the name of a picture's file is one of paths.

    After `fit`: `classes_`, `predictor_`, `tried_` (of "auto"), and for tables `n_features_in_`.
    """

    names: bool = True

    def fit(
        self,
        X: Any = None,
        y: Any = None,
        sample_weight: Any = None,
        *,
        names: Sequence[str] = (),
        describe: Mapping[Any, str | Sequence[str]] | None = None,
        budget: str | float = "30s",
    ) -> Self:
        """Learn from labelled rows alone, forgetting those of before; or of texts from the names of classes alone.

        X:             N rows; or, without y, a dict of class to rows, of which a class may have none.
        y:             N labels.
        sample_weight: how often each row counts; a row of weight 0 is as good as absent. Where all are below 1e-6
                       only their ratios count.
        names:         classes of texts that may have no rows yet: their names say what they are about.
        describe:      class -> a sentence about it, or several, which teach as its name does.
        budget:        time to choose a learner in, or to ask examples of an encoder that wasn't tuned on them, as "30s"
                       or seconds; beside it only tuning takes long.

        Raises ValueError for rows, labels or weights that can't be meant, and for fewer than two classes.
        """
        further = _later(names).tolist()
        if isinstance(X, dict) and y is None and not hasattr(X, "toarray"):
            rows, labels = inputs.by_class(X)
            further += [name for name, given in X.items() if not len(given)]
            X, y = rows, labels
        elif X is None and y is None:
            X, y = [], []
        if isinstance(X, list) and not (X or further):
            raise ValueError(
                "there are no rows and no names of classes: give rows with labels, or of texts names=[...]"
            )
        with self._writing:
            return self._keep(self._begun(X, y, sample_weight, further, describe, budget=budget, least=2))

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Learn from more rows, keeping those of before; a class may be new.

        classes: names that will come later, known now; never needed.

        The encoder keeps the scale of the first rows, and the learner is the one that was chosen by them. Raises
        ValueError as `fit` does, but takes a single class.
        """
        with self._writing:
            if not self.__sklearn_is_fitted__():
                return self._keep(self._begun(X, y, sample_weight, classes, None, least=1))
            state = self._fitted
            rows, reads = self._rows_for(state, X), state.predictor.encoder.reads
            labels, later = _labels(y), _later(classes)
            _same_kind(state.classes, labels)
            _same_kind(state.classes, later)
            examples = LabelledExamples(rows, reads, labels.astype(object), sample_weight, classes=later.astype(object))
            fitted = Fitted(with_names(state.predictor, examples), state.fitted.tried)
            return self._keep(replace(state, fitted=fitted, classes=_classes(fitted, state.classes, labels, later)))

    def predict(
        self, X: Any, *, unknown: bool = False, refuse: float = 0.05
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """The class of every row, by its name.

        unknown: also whether each row is none of the classes, as a second array, of bool.
        refuse: in (0, 1): the share of rows of these classes that may be taken for none of them.

        Raises ValueError when the examples are too few to tell what is none of the classes.
        """
        state = self._fitted
        check_flag("unknown", unknown)
        rows = state.predictor.encoded(self._rows_for(state, X))
        labels: np.ndarray = state.names[state.predictor.answers(rows)]
        return (labels, novelty.unknown(state.predictor, rows, refuse)) if unknown else labels

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The share of rows whose class is predicted; raises ValueError for labels that name no classes."""
        state, labels = self._fitted, _labels(y)
        _same_kind(state.classes, labels)
        answers = self.predict(X)
        if len(answers) != len(labels):
            raise ValueError(f"X has {len(answers)} rows and y has {len(labels)} labels: give one label for each row")
        return float(accuracy_score(labels, answers, sample_weight=sample_weight))

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of every class of `classes_` for every row, [N, W]."""
        state = self._fitted
        probabilities: np.ndarray = state.predictor.probabilities(self._rows_for(state, X))[:, state.order]
        return probabilities

    def diagnose(self, diagnostic: str, X: Any, **options: Any) -> Sequence[Finding]:
        """What a diagnostic says about rows: `explain`, `which_next`, or another that `mapwise list` shows.

        diagnostic: its name.
        options:    its keywords.

        Raises ValueError for a name that isn't there, for rows that can't be read, and as the diagnostic does.
        """
        state = self._fitted
        rows = self._rows_for(state, X)
        return diagnostic_named(diagnostic).run(state.predictor, rows, names=state.names.tolist(), **options)

    def explain(self, X: Any, regions: bool = False, leave_out: int | None = None) -> list[Explanation]:
        """Why each row is answered as it is: the examples that voted, and the answer without each of them.

        regions:   of pictures, also where in each its answer came from; this takes a second a picture.
        leave_out: so many examples are left out in turn; None: all of a small support, or as many as take about a
                   second, those with the largest votes first.

        An example is known by its place among those that were fitted, rows of weight 0 left out. Raises ValueError for
        rows that can't be read, for examples of one class, and for regions of rows other than pictures or without
        Captum.
        """
        columns = self._fitted.order
        check_flag("regions", regions)
        explanations = cast(list[Explanation], self.diagnose("explain", X, regions=regions, leave_out=leave_out))
        return [one if one.votes is None else replace(one, votes=one.votes[:, columns]) for one in explanations]

    def which_next(self, X: Any, n: int = 1) -> list[Suggestion]:
        """The rows most worth a label, the best first: their places in X, and why, in words.

        X: rows without labels, such as those to be predicted later.
        n: how many; each is chosen as if those before it were labelled.

        Raises ValueError for no rows, an n that they don't allow, rows that can't be read, and examples of one class.
        """
        if isinstance(X, Sequence) and not len(X):
            raise ValueError("there are no rows to choose from: give at least one that has no label")
        return cast(list[Suggestion], self.diagnose("which_next", X, n=n))

    def add_class(self, name: Any, X: Any) -> str:
        """Learn one more class from rows of it alone; what that cost the others, as a sentence.

        Raises ValueError for a name that is there, and for rows that can't be read.
        """
        with self._writing:
            before = self._fitted
            check_labels([name], "the names")
            X = inputs.arrays_of(X)
            if not hasattr(X, "__len__") or isinstance(X, type) or hasattr(X, "toarray"):
                raise ValueError(f"X is {quote(X)}: give a list or a table of rows of the class")
            if name in before.classes.tolist():
                raise ValueError(f"there is a class {str(name)!r} already: give another name, or use partial_fit")
            self.partial_fit(X, np.asarray([name] * len(X)))
            return str(effect(before.fitted.report, self._fitted.fitted.report))

    def remove_class(self, name: Any) -> str:
        """Forget a class and its rows; what that did to the others, as a sentence.

        Raises ValueError for a name that isn't there, and when less than two would be left.
        """
        with self._writing:
            before = self._fitted
            fitted = Fitted(before.predictor.without_class(str(name)), before.fitted.tried)
            after = replace(before, fitted=fitted, classes=before.classes[before.classes.astype(str) != str(name)])
            cost = str(effect(before.fitted.report, fitted.report))
            self._keep(after)
            return cost

    def remove_rows(self, rows: Sequence[int]) -> str:
        """Forget rows, such as those that may be mislabelled; what that did to the mean of the classes, as a sentence.

        rows: their places, as `explain` and `report_.doubtful` give them. Those behind them move up.

        Raises ValueError for a place that isn't there, and where no row of a class would be left.
        """
        with self._writing:
            before = self._fitted
            if not isinstance(rows, Sequence | np.ndarray):
                raise ValueError(f"rows is {quote(rows)}: give a list of places")
            for row in rows:
                check_whole("a place of rows", row)
            fitted = Fitted(before.predictor.without_rows(rows).checked(), before.fitted.tried)
            change = effect(before.fitted.report, fitted.report).sentence("the mean of the classes")
            self._keep(replace(before, fitted=fitted))
            return change

    def rename_class(self, old: Any, new: Any) -> Self:
        """Call a class by another name; raises ValueError for a name that isn't there, and for one that is."""
        with self._writing:
            state = self._fitted
            check_labels([new], "the names")
            check_name(str(new))
            renamed = state.predictor.renamed(str(old), str(new))
            classes = np.asarray([new if str(name) == str(old) else name for name in state.classes.tolist()])
            _same_kind(state.classes, np.asarray([new]))
            return self._keep(replace(state, classes=np.sort(classes), fitted=Fitted(renamed, state.fitted.tried)))

    @property
    def classes_(self) -> np.ndarray:
        """The classes, sorted."""
        return self._fitted.classes

    @property
    def predictor_(self) -> Predictor:
        """What was fitted."""
        return self._fitted.predictor

    @property
    def tried_(self) -> list[Tried]:
        """The learners that "auto" compared."""
        return list(self._fitted.fitted.tried)

    @property
    def report_(self) -> HeldOut:
        """How good this is, by cross-validation of the examples."""
        return self._fitted.fitted.report

    @property
    def advice_(self) -> list[str]:
        """What is likely wrong with the encoder, and steps to mend it; empty where nothing is."""
        return list(self._fitted.fitted.advice)

    def save(self, path: str | Path) -> None:
        """Write what was learned into one safetensors file, which holds the embeddings of the rows.

        Raises ValueError when the labels are no strings, as which they would come back, and for a custom learner.
        """
        state = self._fitted
        if state.classes.dtype.kind not in "UO":
            raise ValueError(f"the labels are of type {state.classes.dtype} and a file holds names: fit with strings")
        state.predictor.save(path)

    def export_onnx(self, path: str | Path) -> None:
        """Write the learner as an ONNX file that is given examples, classes and queries: to add classes elsewhere.

        Raises ValueError for a learner that no such file can hold, and when the extra `onnx` isn't installed.
        """
        export_onnx(self._fitted.predictor, path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """What was learned, from a file that `save` or `mapwise fit` wrote.

        Raises ValueError for a file that is missing, damaged, of a later version, or of another encoder, and for one
        whose pretrained model is not on this machine.
        """
        predictor = Predictor.load(path)
        estimator = cls(encoder=predictor.encoder.name, learner=predictor.head.setting)
        classes = np.sort(np.asarray(predictor.classes))
        return estimator._keep(ClassState(Fitted(predictor), columns_of(predictor.encoder), classes))

    def _begun(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        classes: Any,
        describe: Mapping[Any, str | Sequence[str]] | None,
        *,
        budget: str | float = "30s",
        least: int,
    ) -> "ClassState":
        """A fit to these rows alone."""
        check_flag("names", self.names)
        X = inputs.arrays_of(X)
        alone = isinstance(X, list) and not X and _later(classes).size > 0
        modality: Modality = "texts" if alone else inputs.modality_of(X)
        rows, columns = ([], {}) if alone else self._read(X, modality, None)
        labels, later = np.asarray([]) if alone else _labels(y), _later(classes)
        _same_kind(later, labels)
        examples = LabelledExamples(
            *(rows, modality, labels.astype(object), sample_weight),
            classes=later.astype(object),
            sentences=sentences_of(describe),
            use_names=self.names,
        )
        fitted = fit(examples, encoder=self.encoder, learner=self.learner, budget=budget, least=least)
        warn_of_truncated(fitted.predictor.encoder, rows)
        return ClassState(fitted, columns, _classes(fitted, labels, later))


def _labels(y: Any) -> np.ndarray:
    """Labels as scikit-learn checks them."""
    if y is None:
        raise ValueError(
            "FewShotClassifier requires y to be passed, but the target y is None: give a label for each row"
        )
    y = inputs.arrays_of(y)
    check_labels(np.asarray(y, dtype=object if isinstance(y, list | tuple) else None).ravel(), "y")
    try:
        labels: np.ndarray = column_or_1d(y, warn=True)
        check_classification_targets(labels)
    except (TypeError, ValueError) as error:
        reason = one_line(error)
        raise ValueError(f"y names no classes ({reason}): give a string or a whole number for each row") from None
    return labels


def _later(classes: Any) -> np.ndarray:
    if classes is None:
        return np.asarray([])
    if isinstance(classes, str | Mapping):
        raise ValueError(f"the names of classes are {quote(classes)}: give a list of names")
    names = np.asarray(classes)
    if names.ndim != 1:
        raise ValueError(f"classes is of shape {names.shape}: give a list of names")
    check_labels(classes, "classes")
    return names


def _classes(fitted: Fitted[Predictor], *labels: np.ndarray) -> np.ndarray:
    """The classes of a predictor, as they were called, sorted."""
    known = set(fitted.predictor.classes)
    every = np.unique(np.concatenate([part for part in labels if len(part)]))
    return every[[str(name) in known for name in every]]


def _same_kind(known: np.ndarray, new: np.ndarray) -> None:
    """Numbers among names would become names in silence."""
    kinds = {"O": "U"}
    if not (len(known) and len(new)):
        return
    if kinds.get(known.dtype.kind, known.dtype.kind) in "U" and new.dtype.kind in "biuf":
        raise ValueError(f"the classes are names and {new.tolist()[0]!r} is a number: give it as a string")
    if known.dtype.kind in "biuf" and new.dtype.kind in "UO":
        raise ValueError(f"the classes are numbers and {str(new[0])!r} is a name: give a number")
