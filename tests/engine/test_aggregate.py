"""Weights of tasks: exact values, what they do at the edges, and the gradient they make."""

import math
from functools import partial

import pytest
import torch

from mapwise.core import tree
from mapwise.core.map_tasks import task_at
from mapwise.engine.aggregate import AGGREGATES, inverse, pyramid, pyramid_attention, worst
from mapwise.engine.gradient import meta_gradient
from mapwise.learners.optimization.maml import MAML
from mapwise.nets import MLP
from mapwise.tasks.sinusoid import Sinusoid

LOSSES = torch.tensor([0.5, 2.0, 0.1, 2.5]).double()


@pytest.mark.parametrize("name", AGGREGATES)
@pytest.mark.parametrize(
    "losses", [LOSSES, LOSSES.float(), LOSSES[:1], torch.zeros(3), torch.tensor([-3.0, 0.0, 1e30])]
)
def test_weights_are_non_negative_and_sum_to_one(name, losses):
    weights = AGGREGATES[name](losses)
    assert weights.shape == losses.shape and weights.dtype == losses.dtype
    assert bool((weights >= 0).all())
    assert float(weights.sum()) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", AGGREGATES)
def test_equal_losses_give_the_mean(name):
    weights = AGGREGATES[name](torch.full((5,), 1.7).double())
    assert weights.tolist() == pytest.approx([0.2] * 5, abs=1e-12)


@pytest.mark.parametrize("name", AGGREGATES)
def test_weights_go_with_their_tasks_when_tasks_are_permuted(name):
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(AGGREGATES[name](LOSSES[order]), AGGREGATES[name](LOSSES)[order])


def test_the_worst_case_has_all_the_weight_and_ties_share_it():
    assert worst(LOSSES).tolist() == [0, 0, 0, 1]
    assert worst(torch.tensor([1.0, 3.0, 3.0, 2.0])).tolist() == [0, 0.5, 0.5, 0]


def test_inverse_weights_times_their_losses_are_all_the_same():
    products = inverse(LOSSES) * LOSSES
    assert products.tolist() == pytest.approx([float(products[0])] * 4, rel=1e-12)


def test_inverse_is_safe_at_zero():
    assert inverse(torch.tensor([0.0, 1.0])).tolist() == pytest.approx([1, 1e-6], rel=1e-5)
    assert inverse(torch.tensor([0.0, 0.0])).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_pyramid_attention_has_its_exact_values(dtype):
    losses = torch.tensor([0, 1, math.log(10), 5, -5, -20], dtype=dtype)
    result = pyramid_attention(losses).tolist()
    assert [round(a, 3) for a in result[:4]] == [0.5, 0.659, 0.885, 0.993]
    assert [round(a, 4) for a in result[4:]] == [0.2355, 0.1064]


def test_pyramid_attention_is_where_plain_steps_from_a_half_arrive():
    losses = torch.tensor([0, 1, math.log(10), 5]).double()
    attention = torch.full_like(losses, 0.5)
    for _ in range(25):
        attention = torch.sigmoid(attention * losses)
    torch.testing.assert_close(pyramid_attention(losses), attention, rtol=0, atol=1e-3)


def test_pyramid_attention_solves_its_equation_for_any_loss():
    losses = torch.tensor([-1e6, -100, -3, -1e-3, 0, 1e-3, 1, 4, 30, 1e6]).double()
    attention = pyramid_attention(losses)
    # The equation's two sides may differ by the slope of the right one, times how far the root is off.
    off = (attention - torch.sigmoid(attention * losses)).abs()
    assert bool((off <= 1e-9 * (1 + losses.abs())).all())
    # It rises with the loss until no float is left between it and 1.
    assert bool((attention[:9].diff() > 0).all()) and float(attention[9]) == pytest.approx(1)


def test_pyramid_weights_are_the_attention_divided_by_its_sum():
    attention = pyramid_attention(LOSSES)
    torch.testing.assert_close(pyramid(LOSSES), attention / attention.sum())


@pytest.mark.parametrize("name", AGGREGATES)
@pytest.mark.parametrize("how", ["vmap", "loop", 2])
def test_every_aggregate_weighs_the_tasks_gradients_as_constants(name, how):
    learner = MAML(
        partial(MLP, (1,), 1, hidden=(6,), activation="tanh"), inner_steps=1, inner_lr=0.05, loss="squared_error"
    )
    params, tasks = learner.init(0), Sinusoid(shots=4, queries=5, tasks=5)(0)
    gradient, loss = meta_gradient(learner, params, tasks, how=how, aggregate=name)

    live = tree.map(lambda leaf: leaf.clone().requires_grad_(), params)
    losses = torch.stack([learner.objective(live, task_at(tasks, t)) for t in range(5)])
    weights = AGGREGATES[name](losses.detach())
    torch.testing.assert_close(loss, (weights * losses).sum().detach())
    expected = torch.autograd.grad((weights * losses).sum(), list(live.values()))
    for path, slope in zip(live, expected, strict=True):
        torch.testing.assert_close(gradient[path], slope)
