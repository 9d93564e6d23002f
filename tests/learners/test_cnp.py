"""Conditional Neural Processes against numpy and the closed form, and what they say with and without a context."""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mapwise.core import tree
from mapwise.core.losses import gaussian
from mapwise.core.map_tasks import map_tasks
from mapwise.core.scores import Gaussian
from mapwise.core.task import Examples, Task
from mapwise.engine.evaluate import evaluate
from mapwise.engine.train import train
from mapwise.learners.generation.cnp import CNP
from mapwise.nets import MLP
from mapwise.runs.settings import RunSettings
from mapwise.tasks.gaussian_process import GaussianProcess


def encoder(inputs: int = 4) -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(inputs, 5), nn.Tanh()).double()
    module.output_shape = (5,)
    return module


def learner(**fields) -> CNP:
    return CNP(encoder(), width=6, **fields)


TARGETS = learner(loss="gaussian", targets=2)
CLASSES = learner()


def params_of(one: CNP) -> dict:
    return tree.map(torch.Tensor.double, one.init(0))


def points(count: int, targets: int = 2, seed: int = 0) -> Examples:
    random = np.random.default_rng(seed)
    x, y = random.normal(size=(count, 4)), random.normal(size=(count, targets))
    return Examples(torch.from_numpy(x), torch.from_numpy(y), torch.ones(count).double(), torch.tensor(0))


def of_classes(labels: list[int], ways: int, seed: int = 0) -> Examples:
    return points(len(labels), seed=seed)._replace(y=F.one_hot(torch.tensor(labels), ways).double())


def layers(x: np.ndarray, weights: dict) -> np.ndarray:
    """An MLP in numpy: linear layers with max(0, .) between them."""
    flat = {name: leaf.numpy() for name, leaf in weights.items()}
    order = sorted({name.rpartition(".")[0] for name in flat}, key=lambda name: (name == "head", name))
    for place, layer in enumerate(order):
        x = x @ flat[f"{layer}.weight"].T + flat[f"{layer}.bias"]
        x = x if place == len(order) - 1 else np.maximum(x, 0)
    return x


def features(params: dict, rows: Examples) -> np.ndarray:
    weights = {name: leaf.numpy() for name, leaf in params["encoder"].items()}
    return np.tanh(rows.x.numpy() @ weights["0.weight"].T + weights["0.bias"])


# Targets -------------------------------------------------------------------------------------------------


def test_targets_are_predicted_as_numpy_does_it_row_by_row():
    support, query, params = points(5), points(3, seed=1), params_of(TARGETS)
    support = support._replace(weight=torch.tensor([1, 1, 0, 1, 1]).double())
    answer = TARGETS.predict(params, TARGETS.adapt(params, support), query.x)
    rows = np.concatenate([features(params, support), support.y.numpy()], 1)
    r = np.mean([layers(rows[i], params["h"]) for i in (0, 1, 3, 4)], axis=0)
    for i, z in enumerate(features(params, query)):
        out = layers(np.concatenate([z, r]), params["g"])
        np.testing.assert_allclose(answer.mean[i].numpy(), out[:2], rtol=1e-12)
        np.testing.assert_allclose(answer.scale[i].numpy(), 0.1 + 0.9 * np.log1p(np.exp(out[2:])), rtol=1e-12)


def test_the_objective_is_minus_the_closed_form_log_density():
    task, params = Task(points(5), points(3, seed=1)), params_of(TARGETS)
    mean, scale = TARGETS.predict(params, TARGETS.adapt(params, task.support), task.query.x)
    density = 0.0
    for m, s, y in zip(mean.flatten(), scale.flatten(), task.query.y.flatten(), strict=True):
        density += math.log(math.exp(-((float(y) - float(m)) ** 2) / (2 * float(s) ** 2)) / float(s) / math.tau**0.5)
    assert float(TARGETS.objective(params, task)) == pytest.approx(-density / 3, rel=1e-12)


