"""The learner that does best on examples it didn't see, while there is time."""

import numpy as np
import pytest

import mapwise as mw
from mapwise.catalog.encoders import ENCODERS
from mapwise.catalog.heads import heads_behind
from mapwise.predictors.choose import USUAL, choose, optimism, seconds_of

HEADS = heads_behind(ENCODERS["table"]())


def columns_of_no_use(seed, shots=12):
    """Two classes along one of forty columns, the others larger: a mean is lost there, and a regression is not."""
    random = np.random.default_rng(seed)
    y = np.repeat([0, 1], shots)
    x = random.normal(size=(2 * shots, 40))
    x[:, 0] += 6 * y
    return x, y


def test_the_best_on_rows_it_did_not_see_is_taken():
    X, y = columns_of_no_use(0)
    answers = mw.FewShotClassifier().fit(X, y)
    by_name = {one.learner: one.found.accuracy for one in answers.tried_}
    assert list(by_name) == list(HEADS)
    chosen = next(one for one in answers.tried_ if one.chosen)
    assert by_name[chosen.learner] == max(by_name.values())
    assert answers.predictor_.head.name == chosen.learner
    assert answers.report_ == chosen.found.corrected(answers.predictor_.optimism)
    alone = mw.FewShotClassifier(learner=chosen.learner).fit(X, y)
    np.testing.assert_array_equal(answers.predict(X), alone.predict(X))
    assert alone.tried_ == []


def test_the_best_of_equal_scores_is_corrected_to_what_they_are():
    random = np.random.default_rng(0)
    best, corrected = [], []
    for _ in range(100):
        correct = (random.random((4, 30)) < 0.3).astype(float)
        best.append(correct.mean(1).max())
        corrected.append(best[-1] - optimism(correct, np.ones(30)))
    assert np.mean(best) > 0.36
    assert abs(np.mean(corrected) - 0.3) < 0.01 + 2 * np.std(corrected) / 10


def test_one_score_that_is_far_the_best_is_left_as_it_is():
    correct = np.concatenate([np.ones((1, 30)), np.zeros((3, 30))])
    assert optimism(correct, np.ones(30)) == 0
    assert optimism(correct[:1], np.ones(30)) == 0


def test_a_file_keeps_the_correction(tmp_path):
    X, y = columns_of_no_use(1)
    few = mw.FewShotClassifier().fit(X[:, 1:], np.array(["newt", "toad"])[y])
    assert few.report_.optimism > 0
    few.save(tmp_path / "few.safetensors")
    assert mw.FewShotClassifier.load(tmp_path / "few.safetensors").report_ == few.report_


def test_of_equals_it_is_the_usual_one():
    X = np.concatenate([np.zeros((4, 2)), np.ones((4, 2))]) + np.arange(16).reshape(8, 2) * 1e-3
    answers = mw.FewShotClassifier().fit(X, [0] * 4 + [1] * 4)
    assert [one.found.accuracy for one in answers.tried_] == [1.0] * len(HEADS)
    assert answers.predictor_.head.name == USUAL


def test_with_two_examples_it_is_the_usual_one_by_rule():
    answers = mw.FewShotClassifier().fit([[0.0], [1.0], [5.0], [6.0]], list("aabb"))
    assert answers.predictor_.head.name == USUAL
    assert all(one.why.startswith("too few to tell") for one in answers.tried_)
    assert [one.learner for one in answers.tried_ if one.chosen] == [USUAL]


def test_without_time_the_first_is_taken_and_the_others_say_why():
    X, y = columns_of_no_use(1)
    first = mw.FewShotClassifier().fit(X, y).predictor_
    chosen, tried = choose(first, X, seconds=1e-9)
    assert chosen.head.name == tried[0].learner
    assert [one.chosen for one in tried] == [True] + [False] * (len(HEADS) - 1)
    assert {one.why for one in tried[1:]} == {"not tried: there was no time left"}


def test_a_later_class_leaves_the_choice_as_it_was():
    X, y = columns_of_no_use(2)
    answers = mw.FewShotClassifier().fit(X, y)
    head = answers.predictor_.head
    answers.add_class(2, X[:3] + 50)
    assert answers.predictor_.head == head


@pytest.mark.parametrize(("budget", "seconds"), [("30s", 30), ("2m", 120), ("1h", 3600), (5, 5), ("0.5", 0.5)])
def test_a_budget_is_a_time(budget, seconds):
    assert seconds_of(budget) == seconds


@pytest.mark.parametrize("budget", ["soon", "", "0s", -1, "5d", None, float("nan"), float("inf")])
def test_a_budget_that_is_no_time_is_refused(budget):
    with pytest.raises(ValueError, match="a time above zero"):
        mw.FewShotClassifier().fit([[0.0], [1.0]], [0, 1], budget=budget)
