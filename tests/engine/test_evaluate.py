"""Evaluation: its figures equal scikit-learn's, on exactly the episodes asked for."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from judged_scores import Logits, Reader
from mapwise.core.learner import Learner
from mapwise.core.scores import without_absent
from mapwise.core.task import present_classes
from mapwise.engine.evaluate import evaluate, fitted_temperature
from mapwise.engine.results import Report
from mapwise.problems.classification import BINS

SOURCES = {
    "plain": Logits(),
    "two ways": Logits(ways=2, fewest=2),
    "drawn ways": Logits(fewest=2),
    "rows of weight 0": Logits(unweighted=True),
    "both": Logits(fewest=2, unweighted=True, queries=20),
}


def counted_rows(source, episodes):
    """(probabilities [Q, w], truth [Q], names [w]) of every episode, padding left out."""
    results = []
    for step in range(-(-episodes // source.tasks)):
        for ways, truth, x, weight, names in zip(*source.drawn(step), strict=True):
            logits = x[weight > 0][:, :ways].astype(np.float64)
            shares = np.exp(logits - logits.max(1, keepdims=True))
            results.append((shares / shares.sum(1, keepdims=True), truth[weight > 0], [str(n) for n in names[:ways]]))
    return results[:episodes]


@pytest.fixture(scope="module", params=SOURCES)
def judged(request):
    source = SOURCES[request.param]
    return evaluate(Reader(), {}, source, episodes=40), counted_rows(source, 40)


def test_accuracy_is_scikit_learns(judged):
    from sklearn.metrics import accuracy_score

    report, rows = judged
    expected = [accuracy_score(truth, p.argmax(1)) for p, truth, _ in rows]
    np.testing.assert_allclose(report.values, expected, atol=1e-6)
    assert 0.3 < np.mean(expected) < 0.95


def test_a_report_is_printed_as_one_line(judged):
    report, _ = judged
    estimate = report.estimate
    first = f"accuracy {100 * estimate.mean:.1f} % ± {100 * estimate.ci95:.1f} %, "
    assert str(report) == first + report.protocol.line()
    alone = replace(report, values=report.values[:1])
    assert str(alone) == f"accuracy {100 * report.values[0]:.1f} %, {report.protocol.line()}"


def test_log_loss_is_scikit_learns(judged):
    from sklearn.metrics import log_loss

    report, rows = judged
    expected = [log_loss(truth, p, labels=range(p.shape[1])) for p, truth, _ in rows]
    assert report.nll == pytest.approx(np.mean(expected), rel=1e-6)


def test_roc_auc_is_scikit_learns_one_class_against_the_rest_averaged_over_episodes(judged):
    from sklearn.metrics import roc_auc_score

    report, rows = judged
    expected = []
    for p, truth, _ in rows:
        each = [roc_auc_score(truth == c, p[:, c]) for c in range(p.shape[1]) if 0 < (truth == c).sum() < len(truth)]
        expected.append(np.mean(each))
    assert report.auc == pytest.approx(np.mean(expected), rel=1e-9)


def test_precision_recall_and_f1_of_real_classes_are_scikit_learns(judged):
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    report, rows = judged
    true = [names[c] for _, truth, names in rows for c in truth]
    results = [names[c] for p, _, names in rows for c in p.argmax(1)]
    figures = report.classes
    assert figures.names == sorted({name for _, _, names in rows for name in names})
    precision, recall, f1, support = precision_recall_fscore_support(
        true, results, labels=figures.names, zero_division=0
    )
    np.testing.assert_allclose(figures.precision, precision)
    np.testing.assert_allclose(figures.recall, recall)
    np.testing.assert_allclose(figures.f1, f1)
    np.testing.assert_array_equal(figures.rows, support)
    matrix = confusion_matrix(true, results, labels=figures.names)
    result = np.zeros_like(matrix)
    for (a, b), n in figures.confusions.items():
        result[figures.names.index(a), figures.names.index(b)] = n
    np.testing.assert_array_equal(result, matrix)


def test_the_calibration_error_is_that_of_fifteen_bins_of_equal_mass(judged):
    report, rows = judged
    pairs = sorted(
        ((float(row.max()), bool(row.argmax() == t)) for p, truth, _ in rows for row, t in zip(p, truth, strict=True)),
        key=lambda pair: pair[0],
    )
    # Bins may differ by one row; which of two equal confidences is in which bin is not said.
    sizes = [len(pairs) // BINS + (i < len(pairs) % BINS) for i in range(BINS)]
    error, start = 0.0, 0
    for size in sizes:
        part = pairs[start : start + size]
        start += size
        error += abs(sum(c for c, _ in part) - sum(right for _, right in part)) / len(pairs)
    assert report.ece == pytest.approx(error, abs=1e-9)
    assert report.reliability.shape == (BINS, 3)
    assert report.reliability[:, 2].sum() == pytest.approx(1)
    assert (np.diff(report.reliability[:, 0]) >= 0).all()


@dataclass(frozen=True)
class Divided(Learner):
    """Its scores are the query inputs, divided by a number."""

    by: float = 1.0

    def adapt(self, params, support):
        return {"present": present_classes(support)}

    def predict(self, params, fast, x):
        return without_absent(x / self.by, fast["present"])


def test_the_temperature_is_the_likeliest_one():
    source = Logits(fewest=3, unweighted=True)
    result = fitted_temperature(Divided(), {}, source, episodes=40)

    def nll(temperature):
        return evaluate(Divided(temperature), {}, source, episodes=40).nll

    # Not exactly the same: episodes of fewer rows that count weigh as much as others in a report's NLL.
    near = {factor: nll(result * factor) for factor in (0.7, 1.0, 1.4)}
    assert near[1.0] < near[0.7] and near[1.0] < near[1.4]
    assert fitted_temperature(Divided(by=4.0), {}, source, episodes=40) == pytest.approx(result / 4, rel=1e-5)


@pytest.mark.parametrize("share", [0.6, 0.9])
def test_the_temperature_of_two_classes_is_known_in_closed_form(share):
    """Scores of a lead of 3 that are right in a share q of the rows: q = sigmoid(3 / T)."""

    class Leads(Logits):
        def drawn(self, step):
            ways, truth, x, weight, names = super().drawn(step)
            right = np.arange(self.queries) < share * self.queries
            x = 3.0 * np.eye(2, dtype=np.float32)[np.where(right, truth, 1 - truth)]
            return ways, truth, x, weight, names

    source = Leads(ways=2, fewest=2, queries=10)
    result = fitted_temperature(Divided(), {}, source, episodes=20)
    assert result == pytest.approx(3 / math.log(share / (1 - share)), rel=1e-6)
    report = evaluate(Divided(), {}, source, episodes=20, temperature=result)
    entropy = -share * math.log(share) - (1 - share) * math.log(1 - share)
    assert report.calibrated.nll == pytest.approx(entropy, rel=1e-6) and report.nll > entropy + 0.01
    assert report.calibrated.ece < report.ece


def test_the_figures_after_a_temperature_are_those_of_the_divided_scores_and_the_others_stay():
    class Untied(Logits):
        def drawn(self, step):
            ways, truth, x, *rest = super().drawn(step)
            return ways, truth, x + np.random.default_rng(step).uniform(0, 0.05, x.shape).astype(np.float32), *rest

    source = Untied(fewest=3, unweighted=True)
    plain, warm = (evaluate(Divided(), {}, source, episodes=20, temperature=t) for t in (None, 2.5))
    divided = evaluate(Divided(by=2.5), {}, source, episodes=20)
    assert plain.calibrated is None and "calibrated" not in plain.to_json()
    assert (warm.nll, warm.ece) == (plain.nll, plain.ece)
    np.testing.assert_array_equal(warm.values, plain.values)
    np.testing.assert_allclose(warm.calibrated.reliability, divided.reliability, atol=1e-6)
    assert warm.calibrated.nll == pytest.approx(divided.nll, rel=1e-6)
    assert warm.calibrated.ece == pytest.approx(divided.ece, abs=1e-6)
    again = Report.from_json(warm.to_json(), warm.values)
    assert replace(warm.calibrated, reliability=None) == again.calibrated


def test_scores_that_are_not_finite_have_no_temperature():
    assert fitted_temperature(Divided(by=0.0), {}, Logits(), episodes=4) == 1.0


def test_chance_is_the_mean_of_one_over_the_ways(judged):
    report, rows = judged
    assert report.chance == pytest.approx(np.mean([1 / len(names) for _, _, names in rows]))


def test_calibration_of_known_confidences():
    """Always 90 % sure: right in 9 of 10 is calibrated, right in 6 of 10 is off by 0.3."""
    sure = math.log(0.9 / 0.1)

    @dataclass(frozen=True)
    class Sure(Reader):
        right: int = 9

        def predict(self, params, fast, x):
            message = torch.nn.functional.one_hot((torch.arange(10) >= self.right).long(), 2)
            return sure * message.to(torch.float32)

    @dataclass(frozen=True)
    class Zeros(Logits):
        def drawn(self, step):
            ways, truth, *rest = super().drawn(step)
            return (ways, np.zeros_like(truth), *rest)

    source = Zeros(ways=2, fewest=2, queries=10, tasks=15)
    # 15 episodes of 10 equal rows in 15 bins: each bin is one episode, as the sort is stable.
    assert evaluate(Sure(right=9), {}, source, episodes=15).ece == pytest.approx(0.0, abs=1e-6)
    assert evaluate(Sure(right=6), {}, source, episodes=15).ece == pytest.approx(0.3, abs=1e-6)
    # With queries of one class only there is no curve to take an area under.
    assert evaluate(Sure(), {}, source, episodes=15).auc is None
