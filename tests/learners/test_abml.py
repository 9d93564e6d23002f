"""ABML: without spread it is MAML, its terms are their closed forms, and steps against its prior have a bound."""

import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.distributions import Gamma, Normal, kl_divergence

from mapwise.catalog.learners import LEARNERS
from mapwise.core import random, tree
from mapwise.core.inner_loop import value_and_gradient
from mapwise.core.normals import divergence
from mapwise.core.task import Examples, Task
from mapwise.learners.generation.abml import ABML, drawn, surprise
from mapwise.learners.optimization.maml import MAML
from mapwise.nets import MLP
from small_tasks import TASK, net, rows

PLAIN = {"inner_kl": 0.0, "outer_kl": 0.0, "hyper_prior": 0.0, "learns_from": "query"}
"""Without anything that MAML doesn't have, but for the spread."""


def gradient(learner, params, task) -> tuple[float, dict]:
    value, slope = value_and_gradient(lambda p: learner.objective(p, task), params)
    return float(value), slope


def largest(a: dict, b: dict) -> float:
    gaps = tree.map(lambda x, y: (x - y).abs().max(), a, b)
    return max(float(gap) for gap in gaps.values())


def normals(seed: int = 0, count: int = 7) -> tuple[dict, dict]:
    torch.manual_seed(seed)
    return tuple({"mean": torch.randn(count).double(), "log_sigma": torch.randn(count).double()} for _ in range(2))


# The exact check -----------------------------------------------------------------------------------------


def gap_to_maml(sigma: float) -> tuple[float, float, float]:
    """How far from MAML's the loss, the gradient of the means and that of the spreads (which it hasn't) are."""
    maml = MAML(net(), inner_steps=3, inner_lr=0.5)
    learner = ABML(net(), inner_steps=3, inner_lr=0.5, log_sigma=math.log(sigma), samples=3, **PLAIN)
    start = maml.init(0)
    value, slope = gradient(learner, learner.init(0), TASK)
    expected, by_name = gradient(maml, start, TASK)
    spreads = max(float(leaf.abs().max()) for leaf in slope["log_sigma"].values())
    return abs(value - expected), largest(slope["mean"], by_name), spreads


def test_without_spread_it_is_maml():
    assert max(gap_to_maml(1e-13)) < 1e-11


def test_the_difference_from_maml_falls_linearly_with_the_spread():
    far, near, nearest = (gap_to_maml(sigma) for sigma in (1e-3, 1e-4, 1e-5))
    for a, b, c in zip(far, near, nearest, strict=True):
        assert a / b == pytest.approx(10, rel=0.05) and b / c == pytest.approx(10, rel=0.01)


def test_with_spread_kl_or_support_it_is_not_maml():
    maml = gradient(MAML(net(), inner_steps=3, inner_lr=0.5), MAML(net()).init(0), TASK)[1]
    certain = {"inner_steps": 3, "inner_lr": 0.5, "log_sigma": math.log(1e-6), "samples": 1, **PLAIN}
    for setting in ({"log_sigma": -2.0}, {"outer_kl": 1e-12}, {"hyper_prior": 0.1}, {"learns_from": "all"}):
        learner = ABML(net(), **{**certain, **setting})
        assert largest(gradient(learner, learner.init(0), TASK)[1]["mean"], maml) > 1e-3, setting


# Its terms -----------------------------------------------------------------------------------------------


def test_the_divergence_is_that_of_normals():
    q, p = normals()
    expected = kl_divergence(*(Normal(part["mean"], part["log_sigma"].exp()) for part in (q, p))).sum()
    assert float(divergence(q, p)) == pytest.approx(float(expected), rel=1e-12)
    assert float(divergence(q, q)) == 0


def test_the_hyper_prior_is_a_normal_and_a_gamma_but_for_a_constant():
    def expected(prior: dict) -> torch.Tensor:
        precision = torch.exp(-2 * prior["log_sigma"])
        of_mean = Normal(torch.tensor(0.0).double(), 1.0).log_prob(prior["mean"])
        return -(of_mean + Gamma(torch.tensor(1.0).double(), 0.01).log_prob(precision)).sum()

    one, other = normals()
    assert float(surprise(one) - surprise(other)) == pytest.approx(float(expected(one) - expected(other)), rel=1e-12)


def test_nets_are_drawn_from_the_posterior():
    q, _ = normals()
    noise = torch.randn(20_000, 7).double()
    nets = drawn(q, noise, {"b": torch.Size([3]), "a": torch.Size([2, 2])})
    flat = torch.stack([torch.cat([weights["a"].flatten(), weights["b"]]) for weights in nets])
    assert torch.allclose(flat, q["mean"] + q["log_sigma"].exp() * noise)


