"""Proto-MAML against ProtoNet at its start, and against a plain PyTorch loop after its steps."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mapwise.core import tree
from mapwise.core.learner import WAIVABLE
from mapwise.core.task import Examples, Task
from mapwise.learners.metric.protonet import ProtoNet
from mapwise.learners.optimization.proto_maml import ProtoMAML
from mapwise.nets import MLP


def encoder() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5)).double()


def rows(labels: list[int], ways: int, seed: int = 0, weight: list[float] | None = None) -> Examples:
    x = torch.from_numpy(np.random.default_rng(seed).normal(size=(len(labels), 4)))
    counted = torch.ones(len(labels)) if weight is None else torch.tensor(weight)
    return Examples(x, F.one_hot(torch.tensor(labels), ways).double(), counted.double(), torch.tensor(0))


TASK = Task(rows([0, 1, 2, 0, 1, 0], ways=3), rows([2, 1, 0, 1], ways=3, seed=1))  # unequal shots


def gradient_of(learner, params: dict, task: Task = TASK) -> dict[str, torch.Tensor]:
    live = tree.map(lambda leaf: leaf.detach().clone().requires_grad_(), params)
    return dict(zip(live, torch.autograd.grad(learner.objective(live, task), list(live.values())), strict=True))


@pytest.mark.parametrize("ways", [2, 3, 7])
def test_without_steps_it_gives_protonets_log_probabilities(ways):
    module = encoder()
    ours, protonet = ProtoMAML(module, inner_steps=0), ProtoNet(module)
    params = ours.init(0)
    support = rows([*range(ways), 0], ways)
    result, expected = (
        learner.predict(params, learner.adapt(params, support), TASK.query.x).log_softmax(1)
        for learner in (ours, protonet)
    )
    assert torch.allclose(result, expected, rtol=1e-12, atol=1e-13)


def test_without_steps_it_has_protonets_gradient_in_either_order():
    params = ProtoNet(encoder()).init(0)
    expected = gradient_of(ProtoNet(encoder()), params)
    for first_order in (False, True):
        result = gradient_of(ProtoMAML(encoder(), inner_steps=0, first_order=first_order), params)
        assert all(torch.allclose(result[name], expected[name], rtol=1e-10, atol=1e-14) for name in params)


def plain_loop(module: nn.Module, task: Task, steps: int, rate: float) -> torch.Tensor:
    """The query loss by torch.nn alone, its graph kept down to the module's parameters."""
    names, start = zip(*module.named_parameters(), strict=True)
    labels = task.support.y.argmax(1)
    z = module(task.support.x)
    c = torch.stack([z[labels == k].mean(0) for k in range(task.support.y.shape[1])])
    # Copies, so that a slope along the encoder doesn't pass through the head that was made with it.
    point = [*(p.clone() for p in start), 2 * c, -(c**2).sum(1)]

    def loss(point, part):
        features = torch.func.functional_call(module, dict(zip(names, point[:-2], strict=True)), (part.x,))
        return F.cross_entropy(features @ point[-2].T + point[-1], part.y.argmax(1))

    for _ in range(steps):
        slopes = torch.autograd.grad(loss(point, task.support), point, create_graph=True)
        point = [p - rate * slope for p, slope in zip(point, slopes, strict=True)]
    return loss(point, task.query)


@pytest.mark.parametrize("steps", [1, 3])
def test_loss_and_gradient_equal_those_of_a_plain_loop(steps):
    module = encoder()
    learner = ProtoMAML(module, inner_steps=steps, inner_lr=0.1)
    params = learner.init(0)
    plain = copy.deepcopy(module)
    loss = plain_loop(plain, TASK, steps, 0.1)
    loss.backward()
    assert float(learner.objective(params, TASK).detach()) == pytest.approx(float(loss.detach()), rel=1e-12)
    result = gradient_of(learner, params)
    assert all(torch.allclose(result[name], p.grad, rtol=1e-9, atol=1e-13) for name, p in plain.named_parameters())


