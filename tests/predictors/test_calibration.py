"""Probabilities mean what they say: of answers with 80 %, four fifths are right; and calibration changes no answer."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

import mapwise as mw
from mapwise.catalog.heads import HEADS
from mapwise.core import tree
from mapwise.core.task import Examples
from mapwise.data import tensor_file
from mapwise.predictors.classes import Predictor
from mapwise.predictors.evidence import calibration

NAMED = [name for name, row in HEADS.items() if not row.tunes]
TASKS, WAYS, SHOTS, QUERIES = 50, 5, 5, 20


def task(random, sd=1.0, ways=WAYS, shots=SHOTS, queries=QUERIES):
    """Rows of classes around random centres, scaled as an encoder might: support and queries with their labels."""
    centres = random.normal(size=(ways, 1, 12))
    scale = 10.0 ** random.uniform(-1, 1)
    support, query = (scale * (centres + sd * random.normal(size=(ways, n, 12))) for n in (shots, queries))
    labels = np.asarray([f"c{place:03}" for place in range(ways)])
    return support.reshape(-1, 12), labels.repeat(shots), query.reshape(-1, 12), labels.repeat(queries)


def fitted(head, X, y) -> Predictor:
    """The predictor of a named head."""
    return mw.FewShotClassifier(learner=head).fit(X, y).predictor_


def small_support(rows, columns) -> Examples:
    """Encoded rows with their classes, each counted once."""
    x, y = torch.as_tensor(rows), torch.eye(columns.max() + 1, dtype=torch.float64)[columns]
    return Examples(x, y, torch.ones(len(x), dtype=torch.float64), torch.zeros((), dtype=torch.int64))


def scores_of(head, support, x) -> np.ndarray:
    """The scores of rows by a named head."""
    learner = HEADS[head](support)
    params = tree.map(torch.Tensor.double, learner.init(0))
    with torch.no_grad():
        return learner.predict(params, learner.adapt(params, support), x).numpy()


def cells(X):
    """Rows as the encoder of tables reads them."""
    return {str(place): X[:, place] for place in range(X.shape[1])}


def calibration_error(confidence, right, bins=15):
    """The mean gap between confidence and accuracy, in bins of as many answers."""
    parts = np.array_split(np.argsort(confidence, kind="stable"), bins)
    return sum(len(part) * abs(confidence[part].mean() - right[part].mean()) for part in parts) / len(right)


@pytest.mark.parametrize("head", NAMED)
def test_the_calibration_error_of_every_head_is_under_five_points(head):
    random = np.random.default_rng(0)
    confidence, right, before = [], [], []
    for _ in range(TASKS):
        X, y, Q, truth = task(random, sd=random.uniform(0.5, 3))
        rows, queries = ((part - X.mean(0)) / X.std(0) for part in (X, Q))
        support = small_support(rows, np.unique(y, return_inverse=True)[1])
        places, answers = calibration.out_of_fold(support, partial(scores_of, head))
        temperature = calibration.temperature(answers, support.y.argmax(1).numpy()[places], np.ones(len(places)))
        scores = torch.as_tensor(scores_of(head, support, torch.as_tensor(queries)))
        for divisor, parts in ((temperature, confidence), (1.0, before)):
            parts.append((scores / divisor).softmax(1).max(1).values.numpy())
        right.append(np.unique(y)[scores.argmax(1)] == truth)
    after, raw = (calibration_error(*map(np.concatenate, (part, right))) for part in (confidence, before))
    assert after < 0.05 < raw, (after, raw)


def test_a_ridge_regression_onto_many_classes_says_how_sure_it_is():
    X, y, Q, truth = task(np.random.default_rng(1), sd=0.5, ways=60)
    predictor = fitted("ridge", X, y)
    raw, chances = (replace(predictor, known_temperature=t).probabilities(cells(Q)) for t in (1.0, None))
    accuracy = (np.asarray(predictor.classes)[chances.argmax(1)] == truth).mean()
    assert raw.max(1).mean() < accuracy - 0.3
    assert abs(chances.max(1).mean() - accuracy) < 0.1


@pytest.mark.parametrize("head", NAMED)
def test_calibration_changes_no_answer(head):
    X, y, Q, _ = task(np.random.default_rng(2), sd=2.0)
    predictor = fitted(head, X, y)
    rows = predictor.encoded(cells(Q))
    chances = predictor.probabilities_of(rows)
    assert predictor.temperature != 1
    np.testing.assert_allclose(chances.sum(1), 1)
    np.testing.assert_array_equal(chances.argmax(1), predictor.answers(rows))


def test_the_temperature_is_the_same_in_any_order_of_the_rows():
    X, y, _, _ = task(np.random.default_rng(3), sd=2.0)
    order = np.random.default_rng(0).permutation(len(y))
    assert fitted("ridge", X, y).temperature == pytest.approx(fitted("ridge", X[order], y[order]).temperature, rel=1e-6)


def test_a_file_keeps_its_temperature_and_one_of_before_answers_as_it_did(tmp_path):
    X, y, Q, _ = task(np.random.default_rng(4))
    predictor = fitted("ridge", X, y)
    predictor.save(tmp_path / "p.safetensors")
    loaded = Predictor.load(tmp_path / "p.safetensors")
    assert loaded.temperature == predictor.temperature
    np.testing.assert_array_equal(loaded.probabilities(cells(Q)), predictor.probabilities(cells(Q)))
    leaves, about = tensor_file.load_tensors(tmp_path / "p.safetensors", "predictor", "")
    del about["temperature"]
    tensor_file.save_tensors(tmp_path / "old.safetensors", leaves, about)
    old = Predictor.load(tmp_path / "old.safetensors")
    plain = torch.softmax(torch.as_tensor(predictor.scores(cells(Q))), -1).numpy()
    np.testing.assert_array_equal(old.probabilities(cells(Q)), plain)


@pytest.mark.parametrize("temperature", [0.0, -1.0, "1", None])
def test_a_file_of_another_temperature_is_refused(tmp_path, temperature):
    X, y, _, _ = task(np.random.default_rng(4))
    fitted("ridge", X, y).save(tmp_path / "p.safetensors")
    leaves, about = tensor_file.load_tensors(tmp_path / "p.safetensors", "predictor", "")
    tensor_file.save_tensors(tmp_path / "p.safetensors", leaves, {**about, "temperature": temperature})
    with pytest.raises(ValueError, match=r"p\.safetensors"):
        Predictor.load(tmp_path / "p.safetensors")


def test_other_rows_have_a_temperature_of_their_own():
    X, y, Q, _ = task(np.random.default_rng(5), sd=2.0)
    estimator = mw.FewShotClassifier(learner="ridge").fit(X, y)
    before = replace(estimator.predictor_, known_temperature=7.0)
    more = before.with_rows(cells(Q[:1]), np.array([0]), np.ones(1))
    assert more.temperature != 7 and before.without_class("c000").temperature != 7
    assert before.renamed("c000", "new").temperature == 7


def test_one_example_of_a_class_leaves_probabilities_as_they_are():
    X, y, _, _ = task(np.random.default_rng(6), shots=1)
    assert fitted("nearest_mean", X, y).temperature == calibration.UNKNOWN == 1


def test_an_explanation_has_the_probabilities_of_the_answer():
    X, y, Q, _ = task(np.random.default_rng(7), sd=2.0)
    estimator = mw.FewShotClassifier(learner="ridge").fit(X, y)
    explanation = estimator.explain(Q[:1])[0]
    assert explanation.probability == pytest.approx(estimator.predict_proba(Q[:1]).max())


def test_few_answers_stay_near_the_prior_and_many_leave_it():
    random = np.random.default_rng(8)
    columns = random.integers(0, 3, 2000)
    logits = 2.0 * (np.eye(3)[columns] + random.normal(size=(2000, 3)) * 0.7)
    # The logits of these classes are 2 / 0.49 / 2 of what they should be, as normal rows have it.
    ideal = 2.0 * 0.7**2
    fit = calibration.temperature(logits, columns, np.ones(2000))
    assert fit == pytest.approx(ideal, rel=0.1)
    assert calibration.temperature(100 * logits, columns, np.ones(2000)) == pytest.approx(100 * fit, rel=1e-3)
    lead = np.diff(np.sort(logits[:1], 1))[0, -1]
    assert 0.1 * lead < calibration.temperature(logits[:1], columns[:1], np.ones(1)) < 10 * lead
    assert calibration.temperature(logits[:0], columns[:0], np.ones(0)) == 1


def test_a_class_without_rows_changes_no_temperature():
    scores = np.random.default_rng(0).normal(size=(12, 3))
    columns, weight = scores.argmax(1), np.ones(12)
    columns[0] = (columns[0] + 1) % 3
    absent = np.full((12, 1), np.finfo(np.float64).min / 2)
    wider = np.concatenate([1e-3 * scores, absent], axis=1)
    temperature = calibration.temperature(1e-3 * scores, columns, weight)
    assert calibration.temperature(wider, columns, weight) == pytest.approx(temperature)


def test_scores_of_classes_without_rows_overflow_without_a_word():
    low = np.array([[0.0, -1.0, np.finfo(np.float64).min]])
    assert np.isfinite(calibration.log_probabilities(low, np.array([0]), 0.5, 2)).all()