def test_the_slope_is_that_of_losses_divergence_and_hyper_prior():
    learner = ABML(net(), inner_steps=2, log_sigma=-2.0, inner_kl=0.01, outer_kl=0.02, hyper_prior=0.003, samples=2)
    params = learner.init(0)
    module, names = net(), sorted(params["mean"])

    def flat(part: dict) -> torch.Tensor:
        return torch.cat([part[name].flatten() for name in names])

    def bound(point: dict) -> torch.Tensor:
        fast = learner.adapt(point, TASK.support)
        nets = learner._drawn(fast, {name: point["mean"][name].shape for name in names})
        both = [
            torch.nn.functional.cross_entropy(
                torch.func.functional_call(module, weights, torch.cat([TASK.support.x, TASK.query.x])),
                torch.cat([TASK.support.y, TASK.query.y]),
            )
            for weights in nets
        ]
        q = Normal(fast["mean"], fast["log_sigma"].exp())
        p = Normal(flat(point["mean"]), flat(point["log_sigma"]).exp())
        precision = torch.exp(-2 * flat(point["log_sigma"]))
        hyper = flat(point["mean"]) ** 2 / 2 + 0.01 * precision
        return torch.stack(both).mean() + 0.02 * kl_divergence(q, p).sum() + 0.003 * hyper.sum()

    value, slope = value_and_gradient(lambda p: learner.objective(p, TASK), params)
    _, expected = value_and_gradient(bound, params)
    for part in ("mean", "log_sigma"):
        assert largest(slope[part], expected[part]) < 1e-12
    scores = learner.predict(params, learner.adapt(params, TASK.support), TASK.query.x)
    assert float(value) == pytest.approx(float(learner.criterion(scores, TASK.query)), rel=1e-12)


def test_an_adaptation_takes_the_steps_of_torchs_sgd_down_the_variational_bound():
    learner = ABML(net(), inner_steps=3, inner_lr=0.3, inner_samples=2, log_sigma=-1.0, inner_kl=0.05)
    params = learner.init(0)
    fast = learner.adapt(params, TASK.support)
    module, names = net(), sorted(params["mean"])
    sizes = [params["mean"][name].numel() for name in names]
    prior = torch.cat([params["mean"][name].flatten() for name in names])
    mean, log_sigma = prior.clone().requires_grad_(), torch.full_like(prior, -1.0).requires_grad_()
    noise = random.normal(random.fold(TASK.support.key, 0), (3, 2, len(prior))).double()
    optimizer = torch.optim.SGD([mean, log_sigma], lr=0.3)
    for of_step in noise:
        optimizer.zero_grad()
        loss = 0.05 * kl_divergence(Normal(mean, log_sigma.exp()), Normal(prior, math.exp(-1.0))).sum()
        for of_net in of_step:
            parts = (mean + log_sigma.exp() * of_net).split(sizes)
            weights = {n: part.reshape(params["mean"][n].shape) for n, part in zip(names, parts, strict=True)}
            out = torch.func.functional_call(module, weights, TASK.support.x)
            loss = loss + torch.nn.functional.cross_entropy(out, TASK.support.y) / 2
        loss.backward()
        optimizer.step()
    assert torch.allclose(fast["mean"], mean, rtol=1e-12) and torch.allclose(fast["log_sigma"], log_sigma, rtol=1e-12)
    for moved, start in ((mean, prior), (log_sigma, -1.0)):
        assert float((moved.detach() - start).abs().max()) > 0.01


def test_the_prior_holds_a_posterior_back():
    far, near = (
        ABML(net(), inner_steps=20, inner_lr=0.3, log_sigma=-1.0, inner_kl=weight, samples=2) for weight in (0.0, 0.1)
    )
    start = far.init(0)
    flat = {part: torch.cat([start[part][n].flatten() for n in sorted(start[part])]) for part in start}
    moved = [float(divergence(learner.adapt(start, TASK.support), flat)) for learner in (far, near)]
    assert moved[0] > 3 * moved[1] > 0


# Predictions ---------------------------------------------------------------------------------------------


def test_a_prediction_is_the_mean_probability_of_drawn_nets():
    learner = ABML(net(), inner_steps=1, log_sigma=-1.0, samples=4)
    params = learner.init(0)
    fast = learner.adapt(params, TASK.support)
    nets = learner._drawn(fast, {name: leaf.shape for name, leaf in params["mean"].items()})
    each = [torch.func.functional_call(net(), weights, TASK.query.x).softmax(-1) for weights in nets]
    expected = torch.stack(each).mean(0)
    assert torch.allclose(learner.predict(params, fast, TASK.query.x).exp(), expected, rtol=1e-12)
    assert float((each[0] - each[1]).abs().max()) > 0.01


def test_regression_predicts_the_mean_of_drawn_nets():
    learner = ABML(net(), inner_steps=1, inner_lr=0.01, log_sigma=-1.0, samples=4, loss="squared_error")
    params = learner.init(0)
    fast = learner.adapt(params, TASK.support)
    nets = learner._drawn(fast, {name: leaf.shape for name, leaf in params["mean"].items()})
    each = [torch.func.functional_call(net(), weights, TASK.query.x) for weights in nets]
    assert torch.allclose(learner.predict(params, fast, TASK.query.x), torch.stack(each).mean(0), rtol=1e-12)
    assert "present" not in fast


