"""FewShotClassifier is a scikit-learn estimator in every respect, over the same learners as everything else."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import mapwise as mw
from mapwise.catalog.encoders import ENCODERS
from mapwise.catalog.heads import REGRESSION_HEADS, heads_behind
from mapwise.core import solvers
from mapwise.data import inputs
from mapwise.laws.check import check
from mapwise.learners.pretraining.logistic import Logistic
from mapwise.nets import MLP


def species(rows=6, seed=0):
    """Three kinds of rows in four columns of very different sizes, by name."""
    random = np.random.default_rng(seed)
    centres = np.array([[0, 0, 0, 0], [3, 0, 3, 0], [0, 3, 0, 3]])
    X = np.concatenate([centre + random.normal(size=(rows, 4)) for centre in centres])
    return X * [1, 1000, 0.01, 1] + [0, 0, 0, 50], np.repeat(["newt", "toad", "frog"], rows)


HEADS = heads_behind(ENCODERS["table"]())
ESTIMATORS = [mw.FewShotClassifier(learner=head) for head in HEADS]
ESTIMATORS += [mw.FewShotRegressor(learner=head) for head in REGRESSION_HEADS]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_it_passes_every_check_of_scikit_learn(estimator):
    with warnings.catch_warnings():
        # Of the checks themselves, about input that they make wrong on purpose.
        warnings.simplefilter("ignore")
        results = check_estimator(estimator, on_fail=None, on_skip=None)
    failed = {result["check_name"]: result["exception"] for result in results if result["status"] == "failed"}
    assert failed == {}
    skipped = {result["check_name"] for result in results if result["status"] == "skipped"}
    assert skipped <= {"check_array_api_input"}  # asked for by an environment variable alone
    assert len(results) > 50


def test_names_come_back_and_probabilities_are_those_of_the_names():
    X, y = species()
    model = mw.FewShotClassifier().fit(X, y)
    assert list(model.classes_) == ["frog", "newt", "toad"]
    assert set(model.predict(X)) == {"frog", "newt", "toad"}
    chances = model.predict_proba(X)
    assert chances.shape == (18, 3)
    np.testing.assert_allclose(chances.sum(1), 1)
    assert (model.classes_[chances.argmax(1)] == model.predict(X)).all()


def test_the_nearest_mean_is_that_of_scikit_learn():
    X, y = species()
    new, _ = species(rows=40, seed=1)
    theirs = make_pipeline(StandardScaler(), NearestCentroid()).fit(X, y)
    assert (mw.FewShotClassifier(learner="nearest_mean").fit(X, y).predict(new) == theirs.predict(new)).all()


def test_ridge_is_the_regression_on_labels():
    X, y = species()
    new, _ = species(rows=40, seed=1)
    scaler = StandardScaler().fit(X)
    ones = [np.column_stack([scaler.transform(rows), np.ones(len(rows))]) for rows in (X, new)]
    columns = (y[:, None] == np.unique(y)).astype(float)
    strength = 0.3 * (ones[0][:, :-1] ** 2).sum(1).mean()
    theirs = Ridge(alpha=strength, fit_intercept=False).fit(ones[0], columns).predict(ones[1])
    ours = mw.FewShotClassifier(learner="ridge").fit(X, y)
    np.testing.assert_allclose(ours.predictor_.scores(inputs.columns(new)), 10 * theirs, atol=1e-9)


@pytest.mark.parametrize("rows", [2, 30])  # fewer rows than columns, and more
def test_the_logistic_solver_finds_the_minimum(rows):
    random = np.random.default_rng(0)
    x = random.normal(size=(3 * rows, 8)) + np.repeat(np.eye(3, 8), rows, axis=0)
    y = np.repeat(np.arange(3), rows)
    weight = random.uniform(0.5, 2, len(x))
    theirs = LogisticRegression(C=1.0, fit_intercept=False, tol=1e-10, max_iter=1000).fit(x, y, weight)
    ours = solvers.logistic(*map(torch.as_tensor, (x, np.eye(3)[y], weight)), 1.0, steps=100)
    np.testing.assert_allclose((x @ ours.numpy()), x @ theirs.coef_.T, atol=2e-3)


def test_the_logistic_solver_steps_down():
    random = np.random.default_rng(1)
    x, y = torch.as_tensor(random.normal(size=(12, 5))), torch.eye(3, dtype=torch.float64)[torch.arange(12) % 3]
    weight = torch.ones(12, dtype=torch.float64)

    def cost(steps):
        w = solvers.logistic(x, y, weight, 0.1, steps=steps)
        return float(-(y * torch.log_softmax(x @ w, -1)).sum() + 0.05 * (w**2).sum())

    assert cost(200) <= cost(100) < cost(10) < cost(1) < cost(0) == pytest.approx(12 * np.log(3))


def test_the_logistic_head_keeps_the_laws_of_learners():
    random = np.random.default_rng(0)
    centres = np.zeros((60, 8))
    centres[:, :2] = 2 * random.normal(size=(60, 2))
    x = centres[:, None] + random.normal(size=(60, 12, 8)) * ([0.3] * 2 + [2.0] * 6)
    rows = mw.LabelledRows.of(x.reshape(-1, 8).astype(np.float32), np.repeat(np.arange(60), 12))
    encoder = MLP((8,), hidden=(16,), activation="tanh")
    check(Logistic(encoder, steps=20), mw.Episodes(rows, ways=3, shots=2, queries=5, tasks=8)).raise_if_broken()


@pytest.mark.parametrize("head", HEADS)
def test_rows_that_come_later_count_as_if_they_had_been_there(head):
    X, y = species()
    later = np.arange(18) % 6 >= 3
    # The scale is that of the first rows, so it is taken out of the comparison.
    X = StandardScaler().fit_transform(X)
    whole = mw.FewShotClassifier(learner=head).fit(np.concatenate([X[~later], X[later]]), np.r_[y[~later], y[later]])
    parts = mw.FewShotClassifier(learner=head).partial_fit(X[~later], y[~later]).partial_fit(X[later], y[later])
    assert (parts.classes_ == whole.classes_).all()
    assert len(parts.predictor_.rows) == 18
    agreement = (parts.predict(X) == whole.predict(X)).mean()
    assert agreement >= 17 / 18
    refit = parts.predictor_.encoder(inputs.columns(X))
    expected = mw.FewShotClassifier(learner=head).fit(X[~later], y[~later]).predictor_.encoder(inputs.columns(X))
    np.testing.assert_allclose(refit, expected)


def test_a_class_may_come_later():
    X, y = species()
    model = mw.FewShotClassifier()
    for name in ("toad", "frog", "newt"):
        model.partial_fit(X[y == name], y[y == name])
    assert list(model.classes_) == ["frog", "newt", "toad"]
    assert model.score(X, y) > 0.8


def test_a_class_that_was_only_announced_is_never_predicted():
    X, y = species()
    result = mw.FewShotClassifier().partial_fit(X, y, classes=["frog", "newt", "olm", "toad"])
    assert list(result.classes_) == ["frog", "newt", "olm", "toad"]
    assert (result.predict_proba(X)[:, 2] == 0).all()


@pytest.mark.parametrize("head", HEADS)
def test_a_row_of_weight_two_is_two_rows_and_one_of_weight_zero_is_none(head):
    X, y = species()
    weight = np.arange(18) % 3
    weighted = mw.FewShotClassifier(learner=head).fit(X, y, sample_weight=weight)
    repeated = mw.FewShotClassifier(learner=head).fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    np.testing.assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), rtol=1e-6, atol=1e-12)


def test_it_works_in_pipelines_searches_and_cross_validation():
    X, y = species(rows=8)
    pipeline = make_pipeline(MinMaxScaler(), mw.FewShotClassifier())
    assert cross_val_score(pipeline, X, y, cv=4).mean() > 0.8
    search = GridSearchCV(mw.FewShotClassifier(), {"learner": list(HEADS)}, cv=4, scoring="neg_log_loss").fit(X, y)
    assert search.best_estimator_.score(X, y) > 0.8
    copy = clone(search.best_estimator_)
    assert copy.get_params() == search.best_estimator_.get_params()
    assert not hasattr(copy, "predictor_")


def test_a_gap_is_filled_with_the_mean_of_its_column():
    X, y = species()
    whole = mw.FewShotClassifier().fit(X, y)
    query = X[:1].copy()
    query[0, 1] = np.nan
    filled = X[:1].copy()
    filled[0, 1] = X[:, 1].mean()
    np.testing.assert_allclose(whole.predict_proba(query), whole.predict_proba(filled))
    X[3, 2] = np.nan
    assert mw.FewShotClassifier().fit(X, y).score(X, y) > 0.8


def test_a_column_that_never_changes_says_nothing():
    X, y = species()
    constant = np.column_stack([X, np.full(18, 1e6 / 3), np.full(18, np.nan)])
    np.testing.assert_allclose(
        mw.FewShotClassifier().fit(constant, y).predict_proba(constant),
        mw.FewShotClassifier().fit(X, y).predict_proba(X),
    )


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda X, y: (X, np.repeat("newt", 18)), "one class, 'newt'"),
        (lambda X, y: (X[:1], y[:1]), "one class"),
        (lambda X, y: (X, y[:5]), "18 rows and y has 5 labels"),
        (lambda X, y: (np.where(X > 2, np.inf, X), y), "infinity"),
        (lambda X, y: (X, y, -np.ones(18)), "negative"),
        (lambda X, y: (X, y, np.zeros(18)), "zero for all rows"),
        (lambda X, y: (X, y, np.ones(5)), "one weight for each row"),
        (lambda X, y: (X, y, (y == "newt") * 1.0), "one class, 'newt'"),
        (lambda X, y: (X, None), "requires y"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        mw.FewShotClassifier().fit(*wrong(*species()))


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"learner": "rigde"}, "did you mean 'ridge'"), ({"encoder": "tabel"}, "did you mean 'table'")],
)
def test_a_name_that_is_not_there_is_refused_with_the_nearest(settings, words):
    with pytest.raises(ValueError, match=words):
        mw.FewShotClassifier(**settings).fit(*species())


def test_a_learner_may_be_given_as_it_is():
    X, y = species()
    learner = mw.ProtoNet(torch.nn.Flatten, distance="cosine")
    assert mw.FewShotClassifier(learner=learner).fit(X, y).score(X, y) > 0.8
