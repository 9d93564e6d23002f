"""Meta-MinibatchProx: its slope is that of the smallest pulled loss of all rows, and it predicts from the support."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mapwise.core import tree
from mapwise.core.map_tasks import task_at
from mapwise.core.task import Examples, Task
from mapwise.engine.gradient import meta_gradient
from mapwise.engine.train import train
from mapwise.learners.optimization.prox import Prox, all_rows
from mapwise.nets import MLP
from mapwise.tasks.sinusoid import Sinusoid
from small_tasks import TASK, rows


def net(outputs: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, outputs)).double()


def slope(learner, params, task):
    live = tree.map(lambda leaf: leaf.detach().clone().requires_grad_(), params)
    loss = learner.objective(live, task)
    return loss.detach(), dict(zip(live, torch.autograd.grad(loss, list(live.values())), strict=True))


def smallest(module: nn.Module, theta: torch.Tensor, pull: float) -> float:
    """min over phi of the mean loss of all 15 rows + pull / 2 |phi - theta|^2, by Newton's method."""
    x, labels = torch.cat([TASK.support.x, TASK.query.x]), torch.cat([TASK.support.y, TASK.query.y]).argmax(1)
    shapes = [p.shape for p in module.parameters()]

    def pulled(phi: torch.Tensor) -> torch.Tensor:
        a, b, c, d = (
            part.reshape(shape) for part, shape in zip(phi.split([s.numel() for s in shapes]), shapes, strict=True)
        )
        return F.cross_entropy(torch.tanh(x @ a.T + b) @ c.T + d, labels) + pull / 2 * ((phi - theta) ** 2).sum()

    slope_of = torch.func.grad(pulled)
    matrix_of = torch.func.jacrev(slope_of)
    phi = theta.clone()
    for _ in range(12):
        phi = phi - torch.linalg.solve(matrix_of(phi), slope_of(phi))
    assert float(slope_of(phi).norm()) < 1e-12 and float(torch.linalg.eigvalsh(matrix_of(phi))[0]) > 0
    return float(pulled(phi))


@pytest.mark.parametrize("pull", [0.5, 2.0])
def test_the_slope_is_that_of_the_smallest_pulled_loss_of_all_rows(pull):
    learner = Prox(net(), pull=pull, inner_steps=600, inner_batch=None, inner_lr=0.3)
    params = learner.init(0)
    _, gradient = slope(learner, params, TASK)
    result = torch.cat([gradient[name].flatten() for name, _ in learner.net.named_parameters()])
    theta = torch.cat([params[name].flatten() for name, _ in learner.net.named_parameters()])
    h = 1e-4
    for place in range(0, len(theta), 7):
        nudge = torch.zeros_like(theta)
        nudge[place] = h
        up, down = (smallest(learner.net, theta + sign * nudge, pull) for sign in (1, -1))
        assert float(result[place]) == pytest.approx((up - down) / (2 * h), rel=1e-6, abs=1e-9)


def test_the_slope_is_the_pull_towards_weights_adapted_to_support_and_query():
    learner = Prox(net(), pull=0.7, inner_steps=5)
    params = learner.init(0)
    phi = learner.adapt(params, all_rows(TASK))
    loss, gradient = slope(learner, params, TASK)
    point = tree.map(lambda leaf: leaf.clone().requires_grad_(), params)
    surrogate = torch.autograd.grad(learner.surrogate(params, TASK)(point), list(point.values()))
    for name, of_surrogate in zip(params, surrogate, strict=True):
        torch.testing.assert_close(gradient[name], 0.7 * (params[name] - phi[name]), rtol=1e-12, atol=1e-15)
        assert torch.equal(of_surrogate, gradient[name]) and bool(gradient[name].any())
    scores = torch.func.functional_call(learner.net, {name: phi[name] for name in params}, (TASK.query.x,))
    torch.testing.assert_close(loss, F.cross_entropy(scores, TASK.query.y.argmax(1)).detach())
    _, other = slope(learner, params, TASK._replace(query=rows(9, seed=2)))
    assert not any(torch.allclose(gradient[name], other[name]) for name in params)


def test_which_rows_are_the_query_changes_no_slope():
    learner = Prox(net(), inner_steps=5, inner_batch=None)
    params = learner.init(0)
    _, gradient = slope(learner, params, TASK)
    _, swapped = slope(learner, params, Task(TASK.query, TASK.support))
    for name in params:
        torch.testing.assert_close(gradient[name], swapped[name], rtol=1e-10, atol=1e-14)


