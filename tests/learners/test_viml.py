"""VIML: the bound against numpy and torch.distributions, and what a prediction makes of its draws."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from mapwise.core import random, tree
from mapwise.core.families.class_noise import noise_by_class
from mapwise.core.inner_loop import value_and_gradient
from mapwise.core.learner import WAIVABLE
from mapwise.core.normals import divergence
from mapwise.core.task import Examples, Task
from mapwise.laws.check import check
from mapwise.learners.generation import viml
from mapwise.learners.generation.viml import VIML
from mapwise.nets import MLP
from mapwise.tasks.sinusoid import Sinusoid

LATENT, DRAWS, BETA = 3, 4, 0.7


def encoder() -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 5), nn.Tanh()).double()
    module.output_shape = (5,)
    return module


def learner(**fields) -> VIML:
    return VIML(encoder(), width=6, latent=LATENT, samples=DRAWS, beta=BETA, **fields)


def params_of(one: VIML) -> dict:
    return tree.map(torch.Tensor.double, one.init(0))


def points(count: int, seed: int) -> Examples:
    draws = np.random.default_rng(seed)
    x, y = draws.normal(size=(count, 4)), draws.normal(size=(count, 2))
    return Examples(torch.from_numpy(x), torch.from_numpy(y), torch.ones(count).double(), torch.tensor(7))


def of_classes(labels: list[int], seed: int) -> Examples:
    return points(len(labels), seed)._replace(y=F.one_hot(torch.tensor(labels), 3).double())


TARGETS, CLASSES = learner(loss="gaussian", targets=2), learner()
WEIGHT = torch.tensor([1, 1, 0, 2, 1]).double()
TASKS = {
    "targets": (TARGETS, Task(points(5, 0)._replace(weight=WEIGHT), points(3, 1))),
    "classes": (CLASSES, Task(of_classes([0, 1, 2, 2, 0], 0)._replace(weight=WEIGHT), of_classes([2, 0, 1], 1))),
}
KINDS = pytest.mark.parametrize("kind", TASKS)


# In numpy ------------------------------------------------------------------------------------------------


def layers(x: np.ndarray, weights: dict) -> np.ndarray:
    flat = {name: leaf.numpy() for name, leaf in weights.items()}
    order = sorted({name.rpartition(".")[0] for name in flat}, key=lambda name: (name == "head", name))
    for place, layer in enumerate(order):
        x = x @ flat[f"{layer}.weight"].T + flat[f"{layer}.bias"]
        x = x if place == len(order) - 1 else np.maximum(x, 0)
    return x


def features(params: dict, rows: Examples) -> np.ndarray:
    weights = {name: leaf.numpy() for name, leaf in params["encoder"].items()}
    return np.tanh(rows.x.numpy() @ weights["0.weight"].T + weights["0.bias"])


def joined(*parts: Examples) -> Examples:
    x, y, weight = (torch.cat([part[place] for part in parts]) for place in range(3))
    return Examples(x, y, weight, parts[0].key)


def distribution(one: VIML, params: dict, rows: Examples) -> Normal:
    """q of the latent after these rows."""
    z, y, weight = features(params, rows), rows.y.numpy(), rows.weight.numpy()
    if one.of_targets:
        r = weight @ layers(np.concatenate([z, y], 1), params["h"]) / weight.sum()
    else:
        share = y * weight[:, None]
        r = share.T @ z / share.sum(0)[:, None]
    mean, raw = np.split(layers(r, params["q"]), 2, axis=-1)
    return Normal(torch.from_numpy(mean), torch.from_numpy(0.1 + 0.9 / (1 + np.exp(-raw))))


def log_likelihoods(one: VIML, params: dict, q: Normal, task: Task, purpose: int) -> np.ndarray:
    """log p(y | x, latent) of every draw and query, [L, Q]."""
    key = random.fold(task.support.key, purpose)
    support = task.support._replace(key=key)
    noise = random.normal(key, (DRAWS, LATENT)) if one.of_targets else noise_by_class(support, DRAWS, LATENT)
    latents = (q.mean + q.stddev * noise.double()).numpy()
    z, y = features(params, task.query), task.query.y.numpy()
    results = []
    for latent in latents:
        if one.of_targets:
            out = layers(np.concatenate([z, np.tile(latent, (len(z), 1))], 1), params["g"])
            mean, scale = out[:, :2], 0.1 + 0.9 * np.log1p(np.exp(out[:, 2:]))
            each = -0.5 * ((y - mean) / scale) ** 2 - np.log(scale) - 0.5 * np.log(2 * np.pi)
            results.append(each.sum(1))
        else:
            scores = np.concatenate(
                [layers(np.concatenate([z, np.tile(one_class, (len(z), 1))], 1), params["g"]) for one_class in latent],
                1,
            )
            results.append((y * (scores - np.log(np.exp(scores).sum(1, keepdims=True)))).sum(1))
    return np.stack(results)


def the_bound_equals_numpys(kind: str) -> None:
    one, task = TASKS[kind]
    params = params_of(one)
    prior, posterior = (distribution(one, params, rows) for rows in (task.support, joined(*task)))
    expected = -log_likelihoods(one, params, posterior, task, 1).mean()
    expected += BETA * float(kl_divergence(posterior, prior).sum()) / 3
    assert float(one.surrogate(params, task)(params)) == pytest.approx(expected, rel=1e-10)


@KINDS
def test_the_bound_equals_numpys(kind):
    the_bound_equals_numpys(kind)


def from_the_support_alone(monkeypatch) -> None:
    """Latents of training are drawn from q(. | support)."""
    q, drawn, seen = VIML._q, VIML._drawn, list[dict]()

    def recorded(self, params, z, rows):
        seen.append(q(self, params, z, rows))
        return seen[-1]

    monkeypatch.setattr(VIML, "_q", recorded)
    monkeypatch.setattr(VIML, "_drawn", lambda self, _, support, purpose: drawn(self, seen[0], support, purpose))


def without_the_least_deviation(monkeypatch) -> None:
    monkeypatch.setattr(viml, "LEAST_SIGMA", 0.0)


WRONG = {
    "KL in the wrong direction": lambda patch: patch.setattr(viml, "divergence", lambda q, p: divergence(p, q)),
    "KL with the wrong sign": lambda patch: patch.setattr(viml, "divergence", lambda q, p: -divergence(q, p)),
    "draws from the support's distribution": from_the_support_alone,
    "no least deviation": without_the_least_deviation,
}


@KINDS
@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_formula_has_another_bound(fault, kind, monkeypatch):
    WRONG[fault](monkeypatch)
    with pytest.raises(AssertionError):
        the_bound_equals_numpys(kind)


def test_the_divergence_is_that_of_normals_and_zero_when_they_are_equal():
    draws = torch.Generator().manual_seed(0)
    q, p = (
        {name: torch.randn(3, 4, generator=draws, dtype=torch.float64) for name in ("mean", "log_sigma")} for _ in "qp"
    )
    expected = kl_divergence(*(Normal(part["mean"], part["log_sigma"].exp()) for part in (q, p))).sum()
    assert float(divergence(q, p)) == pytest.approx(float(expected), rel=1e-12)
    assert float(divergence(q, q)) == 0


@KINDS
def test_queries_without_weight_leave_no_divergence(kind):
    one, task = TASKS[kind]
    params = params_of(one)
    nothing = Task(task.support, task.query._replace(weight=0 * task.query.weight))
    assert float(one.surrogate(params, nothing)(params)) == pytest.approx(0, abs=1e-12)


@KINDS
def test_padding_among_queries_changes_no_bound(kind):
    one, task = TASKS[kind]
    params = params_of(one)
    more = task.query._replace(x=task.query.x + 3, weight=0 * task.query.weight)
    wide = Task(task.support, joined(task.query, more))
    assert float(one.surrogate(params, wide)(params)) == pytest.approx(float(one.surrogate(params, task)(params)))


@KINDS
def test_the_value_is_the_query_loss_and_the_slope_that_of_the_bound(kind):
    one, task = TASKS[kind]
    params = params_of(one)
    value, slope = value_and_gradient(lambda point: one.objective(point, task), params)
    scores = one.predict(params, one.adapt(params, task.support), task.query.x)
    assert float(value) == pytest.approx(float(one.criterion(scores, task.query)), rel=1e-12)
    bound, expected = value_and_gradient(one.surrogate(params, task), params)
    assert float(bound) != pytest.approx(float(value), rel=1e-3)
    flat = tree.flatten(expected)
    assert all(torch.allclose(leaf, flat[path], atol=1e-12) for path, leaf in tree.flatten(slope).items())


# Predictions ---------------------------------------------------------------------------------------------


def test_scores_are_the_log_of_the_mean_likelihood_over_draws():
    one, task = TASKS["classes"]
    params = params_of(one)
    prior = distribution(one, params, task.support)
    expected = np.log(np.exp(log_likelihoods(one, params, prior, task, 0)).mean(0))
    scores = one.predict(params, one.adapt(params, task.support), task.query.x)
    assert np.allclose(scores.exp().sum(1), 1)
    assert np.allclose((scores * task.query.y).sum(1), expected, rtol=1e-10)


def test_targets_have_the_mean_and_the_variance_of_the_mixture():
    one, task = TASKS["targets"]
    params = params_of(one)
    fast = one.adapt(params, task.support)
    each = [one.predict(params, {**fast, "latents": fast["latents"][i : i + 1]}, task.query.x) for i in range(DRAWS)]
    random_numbers = np.random.default_rng(0)
    draws = np.concatenate(
        [random_numbers.normal(part.mean, part.scale, size=(100_000, 3, 2)) for part in each], axis=0
    )
    together = one.predict(params, fast, task.query.x)
    assert np.allclose(together.mean, draws.mean(0), atol=0.02)
    assert np.allclose(together.scale, draws.std(0), rtol=0.01)
    assert float((together.scale - torch.stack([part.scale for part in each]).mean(0)).min()) > 0


def test_no_two_draws_and_no_two_classes_are_alike():
    many = replace(CLASSES, samples=20_000)
    latents = many.adapt(params_of(many), TASKS["classes"][1].support)["latents"]
    together = np.corrcoef(latents.flatten(1).numpy().T)
    assert np.abs(together - np.eye(len(together))).max() < 0.04


def test_the_weight_of_the_divergence_rises_in_the_first_part_of_training():
    one = replace(CLASSES, anneal=0.5, train_samples=2)
    assert [one.at(progress).risen for progress in (0.0, 0.11, 0.3, 0.5, 1.0)] == [0, 0.2, 0.6, 1, 1]
    assert one.at(0.0).samples == 2 and one.samples == DRAWS
    task = TASKS["classes"][1]
    params = params_of(one)
    nats = [float(one.at(progress).surrogate(params, task)(params)) for progress in (0.0, 0.3, 1.0)]
    assert (nats[1] - nats[0]) / (nats[2] - nats[0]) == pytest.approx(0.6, rel=1e-9)
    assert replace(one, anneal=0.0).at(0.0).risen == 1


def test_for_targets_it_keeps_every_law_it_does_not_waive():
    one = VIML(partial(MLP, (1,), hidden=()), loss="gaussian", width=32, latent=8, samples=3)
    verdicts = check(one, Sinusoid(shots=10, tasks=8))
    verdicts.raise_if_broken()
    assert {verdict.law.name for verdict in verdicts if verdict.holds is None} == WAIVABLE - one.keeps == {"relabel"}


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"samples": 0}, "samples is 0"),
        ({"latent": 0}, "latent is 0"),
        ({"beta": -1.0}, "beta is -1.0"),
        ({"anneal": 1.5}, "anneal is 1.5"),
        ({"targets": 0}, "targets is 0"),
    ],
)
def test_unfit_settings_are_refused(setting, words):
    with pytest.raises(ValueError, match=words):
        VIML(encoder(), **setting)
