"""R2-D2 and its solver: stationary, the same by both systems, and differentiable twice under vmap."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mapwise.core import tree
from mapwise.core.solvers import ridge
from mapwise.core.task import Examples, Task
from mapwise.data.rows import LabelledRows
from mapwise.learners.optimization.r2d2 import R2D2
from mapwise.nets import MLP
from mapwise.runs.learner import learner_of
from mapwise.runs.settings import RunSettings
from mapwise.tasks.episodes import Episodes
from mapwise.tasks.sinusoid import Sinusoid


def encoder(width: int = 5) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, width)).double()


def rows(labels: list[int], ways: int, seed: int = 0) -> Examples:
    x = torch.from_numpy(np.random.default_rng(seed).normal(size=(len(labels), 4)))
    return Examples(x, F.one_hot(torch.tensor(labels), ways).double(), torch.ones(len(x)).double(), torch.tensor(0))


def start(learner: R2D2) -> dict:
    return tree.map(torch.Tensor.double, learner.init(0))


def system(n: int, d: int, w: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.normal(size=(n, d))), torch.from_numpy(random.normal(size=(n, w)))


SUPPORT = rows([0, 1, 2, 0, 1, 0], ways=3)  # unequal shots
QUERY = rows([2, 1, 0, 1], ways=3, seed=1)


# The solver ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [1e-3, 1.0, 50.0])
@pytest.mark.parametrize(("n", "d"), [(4, 9), (9, 9), (20, 9), (1, 9)])
def test_the_solution_is_stationary(n, d, strength):
    x, y = system(n, d)
    w = ridge(x, y, strength)
    slope = 2 * x.T @ (x @ w - y) + 2 * strength * w
    assert slope.norm() <= 1e-10 * (2 * x.T @ y).norm()


@pytest.mark.parametrize(("n", "d"), [(4, 9), (20, 9)])
def test_the_solution_is_stationary_in_float32_too(n, d):
    x, y = (part.float() for part in system(n, d))
    w = ridge(x, y, 0.1)
    slope = 2 * x.T @ (x @ w - y) + 0.2 * w
    assert slope.norm() <= 1e-5 * (2 * x.T @ y).norm()


def test_both_systems_give_the_same_solution():
    x, y = system(4, 9)
    # Rows of zeros change nothing but which of the two systems is the smaller.
    longer = torch.cat([x, torch.zeros(20, 9).double()]), torch.cat([y, torch.ones(20, 3).double()])
    assert torch.allclose(ridge(x, y, 0.3), ridge(*longer, 0.3), rtol=1e-10)


def test_the_solution_equals_torchs_least_squares_of_the_stacked_system():
    x, y = system(4, 9)
    stacked = torch.cat([x, math.sqrt(0.3) * torch.eye(9).double()]), torch.cat([y, torch.zeros(9, 3).double()])
    assert torch.allclose(ridge(x, y, 0.3), torch.linalg.lstsq(*stacked).solution, rtol=1e-10)


@pytest.mark.parametrize(("n", "d"), [(3, 5), (6, 4)])
def test_the_solution_is_twice_differentiable_in_everything(n, d):
    x, y = (part.requires_grad_() for part in system(n, d, w=2))
    strength = torch.tensor(0.7).double().requires_grad_()
    assert torch.autograd.gradcheck(ridge, (x, y, strength))
    assert torch.autograd.gradgradcheck(ridge, (x, y, strength))


@pytest.mark.parametrize(("n", "d"), [(3, 5), (6, 4)])
def test_second_derivatives_under_vmap_equal_those_of_a_loop(n, d):
    batch = [system(n, d, w=2, seed=seed) for seed in range(3)]

    def bend(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        def slope(at: torch.Tensor) -> torch.Tensor:
            return torch.func.grad(lambda x: (ridge(x, y, 0.5) ** 2).sum())(at).square().sum()

        return torch.func.grad(slope)(x)

    mapped = torch.vmap(bend)(*(torch.stack(parts) for parts in zip(*batch, strict=True)))
    assert torch.allclose(mapped, torch.stack([bend(x, y) for x, y in batch]), rtol=1e-10)


# The learner ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [2, 5, 12])
def test_scores_and_loss_equal_numpys(width):
    module = encoder(width)
    learner = R2D2(module, ridge=0.2, scale=7.0)
    params = start(learner)
    params["bias"] = torch.tensor(0.25).double()
    z, q = (np.c_[module(part.x).detach().numpy(), np.ones(len(part.x))] for part in (SUPPORT, QUERY))
    y = SUPPORT.y.numpy()
    head = np.linalg.solve(z.T @ z / 6 + 0.2 * np.eye(width + 1), z.T @ y / 6)
    expected = 7 * q @ head + 0.25
    fast = learner.adapt(params, SUPPORT)
    assert np.allclose(fast["head"].detach().numpy(), head, rtol=1e-10)
    assert np.allclose(learner.predict(params, fast, QUERY.x).detach().numpy(), expected, rtol=1e-10)
    log_p = expected - np.log(np.exp(expected).sum(1, keepdims=True))
    loss = -log_p[np.arange(4), QUERY.y.argmax(1).numpy()].mean()
    assert learner.objective(params, Task(SUPPORT, QUERY)).item() == pytest.approx(loss, rel=1e-10)


def test_the_ridge_weighs_against_a_mean_over_rows():
    twice = Examples(*(torch.cat([part, part]) for part in SUPPORT[:3]), SUPPORT.key)
    learner = R2D2(encoder(), ridge=0.2)
    params = start(learner)
    assert torch.allclose(learner.adapt(params, twice)["head"], learner.adapt(params, SUPPORT)["head"], rtol=1e-10)


def test_the_ridge_weighs_against_a_sum_where_it_is_asked_to():
    learner = R2D2(encoder(), ridge=0.6, errors="sum")
    params = start(learner)
    mean = R2D2(encoder(), ridge=0.6 / float(SUPPORT.weight.sum()))
    head = learner.adapt(params, SUPPORT)["head"]
    assert torch.allclose(head, mean.adapt(params, SUPPORT)["head"], rtol=1e-10)
    twice = Examples(*(torch.cat([part, part]) for part in SUPPORT[:3]), SUPPORT.key)
    doubled = SUPPORT._replace(weight=2 * SUPPORT.weight)
    assert torch.allclose(learner.adapt(params, twice)["head"], learner.adapt(params, doubled)["head"], rtol=1e-10)
    assert not torch.allclose(learner.adapt(params, twice)["head"], head, rtol=1e-3)
    with pytest.raises(ValueError, match="errors is 'total': give 'mean' or 'sum'"):
        R2D2(encoder(), errors="total")


@pytest.mark.parametrize("width", [2, 12])
def test_centred_a_shift_of_the_targets_shifts_the_answers_and_below_zero_none_is_out_of_reach(width):
    learner = R2D2(encoder(width), ridge=0.2, scale=1.0, centred=True, loss="squared_error")
    params = start(learner)

    def answers(learner: R2D2, shift: float) -> torch.Tensor:
        support = SUPPORT._replace(y=SUPPORT.y + shift)
        return learner.predict(params, learner.adapt(params, support), QUERY.x)

    assert torch.allclose(answers(learner, -100.0), answers(learner, 0.0) - 100, rtol=1e-10)
    held = replace(learner, centred=False)
    assert not torch.allclose(answers(held, -100.0), answers(held, 0.0) - 100, rtol=1e-2)


def test_centred_the_votes_still_add_up():
    learner = R2D2(encoder(), ridge=0.2, centred=True)
    params = start(learner)
    fast = learner.adapt(params, SUPPORT)
    votes = learner.votes(params, fast, SUPPORT, QUERY.x).sum(1)
    assert torch.allclose(votes, learner.predict(params, fast, QUERY.x) - params["bias"], rtol=1e-10)


def test_a_loss_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="there is no loss 'hinge'"):
        R2D2(encoder(), loss="hinge")


def test_on_functions_the_catalog_asks_for_targets():
    source = Sinusoid(shots=10, tasks=2)
    learner = learner_of(RunSettings(learner="r2d2", source="sinusoid"), source)
    assert isinstance(learner, R2D2)
    assert (learner.loss, learner.centred, learner.scale) == ("squared_error", True, 1.0)


@pytest.mark.parametrize("width", [2, 12])
@pytest.mark.parametrize("left_out", [[3], [2, 4]])
def test_a_weight_of_0_leaves_a_row_out(width, left_out):
    results = [i for i in range(6) if i not in left_out]
    weight = torch.tensor([float(i in results) for i in range(6)]).double()
    removed = Examples(SUPPORT.x[results], SUPPORT.y[results], SUPPORT.weight[results], SUPPORT.key)
    learner = R2D2(encoder(width), ridge=0.2)
    params = start(learner)
    a, b = (learner.adapt(params, support)["head"] for support in (SUPPORT._replace(weight=weight), removed))
    assert torch.allclose(a, b, rtol=1e-10)


def test_an_absent_class_changes_no_score_and_cannot_be_chosen():
    wide = SUPPORT._replace(y=torch.cat([SUPPORT.y, torch.zeros(6, 1).double()], 1))
    learner = R2D2(encoder())
    params = start(learner)
    result, narrow = (learner.predict(params, learner.adapt(params, part), QUERY.x) for part in (wide, SUPPORT))
    assert torch.allclose(result[:, :3], narrow, rtol=1e-10)
    assert bool((result[:, 3] == torch.finfo(torch.float64).min / 2).all())


def test_one_shot_and_any_number_of_ways_share_the_same_params():
    learner = R2D2(encoder())
    params = start(learner)
    for ways in (2, 7):
        support = rows(list(range(ways)), ways)
        assert learner.predict(params, learner.adapt(params, support), QUERY.x).shape == (4, ways)


def test_a_learned_ridge_starts_where_it_is_told_and_has_a_slope():
    fixed, learned = (R2D2(encoder(), ridge=0.2, learn_ridge=learn) for learn in (False, True))
    assert "log_ridge" not in fixed.init(0)
    params = tree.map(lambda leaf: leaf.requires_grad_(), start(learned))
    loss = learned.objective(params, Task(SUPPORT, QUERY))
    assert loss.item() == pytest.approx(fixed.objective(start(fixed), Task(SUPPORT, QUERY)).item(), rel=1e-6)
    loss.backward()
    assert all(params[name].grad.item() != 0 for name in ("log_ridge", "scale"))
    assert abs(params["bias"].grad.item()) < 1e-15  # one number for all classes moves no probability


def test_a_ridge_that_is_not_positive_is_refused():
    for strength in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="give a number"):
            R2D2(encoder(), ridge=strength)


def test_frozen_statistics_are_measured_on_the_training_supports():
    x = np.random.default_rng(0).normal(2, 3, size=(60, 4)).astype(np.float32)
    source = Episodes(LabelledRows.of(x, np.repeat(np.arange(12), 5)), ways=3, shots=2, queries=1, tasks=2)
    learner = R2D2(MLP((4,), hidden=(6,), norm="frozen"))
    params = learner.measure(learner.init(0), source)
    seen = torch.cat([source(step).support.x.flatten(0, 1) for step in range(20)])
    hidden = seen @ params["encoder"]["body.1.weight"].T + params["encoder"]["body.1.bias"]
    assert torch.allclose(params["measured"]["body.2"][0], hidden.mean(0), rtol=1e-4, atol=1e-5)


def test_support_statistics_are_kept_in_fast():
    learner = R2D2(MLP((4,), hidden=(6,), norm="support").double())
    params = start(learner)
    fast = learner.adapt(params, SUPPORT)
    together = learner.predict(params, fast, QUERY.x)
    assert torch.allclose(learner.predict(params, fast, QUERY.x[:1]), together[:1], rtol=1e-12)
