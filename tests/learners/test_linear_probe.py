"""A linear probe against scikit-learn, its own gradient, and the head that an estimator fits behind an encoder."""

from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional as F

from mapwise.catalog.heads import HEADS
from mapwise.core.families import logistic_head
from mapwise.core.task import Examples, Task
from mapwise.learners.pretraining import linear_probe
from mapwise.learners.pretraining.linear_probe import LinearProbe
from mapwise.learners.pretraining.supervised import Supervised


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 7)).double()


def rows(labels: list[int], ways: int, seed: int = 0) -> Examples:
    x = torch.from_numpy(np.random.default_rng(seed).normal(size=(len(labels), 4)))
    return Examples(x, F.one_hot(torch.tensor(labels), ways).double(), torch.ones(len(x)).double(), torch.tensor(0))


LABELS = [0, 1, 2, 0, 1, 0, 2, 2, 1, 0]
SUPPORT = rows(LABELS, ways=3)._replace(weight=torch.tensor([1, 1, 1, 2, 1, 1, 0, 1, 0.5, 1]).double())
QUERY = rows([2, 1, 0, 1], ways=3, seed=1)
LEARNER = LinearProbe(net(), strength=0.1, solver_steps=300)


def embedded(rows: Examples) -> np.ndarray:
    return np.c_[LEARNER.net[:2](rows.x).detach().numpy(), np.ones(len(rows.x))]


def strength_of(learner: LinearProbe) -> float:
    """In the units of scikit-learn: one over its C."""
    weight, z = SUPPORT.weight.numpy(), embedded(SUPPORT)[:, :-1]
    return learner.strength * float(weight @ (z**2).sum(1) / weight.sum())


def it_equals_scikit_learn(learner: LinearProbe) -> None:
    theirs = LogisticRegression(C=1 / strength_of(learner), fit_intercept=False, tol=1e-12, max_iter=10_000)
    theirs.fit(embedded(SUPPORT), np.array(LABELS), SUPPORT.weight.numpy())
    params = learner.init(0)
    fast = learner.adapt(params, SUPPORT)
    assert np.allclose(fast["head"].numpy(), theirs.coef_.T, atol=1e-6)
    scores = learner.predict(params, fast, QUERY.x)
    assert np.allclose(scores.softmax(1).numpy(), theirs.predict_proba(embedded(QUERY)), atol=1e-6)


def the_slope_vanishes(learner: LinearProbe) -> None:
    head = learner.adapt(learner.init(0), SUPPORT)["head"].clone().requires_grad_()
    scores = torch.from_numpy(embedded(SUPPORT)) @ head
    losses = -(SUPPORT.y * scores.log_softmax(1)).sum(1)
    ((SUPPORT.weight * losses).sum() + strength_of(learner) / 2 * (head**2).sum()).backward()
    assert head.grad is not None
    assert float(head.grad.abs().max()) < 1e-5


def test_it_equals_scikit_learns_logistic_regression_of_the_same_c():
    it_equals_scikit_learn(LEARNER)


def test_the_slope_vanishes_at_its_solution_after_its_usual_steps():
    the_slope_vanishes(LinearProbe(net()))


@dataclass(frozen=True)
class TakesFewSteps(LinearProbe):
    def __post_init__(self):
        object.__setattr__(self, "solver_steps", 10)


@pytest.mark.parametrize("check", [it_equals_scikit_learn, the_slope_vanishes])
def test_too_few_steps_are_noticed(check):
    given = {field.name: getattr(LEARNER, field.name) for field in fields(LEARNER)}
    with pytest.raises(AssertionError):
        check(TakesFewSteps(**given))


WRONG = {
    "the mean of the losses and not their sum": lambda z, y, weight, *rest: logistic_head.logistic_head(
        z, y, weight / weight.sum(), *rest
    ),
    "all rows count once": lambda z, y, weight, *rest: logistic_head.logistic_head(
        z, y, torch.ones_like(weight), *rest
    ),
    "the whole squared head": lambda z, y, weight, strength, steps: logistic_head.logistic_head(
        z, y, weight, 2 * strength, steps
    ),
}


@pytest.mark.parametrize("check", [it_equals_scikit_learn, the_slope_vanishes])
@pytest.mark.parametrize("fault", WRONG)
def test_another_problem_has_another_solution(fault, check, monkeypatch):
    monkeypatch.setattr(linear_probe, "logistic_head", WRONG[fault])
    with pytest.raises(AssertionError):
        check(LEARNER)


def test_it_is_the_head_that_an_estimator_fits_behind_an_encoder():
    raw = nn.Sequential(nn.Flatten(), nn.Linear(4, 7).double())
    learner = LinearProbe(raw, solver_steps=100)
    params, other = learner.init(0), HEADS["logistic"](SUPPORT)
    expected = other.predict({}, other.adapt({}, SUPPORT), QUERY.x)
    assert torch.allclose(learner.predict(params, learner.adapt(params, SUPPORT), QUERY.x), expected, rtol=1e-12)


def test_the_scale_of_the_features_changes_no_answer():
    raw = nn.Sequential(nn.Flatten(), nn.Linear(4, 7).double())
    learner = LinearProbe(raw, solver_steps=2000)
    params, results = learner.init(0), []
    for factor in (1.0, 100.0):
        # Without its column of ones, which a factor leaves as it is: rows that are far from 0 hardly use it.
        support = SUPPORT._replace(x=factor * (SUPPORT.x + 1000))
        results.append(learner.predict(params, learner.adapt(params, support), factor * (QUERY.x + 1000)))
    assert torch.allclose(*(scores.softmax(1) for scores in results), atol=1e-4)


def test_it_pretrains_as_a_supervised_classifier():
    other = Supervised(net())
    empty = Examples(QUERY.x[:0], QUERY.y[:0], QUERY.weight[:0], QUERY.key)
    task = Task(empty, rows([0, 6, 3, 3], ways=7))
    params = LEARNER.init(0)
    assert torch.equal(LEARNER.objective(params, task), other.objective(params, task))


def test_an_absent_class_takes_no_part():
    gone = SUPPORT._replace(weight=SUPPORT.weight * (1 - SUPPORT.y[:, 2]))
    here = SUPPORT.y[:, 2] == 0
    narrow = Examples(SUPPORT.x[here], SUPPORT.y[here][:, :2], SUPPORT.weight[here], SUPPORT.key)
    params = LEARNER.init(0)
    wide, expected = (LEARNER.predict(params, LEARNER.adapt(params, rows), QUERY.x) for rows in (gone, narrow))
    assert torch.allclose(wide[:, :2], expected, rtol=1e-9)
    assert bool((wide[:, 2] == torch.finfo(torch.float64).min / 2).all())


def test_rows_of_zeros_and_no_rows_at_all_have_a_head_of_numbers():
    learner = replace(LEARNER, net=nn.Sequential(nn.Flatten(), nn.Linear(4, 7).double()))
    for support in (SUPPORT._replace(x=0 * SUPPORT.x), SUPPORT._replace(weight=0 * SUPPORT.weight)):
        assert bool(learner.adapt(learner.init(0), support)["head"].isfinite().all())


@pytest.mark.parametrize(
    ("setting", "words"), [({"strength": 0.0}, "must be positive"), ({"solver_steps": 0}, "at least one")]
)
def test_unfit_settings_are_refused(setting, words):
    with pytest.raises(ValueError, match=words):
        LinearProbe(net(), **setting)