def test_every_drawn_net_is_normalised_by_the_support_under_its_own_weights():
    learner = ABML(MLP((4,), 3, hidden=(6,), norm="support").double(), inner_steps=1, log_sigma=-1.0, samples=3)
    params = learner.init(0)
    fast = learner.adapt(params, TASK.support)
    nets = learner._drawn(fast, {name: leaf.shape for name, leaf in params["mean"].items()})
    for seen, weights in zip(fast["statistics"]["body.2"], nets, strict=True):
        hidden = TASK.support.x @ weights["body.1.weight"].T + weights["body.1.bias"]
        assert torch.allclose(seen[0], hidden.mean(0)) and torch.allclose(seen[1], hidden.var(0, correction=0))


def test_another_task_key_draws_other_nets():
    learner = ABML(net(), inner_steps=1)
    params = learner.init(0)
    one, same, other = (
        learner.predict(params, learner.adapt(params, TASK.support._replace(key=torch.tensor(key))), TASK.query.x)
        for key in (1, 1, 2)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_an_absent_class_takes_no_probability():
    learner = ABML(net(), inner_steps=2)
    support = TASK.support._replace(weight=1 - TASK.support.y[:, 2])
    params = learner.init(0)
    scores = learner.predict(params, learner.adapt(params, support), TASK.query.x)
    assert torch.allclose(scores[:, :2].exp().sum(1), torch.ones(9).double())
    assert bool((scores[:, 2] < -1e300).all())


def test_more_classes_than_columns_are_refused():
    learner = ABML(net(), inner_steps=1)
    with pytest.raises(ValueError, match="3 columns and the task has 4 classes"):
        learner.objective(learner.init(0), Task(rows(8, ways=4), rows(8, ways=4, seed=1)))


# Settings ------------------------------------------------------------------------------------------------


def pulled(inner_lr: float, inner_kl: float) -> list[float]:
    """How far from the prior a posterior is after each of some steps against the KL alone."""
    flat = ABML(net(), inner_steps=0, log_sigma=-4.0, loss=lambda scores, rows: 0 * scores.sum())
    params = flat.init(0)
    shifted = tree.map(torch.clone, params)
    prior, q = flat._prior(params), flat._prior(shifted)
    q = {**q, "mean": q["mean"] + 1e-6}
    far = []
    for _ in range(30):
        _, slope = value_and_gradient(lambda point: inner_kl * divergence(point, prior), q)
        q = tree.map(lambda leaf, s: leaf - inner_lr * s, q, slope)
        far.append(float((q["mean"] - prior["mean"]).abs().max()))
    return far


def test_steps_are_stable_below_the_bound_that_is_asked_for_and_not_above():
    bound = 2 * math.exp(-8.0)
    below, above = pulled(1.0, 0.95 * bound), pulled(1.0, 1.05 * bound)
    assert below[-1] < below[0] and above[-1] > 2 * above[0]
    ABML(net(), inner_lr=1.0, inner_kl=0.95 * bound)
    with pytest.raises(ValueError, match=r"is 0.0007, and from 2 sigma\^2 = 0.00067 on the steps overshoot"):
        ABML(net(), inner_lr=1.0, inner_kl=1.05 * bound)


def test_the_published_rate_and_weight_are_beyond_the_bound_at_the_published_spread():
    with pytest.raises(ValueError, match="lower one of the two, or raise log_sigma"):
        ABML(net(), inner_lr=0.01, inner_kl=0.1, log_sigma=-4.0)
    ABML(net(), inner_lr=0.01, inner_kl=0.1, log_sigma=-3.0)


@pytest.mark.parametrize(
    ("setting", "match"),
    [
        ({"samples": 0}, "samples is 0: draw at least one net"),
        ({"inner_samples": 0}, "inner_samples is 0"),
        ({"outer_kl": -1.0}, "outer_kl is -1.0: give 0 for none"),
        ({"anneal": 2.0}, "anneal is 2.0: give a share"),
        ({"learns_from": "support"}, "learns_from is 'support'"),
    ],
)
def test_unfit_settings_are_refused(setting, match):
    with pytest.raises(ValueError, match=match):
        ABML(net(), **setting)


def test_training_draws_fewer_nets_and_lets_the_outer_kl_rise():
    learner = ABML(net(), anneal=0.5)
    assert [learner.at(progress).risen for progress in (0, 0.05, 0.1, 0.3, 0.5, 1)] == pytest.approx(
        [0, 0, 0.2, 0.6, 1, 1]
    )
    assert learner.at(0.3).samples == 2 and learner.samples == 10
    assert ABML(net()).at(0).risen == 1


def test_vampire_is_a_row_without_outer_kl_and_hyper_prior():
    vampire = LEARNERS["vampire"].build(partial(nn.Linear, 4, 3))
    assert isinstance(vampire, ABML)
    assert (vampire.outer_kl, vampire.hyper_prior, vampire.learns_from) == (0, 0, "query")
    assert vampire.inner_kl == ABML(net()).inner_kl > 0
    assert isinstance(TASK.support, Examples)