def test_first_order_drops_the_steps_and_keeps_the_prototypes():
    learner = ProtoMAML(encoder(), inner_steps=3, inner_lr=0.1, first_order=True)
    params = learner.init(0)
    result = gradient_of(learner, params)
    live = tree.map(lambda leaf: leaf.clone().requires_grad_(), params)
    slopes = torch.autograd.grad(learner.surrogate(params, TASK)(live), list(live.values()))
    assert all(torch.allclose(result[name], slope, rtol=1e-10) for name, slope in zip(live, slopes, strict=True))
    second = gradient_of(ProtoMAML(encoder(), inner_steps=3, inner_lr=0.1), params)
    assert not any(torch.allclose(result[name], second[name], rtol=1e-3) for name in params)
    # If the head entered as a constant, too, only the query's path would be left.
    fast = tree.detach(learner.adapt(params, TASK.support))
    body = tree.map(lambda leaf: leaf.clone().requires_grad_(), fast["body"])
    loss = learner.criterion(learner.predict(params, {**fast, "body": body}, TASK.query.x), TASK.query)
    alone = torch.autograd.grad(loss, list(body.values()))
    assert not any(torch.allclose(result[name], slope, rtol=1e-3) for name, slope in zip(body, alone, strict=True))


def test_head_and_encoder_both_move_and_the_support_loss_falls():
    learner = ProtoMAML(encoder(), inner_steps=5, inner_lr=0.1)
    params = learner.init(0)
    start = ProtoMAML(encoder(), inner_steps=0).adapt(params, TASK.support)
    fast = learner.adapt(params, TASK.support)
    for path, leaf in tree.flatten({part: fast[part] for part in ("head", "body")}).items():
        assert not torch.equal(leaf, tree.flatten(start)[path]), path
    before, after = (
        learner.criterion(learner.predict(params, state, TASK.support.x), TASK.support) for state in (start, fast)
    )
    assert after < before


def test_more_ways_than_it_was_trained_with_need_nothing_new():
    learner = ProtoMAML(encoder(), inner_steps=2)
    params = learner.init(0)
    for ways in (2, 9):
        fast = learner.adapt(params, rows(list(range(ways)), ways))
        assert learner.predict(params, fast, TASK.query.x).shape == (4, ways)


def test_an_absent_class_and_a_row_of_weight_0_change_nothing_after_the_steps():
    learner = ProtoMAML(encoder(), inner_steps=3, inner_lr=0.1)
    params = learner.init(0)
    padded = rows([0, 1, 2, 0, 1, 3], ways=4, weight=[1, 1, 1, 1, 1, 0])
    plain = Examples(padded.x[:5], padded.y[:5, :3], padded.weight[:5], padded.key)
    a, b = (learner.predict(params, learner.adapt(params, support), TASK.query.x) for support in (padded, plain))
    assert torch.allclose(a[:, :3], b, rtol=1e-12)
    assert bool((a[:, 3] == torch.finfo(a.dtype).min / 2).all())


def test_training_may_take_other_steps_than_testing():
    learner = ProtoMAML(encoder(), train_steps=1)
    assert learner.at(0.5).inner_steps == 1 and learner.inner_steps == 6
    assert ProtoMAML(encoder()).at(0.5).inner_steps == 6


def test_support_statistics_are_those_of_the_moved_encoder():
    learner = ProtoMAML(MLP((4,), hidden=(6,), norm="support", activation="tanh").double(), inner_steps=2)
    params = learner.init(0)
    fast = learner.adapt(params, TASK.support)
    hidden = TASK.support.x @ fast["body"]["body.1.weight"].T + fast["body"]["body.1.bias"]
    assert torch.allclose(fast["statistics"]["body.2"][0], hidden.mean(0))
    together = learner.predict(params, fast, TASK.query.x)
    assert torch.allclose(learner.predict(params, fast, TASK.query.x[:1]), together[:1])
    assert learner.keeps == WAIVABLE
