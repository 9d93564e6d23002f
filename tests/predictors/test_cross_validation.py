"""What a support says of itself is near the truth, and silent where it can't know."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

import mapwise as mw
from mapwise.catalog.heads import HEADS
from mapwise.core import tree
from mapwise.core.task import Examples
from mapwise.learners.metric.protonet import ProtoNet
from mapwise.predictors.diagnostics.cross_validation import report
from mapwise.predictors.evidence.cross_validation import (
    OutOfFold,
    _confused,
    _correct,
    _folds,
    _of_each,
    _power,
    held_out,
    scores_under,
    summary,
)


def blobs(shots, seed, ways=5, width=32, apart=2.2):
    random = np.random.default_rng(seed)
    centres = random.normal(size=(ways, width))
    centres *= apart / np.linalg.norm(centres, axis=1, keepdims=True)

    def drawn(rows):
        spread = np.sqrt(np.linspace(2, 0.1, width))
        x = np.repeat(centres, rows, axis=0) + random.normal(size=(ways * rows, width)) * spread
        return torch.as_tensor(x), np.repeat(np.arange(ways), rows)

    return drawn(shots), drawn(200)


def support_of(x, y, ways=5):
    one_hot = torch.as_tensor(np.eye(ways)[y])
    return Examples(x, one_hot, torch.ones(len(x), dtype=torch.float64), torch.zeros((), dtype=torch.int64))


NAMES = ["a", "b", "c", "d", "e"]


def said_and_true(head, shots, seed):
    (x, y), (new, truth) = blobs(shots, seed, apart=1.2 + 0.08 * (seed % 25))
    support = support_of(x, y)
    learner = HEADS[head](support)
    params = tree.map(torch.Tensor.double, learner.init(0))
    scores = learner.predict(params, learner.adapt(params, support), new)
    return held_out(learner, params, support, NAMES), float((scores.argmax(1).numpy() == truth).mean())


@pytest.mark.parametrize(("head", "tasks"), [("nearest_mean", 100), ("ridge", 50)])
def test_five_examples_of_each_class_tell_the_accuracy(head, tasks):
    pairs = [said_and_true(head, 5, seed) for seed in range(tasks)]
    gaps = np.array([answer.accuracy - true for answer, true in pairs])
    assert abs(gaps.mean()) < 0.02 + 2 * gaps.std() / np.sqrt(tasks)
    covered = np.mean([answer.low <= true <= answer.high for answer, true in pairs])
    assert covered >= 0.85


def test_leaving_out_the_row_alone_would_be_far_too_low():
    """The reason for leaving out a row of each class."""
    alone, true = [], []
    for seed in range(40):
        (x, y), (new, truth) = blobs(3, seed)
        support = support_of(x, y)
        learner = HEADS["nearest_mean"](support)
        scores = scores_under(learner, {}, support, 1 - np.eye(len(y)), x[:, None])[:, 0]
        alone.append((scores.argmax(1) == y).mean())
        true.append((learner.predict({}, learner.adapt({}, support), new).argmax(1).numpy() == truth).mean())
    assert np.mean(alone) < np.mean(true) - 0.05


def test_ridge_without_a_row_is_ridge_taught_without_it():
    (x, y), _ = blobs(3, 0)
    support = support_of(x, y)
    learner = HEADS["ridge"](support)
    params = tree.map(torch.Tensor.double, learner.init(0))
    scores = scores_under(learner, params, support, 1 - np.eye(len(y)), x[:, None])[4, 0]
    rest = np.arange(15) != 4
    again = learner.predict(params, learner.adapt(params, support_of(x[rest], y[rest])), x[4:5])[0]
    np.testing.assert_allclose(scores, again.numpy(), atol=1e-10)


@pytest.mark.parametrize(("shots", "answer"), [(1, "a has 1 example,"), (2, "a has 2 examples,")])
def test_one_or_two_examples_are_too_few_to_tell(shots, answer):
    (x, y), _ = blobs(shots, 0)
    support = support_of(x, y)
    result = held_out(HEADS["nearest_mean"](support), {}, support, NAMES)
    assert result.accuracy is None
    assert str(result).startswith(f"too few to tell: {answer}")


def test_a_row_under_a_wrong_name_is_doubted_first():
    (x, y), _ = blobs(8, 1, apart=6)
    y = y.copy()
    y[3] = 4
    support = support_of(x, y)
    result = held_out(HEADS["nearest_mean"](support), {}, support, NAMES)
    assert result.doubtful[0] == (3, "e", "a")
    assert result.confusions[0][:2] == ("e", "a")
    assert result.classes["b"] == (1.0, 8)
    assert result.low < result.accuracy < result.high < 1


def test_the_same_support_says_the_same_again():
    (x, y), _ = blobs(4, 2)
    support = support_of(x, y)
    one, other = (held_out(HEADS["nearest_mean"](support), {}, support, NAMES) for _ in range(2))
    assert one == other


def test_of_a_large_support_rows_are_asked_together():
    (x, y), _ = blobs(200, 0)
    support = support_of(x, y)
    assert held_out(HEADS["nearest_mean"](support), {}, support, NAMES).rows == 1000


def test_errors_fall_by_the_power_that_supports_of_several_sizes_show():
    """Answers that are made, not taught: a learner whose errors are exactly the root of the rows it was taught."""
    sizes, question = np.array([8, 4, 2, 1]), 10_000
    np.testing.assert_allclose(_power(sizes, 0.4 * sizes**-0.5, 0.8, question), -0.5, atol=0.01)
    np.testing.assert_allclose(_power(sizes, 0.4 * sizes**-1.5, 0.8, question), -1)
    np.testing.assert_allclose(_power(sizes, 0.4 * sizes**0.5, 0.8, question), 0)
    assert _power(sizes, np.zeros(4), 0.8, 40) == 0
    assert _power(sizes, np.full(4, 0.8), 0.8, 40) == _power(sizes, np.array([0.75, 0.8, 0.9, 0.9]), 0.8, 40) == 0
    few = _power(sizes, 0.4 * sizes**-0.9, 0.8, 12)
    assert -0.9 < few < -0.3


@pytest.mark.parametrize("more", [1, 5, 20])
def test_how_many_more_examples_help_is_foretold(more):
    learner, gaps, covered = ProtoNet(torch.nn.Flatten), [], []
    for seed in range(40):
        (x, y), (new, truth) = blobs(5 + more, seed, apart=1.2 + 0.08 * (seed % 25))
        first = np.arange(len(y)) % (5 + more) < 5
        message = held_out(learner, {}, support_of(x[first], y[first]), NAMES).more[more]
        scores = learner.predict({}, learner.adapt({}, support_of(x, y)), new)
        right = float((scores.argmax(1).numpy() == truth).mean())
        gaps.append(message.accuracy - right)
        covered.append(message.low <= right <= message.high)
    assert abs(np.mean(gaps)) < 0.05 + 2 * np.std(gaps) / np.sqrt(40)
    assert np.mean(covered) >= 0.8


def test_classes_of_different_sizes_each_lose_the_same_share():
    columns = np.repeat([0, 1], [7, 3])
    left_out = _of_each(np.array([7, 3]), 1)
    assert left_out.tolist() == [2, 1]
    folds = list(_folds(columns, left_out, np.random.default_rng(0)))
    assert len(folds) == 4
    assert all(np.bincount(columns[fold]).tolist() == [2, 1] for fold in folds)
    assert set(np.concatenate(folds)) == set(range(10))


def test_a_copy_does_not_answer_for_its_row():
    (x, y), _ = blobs(4, 0, apart=0.01)
    copied = held_out(ProtoNet(torch.nn.Flatten), {}, support_of(torch.cat([x, x]), np.r_[y, y]), NAMES)
    heavy = support_of(x, y)._replace(weight=torch.full((20,), 2.0, dtype=torch.float64))
    assert copied == held_out(ProtoNet(torch.nn.Flatten), {}, heavy, NAMES)
    assert copied.rows == 20
    assert copied.accuracy < 0.6
    three = support_of(x[[0, 0, 0, 4, 5, 6]], np.array([0, 0, 0, 1, 1, 1]), ways=2)
    assert held_out(ProtoNet(torch.nn.Flatten), {}, three, NAMES[:2]).why.startswith(
        "too few to tell: a has 1 example,"
    )


def test_when_time_is_up_fewer_rows_are_asked():
    (x, y), _ = blobs(60, 0)
    support = support_of(x.repeat(1, 100), y)
    result = held_out(ProtoNet(torch.nn.Flatten), {}, support, NAMES, seconds=0)
    assert result.rows < 300
    assert 0 < result.low < result.accuracy < result.high < 1


def test_the_estimator_shows_its_report():
    (x, y), _ = blobs(5, 0, apart=4)
    names = np.array(["newt", "toad", "frog", "olm", "eft"])[y]
    answers = mw.FewShotClassifier().fit(x.numpy(), names)
    assert set(answers.report_.classes) == {"newt", "toad", "frog", "olm", "eft"}
    assert 0.5 < answers.report_.accuracy <= 1


def test_a_class_is_added_removed_and_renamed_without_the_rows_of_the_others():
    (x, y), (new, truth) = blobs(5, 0, apart=5)
    x, new = x.numpy(), new.numpy()
    names = np.array(["toad", "newt", "frog", "olm", "eft"])
    few = mw.FewShotClassifier().fit(x[y < 4], names[y[y < 4]])
    result = few.predictor_.rows
    cost = few.add_class("eft", x[y == 4])
    assert cost.startswith("the other classes: ")
    assert list(few.classes_) == sorted(names)
    np.testing.assert_array_equal(few.predictor_.rows[: len(result)], result)
    assert few.score(new, names[truth]) > 0.9
    few.rename_class("eft", "axolotl")
    assert list(few.classes_) == ["axolotl", "frog", "newt", "olm", "toad"]
    renamed = np.where(names == "eft", "axolotl", names)
    assert few.score(new, renamed[truth]) > 0.9
    few.remove_class("axolotl")
    assert list(few.classes_) == ["frog", "newt", "olm", "toad"]
    np.testing.assert_array_equal(few.predictor_.rows, result)
    assert few.score(new[truth < 4], names[truth[truth < 4]]) > 0.9


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda model: model.add_class("newt", [[0.0]]), "there is a class 'newt' already"),
        (lambda model: model.add_class(3, [[0.0]]), "is a number: give it as a string"),
        (lambda model: model.remove_class("nwet"), "no class 'nwet': did you mean 'newt'"),
        (lambda model: model.remove_class("newt"), "two are needed"),
        (lambda model: model.rename_class("newt", "toad"), "there is a class 'toad' already"),
        (lambda model: model.rename_class("olm", "eft"), "no class 'olm'"),
    ],
)
def test_a_change_of_classes_that_cannot_be_is_refused(change, words):
    model = mw.FewShotClassifier().fit([[0.0], [1.0]], ["newt", "toad"])
    with pytest.raises(ValueError, match=words):
        change(model)


def test_a_class_of_numbers_is_no_class_of_names():
    model = mw.FewShotClassifier().fit([[0.0], [1.0]], [1, 2])
    with pytest.raises(ValueError, match="the classes are numbers and 'newt' is a name"):
        model.add_class("newt", [[2.0]])
    model.add_class(3, [[2.0]])
    assert model.classes_.tolist() == [1, 2, 3]


def test_what_a_new_class_cost_is_not_told_from_too_few():
    model = mw.FewShotClassifier().fit([[0.0], [1.0]], ["newt", "toad"])
    assert "is unknown: too few to tell: newt has 1 example" in model.add_class("olm", [[2.0]])


def uneven(rows, seed, apart=4.0, width=16):
    """So many rows of each of two classes, and 2,000 more in the same proportion."""
    random = np.random.default_rng(seed)
    centres = apart * random.normal(size=(2, width)) / np.sqrt(width)

    def drawn(counts):
        y = np.repeat([0, 1], counts)
        return torch.as_tensor(centres[y] + random.normal(size=(len(y), width))), y

    return drawn(rows), drawn([round(2000 * count / sum(rows)) for count in rows])


def test_classes_weigh_as_their_rows_do():
    gaps, covered, balanced = [], [], []
    for seed in range(20):
        (x, y), (new, truth) = uneven((300, 3), seed)
        report = held_out(ProtoNet(torch.nn.Flatten), {}, support_of(x, y, 2), NAMES[:2])
        right = ProtoNet(torch.nn.Flatten)
        right = right.predict({}, right.adapt({}, support_of(x, y, 2)), new).argmax(1).numpy() == truth
        gaps.append(report.accuracy - right.mean())
        covered.append(report.low <= right.mean() <= report.high)
        balanced.append(report.balanced.accuracy - np.mean([right[truth == c].mean() for c in (0, 1)]))
        assert report.chance == pytest.approx(300 / 303)
        assert "balanced accuracy" in str(report)
    assert abs(np.mean(gaps)) < 0.02
    assert np.mean(covered) >= 0.9
    assert abs(np.mean(balanced)) < 0.02 + 2 * np.std(balanced) / np.sqrt(20)


def test_a_copy_with_a_little_noise_is_a_copy():
    (x, y), _ = blobs(4, 0, apart=0.01)
    near = x + 1e-9 * torch.as_tensor(np.random.default_rng(0).normal(size=x.shape))
    report = held_out(ProtoNet(torch.nn.Flatten), {}, support_of(torch.cat([x, near]), np.r_[y, y]), NAMES)
    assert report.rows == 20
    assert report.accuracy < 0.6


def test_an_example_that_is_given_again_counts_once():
    """Its encoded row may be another one, as a network rounds otherwise in another batch."""
    (x, y), _ = blobs(4, 0, apart=0.01)
    once = mw.FewShotClassifier().fit(x.numpy(), np.array(NAMES)[y])
    twice = mw.FewShotClassifier().fit(x.numpy(), np.array(NAMES)[y]).partial_fit(x.numpy(), np.array(NAMES)[y])
    moved = twice.predictor_.rows.copy()
    moved[20:] += 0.01
    again = replace(twice.predictor_, rows=moved)
    assert report(again).rows == once.report_.rows == 20


def test_a_report_leaves_the_threads_of_the_process_alone(monkeypatch):
    monkeypatch.setattr(torch, "set_num_threads", lambda count: pytest.fail(f"set to {count}"))
    (x, y), _ = blobs(3, 0)
    assert held_out(ProtoNet(torch.nn.Flatten), {}, support_of(x, y), NAMES).rows == 15


def test_what_is_said_of_many_rows_and_classes_takes_little_time():
    """A class of two rows each: sums over pairs of rows or of classes would take minutes."""
    classes, random = 20_000, np.random.default_rng(0)
    columns = np.repeat(np.arange(classes), 2)
    rows = np.arange(2 * classes)
    right = random.random(2 * classes) < 0.7
    predictions = np.where(right, columns, (columns + 1) % classes)
    scores = Wide(predictions, classes)
    names = [str(c) for c in range(classes)]
    start = time.process_time()
    counts, confusions, doubtful = _confused(rows, scores, columns, names)
    assert _correct(rows, right) == dict(zip(rows.tolist(), right.astype(float).tolist(), strict=True))
    assert time.process_time() - start < 5
    assert counts["0"] == (right[:2].mean(), 2)
    assert len(doubtful) == (~right).sum() and sum(share for _, _, share in confusions) == (~right).sum() / 2


class Wide:
    """Scores of so many classes that they are not written out: 1 for the predicted class, 0 for the others."""

    def __init__(self, predictions, classes):
        self.predictions, self.shape = predictions, (len(predictions), classes)

    def argmax(self, axis):
        return self.predictions

    def max(self, axis):
        return np.ones(len(self.predictions))

    def __getitem__(self, places):
        return (self.predictions[places[0]] == places[1]).astype(float)


def test_confusions_count_every_answer_to_a_row():
    columns, rows = np.array([0, 0, 1]), np.array([0, 1, 2, 0, 1, 2])
    predictions = np.array([0, 1, 1, 1, 1, 1])
    scores = np.eye(2)[predictions]
    classes, confusions, doubtful = _confused(rows, scores, columns, ["a", "b"])
    assert classes == {"a": (0.25, 2), "b": (1.0, 1)}
    assert confusions == [("a", "b", 0.75)]
    assert doubtful == [(1, "a", "b")]


def test_a_small_support_is_cross_validated_in_few_calls(monkeypatch):
    """Each call costs milliseconds whatever it holds, and whoever cross-validates `auto` waits for all of them."""
    sizes = []

    def counted(learner, params, support, weights, x):
        sizes.append(len(weights))
        return scores_under(learner, params, support, weights, x)

    monkeypatch.setattr("mapwise.predictors.evidence.cross_validation.scores_under", counted)
    (x, y), _ = blobs(6, 0)
    report = held_out(ProtoNet(torch.nn.Flatten), {}, support_of(x, y), NAMES)
    assert report.rows == 30 and len(sizes) <= 5 and sum(sizes) > 60


def test_no_error_among_many_classes_is_no_less_than_none():
    """Shares of 49 classes, say, add up to more than 1 by rounding."""
    for classes in range(2, 120):
        columns = np.repeat(np.arange(classes), 3)
        rows, left_out = np.arange(len(columns)), np.ones(classes)
        answers = [OutOfFold(rows, np.eye(classes)[columns], left_out * fewer) for fewer in (1, 2)]
        names = [str(c) for c in range(classes)]
        report = summary(answers, columns, np.ones(len(columns)), names, rows, np.zeros(len(columns)))
        assert report.accuracy == pytest.approx(1) and report.accuracy <= 1
