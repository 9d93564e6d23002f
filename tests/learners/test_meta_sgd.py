"""Meta-SGD: MAML where its rates are frozen, and rates that are learned where they are not."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from mapwise.core import tree
from mapwise.core.map_tasks import task_at
from mapwise.engine.gradient import meta_gradient
from mapwise.engine.train import train
from mapwise.learners.optimization.maml import MAML
from mapwise.learners.optimization.meta_sgd import MetaSGD
from mapwise.nets import MLP
from mapwise.runs import run
from mapwise.tasks.sinusoid import Sinusoid
from small_tasks import TASK, net, rows


def slopes(learner, params, task):
    live = tree.map(lambda leaf: leaf.detach().clone().requires_grad_(), params)
    leaves = tree.flatten(live)
    loss = learner.objective(live, task)
    return loss.detach(), dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("rate", [0.5, -0.2])
def test_with_its_rates_frozen_at_one_number_it_is_maml_with_that_rate(steps, rate):
    learner = MetaSGD(net(), inner_lr=rate, inner_steps=steps)
    maml = MAML(learner.net, inner_lr=rate, inner_steps=steps)
    params = learner.init(0)
    fast, expected = learner.adapt(params, TASK.support), maml.adapt(params["net"], TASK.support)
    assert fast.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(fast[name], expected[name], rtol=1e-14, atol=0)
    loss, gradient = slopes(learner, params, TASK)
    expected_loss, expected_gradient = slopes(maml, params["net"], TASK)
    torch.testing.assert_close(loss, expected_loss, rtol=1e-14, atol=0)
    for name, slope in expected_gradient.items():
        torch.testing.assert_close(gradient[f"net/{name}"], slope, rtol=1e-12, atol=1e-15)


def test_the_rates_gradient_is_minus_the_product_of_the_two_slopes():
    learner = MetaSGD(net())
    params = learner.init(0)
    _, gradient = slopes(learner, params, TASK)

    def slope_at(weights, part):
        live = {name: leaf.detach().clone().requires_grad_() for name, leaf in weights.items()}
        scores = torch.func.functional_call(learner.net, live, (part.x,))
        return torch.autograd.grad(F.cross_entropy(scores, part.y.argmax(1)), list(live.values()))

    before = slope_at(params["net"], TASK.support)
    after = slope_at({name: learner.adapt(params, TASK.support)[name] for name in params["net"]}, TASK.query)
    for name, first, second in zip(params["net"], before, after, strict=True):
        torch.testing.assert_close(gradient[f"rates/{name}"], -first * second, rtol=1e-10, atol=1e-16)
        assert bool(gradient[f"rates/{name}"].any())


def test_every_number_has_its_own_rate_and_a_negative_one_climbs():
    learner = MetaSGD(net())
    params = learner.init(0)
    rates = tree.zeros_like(params["net"])
    rates["2.bias"] = torch.tensor([0.1, 0.0, -0.1]).double()
    fast = learner.adapt({**params, "rates": rates}, TASK.support)
    plain = MAML(learner.net, inner_lr=1.0, inner_steps=1).adapt(params["net"], TASK.support)
    downhill = plain["2.bias"] - params["net"]["2.bias"]
    torch.testing.assert_close(fast["2.bias"] - params["net"]["2.bias"], rates["2.bias"] * downhill)
    assert all(torch.equal(fast[name], params["net"][name]) for name in params["net"] if name != "2.bias")


def test_training_moves_the_rates_and_each_in_its_own_way():
    build = partial(MLP, (1,), 1, hidden=(8,), activation="tanh")
    learner = MetaSGD(build, inner_lr=0.05, loss="squared_error")
    trained = train(learner, Sinusoid(shots=5, queries=5, tasks=4), steps=20, optimizer="Adam lr=0.01", how="vmap")
    rates = torch.cat([leaf.flatten() for leaf in tree.flatten(trained.params["rates"]).values()])
    assert bool((rates != 0.05).all()) and float(rates.std()) > 1e-3


@pytest.mark.parametrize("how", ["vmap", "loop", 2])
def test_recomputing_the_step_keeps_the_gradient_of_the_rates(how):
    learner = MetaSGD(partial(MLP, (1,), 1, hidden=(6,), activation="tanh"), inner_lr=0.05, loss="squared_error")
    params, tasks = learner.init(0), Sinusoid(shots=4, queries=5, tasks=3)(0)
    result = tree.flatten(meta_gradient(learner, params, tasks, how=how, remat=True)[0])
    one_by_one = [slopes(learner, params, task_at(tasks, t))[1] for t in range(3)]
    for path, slope in result.items():
        torch.testing.assert_close(slope, torch.stack([each[path] for each in one_by_one]).mean(0))


def test_a_head_takes_tasks_of_fewer_classes_and_refuses_more():
    learner = MetaSGD(net(outputs=3))
    params = learner.init(0)
    fast = learner.adapt(params, rows(4, ways=2))
    assert learner.predict(params, fast, TASK.query.x).shape == (9, 2)
    with pytest.raises(ValueError, match="the head has 3 columns and the task has 4 classes"):
        learner.adapt(params, rows(4, ways=4))


def test_an_unseen_class_is_never_chosen_and_unequal_shots_are_taken():
    learner = MetaSGD(net())
    params = learner.init(0)
    support = rows(7)
    support = support._replace(weight=support.weight * (support.y[:, 2] == 0))
    fast = learner.adapt(params, support)
    assert fast["present"].tolist() == [1, 1, 0]
    scores = learner.predict(params, fast, TASK.query.x)
    assert bool((scores.argmax(1) < 2).all()) and bool(torch.isfinite(scores).all())


def test_a_run_starts_from_anothers_weights_and_never_takes_a_rate_for_a_weight(monkeypatch):
    build = partial(MLP, (4,), 3, hidden=(5,), activation="tanh")

    def started(learner, given):
        monkeypatch.setattr(run, "load_params", lambda folder: (given, 7))
        return tree.flatten(run.initial_params(learner, SimpleNamespace(seed=0, device="cpu", init="runs/first")))

    maml, learner = MAML(build), MetaSGD(build, inner_lr=0.2)
    weights, params = maml.init(1), learner.init(2)
    result = started(learner, weights)
    assert all(torch.equal(result[f"net/{name}"], leaf) for name, leaf in weights.items())
    assert all(bool((leaf == 0.2).all()) for path, leaf in result.items() if path.startswith("rates/"))
    assert all(torch.equal(started(maml, params)[name], leaf) for name, leaf in params["net"].items())
    params["rates"] = tree.map(torch.randn_like, params["rates"])
    again = started(learner, params)
    assert all(torch.equal(again[path], leaf) for path, leaf in tree.flatten(params).items())
