"""None of these: what no class is like is refused, and of the classes' own rows no more than was chosen."""

import numpy as np
import pytest
import torch
from scipy import stats

import mapwise as mw
from mapwise.core.task import Examples
from mapwise.encoders.encoder import Spread
from mapwise.predictors.evidence.novelty import held_out_novelty, leave_classes_out, limit, novelty

WAYS, WIDTH = 5, 16


def support_of(x, y, weight=None, ways=WAYS):
    weight = torch.ones(len(x), dtype=torch.float64) if weight is None else torch.as_tensor(weight)
    return Examples(torch.as_tensor(x), torch.as_tensor(np.eye(ways)[y]), weight, torch.zeros((), dtype=torch.int64))


def drawn(random, centres, rows):
    return np.repeat(centres, rows, axis=0) + random.normal(size=(len(centres) * rows, WIDTH))


def blobs(seed, shots, unknown=0):
    random = np.random.default_rng(seed)
    centres = 3 * random.normal(size=(WAYS + unknown, WIDTH))
    support = support_of(drawn(random, centres[:WAYS], shots), np.repeat(np.arange(WAYS), shots))
    return support, *(torch.as_tensor(drawn(random, part, 40)) for part in (centres[:WAYS], centres[WAYS:]))


def test_the_distance_without_a_row_is_that_of_a_support_without_it():
    support, _, _ = blobs(0, 4)
    weight = np.random.default_rng(1).uniform(0.5, 2, len(support.x))
    support = support._replace(weight=torch.as_tensor(weight))
    for row, result in enumerate(held_out_novelty(support)):
        rest = support.weight.clone()
        rest[row] = 0
        without = novelty(support._replace(weight=rest), support.x[row : row + 1])
        np.testing.assert_allclose(result, without[0], rtol=1e-9)


def test_the_only_row_of_a_class_tells_nothing():
    support, _, _ = blobs(0, 1)
    assert np.isnan(held_out_novelty(support)).all()


def test_supports_of_all_sizes_give_known_rows_the_same_novelty():
    means = [np.mean([novelty(*blobs(seed, shots)[:2]).mean() for seed in range(40)]) for shots in (1, 2, 5, 20)]
    np.testing.assert_allclose(means, WIDTH, rtol=0.03)


@pytest.mark.parametrize("share", [0.05, 0.1])
@pytest.mark.parametrize("shots", [3, 5])
def test_no_more_known_rows_are_refused_than_was_chosen_and_unknown_ones_are(shots, share):
    refused, caught = [], []
    for seed in range(60):
        support, known, unknown = blobs(seed, shots, unknown=5)
        end = limit(held_out_novelty(support), share)
        refused.append((novelty(support, known) > end).mean())
        caught.append((novelty(support, unknown) > end).mean())
    assert 0.2 * share < np.mean(refused) < share + 0.02
    assert np.mean(caught) > 0.95


def test_the_limit_is_the_quantile_of_the_next_of_lognormal_rows():
    logs = np.random.default_rng(0).normal(size=9)
    expected = logs.mean() + logs.std(ddof=1) * np.sqrt(1 + 1 / 9) * stats.t.ppf(0.9, 8)
    np.testing.assert_allclose(np.log(limit(np.exp(logs), 0.1)), expected)


def test_what_was_measured_before_counts_as_rows():
    logs = np.array([-1.0, 1.0] * 5)
    known = Spread(0.0, float(np.sqrt(10 / 9) * np.sqrt(9 / 10)), rows=10.0)
    doubled = np.exp(np.concatenate([logs, logs]))
    np.testing.assert_allclose(limit(np.exp(logs), 0.05, known), limit(doubled, 0.05))
    assert np.isfinite(limit(np.array([np.nan]), 0.05, known))


def test_rows_that_are_equal_have_a_limit():
    assert limit(np.array([0.0, 0.0, 1.0, 1.0]), 0.05) > 1
    assert 0 <= limit(np.zeros(4), 0.05) < 1e-9


@pytest.mark.parametrize("share", [0, 1, -0.1, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match="above 0 and below 1"):
        limit(np.ones(9), share)


def test_too_few_examples_say_so():
    with pytest.raises(ValueError, match="give a second example of each"):
        limit(np.array([1.0, 1.0, np.nan]), 0.05)


def test_the_estimator_says_none_of_these():
    answers = mw.FewShotClassifier().fit([[0.0], [1.0], [0.5], [10.0], [11.0], [10.5]], list("aaabbb"))
    labels, unknown = answers.predict([[0.4], [10.2], [60.0]], unknown=True)
    assert labels.tolist() == ["a", "b", "b"]
    assert unknown.tolist() == [False, False, True]
    assert answers.report_.by_coverage[0] == (1.0, 1.0)
    with pytest.raises(ValueError, match="share"):
        answers.predict([[0.4]], unknown=True, refuse=2)


def test_refusing_the_farthest_first_raises_the_accuracy_of_the_rest():
    random = np.random.default_rng(0)
    x = np.concatenate([random.normal(0, 1, (60, 2)), random.normal(2, 1, (60, 2)), random.normal(1, 8, (12, 2))])
    y = np.r_[np.zeros(60), np.ones(60), np.arange(12) % 2].astype(int)
    result = mw.FewShotClassifier().fit(x, y).report_.by_coverage
    assert [round(share, 2) for share, _ in result] == [1.0, 0.95, 0.9, 0.8, 0.5]
    assert result[2][1] > result[0][1]


@pytest.mark.parametrize("apart", [0.3, 1.0, 3.0])
def test_leaving_out_classes_estimates_how_many_rows_of_others_are_rejected(apart):
    estimates, rates = [], []
    for seed in range(40):
        random = np.random.default_rng(seed)
        centres = apart * random.normal(size=(2 * WAYS, WIDTH))
        support = support_of(drawn(random, centres[:WAYS], 5), np.repeat(np.arange(WAYS), 5))
        foreign = torch.as_tensor(drawn(random, centres[WAYS:], 40))
        estimates.append(leave_classes_out(support, 0.05).rate)
        rates.append((novelty(support, foreign) > limit(held_out_novelty(support), 0.05)).mean())
    # A class more stands between, once all are there.
    assert np.mean(estimates) == pytest.approx(np.mean(rates), abs=0.08)


def test_a_class_that_is_left_out_is_judged_as_by_a_support_without_it():
    support, _, _ = blobs(3, 4)
    rates = []
    for c in range(WAYS):
        inside = support.y[:, c] == 0
        rest = Examples(support.x[inside], support.y[inside], support.weight[inside], support.key)
        rates.append((novelty(rest, support.x[~inside]) > limit(held_out_novelty(rest), 0.1)).mean())
    assert leave_classes_out(support, 0.1).rate == pytest.approx(np.mean(rates))


def test_of_two_classes_it_is_unknown_how_many_rows_of_others_are_rejected():
    random = np.random.default_rng(0)
    support = support_of(random.normal(size=(8, WIDTH)), np.repeat([0, 1], 4))
    unknown = leave_classes_out(support, 0.05)
    assert unknown.rate is None and "there are 2 classes, and 3 are needed" in str(unknown)
    support, _, _ = blobs(0, 1)
    assert leave_classes_out(support, 0.05).rate is None
