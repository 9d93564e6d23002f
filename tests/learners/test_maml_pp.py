"""MAML++: with every part switched off it is MAML, and every part does what it says."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from law_cases import TINY, blobs
from mapwise.catalog.learners import LEARNERS
from mapwise.core import tree
from mapwise.core.map_tasks import task_at
from mapwise.core.task import Task
from mapwise.engine.gradient import meta_gradient
from mapwise.engine.train import train
from mapwise.laws.case import Case
from mapwise.laws.check import LAWS
from mapwise.learners.optimization.maml import MAML
from mapwise.learners.optimization.maml_pp import MAMLPlusPlus
from mapwise.nets import MLP
from mapwise.runs import run
from mapwise.tasks.sinusoid import Sinusoid
from small_tasks import TASK, rows

PLAIN = {"learn_rates": False, "step_norms": False, "anneal": 0.0}
NORMS = ("body.2.weight", "body.2.bias")


def net(norm: str | None = None) -> nn.Module:
    torch.manual_seed(0)
    module = MLP((4,), 3, hidden=(6,), norm=norm, activation="tanh").double()
    for name, leaf in module.named_parameters():
        if name in NORMS:  # so that a scale and a shift are told apart from none
            nn.init.normal_(leaf, 1.0, 0.3)
    return module


def slopes(learner, params, task=TASK):
    live = tree.map(lambda leaf: leaf.detach().clone().requires_grad_(), params)
    leaves = tree.flatten(live)
    loss = learner.objective(live, task)
    return loss.detach(), dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


def assert_same(result, expected, rtol=1e-12):
    assert result.keys() == expected.keys()
    for name, leaf in expected.items():
        torch.testing.assert_close(result[name], leaf, rtol=rtol, atol=1e-15)


def of_net(gradient):
    return {path.removeprefix("net/"): slope for path, slope in gradient.items() if path.startswith("net/")}


# Every part switched off is MAML -------------------------------------------------------------------------


@pytest.mark.parametrize("norm", [None, "batch", "support"])
@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("progress", [0.0, 0.05, 1.0])
def test_with_every_part_switched_off_it_is_maml(norm, first_order, progress):
    learner = MAMLPlusPlus(net(norm), train_steps=3, inner_lr=0.3, first_order=first_order, **PLAIN).at(progress)
    maml = MAML(learner.net, inner_steps=3, inner_lr=0.3, first_order=first_order)
    params = learner.init(0)
    assert params.keys() == {"net"}
    fast, expected = learner.adapt(params, TASK.support), maml.adapt(params["net"], TASK.support)
    assert_same(tree.flatten(fast), tree.flatten(expected))
    assert_same(
        {"": learner.predict(params, fast, TASK.query.x)},
        {"": maml.predict(params["net"], expected, TASK.query.x)},
    )
    loss, gradient = slopes(learner, params)
    expected_loss, expected_gradient = slopes(maml, params["net"])
    torch.testing.assert_close(loss, expected_loss, rtol=1e-12, atol=0)
    assert_same(of_net(gradient), expected_gradient)


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("rate", [0.3, -0.1])
def test_with_its_rates_frozen_at_one_number_it_is_maml_with_that_rate(rate, first_order):
    settings = {**PLAIN, "learn_rates": True, "first_order": first_order}
    learner = MAMLPlusPlus(net("batch"), train_steps=4, inner_lr=rate, **settings)
    maml = MAML(learner.net, inner_steps=4, inner_lr=rate, first_order=first_order)
    params = learner.init(0)
    assert {leaf.shape for leaf in params["rates"].values()} == {(4,)} and params["rates"].keys() == params[
        "net"
    ].keys()
    assert_same(learner.adapt(params, TASK.support), maml.adapt(params["net"], TASK.support))
    loss, gradient = slopes(learner, params)
    expected_loss, expected_gradient = slopes(maml, params["net"])
    torch.testing.assert_close(loss, expected_loss, rtol=1e-12, atol=0)
    assert_same(of_net(gradient), expected_gradient)


@pytest.mark.parametrize("norm", ["batch", "support", "group"])
def test_with_the_same_norms_in_every_step_it_is_maml_that_holds_its_norms(norm):
    learner = MAMLPlusPlus(net(norm), train_steps=3, inner_lr=0.3, **{**PLAIN, "step_norms": True})
    moves = ("body.1.*", "head.*")
    maml = MAML(learner.net, inner_steps=3, inner_lr=0.3, moves=moves)
    params, start = learner.init(0), maml.init(0)
    assert params["norms"].keys() == set(NORMS) and params["norms"][NORMS[0]].shape == (3, 6)
    assert params["net"].keys() == start.keys() - set(NORMS)
    fast, expected = learner.adapt(params, TASK.support), maml.adapt(start, TASK.support)
    assert_same(tree.flatten({name: leaf for name, leaf in fast.items() if name not in NORMS}), tree.flatten(expected))
    loss, gradient = slopes(learner, params)
    expected_loss, expected_gradient = slopes(maml, start)
    torch.testing.assert_close(loss, expected_loss, rtol=1e-12, atol=0)
    # One scale in all steps feels the pull of every step's.
    pulls = {name: gradient[f"norms/{name}"].sum(0) for name in NORMS}
    assert_same({**of_net(gradient), **pulls}, expected_gradient)


@pytest.mark.parametrize("progress", [0.0, 0.05, 0.0999, 0.1, 0.5, 1.0])
def test_the_slope_is_that_of_mamls_of_every_number_of_steps_and_the_value_that_of_the_last(progress):
    learner = MAMLPlusPlus(net(), train_steps=3, inner_lr=0.3, **{**PLAIN, "anneal": 0.1})
    mamls = [MAML(learner.net, inner_steps=k, inner_lr=0.3) for k in (1, 2, 3)]
    params = learner.init(0)
    results = [slopes(maml, params["net"]) for maml in mamls]
    loss, gradient = slopes(learner.at(progress), params)
    torch.testing.assert_close(loss, results[-1][0], rtol=1e-12, atol=0)
    left = {0.0: 1.0, 0.05: 0.6, 0.0999: 0.2}.get(progress, 0.0)
    weights = [left / 3, left / 3, 1 - 2 * left / 3]
    expected = {
        name: sum(weight * slope[name] for weight, (_, slope) in zip(weights, results, strict=True))
        for name in params["net"]
    }
    assert_same(of_net(gradient), expected)


def test_second_derivatives_come_in_at_their_moment():
    learner = MAMLPlusPlus(net(), train_steps=2, inner_lr=0.3, **PLAIN, second_order_from=0.4)
    params = learner.init(0)
    for progress, first_order in ((0.0, True), (0.39, True), (0.4, False), (1.0, False)):
        expected = slopes(MAML(learner.net, inner_steps=2, inner_lr=0.3, first_order=first_order), params["net"])[1]
        assert_same(of_net(slopes(learner.at(progress), params)[1]), expected)
    assert replace(learner, first_order=True).at(1.0).first_order


# Each part -----------------------------------------------------------------------------------------------


def test_every_layer_and_step_has_its_own_rate_and_norm_and_the_query_those_of_the_last_step():
    learner = MAMLPlusPlus(net("batch"), train_steps=3)
    params = learner.init(0)
    random = torch.Generator().manual_seed(1)
    drawn = tree.map(lambda leaf: leaf + 0.2 * torch.randn(leaf.shape, generator=random).double(), params)
    params = {**drawn, "net": params["net"]}
    weights = {name: leaf.clone().requires_grad_() for name, leaf in params["net"].items()}
    for t in (0, 1, 2, 2, 2):  # five steps, and rates and norms of three
        norms = {name: leaf[t] for name, leaf in params["norms"].items()}
        scores = torch.func.functional_call(learner.net, {**weights, **norms}, (TASK.support.x,))
        loss = F.cross_entropy(scores, TASK.support.y.argmax(1))
        result = torch.autograd.grad(loss, list(weights.values()))
        weights = {
            name: (leaf - params["rates"][name][t] * slope).detach().requires_grad_()
            for (name, leaf), slope in zip(weights.items(), result, strict=True)
        }
    longer = replace(learner, inner_steps=5)
    fast = longer.adapt(params, TASK.support)
    assert_same({name: fast[name] for name in weights}, {name: leaf.detach() for name, leaf in weights.items()})
    last = {name: leaf[2] for name, leaf in params["norms"].items()}
    expected = torch.func.functional_call(learner.net, {**weights, **last}, (TASK.query.x,)).detach()
    torch.testing.assert_close(longer.predict(params, fast, TASK.query.x), expected, rtol=1e-12, atol=1e-14)
    assert longer.at(0.5).inner_steps == 3


def test_in_no_steps_and_in_one_the_first_norms_are_taken():
    learner = MAMLPlusPlus(net("batch"), train_steps=3)
    params = learner.init(0)
    params["norms"][NORMS[0]][1:] += 1
    for steps in (0, 1):
        fast = replace(learner, inner_steps=steps).adapt(params, TASK.support)
        assert torch.equal(fast[NORMS[0]], params["norms"][NORMS[0]][0])
    assert not torch.equal(learner.adapt(params, TASK.support)[NORMS[0]], params["norms"][NORMS[0]][0])


def test_a_run_has_at_most_six_moments_and_ends_with_the_last_step_alone():
    learner = MAMLPlusPlus(net(), second_order_from=0.05)
    moments = [learner.at(step / 1000) for step in range(1000)]
    assert len(set(map(repr, moments))) <= 8  # as many as are compiled
    assert [moment.earlier for moment in moments] == sorted((moment.earlier for moment in moments), reverse=True)
    assert (moments[0].earlier, moments[-1].earlier) == (1, 0) and moments[100].earlier == 0
    assert learner.earlier == 0  # a predictor is judged by its last step


def test_training_moves_rates_and_norms_of_every_step_apart():
    build = partial(MLP, (1,), 1, hidden=(8,), norm="layer", activation="tanh")
    learner = MAMLPlusPlus(build, train_steps=3, inner_lr=0.05, loss="squared_error")
    source = Sinusoid(shots=5, queries=5, tasks=4)
    settings = {"optimizer": "Adam lr=0.01", "schedule": "cosine", "validation_episodes": 4, "validate_every": 20}
    trained = train(learner, source, steps=20, how="vmap", **settings)
    for part in ("rates", "norms"):
        for name, leaf in trained.params[part].items():
            assert bool((leaf.std(0) > 0).all()), name


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("how", ["vmap", "loop", 2])
def test_recomputing_the_steps_keeps_every_gradient(how, first_order):
    build = partial(MLP, (1,), 1, hidden=(6,), norm="batch", activation="tanh")
    learner = MAMLPlusPlus(build, train_steps=3, earlier=0.6, first_order=first_order, loss="squared_error")
    as_double = partial(tree.map, lambda leaf: leaf.double())
    params, tasks = as_double(learner.init(0)), Sinusoid(shots=4, queries=5, tasks=3)(0)
    tasks = Task(*(part._replace(x=part.x.double(), y=part.y.double(), weight=part.weight.double()) for part in tasks))
    result = tree.flatten(meta_gradient(learner, params, tasks, how=how, remat=True)[0])
    one_by_one = [slopes(learner, params, task_at(tasks, t))[1] for t in range(3)]
    for path, slope in result.items():
        expected = torch.stack([each[path] for each in one_by_one]).mean(0)
        torch.testing.assert_close(slope, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("first_order", [False, True])
def test_at_a_moment_of_the_annealing_it_keeps_the_laws_of_gradients(first_order):
    build = partial(MLP, (8,), 3, norm="support", **TINY)
    case = Case(MAMLPlusPlus(build, train_steps=3, earlier=0.6, first_order=first_order), blobs(), steps=10)
    for law in LAWS:
        if law.name in ("map", "gradient", "padding", "travels"):
            result, detail = law.examine(case)
            assert result, f"{law.name}: {detail}"


# Particular tasks and settings ---------------------------------------------------------------------------


def test_a_head_takes_tasks_of_fewer_classes_and_refuses_more():
    learner = MAMLPlusPlus(net())
    params = learner.init(0)
    fast = learner.adapt(params, rows(4, ways=2))
    assert learner.predict(params, fast, TASK.query.x).shape == (9, 2)
    with pytest.raises(ValueError, match="the head has 3 columns and the task has 4 classes"):
        learner.adapt(params, rows(4, ways=4))


def test_one_shot_unequal_shots_and_absent_classes_are_taken():
    learner = MAMLPlusPlus(net("batch"))
    params = learner.init(0)
    assert bool(torch.isfinite(learner.predict(params, learner.adapt(params, rows(3)), TASK.query.x)).all())
    support = rows(7)
    support = support._replace(weight=support.weight * (support.y[:, 1] == 0))
    scores = learner.predict(params, learner.adapt(params, support), TASK.query.x)
    assert bool((scores.argmax(1) != 1).all()) and bool(torch.isfinite(scores).all())


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"train_steps": 0}, "train_steps is 0: give at least 1"),
        ({"anneal": 1.5}, "anneal is 1.5: give a share of the training"),
        ({"second_order_from": -0.1}, "second_order_from is -0.1: give a share of the training"),
    ],
)
def test_settings_without_a_meaning_are_refused(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        MAMLPlusPlus(net(), **setting)


def test_a_run_starts_from_mamls_weights_and_keeps_its_own_rates(monkeypatch):
    build = partial(MLP, (4,), 3, hidden=(3,), activation="tanh")
    learner, given = MAMLPlusPlus(build, train_steps=3, inner_lr=0.3), MAML(build).init(1)
    monkeypatch.setattr(run, "load_params", lambda folder: (given, 7))
    result = run.initial_params(learner, SimpleNamespace(seed=0, device="cpu", init="runs/first"))
    assert all(torch.equal(result["net"][name], leaf) for name, leaf in given.items())
    # The head has as many columns as there are steps, so its rates have the shape of its bias.
    assert result["rates"]["head.bias"].shape == given["head.bias"].shape
    assert all(bool((leaf == 0.3).all()) for leaf in result["rates"].values())


def test_the_weight_of_earlier_steps_is_a_moment_and_no_flag():
    assert "earlier" not in LEARNERS["maml_pp"].fields and "anneal" in LEARNERS["maml_pp"].fields