def test_padding_rows_of_the_query_pull_nowhere():
    learner = Prox(net(), inner_steps=5)
    params = learner.init(0)
    query = rows(9, seed=1)
    half = query._replace(weight=(torch.arange(9) < 4).double())
    cut = Examples(query.x[:4], query.y[:4], query.weight[:4], query.key)
    (loss, gradient), (same_loss, same) = (slope(learner, params, TASK._replace(query=part)) for part in (half, cut))
    torch.testing.assert_close(loss, same_loss)
    for name in params:
        torch.testing.assert_close(gradient[name], same[name], rtol=1e-10, atol=1e-14)


def test_rows_with_several_inputs_are_joined_input_by_input():
    def part(count: int) -> Examples:
        x = {"a": torch.ones(count, 2), "b": torch.zeros(count, 3)}
        return Examples(x, torch.ones(count, 1), torch.ones(count), torch.tensor(count))

    joined = all_rows(Task(part(2), part(5)))
    assert joined.x["a"].shape == (7, 2) and joined.x["b"].shape == (7, 3)
    assert joined.y.shape == (7, 1) and joined.weight.shape == (7,) and int(joined.key) == 2


@pytest.mark.parametrize("how", ["vmap", "loop", 2])
def test_every_mapping_agrees_and_an_outer_rate_of_one_over_pull_lands_on_the_mean(how):
    build = partial(MLP, (1,), 1, hidden=(6,), activation="tanh")
    learner = Prox(build, pull=0.5, inner_steps=4, inner_lr=0.02, loss="squared_error")
    source, start = Sinusoid(shots=4, queries=5, tasks=3), learner.init(0)
    ends = [learner.adapt(start, all_rows(task_at(source(0), t))) for t in range(3)]
    gradient, _ = meta_gradient(learner, start, source(0), how=how)
    trained = train(learner, source, steps=1, params=start, optimizer="SGD lr=2", select="last", how=how)
    for name, leaf in start.items():
        mean = torch.stack([end[name] for end in ends]).mean(0)
        torch.testing.assert_close(gradient[name], 0.5 * (leaf - mean), rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(trained.params[name], mean)


def test_one_shot_unequal_shots_and_absent_classes_are_taken():
    learner = Prox(net())
    params = learner.init(0)
    assert bool(torch.isfinite(learner.predict(params, learner.adapt(params, rows(3)), TASK.query.x)).all())
    support = rows(7)
    support = support._replace(weight=support.weight * (support.y[:, 1] == 0))
    scores = learner.predict(params, learner.adapt(params, support), TASK.query.x)
    assert bool((scores.argmax(1) != 1).all()) and bool(torch.isfinite(scores).all())


def test_a_head_takes_tasks_of_fewer_classes_and_refuses_more():
    learner = Prox(net(outputs=3))
    params = learner.init(0)
    fast = learner.adapt(params, rows(4, ways=2))
    assert learner.predict(params, fast, TASK.query.x).shape == (9, 2)
    with pytest.raises(ValueError, match="the head has 3 columns and the task has 4 classes"):
        learner.adapt(params, rows(4, ways=4))


@pytest.mark.parametrize("pull", [0.0, -1.0])
def test_a_pull_that_does_not_pull_is_refused(pull):
    with pytest.raises(ValueError, match=f"pull is {pull}: give a positive number, or take reptile"):
        Prox(net(), pull=pull)


def test_mini_batches_make_the_order_of_rows_matter():
    torch.manual_seed(1)
    place = torch.randperm(len(TASK.support.y))
    support = Examples(TASK.support.x[place], TASK.support.y[place], TASK.support.weight[place], TASK.support.key)
    for batch, result in ((2, False), (None, True)):
        learner = Prox(net(), inner_batch=batch, inner_lr=0.05)
        params = learner.init(0)
        one, other = (learner.predict(params, learner.adapt(params, s), TASK.query.x) for s in (TASK.support, support))
        assert torch.allclose(one, other, atol=1e-10) is result
        assert ("order" in learner.keeps) is result


def test_an_empty_mini_batch_is_refused():
    with pytest.raises(ValueError, match="inner_batch is 0: give at least one row, or none"):
        Prox(net(), inner_batch=0)
