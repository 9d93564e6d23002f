"""ProtoNet against numpy, and against nearest means of rows that were encoded beforehand."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mapwise.catalog.learners import LEARNERS
from mapwise.core import functional
from mapwise.core.task import Examples, Task
from mapwise.data.rows import LabelledRows
from mapwise.learners.metric.protonet import ProtoNet
from mapwise.nets import MLP
from mapwise.tasks.episodes import Episodes


def encoder() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5)).double()


def rows(labels: list[int], ways: int, seed: int = 0, weight: list[float] | None = None) -> Examples:
    x = torch.from_numpy(np.random.default_rng(seed).normal(size=(len(labels), 4)))
    counted = torch.ones(len(labels)) if weight is None else torch.tensor(weight)
    return Examples(x, F.one_hot(torch.tensor(labels), ways).double(), counted.double(), torch.tensor(0))


def encoded(module: nn.Module, x: torch.Tensor) -> np.ndarray:
    first, _, second = (p if isinstance(p, nn.Linear) else None for p in module)
    hidden = np.tanh(x.numpy() @ first.weight.detach().numpy().T + first.bias.detach().numpy())
    return hidden @ second.weight.detach().numpy().T + second.bias.detach().numpy()


SUPPORT = rows([0, 1, 2, 0, 1, 0], ways=3)  # unequal shots
QUERY = rows([2, 1, 0, 1], ways=3, seed=1)


def oracle(module: nn.Module, distance: str) -> np.ndarray:
    z, q = encoded(module, SUPPORT.x), encoded(module, QUERY.x)
    labels = SUPPORT.y.argmax(1).numpy()
    means = np.stack([z[labels == c].mean(0) for c in range(3)])
    if distance == "cosine":
        return 10 * (q @ means.T) / np.linalg.norm(q, axis=1)[:, None] / np.linalg.norm(means, axis=1)
    return -((q[:, None] - means[None]) ** 2).sum(-1)


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_scores_and_loss_equal_numpys(distance):
    module = encoder()
    learner = ProtoNet(module, distance=distance)
    params = learner.init(0)
    expected = oracle(module, distance)
    result = learner.predict(params, learner.adapt(params, SUPPORT), QUERY.x)
    assert np.allclose(result.detach().numpy(), expected, rtol=1e-12)
    log_p = expected - np.log(np.exp(expected).sum(1, keepdims=True))
    loss = -log_p[np.arange(4), QUERY.y.argmax(1).numpy()].mean()
    assert float(learner.objective(params, Task(SUPPORT, QUERY))) == pytest.approx(loss, rel=1e-12)


def test_the_scale_multiplies_cosines_and_leaves_distances():
    module = encoder()
    for distance, factor in (("cosine", 3), ("euclidean", 1)):
        one, three = (ProtoNet(module, distance=distance, scale=scale) for scale in (10.0, 30.0))
        params = one.init(0)
        a, b = (learner.predict(params, learner.adapt(params, SUPPORT), QUERY.x) for learner in (one, three))
        assert torch.allclose(factor * a, b)


def test_an_encoder_inside_equals_one_that_stands_before():
    module = encoder()
    inside = ProtoNet(module)
    nearest_mean = LEARNERS["nearest_mean"].build()
    params = inside.init(0)
    first, second = (part._replace(x=functional.apply(module, params, part.x).detach()) for part in (SUPPORT, QUERY))
    a = inside.predict(params, inside.adapt(params, SUPPORT), QUERY.x)
    assert nearest_mean.init(0) == {}
    b = nearest_mean.predict({}, nearest_mean.adapt({}, first), second.x)
    assert torch.equal(a, b)


def test_nearest_mean_takes_images_as_they_are():
    learner = LEARNERS["nearest_mean"].build()
    images = torch.tensor([[[[0.0, 0.0], [0.0, 0.0]]], [[[1.0, 1.0], [1.0, 1.0]]]])
    support = Examples(images, torch.eye(2), torch.ones(2), torch.tensor(0))
    scores = learner.predict({}, learner.adapt({}, support), images + 0.25)
    assert scores.tolist() == [[-0.25, -2.25], [-6.25, -0.25]]


def test_a_weight_of_0_leaves_a_row_out_exactly():
    learner = ProtoNet(encoder())
    params = learner.init(0)
    without_third = SUPPORT._replace(weight=torch.tensor([1.0, 1, 1, 0, 1, 1]).double())
    results = [0, 1, 2, 4, 5]
    removed = Examples(SUPPORT.x[results], SUPPORT.y[results], SUPPORT.weight[results], SUPPORT.key)
    a, b = (learner.predict(params, learner.adapt(params, s), QUERY.x) for s in (without_third, removed))
    assert torch.allclose(a, b, rtol=1e-13)


def test_any_number_of_ways_shares_the_same_params():
    learner = ProtoNet(encoder())
    params = learner.init(0)
    for ways in (2, 7):
        support = rows(list(range(ways)), ways)
        assert learner.predict(params, learner.adapt(params, support), QUERY.x).shape == (4, ways)


def test_frozen_statistics_are_measured_on_the_training_supports():
    x = np.random.default_rng(0).normal(2, 3, size=(60, 4)).astype(np.float32)
    source = Episodes(LabelledRows.of(x, np.repeat(np.arange(12), 5)), ways=3, shots=2, queries=1, tasks=2)
    learner = ProtoNet(MLP((4,), hidden=(6,), norm="frozen"))
    params = learner.measure(learner.init(0), source)
    seen = torch.cat([source(step).support.x.flatten(0, 1) for step in range(20)])
    hidden = seen @ params["body.1.weight"].T + params["body.1.bias"]
    expected = torch.stack([hidden.mean(0), hidden.var(0, correction=0)])
    assert torch.allclose(params["measured"]["body.2"], expected, rtol=1e-4, atol=1e-5)
    plain = ProtoNet(MLP((4,), hidden=(6,)))
    start = plain.init(0)
    assert plain.measure(start, source) is start


def test_support_statistics_are_kept_in_fast():
    learner = ProtoNet(MLP((4,), hidden=(6,), norm="support").double())
    params = learner.init(0)
    fast = learner.adapt(params, SUPPORT)
    hidden = SUPPORT.x @ params["body.1.weight"].T + params["body.1.bias"]
    assert torch.allclose(fast["statistics"]["body.2"][0], hidden.mean(0))
    together = learner.predict(params, fast, QUERY.x)
    assert torch.allclose(learner.predict(params, fast, QUERY.x[:1]), together[:1])


def test_embedding_gives_the_learned_space():
    module = encoder()
    learner = ProtoNet(module)
    params = learner.init(0)
    result = learner.embed(params, learner.adapt(params, SUPPORT), QUERY.x)
    assert np.allclose(result.detach().numpy(), encoded(module, QUERY.x))


def test_padding_rows_take_no_part_in_measured_statistics():
    x = np.random.default_rng(0).normal(2, 3, size=(60, 4)).astype(np.float32)
    source = Episodes(LabelledRows.of(x, np.repeat(np.arange(12), 5)), ways=(2, 4), shots=(1, 3), queries=1, tasks=2)
    learner = ProtoNet(MLP((4,), hidden=(6,), norm="frozen"))
    params = learner.measure(learner.init(0), source)
    supports = [source(step).support for step in range(20)]
    means = [(rows.x[rows.weight > 0] @ params["body.1.weight"].T + params["body.1.bias"]).mean(0) for rows in supports]
    assert any(bool((rows.weight == 0).any()) for rows in supports)
    assert torch.allclose(params["measured"]["body.2"][0], torch.stack(means).mean(0), rtol=1e-4, atol=1e-5)
