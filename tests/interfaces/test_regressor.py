"""FewShotRegressor is a scikit-learn estimator in every respect, and its ridge is that of scikit-learn."""

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

import mapwise as mw
from conftest import rewrite
from mapwise.catalog.heads import REGRESSION_HEADS
from mapwise.laws.check import check
from mapwise.learners.metric.kernel_mean import KernelMean
from mapwise.nets import MLP
from mapwise.predictors.diagnostics.cross_validation import deviation
from mapwise.predictors.targets import TargetPredictor
from mapwise.tasks.sinusoid import Sinusoid

TEXTS = ["a fine day", "a fine evening", "awful rain", "rain and awful wind", "a day"]
STARS = [5.0, 5.0, 1.0, 0.0, 3.0]


def drawn(rows=20, seed=0, noise=0.5, targets=None):
    """Rows in three columns of very different sizes, and numbers that are a line of the first two, far from 0."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(rows, 3))
    slopes = np.array([2.0, -1.0, 0.0]) if targets is None else np.arange(3.0 * targets).reshape(3, targets)
    y = X @ slopes + 100
    return X * [1, 1000, 0.01] + [0, 0, 50], y + noise * random.normal(size=y.shape)


def kernel(X, y, new, weight=None):
    """The definition, row by row."""
    weight = np.ones(len(X)) if weight is None else weight
    middle = np.average(X, axis=0, weights=weight)
    bandwidth = np.sqrt(0.1 * np.average(((X - middle) ** 2).sum(1), weights=weight))
    near = [weight * np.exp(-((X - row) ** 2).sum(1) / (2 * bandwidth**2)) for row in new]
    return np.array([share @ y / share.sum() for share in near])


@pytest.mark.parametrize("targets", [None, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_ridge_is_that_of_scikit_learn(targets, weighted):
    X, y = drawn(targets=targets)
    new, _ = drawn(rows=50, seed=1)
    weight = np.random.default_rng(2).uniform(0.5, 3, len(X)) if weighted else np.ones(len(X))
    scaler = StandardScaler().fit(X, sample_weight=weight)
    rows = scaler.transform(X)
    strength = 0.3 * np.average(((rows - np.average(rows, axis=0, weights=weight)) ** 2).sum(1), weights=weight)
    theirs = Ridge(alpha=strength).fit(rows, y, sample_weight=weight).predict(scaler.transform(new))
    ours = mw.FewShotRegressor().fit(X, y, sample_weight=weight).predict(new)
    np.testing.assert_allclose(ours, theirs, atol=1e-6, rtol=1e-9)


@pytest.mark.parametrize("targets", [None, 2])
def test_the_kernel_mean_is_the_weighted_mean_of_its_definition(targets):
    X, y = drawn(targets=targets)
    new, _ = drawn(rows=50, seed=1)
    scaler = StandardScaler().fit(X)
    ours = mw.FewShotRegressor(learner="kernel_mean").fit(X, y).predict(new)
    np.testing.assert_allclose(ours, kernel(scaler.transform(X), y, scaler.transform(new)), atol=1e-5)


def test_far_from_all_rows_the_kernel_mean_is_the_nearest_target():
    few = mw.FewShotRegressor(learner="kernel_mean").fit([[0.0], [1.0], [2.0]], [5.0, 6.0, 9.0])
    np.testing.assert_allclose(few.predict([[1e4], [-1e4]]), [9.0, 5.0])


@pytest.mark.parametrize("learner", ["kernel_mean", "r2d2"])
def test_learners_of_targets_keep_the_laws(learner):
    net = partial(MLP, (1,), hidden=(20,), activation="tanh")
    result = {
        "kernel_mean": KernelMean(net),
        "r2d2": mw.R2D2(net, ridge=0.1, centred=True, scale=1.0, loss="squared_error"),
    }[learner]
    check(result, Sinusoid(shots=10, tasks=8)).raise_if_broken()


def test_a_bandwidth_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match=r"bandwidth is 0\.0 and must be positive"):
        KernelMean(torch.nn.Flatten, bandwidth=0.0)


@pytest.mark.parametrize("head", REGRESSION_HEADS)
def test_a_shift_and_a_scale_of_the_targets_are_those_of_the_answers(head):
    X, y = drawn()
    few, other = (mw.FewShotRegressor(learner=head).fit(X, given) for given in (y, 1000 - 3 * y))
    np.testing.assert_allclose(other.predict(X), 1000 - 3 * few.predict(X), atol=1e-8)


@pytest.mark.parametrize("head", REGRESSION_HEADS)
def test_the_units_and_the_origin_of_encoded_rows_do_not_matter(head):
    X, y = drawn()
    rows = StandardScaler().fit_transform(X)
    few = mw.FewShotRegressor(learner=head).fit(X, y).predictor_
    moved = TargetPredictor(few.encoder, few.head, 7 * rows + 30, y, np.ones(len(y)))
    np.testing.assert_allclose(moved.scores_of(7 * rows + 30), few.scores_of(rows), atol=1e-4)


@pytest.mark.parametrize("head", REGRESSION_HEADS)
def test_rows_that_are_all_the_same_give_the_mean(head):
    few = mw.FewShotRegressor(learner=head).fit(["one text"] * 4, [1.0, 2.0, 3.0, 6.0])
    np.testing.assert_allclose(few.predict(["one text", "and another"]), 3.0, atol=1e-9)


@pytest.mark.parametrize("head", REGRESSION_HEADS)
def test_a_row_of_weight_two_is_two_rows_and_one_of_weight_zero_is_none(head):
    X, y = drawn()
    weight = np.arange(20) % 3
    weighted = mw.FewShotRegressor(learner=head).fit(X, y, sample_weight=weight)
    repeated = mw.FewShotRegressor(learner=head).fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    for one, other in zip(weighted.predict(X, return_std=True), repeated.predict(X, return_std=True), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7)
    np.testing.assert_allclose(
        mw.FewShotRegressor(learner=head).fit(X, y, sample_weight=2 * np.ones(20)).predict(X),
        mw.FewShotRegressor(learner=head).fit(np.tile(X, (2, 1)), np.tile(y, 2)).predict(X),
        rtol=1e-9,
    )


@pytest.mark.parametrize("head", REGRESSION_HEADS)
def test_rows_that_come_later_count_as_if_they_had_been_there(head):
    X, y = drawn()
    # The scale is that of the first rows, so it is taken out of the comparison.
    X = np.concatenate([StandardScaler().fit_transform(half) for half in (X[:10], X[10:])])
    parts = mw.FewShotRegressor(learner=head).partial_fit(X[:10], y[:10]).partial_fit(X[10:], y[10:])
    whole = mw.FewShotRegressor(learner=head).fit(X, y)
    np.testing.assert_allclose(parts.predict(X), whole.predict(X), rtol=1e-9)
    assert len(parts.predictor_.rows) == 20
    assert mw.FewShotRegressor(learner=head).partial_fit(X[:1], y[:1]).predict(X[:1]) == pytest.approx(y[:1])


def test_it_works_in_pipelines_searches_and_cross_validation():
    X, y = drawn()
    pipeline = make_pipeline(MinMaxScaler(), mw.FewShotRegressor())
    assert cross_val_score(pipeline, X, y, cv=4).mean() > 0.7
    search = GridSearchCV(mw.FewShotRegressor(), {"learner": list(REGRESSION_HEADS)}, cv=4).fit(X, y)
    assert search.best_params_ == {"learner": "ridge"}  # the truth is a line
    copy = clone(search.best_estimator_)
    assert copy.get_params() == search.best_estimator_.get_params()
    assert not hasattr(copy, "predictor_")


def test_texts_with_numbers_are_learned_from():
    few = mw.FewShotRegressor().fit(TEXTS, STARS)
    fine, awful = few.predict(["a fine morning", "awful, awful"])
    assert fine > 3 > awful


def test_a_learner_may_be_given_as_it_is():
    X, y = drawn()
    model = mw.FewShotRegressor(learner=KernelMean(torch.nn.Flatten, bandwidth=0.01)).fit(X, y)
    np.testing.assert_allclose(model.predict(X), y)  # each row is alone within its bandwidth


# How far off ---------------------------------------------------------------------------------------------


def test_the_deviation_is_that_of_rows_left_out_one_by_one():
    X, y = drawn(rows=12)
    few = mw.FewShotRegressor().fit(X, y)
    rows = StandardScaler().fit_transform(X)
    misses = []
    for row in range(12):
        rest = np.arange(12) != row
        strength = 0.3 * ((rows[rest] - rows[rest].mean(0)) ** 2).sum(1).mean()
        misses.append(Ridge(alpha=strength).fit(rows[rest], y[rest]).predict(rows[row : row + 1])[0] - y[row])
    _, deviation = few.predict(X, return_std=True)
    assert deviation.shape == (12,)
    np.testing.assert_allclose(deviation, np.sqrt(np.mean(np.square(misses))), rtol=1e-6)


@pytest.mark.parametrize("head", REGRESSION_HEADS)
def test_truths_lie_within_the_deviation_as_often_as_a_normal_says(head):
    within, question = np.zeros(2), 0
    for seed in range(60):
        X, y = drawn(rows=20, seed=seed)
        new, truth = drawn(rows=50, seed=1000 + seed)
        result, deviation = mw.FewShotRegressor(learner=head).fit(X, y).predict(new, return_std=True)
        far = np.abs(result - truth) / deviation
        within += (far < 1).sum(), (far < 1.96).sum()
        question += 50
    one, two = within / question
    assert 0.62 < one < 0.76
    assert 0.91 < two < 0.98


def test_of_several_targets_each_has_a_deviation():
    X, y = drawn(targets=2)
    y[:, 1] *= 1000
    result, deviation = mw.FewShotRegressor().fit(X, y).predict(X[:3], return_std=True)
    assert result.shape == deviation.shape == (3, 2)
    assert (deviation[:, 1] > 100 * deviation[:, 0]).all()


def test_of_many_rows_some_are_asked():
    X, y = drawn(rows=1000)
    few = mw.FewShotRegressor().fit(X, y).predictor_
    assert deviation(few) == pytest.approx(0.5, rel=0.2)  # the noise, which is all that is left


def test_too_few_rows_to_tell_how_far_off_are_refused():
    few = mw.FewShotRegressor().fit([[0.0], [1.0], [1.0]], [0.0, 1.0, 1.0])
    with pytest.raises(ValueError, match=r"there are 2 different examples and 3 are needed"):
        few.predict([[0.5]], return_std=True)


# Keeping it ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", REGRESSION_HEADS)
@pytest.mark.parametrize(("X", "y"), [(TEXTS, STARS), drawn(), drawn(targets=2)], ids=["texts", "table", "targets"])
def test_what_was_saved_answers_the_same(tmp_path, X, y, head):
    model = mw.FewShotRegressor(learner=head).fit(X, y)
    model.save(tmp_path / "few.safetensors")
    again = mw.FewShotRegressor.load(tmp_path / "few.safetensors")
    for one, other in zip(again.predict(X, return_std=True), model.predict(X, return_std=True), strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.get_params() == {"learner": head, "encoder": model.predictor_.encoder.name}
    again.partial_fit(X[:1], y[:1])
    assert len(again.predictor_.rows) == len(X) + 1


def test_a_file_of_another_kind_of_task_is_refused_by_name(tmp_path):
    mw.FewShotRegressor().fit(TEXTS, STARS).save(tmp_path / "stars.safetensors")
    mw.FewShotClassifier().fit(TEXTS, list("aabba")).save(tmp_path / "names.safetensors")
    with pytest.raises(ValueError, match=r"stars.safetensors holds a predictor of numbers: open it with FewShotRegr"):
        mw.FewShotClassifier.load(tmp_path / "stars.safetensors")
    with pytest.raises(ValueError, match=r"names.safetensors holds a predictor of classes: open it with FewShotClass"):
        mw.FewShotRegressor.load(tmp_path / "names.safetensors")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"targets": np.zeros(3)}, "5 rows, and targets of shape"),
        ({"targets": np.zeros((5, 0))}, "5 rows, and targets of shape"),
        ({"targets": np.zeros((5, 1, 1))}, "5 rows, and targets of shape"),
        ({"targets": np.full(5, np.nan)}, "or hold NaN"),
        ({"targets": np.zeros(5, np.int64)}, "its targets are int64"),
        ({"targets": None}, "no whole predictor"),
        ({"about": {"head": "logistic"}}, "no learner 'logistic'"),
        ({"about": {"kind": "odd"}}, "a problem that is unknown, 'odd'"),
        ({"about": {"kind": ["regression"]}}, "no whole predictor"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, changes, words):
    path = tmp_path / "few.safetensors"
    mw.FewShotRegressor().fit(TEXTS, STARS).save(path)

    def change(about, arrays):
        about.update(changes.get("about", {}))
        arrays.update({name: part for name, part in changes.items() if name != "about"})
        for name in [name for name, part in arrays.items() if part is None]:
            del arrays[name]

    rewrite(path, change)
    with pytest.raises(ValueError, match=words) as refused:
        mw.FewShotRegressor.load(path)
    assert "few.safetensors" in str(refused.value)


def test_a_learner_without_a_name_is_not_saved(tmp_path):
    few = mw.FewShotRegressor(learner=KernelMean(torch.nn.Flatten)).fit(*drawn())
    with pytest.raises(
        ValueError,
        match=r"a custom learner \(KernelMean\) can't be saved in a file: take one by its name, such as ridge",
    ):
        few.save(tmp_path / "few.safetensors")


# What is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda X, y: (X, ["newt"] * 20), "the text 'newt' and numbers are needed: .* FewShotClassifier"),
        (lambda X, y: (X, np.asarray([1.0] * 19 + ["toad"], dtype=object)), "the text 'toad'"),
        (lambda X, y: (X, [None] * 20), "NaN, first in row 0"),
        (lambda X, y: (X, np.asarray([{}] * 20)), "what is no number"),
        (lambda X, y: (X, 1j * y), "complex128"),
        (lambda X, y: (X, np.where(np.arange(20) == 7, np.nan, y)), "NaN, first in row 7"),
        (lambda X, y: (X, np.where(np.arange(20) == 7, -np.inf, y)), "infinity, first in row 7"),
        (lambda X, y: (X, y.reshape(20, 1, 1)), r"y has shape \(20, 1, 1\)"),
        (lambda X, y: (X, 3.0), r"y has shape \(\)"),
        (lambda X, y: (X[:1], y[:1]), "only one row has a weight above 0"),
        (lambda X, y: (X, y, np.arange(20) == 3), "only one row has a weight above 0"),
        (lambda X, y: (X[:0], y[:0]), "0 sample"),
        (lambda X, y: ([], []), "0 sample|array"),
        (lambda X, y: (X, y[:5]), "X has 20 rows and y has 5 targets: give one target for each row"),
        (lambda X, y: (X, y, -np.ones(20)), "negative"),
        (lambda X, y: (X, y, np.zeros(20)), "zero for all rows"),
        (lambda X, y: (X, None), "requires y"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        mw.FewShotRegressor().fit(*wrong(*drawn()))


def test_another_number_of_targets_is_refused():
    X, y = drawn()
    few = mw.FewShotRegressor().fit(X, y)
    with pytest.raises(
        ValueError, match=r"y has 2 numbers in a list a row and the rows of before have a single number"
    ):
        few.partial_fit(X, np.column_stack([y, y]))


def test_a_name_that_is_not_there_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'ridge'"):
        mw.FewShotRegressor(learner="rigde").fit(*drawn())