def test_the_slope_of_the_objective_equals_finite_differences_in_every_weight():
    task, params = Task(points(5), points(3, seed=1)), params_of(TARGETS)
    live = tree.map(lambda leaf: leaf.clone().requires_grad_(), params)
    leaves, plain = tree.flatten(live), tree.flatten(params)
    slopes = torch.autograd.grad(TARGETS.objective(live, task), list(leaves.values()))
    for path, slope in zip(leaves, slopes, strict=True):
        assert slope.abs().max() > 0, path
        for place in np.random.default_rng(0).choice(slope.numel(), min(4, slope.numel()), replace=False):
            either = []
            for h in (1e-6, -1e-6):
                moved = plain[path].clone()
                moved.view(-1)[place] += h
                either.append(float(TARGETS.objective(tree.unflatten({**plain, path: moved}), task)))
            difference = (either[0] - either[1]) / 2e-6
            assert float(slope.view(-1)[place]) == pytest.approx(difference, abs=1e-8, rel=1e-6)


def test_the_slope_of_the_density_equals_finite_differences():
    rows = points(4)
    mean, raw = (points(4, seed=seed).y.requires_grad_() for seed in (1, 2))
    assert torch.autograd.gradcheck(lambda m, s: gaussian(Gaussian(m, 0.1 + F.softplus(s)), rows), (mean, raw))


def test_without_any_support_row_it_says_what_it_learned_of_all_tasks():
    params, query = params_of(TARGETS), points(3, seed=1)
    nothing = TARGETS.adapt(params, points(0))
    assert bool((nothing["r"] == 0).all()) and nothing["r"].shape == (6,)
    padding = points(4)._replace(weight=torch.zeros(4).double())
    for one, other in zip(
        TARGETS.predict(params, nothing, query.x),
        TARGETS.predict(params, TARGETS.adapt(params, padding), query.x),
        strict=True,
    ):
        assert torch.isfinite(one).all() and torch.equal(one, other)
    objective = partial(TARGETS.objective, params)
    batch = Task(*(Examples(*(leaf[None] for leaf in rows)) for rows in (points(0), query)))
    assert torch.isfinite(map_tasks(objective, batch, "vmap")).all()


def test_the_order_of_the_support_and_of_its_repeats_changes_nothing():
    params, support, query = params_of(TARGETS), points(5), points(3, seed=1)
    order = torch.tensor([3, 0, 4, 1, 2])
    shuffled = support._replace(x=support.x[order], y=support.y[order])
    twice = support._replace(x=support.x.repeat(2, 1), y=support.y.repeat(2, 1), weight=torch.ones(10).double())
    answer = TARGETS.predict(params, TARGETS.adapt(params, support), query.x)
    for other in (shuffled, twice):
        again = TARGETS.predict(params, TARGETS.adapt(params, other), query.x)
        torch.testing.assert_close(tuple(again), tuple(answer), rtol=1e-12, atol=1e-12)


def test_no_scale_is_below_the_least():
    params = params_of(TARGETS)
    params["g"]["head.bias"][2:] = -1e4
    answer = TARGETS.predict(params, TARGETS.adapt(params, points(2)), points(3).x)
    assert bool((answer.scale == 0.1).all())
    small = learner(loss="gaussian", targets=2, least_scale=0.01)
    assert bool((small.predict(params, small.adapt(params, points(2)), points(3).x).scale == 0.01).all())


def test_it_grows_surer_and_more_right_with_more_context():
    net = partial(MLP, (1,), None, hidden=())
    source = GaussianProcess(shots=(0, 10), tasks=16, length=1.5, noise=0.1)
    one = CNP(net, loss="gaussian", width=64)
    params = train(one, source, steps=400, optimizer="Adam lr=0.003", how="vmap").params
    unseen = replace(source, tasks=100, part="test")
    few, more, many = (evaluate(one, params, replace(unseen, shots=shots), episodes=300) for shots in (0, 2, 10))
    assert few.nll == pytest.approx(0.5 * math.log(2 * math.pi * math.e * 1.01), abs=0.1)  # the prior's
    assert many.nll < more.nll - 0.1 < few.nll - 0.2
    assert many.estimate.mean < more.estimate.mean < few.estimate.mean


