"""Odd arrays, labels, weights and settings in Python are answered right or refused in one sentence."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import mapwise as mw
from hostile_cases import RIGHT, SENTENCE, SHEETS, X, numbers
from mapwise.core.geometry import class_means
from mapwise.core.losses import row_mean

Y = list("aabb")


def fitted(rows: Any = X, labels: Any = Y, **settings: Any) -> list[str]:
    """What a classifier by the nearest mean predicts of its own rows."""
    return list(mw.FewShotClassifier(learner="nearest_mean").fit(rows, labels, **settings).predict(rows))


def more(labels: Any, **settings: Any) -> Any:
    return mw.FewShotClassifier(learner="nearest_mean").fit(X, Y).partial_fit(X, labels, **settings)


def rows_of(rows: Any = X, labels: Any = Y) -> Any:
    return mw.LabelledRows.of(rows, labels)


def examples(rows: Any = X, labels: Any = Y, **settings: Any) -> Any:
    return mw.examples(rows, labels, **settings)


def episodes(**settings: Any) -> Any:
    rows = mw.LabelledRows.of(np.arange(80.0).reshape(40, 2), [place // 4 for place in range(40)])
    return mw.Episodes(rows, **{"ways": 2, "shots": 1, "queries": 2, "tasks": 2, **settings})


LEARNER = mw.MAML(lambda: nn.Linear(2, 2))
PARAMS = LEARNER.init(0)


def trained(params: Any) -> Any:
    return mw.train(LEARNER, episodes(), steps=1, validation_episodes=2, how="vmap", params=params)


def evaluated(params: Any = PARAMS, **settings: Any) -> Any:
    return mw.evaluate(LEARNER, params, episodes(), **{"episodes": 2, **settings})


def objects(*cells: Any) -> np.ndarray:
    return np.array([*cells, object()], dtype=object)[:-1]


DAYS, SPANS = X.astype("M8[D]"), X.astype("m8[D]")
CALLS: list[tuple[str, Any, str]] = [
    ("complex rows", lambda: fitted(X + 1j), "Complex data not supported"),
    ("dates as rows", lambda: fitted(DAYS), "X holds dates or times"),
    ("spans as rows", lambda: fitted(SPANS), "X holds dates or times"),
    ("a dict", lambda: fitted({"a": [1, 2, 9, 10]}), "X is a dict"),
    ("a list of dicts", lambda: fitted([{"a": 1}, {"a": 2}, {"a": 9}, {"a": 10}]), "row 0 of X is a dict"),
    ("an integer without end", lambda: fitted([[10**400], [1], [2], [3]]), "row 0 has infinity in column '0'"),
    ("the same beside words", lambda: fitted([["a", 10**400]] * 4), "row 0 has infinity in column '1'"),
    ("None as a label", lambda: fitted(labels=["a", None, "b", "b"]), "row 1 of y has no label (None)"),
    ("NaN as a label", lambda: fitted(labels=["a", "a", np.nan, "b"]), "row 2 of y has no label (nan)"),
    ("NaN among objects", lambda: fitted(labels=objects("a", "a", np.nan, "b")), "row 2 of y has no label (nan)"),
    ("numbers with NaN", lambda: fitted(labels=[0.0, 0.0, np.nan, 1.0]), "row 2 of y has no label (nan)"),
    ("dates as labels", lambda: fitted(labels=DAYS[:, 0]), "y holds dates or times"),
    ("complex labels", lambda: fitted(labels=X[:, 0] + 1j), "y holds complex numbers"),
    ("a number and its text", lambda: fitted(labels=objects(1, "1", "b", "b")), "labels 1 and '1' would be one class"),
    ("a truth and its text", lambda: fitted(labels=objects(True, "True", "b", "b")), "labels True and 'True'"),
    ("None later", lambda: more([None] * 4), "row 0 of y has no label (None)"),
    ("NaN later", lambda: more([np.nan] * 4), "row 0 of y has no label (nan)"),
    ("None among classes", lambda: more(Y, classes=["a", "b", None]), "row 2 of classes has no label (None)"),
    ("NaN among classes", lambda: more(Y, classes=["a", "b", np.nan]), "row 2 of classes has no label (nan)"),
    ("dates later", lambda: mw.FewShotClassifier().fit(X, Y).predict(DAYS), "X holds dates or times"),
    ("complex queries", lambda: mw.FewShotClassifier().fit(X, Y).predict(X + 1j), "Complex data not supported"),
    ("complex weights", lambda: fitted(sample_weight=[1j] * 4), "sample_weight holds complex numbers"),
    ("texts as weights", lambda: fitted(sample_weight=list("abcd")), "sample_weight holds texts"),
    ("complex targets", lambda: numbers([1, 2, 3, 4j]), "y holds values of type complex128"),
    ("None as a target", lambda: numbers([1, 2, None, 4]), "y holds NaN, first in row 2"),
    ("dates as targets", lambda: numbers(DAYS[:, 0]), "y holds values of type datetime64"),
    ("examples, complex", lambda: examples(X + 1j), "X holds complex numbers"),
    ("examples, a complex tensor", lambda: examples(torch.tensor(X) + 1j), "X holds complex numbers"),
    ("examples, dates", lambda: examples(DAYS), "X holds dates or times"),
    ("examples, spans", lambda: examples(SPANS), "X holds dates or times"),
    ("examples, texts", lambda: examples([["1"], ["1"], ["2"], ["3"]]), "X holds texts"),
    (
        "examples, None",
        lambda: examples([[None], [1], [2], [3]]),
        "X holds NaN or infinity, first in row 0",
    ),
    ("examples, other objects", lambda: examples([[{}], [1], [2], [3]]), "X holds a dict"),
    ("examples, beyond float32", lambda: examples(X * 1e200), "X holds 1e+200, first in row 0, beyond float32"),
    ("examples, no rows", lambda: examples(np.zeros((0, 3)), []), "X holds no rows"),
    ("examples, None as a label", lambda: examples(labels=["a", None, "b", "b"]), "row 1 has no label (None)"),
    ("examples, NaN as a label", lambda: examples(labels=["a", np.nan, "b", "b"]), "row 1 has no label (nan)"),
    ("examples, dates as labels", lambda: examples(labels=DAYS[:, 0]), "the labels are dates or times"),
    ("examples, complex labels", lambda: examples(labels=X[:, 0] + 1j), "the labels are complex numbers"),
    ("examples, 1 and '1'", lambda: examples(labels=objects(1, "1", 2, 2)), "labels 1 and '1' would be one class"),
    ("examples, a class twice", lambda: examples(classes=["a", "b", "a"]), "classes names 'a' twice"),
    ("examples, None as a class", lambda: examples(classes=["a", "b", None]), "row 2 of classes has no label (None)"),
    ("rows, complex", lambda: rows_of(X + 1j), "X holds complex numbers"),
    ("rows, dates", lambda: rows_of(DAYS), "X holds dates or times"),
    ("rows, texts", lambda: rows_of([["a"], ["b"], ["c"], ["d"]]), "X holds texts"),
    ("rows, a number", lambda: rows_of(3, [1]), "X is a single number"),
    ("rows, beyond float32", lambda: rows_of(X * 1e200), "X holds 1e+200, first in row 0, beyond float32"),
    ("rows, None as a label", lambda: rows_of(labels=["a", None, "b", "b"]), "row 1 has no label (None)"),
    ("rows, NaN as a label", lambda: rows_of(labels=["a", np.nan, "b", "b"]), "row 1 has no label (nan)"),
    ("rows, lists as labels", lambda: rows_of(labels=[[1], [1], [2], [2]]), "class labels have shape (4, 1)"),
    ("episodes, half a task", lambda: episodes(tasks=1.5), "tasks is 1.5"),
    ("episodes, a truth of tasks", lambda: episodes(tasks=True), "tasks is True"),
    ("episodes, half a seed", lambda: episodes(seed=1.5), "seed is 1.5"),
    ("episodes, no seed", lambda: episodes(seed=float("nan")), "seed is nan"),
    ("episodes, half a query", lambda: episodes(queries=1.5), "queries is 1.5"),
    ("episodes, a truth of shots", lambda: episodes(shots=True), "shots is True"),
    ("episodes, no device", lambda: episodes(device="junk"), "device is 'junk'"),
    ("train, other params", lambda: trained({"other": torch.zeros(2)}), "params have no 'weight'"),
    ("train, a param too many", lambda: trained({**PARAMS, "other": torch.zeros(2)}), "params have 'other' and MAML"),
    ("train, a param missing", lambda: trained({"weight": PARAMS["weight"]}), "params have no 'bias'"),
    ("train, other shapes", lambda: trained({"weight": torch.zeros(3, 3), "bias": torch.zeros(2)}), "shape (3, 3)"),
    ("train, arrays", lambda: trained({name: leaf.numpy() for name, leaf in PARAMS.items()}), "is a ndarray"),
    ("train, integers", lambda: trained({name: leaf.long() for name, leaf in PARAMS.items()}), "torch.int64"),
    ("train, no dict", lambda: trained([1]), "params is [1]: give a dict"),
    ("evaluate, other params", lambda: evaluated({"other": torch.zeros(2)}), "params have no 'weight'"),
    ("evaluate, a param too many", lambda: evaluated({**PARAMS, "other": torch.zeros(2)}), "params have 'other'"),
    ("evaluate, half an episode", lambda: evaluated(episodes=1.5), "episodes is 1.5"),
    ("evaluate, no episodes", lambda: evaluated(episodes=float("nan")), "episodes is nan"),
    ("evaluate, no temperature", lambda: evaluated(temperature=float("nan")), "temperature is nan"),
    ("evaluate, temperature 0", lambda: evaluated(temperature=0.0), "temperature is 0.0"),
]


@pytest.mark.parametrize(
    ("call", "answer"),
    [pytest.param(call, answer, id=name) for name, call, answer in CALLS],
)
def test_a_call_that_makes_no_sense_is_refused_in_one_sentence(call, answer):
    with pytest.raises(ValueError) as refused:
        call()
    assert answer in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("truths as rows", lambda: fitted(X > 5)),
        ("truths as labels", lambda: fitted(labels=[True, True, False, False])),
        ("objects as rows", lambda: fitted(X.astype(object))),
        ("numbers of 1e200", lambda: fitted(X * 1e200)),
        ("numbers of 1e-320", lambda: fitted(X * 1e-320)),
        ("truths as weights", lambda: fitted(sample_weight=[True] * 4)),
    ],
)
def test_odd_arrays_that_mean_something_are_answered_right(name, call):
    assert [str(label) for label in call()] == ([*["True"] * 2, *["False"] * 2] if "labels" in name else Y)


def test_objects_that_are_numbers_are_numbers_everywhere():
    plain, _ = mw.examples(X, Y)
    odd, _ = mw.examples(X.astype(object), Y)
    assert torch.equal(plain.x, odd.x)
    assert (rows_of(X.astype(object)).x == rows_of().x).all()


@pytest.mark.parametrize("learner", ["nearest_mean", "ridge", "logistic"])
@pytest.mark.parametrize("size", [1e-300, 5e-324, 1e-30])
def test_tiny_weights_answer_as_weights_of_one(learner, size):
    plain, tiny = (
        mw.FewShotClassifier(learner=learner).fit(X, Y, sample_weight=weight) for weight in (None, np.full(4, size))
    )
    np.testing.assert_allclose(tiny.predict_proba([[4.0]]), plain.predict_proba([[4.0]]), rtol=1e-9)


@pytest.mark.parametrize("learner", ["ridge", "kernel_mean"])
def test_tiny_weights_of_targets_predict_as_weights_of_one(learner):
    plain, tiny = (
        mw.FewShotRegressor(learner=learner).fit(X, X[:, 0], sample_weight=weight)
        for weight in (None, np.full(4, 1e-300))
    )
    np.testing.assert_allclose(tiny.predict([[4.0]]), plain.predict([[4.0]]), rtol=1e-9)


def test_a_class_of_tiny_weights_beside_another_keeps_its_mean():
    tiny = mw.FewShotClassifier(learner="nearest_mean")
    for size in (1e-300, 5e-324):
        tiny.fit(np.array([[-1.0], [3.0], [9.0], [11.0]]), Y, sample_weight=[size, size, 1, 1])
        assert list(tiny.predict([[1.0], [4.0], [10.0]])) == ["a", "a", "b"]
        rows, _ = mw.examples(X, Y)
        rows = rows._replace(
            x=rows.x.double(), y=rows.y.double(), weight=torch.tensor([size, size, 1, 1], dtype=torch.float64)
        )
        assert class_means(rows.x, rows).tolist() == [[1.5], [9.5]]


def test_weights_so_large_that_sums_overflow_answer_as_large_ones():
    for learner in ("nearest_mean", "ridge", "logistic"):
        large = mw.FewShotClassifier(learner=learner).fit(X, Y, sample_weight=np.full(4, 1e308))
        assert list(large.predict(X)) == Y


def test_a_loss_of_tiny_weights_is_that_of_weights_of_one():
    values, weight = torch.tensor([1.0, 2.0, 6.0]).double(), torch.full((3,), 1e-300, dtype=torch.float64)
    assert float(row_mean(values, weight)) == pytest.approx(3.0)


def test_enough_is_asked_and_everything_ends_in_one_of_two_ways():
    outcomes = [sheet.expected for sheet in SHEETS] + [SENTENCE] * len(CALLS)
    assert len(outcomes) >= 60
    assert {outcome: outcomes.count(outcome) for outcome in set(outcomes)}.keys() == {RIGHT, SENTENCE}
