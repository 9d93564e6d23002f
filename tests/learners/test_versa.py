"""VERSA: what is written is what is drawn from, by class, and probabilities are averaged."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mapwise.core import tree
from mapwise.core.inner_loop import value_and_gradient
from mapwise.core.task import Examples, Task
from mapwise.learners.generation.versa import VERSA


def encoder() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5)).double()
    net.output_shape = (5,)
    return net


def rows(labels: list[int], ways: int, seed: int = 0, key: int = 7) -> Examples:
    x = torch.from_numpy(np.random.default_rng(seed).normal(size=(len(labels), 4)))
    return Examples(x, F.one_hot(torch.tensor(labels), ways).double(), torch.ones(len(x)).double(), torch.tensor(key))


SUPPORT = rows([0, 1, 2, 0, 1, 0], ways=3)  # unequal shots, one of them a single one
QUERY = rows([2, 1, 0, 1], ways=3, seed=1)
LEARNER = VERSA(encoder(), samples=4, units=8, log_variance=-1.0)
PARAMS = tree.map(torch.Tensor.double, LEARNER.init(0))


def written(support: Examples) -> tuple[np.ndarray, np.ndarray]:
    """Mean and log variance of every class's head, [W, D + 1] each, in numpy."""
    weights = {path: leaf.numpy() for path, leaf in tree.flatten(PARAMS).items()}

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def elu(x: np.ndarray) -> np.ndarray:
        return np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1)

    z = linear(np.tanh(linear(support.x.numpy(), "encoder/0")), "encoder/2")
    labels = support.y.argmax(1).numpy()
    means = np.stack([z[labels == c].mean(0) for c in range(support.y.shape[1])])
    hidden = elu(linear(elu(linear(means, "inference/body.1")), "inference/body.3"))
    out = linear(hidden, "inference/head")
    return out[:, :6], out[:, 6:] + LEARNER.log_variance


def test_without_samples_the_head_is_the_mean_that_the_network_writes():
    fast = replace(LEARNER, samples=0).adapt(PARAMS, SUPPORT)
    assert np.allclose(fast["heads"].numpy(), written(SUPPORT)[0][None], rtol=1e-12)


def test_zero_variance_equals_the_deterministic_version():
    certain, mean = replace(LEARNER, log_variance=-1e4), replace(LEARNER, samples=0)
    task = Task(SUPPORT, QUERY)
    result, expected = (value_and_gradient(lambda p, of=of: of.objective(p, task), PARAMS) for of in (certain, mean))
    assert float(result[0]) == pytest.approx(float(expected[0]), rel=1e-12)
    slopes = tree.flatten(expected[1])
    assert max(float((leaf - slopes[path]).abs().max()) for path, leaf in tree.flatten(result[1]).items()) < 1e-12
    assert float(LEARNER.objective(PARAMS, task)) != pytest.approx(float(expected[0]), rel=1e-3)


def test_drawn_heads_have_the_mean_and_the_variance_that_are_written():
    heads = replace(LEARNER, samples=40_000).adapt(PARAMS, SUPPORT)["heads"].numpy()
    mean, log_variance = written(SUPPORT)
    deviation = np.exp(log_variance / 2)
    assert (np.abs(heads.mean(0) - mean) < 5 * deviation / 200).all()
    assert np.allclose(heads.std(0) / deviation, 1, atol=0.02)


def test_no_two_numbers_of_a_task_are_drawn_together():
    heads = replace(LEARNER, samples=40_000).adapt(PARAMS, SUPPORT)["heads"]
    together = np.corrcoef(heads.flatten(1).numpy().T)  # classes among one another, and the numbers of one class
    assert np.abs(together - np.eye(len(together))).max() < 0.025


def test_the_loss_is_minus_the_log_of_the_mean_probability():
    heads = LEARNER.adapt(PARAMS, SUPPORT)["heads"]
    z = np.c_[LEARNER.embed(PARAMS, {}, QUERY.x).numpy(), np.ones(4)]
    p = np.exp(np.einsum("qd,lwd->lqw", z, heads.numpy()))
    p = (p / p.sum(-1, keepdims=True)).mean(0)
    scores = LEARNER.predict(PARAMS, LEARNER.adapt(PARAMS, SUPPORT), QUERY.x)
    assert np.allclose(scores.exp().numpy(), p, rtol=1e-12)
    loss = -np.log(p[np.arange(4), QUERY.y.argmax(1).numpy()]).mean()
    assert float(LEARNER.objective(PARAMS, Task(SUPPORT, QUERY))) == pytest.approx(loss, rel=1e-12)


def test_a_class_draws_by_its_rows_and_not_by_its_place_or_their_order():
    heads = LEARNER.adapt(PARAMS, SUPPORT)["heads"]
    columns, order = torch.tensor([2, 0, 1]), torch.tensor([3, 5, 1, 0, 4, 2])
    moved = Examples(SUPPORT.x[order], SUPPORT.y[order][:, columns], SUPPORT.weight, SUPPORT.key)
    assert torch.allclose(LEARNER.adapt(PARAMS, moved)["heads"], heads[:, columns], rtol=1e-12)


def test_another_task_key_draws_other_heads():
    one, same, other = (LEARNER.adapt(PARAMS, SUPPORT._replace(key=torch.tensor(key)))["heads"] for key in (1, 1, 2))
    assert torch.equal(one, same)
    assert float((one - other).abs().min()) > 0


def test_an_absent_class_takes_no_probability_in_any_sample():
    gone = SUPPORT._replace(weight=1 - SUPPORT.y[:, 2])
    scores = LEARNER.predict(PARAMS, LEARNER.adapt(PARAMS, gone), QUERY.x)
    here = SUPPORT.y[:, 2] == 0
    narrow = Examples(SUPPORT.x[here], SUPPORT.y[here][:, :2], SUPPORT.weight[here], SUPPORT.key)
    assert torch.allclose(scores[:, :2], LEARNER.predict(PARAMS, LEARNER.adapt(PARAMS, narrow), QUERY.x), rtol=1e-12)
    assert torch.allclose(scores[:, :2].exp().sum(1), torch.ones(4).double())
    assert bool((scores[:, 2] < -1e300).all())


def test_any_number_of_ways_shares_the_same_params():
    for ways in (2, 7):
        support = rows(list(range(ways)), ways)
        assert LEARNER.predict(PARAMS, LEARNER.adapt(PARAMS, support), QUERY.x).shape == (4, ways)


def test_variances_start_near_where_they_are_said_to():
    wide = VERSA(encoder(), samples=1000)
    assert wide.log_variance == -10
    heads = wide.adapt(tree.map(torch.Tensor.double, wide.init(0)), SUPPORT)["heads"]
    assert torch.allclose(heads.std(0), torch.tensor(-5.0).double().exp(), rtol=0.3)


def test_unfit_settings_are_refused():
    with pytest.raises(ValueError, match="samples is -1: give 0 or more"):
        VERSA(encoder(), samples=-1)
    with pytest.raises(ValueError, match="has no output_shape"):
        VERSA(nn.Linear(4, 5))