# Classes -------------------------------------------------------------------------------------------------


def test_classes_are_scored_as_numpy_does_it_pair_by_pair():
    support, query, params = of_classes([0, 1, 2, 0, 1, 0], 4), of_classes([2, 1, 0], 4, seed=1), params_of(CLASSES)
    scores = CLASSES.predict(params, CLASSES.adapt(params, support), query.x).numpy()
    z, labels = features(params, support), support.y.argmax(1).numpy()
    for i, question in enumerate(features(params, query)):
        for k in range(3):
            mean = z[labels == k].mean(0)
            assert scores[i, k] == pytest.approx(layers(np.concatenate([question, mean]), params["g"])[0], rel=1e-12)
    assert (scores[:, 3] == np.finfo(float).min / 2).all()  # a class without a row


def test_one_decoder_serves_any_number_of_classes_and_none_at_all():
    params = params_of(CLASSES)
    for ways in (2, 7):
        fast = CLASSES.adapt(params, of_classes(list(range(ways)), ways))
        assert CLASSES.predict(params, fast, points(3).x).shape == (3, ways)
    empty = of_classes([0, 1], 2)._replace(weight=torch.zeros(2).double())
    scores = CLASSES.predict(params, CLASSES.adapt(params, empty), points(3).x)
    assert torch.isfinite(scores).all() and torch.allclose(torch.softmax(scores, -1), torch.full((3, 2), 0.5).double())


# What is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        ({"loss": "squared_error"}, "give 'cross_entropy' or 'gaussian'"),
        ({"targets": 0}, "targets is 0"),
        ({"width": 0}, "width is 0"),
        ({"layers": 0}, "layers is 0"),
        ({"decoder_layers": 0}, "decoder_layers is 0"),
        ({"least_scale": 0.0}, "least_scale is 0.0"),
        ({"least_scale": 1.0}, "least_scale is 1.0"),
    ],
)
def test_a_field_that_can_not_be_is_an_error(fields, answer):
    with pytest.raises(ValueError, match=answer):
        CNP(encoder(), **fields)


def test_another_number_of_targets_is_an_error_that_says_what_to_give():
    with pytest.raises(ValueError, match="3 targets and this learner is made for 2: give targets=3"):
        TARGETS.adapt(params_of(TARGETS), points(4, targets=3))


def test_an_encoder_that_does_not_say_its_shape_is_an_error():
    with pytest.raises(ValueError, match="output_shape"):
        CNP(nn.Linear(4, 5))


# The command line ----------------------------------------------------------------------------------------


def test_the_command_line_takes_the_density_for_targets_and_the_cross_entropy_for_classes(cli):
    words = ("--tasks", "2", "--steps", "2", "--validation-episodes", "2", "--width", "8")
    run = cli("train", "cnp", "gp", *words, "--net.hidden", "", "--json").answer["run"]
    assert RunSettings.read(Path(run)).net_options == {"hidden": []}
    result = cli("eval", run, "--episodes", "10", "--json").answer
    assert math.isfinite(result["nll"]) and not result["transductive"]
    assert result["coverage"].keys() == {"50", "80", "95"}
    assert cli("report", run, "--episodes", "4", "--curve-episodes", "2").code == 0
    assert (Path(run) / "report.html").read_text().count("Bands: the central 50, 80 and 95 %") == 3
    done = cli("train", "cnp", "digits", *words, "--json")
    assert done.code == 0, done.err
    assert 0 <= cli("eval", done.answer["run"], "--episodes", "10", "--no-baselines", "--json").answer["accuracy"] <= 1
