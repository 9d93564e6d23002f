"""Careless and hostile calls of the estimators: fit, predict, and all they can be asked."""

import importlib
import importlib.util
from functools import partial
from pathlib import Path
from typing import Any

import mapwise as mw
from hostile_values import TARGETS, Call, X, Y, finite, probabilities

# Loaded before anything is timed: each takes seconds.
for package in ("torch._dynamo", "torch.onnx", "onnx", "onnxscript", "onnxruntime"):
    if importlib.util.find_spec(package):
        importlib.import_module(package)


def classifier() -> mw.FewShotClassifier:
    return mw.FewShotClassifier(learner="nearest_mean").fit(X, Y)


def regressor() -> mw.FewShotRegressor:
    return mw.FewShotRegressor().fit(X, TARGETS)


def _fitted(X: Any = X, y: Any = Y, sample_weight: Any = None, budget: Any = "30s", **settings: Any) -> Any:
    estimator = mw.FewShotClassifier(**{"learner": "nearest_mean", **settings})
    estimator.fit(X, y, sample_weight, budget=budget)
    return estimator.predict_proba(X)


def _more(X: Any = X, y: Any = Y, classes: Any = None, sample_weight: Any = None) -> Any:
    return classifier().partial_fit(X, y, classes, sample_weight).predict_proba(KNOWN)


def _numbers(X: Any = X, y: Any = TARGETS, sample_weight: Any = None, **settings: Any) -> Any:
    return mw.FewShotRegressor(**settings).fit(X, y, sample_weight).predict(X)


def _more_numbers(X: Any = X, y: Any = TARGETS, sample_weight: Any = None) -> Any:
    return regressor().partial_fit(X, y, sample_weight).predict(KNOWN)


KNOWN = X
_ROWS = "near the end of float, NaN alone, a tensor with a graph, fractions"
_ANY_ROWS = f"{_ROWS}, a column too many, texts, surrogates"


def few_examples(folder: Path) -> list[Call]:
    """Calls of the estimators."""

    def saved(path: Any) -> bool:
        classifier().save(path)
        return mw.FewShotClassifier.load(path).predict([X[0]])[0] == "a"

    def added(name: Any = "c", X: Any = ((5.0, 5.0), (5.0, 6.0))) -> Any:
        estimator = classifier()
        estimator.add_class(name, X)
        return estimator.predict_proba(KNOWN)

    def renamed(old: Any = "a", new: Any = "c") -> Any:
        return classifier().rename_class(old, new).predict_proba(KNOWN)

    def n_rows(X: Any, n: Any) -> Any:
        return classifier().which_next(X, n)

    def unknown(X: Any = X, unknown: Any = True, refuse: Any = 0.05) -> Any:
        return classifier().predict(X, unknown=unknown, refuse=refuse)

    return [
        Call(
            "classifier.fit",
            _fitted,
            {"X": "rows", "y": "labels", "sample_weight": "weights", "budget": "budget"},
            {"X": _ANY_ROWS, "y": "beyond int64, a missing one", "sample_weight": "tiny, far apart"},
            probabilities,
        ),
        Call("FewShotClassifier", _fitted, {"encoder": "choice", "learner": "choice"}, {}, probabilities),
        Call("FewShotClassifier of things", _fitted, {"encoder": "thing", "learner": "thing"}, {}, probabilities),
        Call(
            "classifier.partial_fit",
            _more,
            {"X": "rows", "y": "labels", "classes": "labels", "sample_weight": "weights"},
            {
                "X": _ROWS,
                "y": "one class, lists",
                "classes": "none, empty, too few, too many, one class",
                "sample_weight": "tiny, far apart, one class alone",
            },
            probabilities,
        ),
        Call("classifier.predict", lambda X: classifier().predict_proba(X), {"X": "rows"}, {"X": _ROWS}, probabilities),
        Call(
            "classifier.score",
            lambda X=X, y=Y: classifier().score(X, y),
            {"X": "rows", "y": "labels"},
            {"X": _ROWS, "y": "one class, lists, empty texts, newlines, surrogates"},
            finite,
        ),
        Call("classifier.predict unknown", unknown, {"X": "rows", "unknown": "flag", "refuse": "real"}, {"X": _ROWS}),
        Call(
            "classifier.explain",
            lambda X=X, regions=False: classifier().explain(X, regions),
            {"X": "rows", "regions": "flag"},
            {"X": _ROWS},
        ),
        Call(
            "classifier.which_next",
            lambda X=X, n=1: n_rows(X, n),
            {"X": "rows", "n": "whole"},
            {"X": _ROWS, "n": "none"},
        ),
        Call("classifier.diagnose", lambda diagnostic: classifier().diagnose(diagnostic, X), {"diagnostic": "choice"}),
        Call("classifier.add_class", added, {"name": "name", "X": "rows"}, {"X": _ROWS}, probabilities),
        Call("classifier.remove_class", lambda name: classifier().remove_class(name), {"name": "name"}),
        Call("classifier.rename_class", renamed, {"old": "name", "new": "name"}, {}, probabilities),
        Call("classifier.save", saved, {"path": "path"}),
        Call("classifier.load", mw.FewShotClassifier.load, {"path": "path"}),
        Call("classifier.export_onnx", lambda path: classifier().export_onnx(path), {"path": "path"}),
        Call(
            "regressor.fit",
            _numbers,
            {"X": "rows", "y": "labels", "sample_weight": "weights"},
            {
                "X": _ANY_ROWS,
                "y": "one class, truths and numbers, halves, a matrix, beyond int64",
                "sample_weight": "tiny, far apart, one class alone",
            },
            finite,
        ),
        Call("FewShotRegressor", _numbers, {"encoder": "choice", "learner": "choice"}, {}, finite),
        Call("FewShotRegressor of things", _numbers, {"encoder": "thing", "learner": "thing"}, {}, finite),
        Call(
            "regressor.partial_fit",
            _more_numbers,
            {"X": "rows", "y": "labels", "sample_weight": "weights"},
            {
                "X": _ROWS,
                "y": "truths and numbers, halves, beyond int64",
                "sample_weight": "tiny, far apart, one class alone",
            },
            finite,
        ),
        Call(
            "regressor.predict",
            lambda X=X, return_std=False: regressor().predict(X, return_std),
            {"X": "rows", "return_std": "flag"},
            {"X": _ROWS},
        ),
        Call("regressor.save", lambda path: regressor().save(path), {"path": "path"}),
        Call("regressor.load", mw.FewShotRegressor.load, {"path": "path"}),
        *(
            Call(f"an unfitted {kind.__name__}.{name}", partial(_unfitted, kind, name), {"argument": "thing"})
            for kind, names in UNFITTED.items()
            for name in names
        ),
    ]


def _unfitted(kind: Any, name: str, argument: Any) -> Any:
    return getattr(kind(), name)(argument)


UNFITTED = {
    mw.FewShotClassifier: ("predict", "predict_proba", "explain", "which_next", "remove_class", "save"),
    mw.FewShotRegressor: ("predict", "save"),
}
