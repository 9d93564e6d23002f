"""Zero-shot prototypes against nearest means of unit rows, and against numpy."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mapwise.catalog.learners import LEARNERS
from mapwise.core.task import Examples, Task
from mapwise.data.rows import LabelledRows
from mapwise.learners.metric.zero_shot import ZeroShot
from mapwise.nets import MLP, Residual
from mapwise.tasks.episodes import Episodes


def rows(labels: list[int], ways: int, seed: int = 0, width: int = 4) -> Examples:
    x = torch.from_numpy(np.random.default_rng(seed).normal(size=(len(labels), width)))
    return Examples(
        x, F.one_hot(torch.tensor(labels), ways).double(), torch.ones(len(labels)).double(), torch.tensor(0)
    )


DESCRIPTIONS = rows([1, 0, 2], ways=3)
QUERY = rows([2, 1, 0, 1, 2], ways=3, seed=1)


def on_unit_rows(part: Examples) -> Examples:
    return part._replace(x=F.normalize(part.x, dim=1))


def test_with_one_description_a_class_and_identity_maps_it_is_the_nearest_mean_of_unit_rows():
    nearest_mean = LEARNERS["nearest_mean"].build()
    support, query = on_unit_rows(DESCRIPTIONS), on_unit_rows(QUERY)
    expected = nearest_mean.predict({}, nearest_mean.adapt({}, support), query.x)
    for net in (nn.Flatten, Residual((4,)).double()):
        learner = ZeroShot(net, scale=3.0)
        params = learner.init(0)
        scores = learner.predict(params, learner.adapt(params, DESCRIPTIONS), QUERY.x)  # rows of any length
        assert torch.allclose(scores, 3 * expected, rtol=1e-6, atol=1e-6)


def encoders() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return nn.Linear(4, 5).double(), nn.Linear(6, 5).double()


def by_numpy(queries: nn.Linear, descriptions: nn.Linear, support: Examples, ways: int) -> np.ndarray:
    def unit(net, x):
        z = x.numpy() @ net.weight.detach().numpy().T + net.bias.detach().numpy()
        return z / np.linalg.norm(z, axis=1, keepdims=True)

    labels, v = support.y.argmax(1).numpy(), unit(descriptions, support.x)
    means = np.stack([v[labels == k].mean(0) for k in range(ways)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return -5 * ((unit(queries, QUERY.x)[:, None] - means[None]) ** 2).sum(-1)


def test_scores_and_loss_equal_numpys_where_descriptions_have_another_shape_and_a_class_has_several():
    support = rows([0, 1, 2, 1], ways=3, seed=2, width=6)
    queries, descriptions = encoders()
    learner = ZeroShot(queries, descriptions)
    params = learner.init(0)
    expected = by_numpy(queries, descriptions, support, 3)
    scores = learner.predict(params, learner.adapt(params, support), QUERY.x)
    assert np.allclose(scores.detach().numpy(), expected, rtol=1e-5)  # the scale is kept in float32
    log_p = expected - np.log(np.exp(expected).sum(1, keepdims=True))
    loss = -log_p[np.arange(5), QUERY.y.argmax(1).numpy()].mean()
    assert float(learner.objective(params, Task(support, QUERY))) == pytest.approx(loss, rel=1e-5)


def test_both_encoders_start_alike_and_move_apart():
    source = described()
    learner = ZeroShot(partial(MLP, (3,), 4, hidden=()))
    params = learner.init(3)
    for name, leaf in params["encoder"].items():
        assert torch.equal(leaf, params["descriptions"][name])
    task = Task(
        *(part._replace(x=part.x[0], y=part.y[0], weight=part.weight[0], key=part.key[0]) for part in source(0))
    )
    slopes = torch.func.grad(learner.objective)(params, task)
    name = "head.weight"
    assert slopes["encoder"][name].abs().sum() > 0 and slopes["descriptions"][name].abs().sum() > 0
    assert not torch.allclose(slopes["encoder"][name], slopes["descriptions"][name])
    assert float(slopes["log_scale"].abs()) > 0


def described() -> Episodes:
    random = np.random.default_rng(0)
    labels = np.repeat([f"c{i:02d}" for i in range(12)], 5)
    x = random.normal(2, 3, size=(60, 3)).astype(np.float32)
    names = LabelledRows.of(random.normal(-5, 1, size=(12, 3)).astype(np.float32), sorted(set(labels)))
    return Episodes(LabelledRows.of(x, labels), ways=3, queries=2, tasks=2, descriptions=names)


def test_frozen_statistics_are_of_queries_for_one_encoder_and_of_descriptions_for_the_other():
    learner, source = ZeroShot(partial(MLP, (3,), hidden=(6,), norm="frozen")), described()
    start = learner.init(0)
    params = learner.measure(start, source)
    for part, role, name in (("encoder", 1, "body.2"), ("descriptions", 0, "descriptions.body.2")):
        seen = torch.cat([source(step)[role].x.flatten(0, 1) for step in range(20)])
        hidden = seen @ start[part]["body.1.weight"].T + start[part]["body.1.bias"]
        expected = torch.stack([hidden.mean(0), hidden.var(0, correction=0)])
        assert torch.allclose(params["measured"][name], expected, rtol=1e-3, atol=1e-4)
    names = source(0).support
    one = Examples(names.x[0], names.y[0], names.weight[0], names.key[0])
    without = {**params, "measured": {name: leaf for name, leaf in params["measured"].items() if "desc" not in name}}
    assert not torch.allclose(learner.adapt(params, one)["prototypes"], learner.adapt(without, one)["prototypes"])
    plain = ZeroShot(partial(MLP, (3,), hidden=(6,)))
    start = plain.init(0)
    assert plain.measure(start, source) is start


def test_a_shared_encoder_embeds_both():
    net = encoders()[0]
    learner, twice = ZeroShot(net, shared=True), ZeroShot(net)
    params = learner.init(0)
    assert set(params) == {"encoder", "log_scale"}
    moved = {**params, "encoder": {name: 2 * leaf + 1 for name, leaf in params["encoder"].items()}}
    both = {**moved, "descriptions": moved["encoder"]}
    scores = learner.predict(moved, learner.adapt(moved, DESCRIPTIONS), QUERY.x)
    assert torch.equal(scores, twice.predict(both, twice.adapt(both, DESCRIPTIONS), QUERY.x))
    with pytest.raises(ValueError, match="shared is true and there are two encoders"):
        ZeroShot(net, net, shared=True)


def test_a_scale_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match=r"scale is 0\.0 and must be positive"):
        ZeroShot(nn.Flatten, scale=0.0)
