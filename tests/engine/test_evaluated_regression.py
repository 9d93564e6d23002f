"""Figures of functions: squared errors, densities and coverage."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from mapwise.core.learner import Learner
from mapwise.core.scores import Gaussian
from mapwise.core.source import About
from mapwise.core.spec import Spec
from mapwise.core.task import Examples, Task
from mapwise.engine.evaluate import evaluate
from mapwise.engine.results import Report
from mapwise.problems.regression import Regression
from mapwise.tasks.gaussian_process import GaussianProcess

# Regression.


@dataclass(frozen=True)
class Line:
    """Every task asks for y = [1, 2] at each query, whose last row has weight 0."""

    tasks: int = 4

    problem = Regression()
    inputs = Spec((1,))
    outputs = 2
    about = About("line", "test", "", "1", 3, 7)

    def __call__(self, step):
        y = torch.tensor([1.0, 2.0]).expand(self.tasks, 3, 2)
        weight = torch.tensor([1.0, 1.0, 0.0]).expand(self.tasks, 3)
        # The tasks are told apart by their inputs: 0, 1, 2, ... over all steps.
        x = (step * self.tasks + torch.arange(self.tasks)).float()[:, None, None].expand(self.tasks, 3, 1)
        rows = Examples(x, y, weight, torch.zeros(self.tasks, dtype=torch.int64))
        return Task(rows, rows)

    def split(self, name):
        return self

    def names(self, step):
        return [[] for _ in range(self.tasks)]


@dataclass(frozen=True)
class Off(Learner):
    """Its error grows with the number of the task; the last row is always far off."""

    lost: object = None
    scale: float | None = None

    def adapt(self, params, support):
        return {}

    def predict(self, params, fast, x):
        wrong = x + torch.tensor([0.0, 0.0, 1e6])[: x.shape[0], None]
        mean = torch.tensor([1.0, 2.0]) + wrong
        if self.lost is not None:
            mean = torch.where(x == 5, self.lost, mean)
        return mean if self.scale is None else Gaussian(mean, torch.full_like(mean, self.scale))


def test_the_mean_squared_error_is_that_of_rows_that_count():
    report = evaluate(Off(), {}, Line(), episodes=6)
    np.testing.assert_allclose(report.values, np.arange(6.0) ** 2)
    data = report.to_json()
    assert data["mse"] == pytest.approx(np.mean(np.arange(6.0) ** 2))
    assert data["median"] == pytest.approx(6.5)
    assert data["diverged"] == 0.0
    assert (data["seed"], data["ways"], data["shots"]) == (7, "", "1")
    assert {"accuracy", "auc", "ece", "nll", "chance"}.isdisjoint(data)


@pytest.mark.parametrize("lost", [math.nan, math.inf, 1e4])
def test_a_task_that_diverged_is_counted_as_such(lost):
    data = evaluate(Off(lost=lost), {}, Line(), episodes=8).to_json()
    assert data["diverged"] == pytest.approx(1 / 8)
    if math.isfinite(lost):
        assert data["median"] == pytest.approx(np.median([0, 1, 4, 9, 16, 9998.5**2, 36, 49]), rel=1e-3)


def test_gaussian_predictions_are_judged_by_their_mean_and_their_density():
    from scipy.stats import norm

    report = evaluate(Off(scale=2.0), {}, Line(), episodes=6)
    np.testing.assert_allclose(report.values, np.arange(6.0) ** 2)
    expected = np.mean([-2 * norm.logpdf(error, scale=2.0) for error in range(6)])
    assert report.nll == pytest.approx(expected, rel=1e-6)


def test_the_coverage_of_a_distribution_is_the_share_of_targets_in_its_intervals():
    # The errors of the six tasks are 0, 1, .. 5 and the scale is 2: 1.35, 2.56 and 3.92 to either side.
    report = evaluate(Off(scale=2.0), {}, Line(), episodes=6)
    assert report.coverage == pytest.approx({"50": 2 / 6, "80": 3 / 6, "95": 4 / 6})
    again = Report.from_json(report.to_json(), report.values)
    assert (again.coverage, again.nll) == (report.coverage, report.nll)
    assert evaluate(Off(), {}, Line(), episodes=6).coverage is None


@pytest.mark.parametrize("share", [0.5, 1.0, 2.0])
def test_a_normal_error_is_covered_as_often_as_the_level_says(share):
    from scipy.stats import norm

    source = GaussianProcess(shots=0, queries=1, tasks=2000, noise=0.5)

    @dataclass(frozen=True)
    class Prior(Learner):
        def adapt(self, params, support):
            return {}

        def predict(self, params, fast, x):
            return Gaussian(torch.zeros_like(x), torch.full_like(x, share * 1.25**0.5))

    result = evaluate(Prior(), {}, source, episodes=2000).coverage
    for level, covered in result.items():
        z = norm.ppf(0.5 + float(level) / 200)
        expected = 2 * norm.cdf(z * share) - 1
        assert covered == pytest.approx(expected, abs=5 * (expected * (1 - expected) / 2000) ** 0.5)


def test_regression_targets_that_happen_to_be_0_or_1_have_no_log_loss():
    @dataclass(frozen=True)
    class Flat(Line):
        def __call__(self, step):
            task = super().__call__(step)
            return task._replace(query=task.query._replace(y=torch.zeros(self.tasks, 3, 2)))

    assert evaluate(Off(), {}, Flat(), episodes=4).nll is None
