"""Relation networks against numpy: every pair stacked, convolved and scored by itself."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mapwise.core import functional, tree
from mapwise.core.map_tasks import task_at
from mapwise.core.task import Examples, Task
from mapwise.data.rows import LabelledRows
from mapwise.learners.metric.relation import Relation
from mapwise.nets import MLP, Conv4, Norm
from mapwise.tasks.episodes import Episodes

SHAPES = [(2, 7, 5), (2, 6, 1), (3,)]


def encoder(shape: tuple[int, ...] = SHAPES[0]) -> nn.Module:
    torch.manual_seed(0)
    maps = nn.Conv2d(1, shape[0], 3, padding=1) if len(shape) == 3 else nn.Linear(4, shape[0])
    module = nn.Sequential(maps, nn.Tanh()).double()
    module.output_shape = shape
    return module


def rows(labels: list[int], ways: int, shape: tuple[int, ...] = SHAPES[0], seed: int = 0) -> Examples:
    inputs = (1, *shape[1:]) if len(shape) == 3 else (4,)
    x = torch.from_numpy(np.random.default_rng(seed).normal(size=(len(labels), *inputs)))
    return Examples(x, F.one_hot(torch.tensor(labels), ways).double(), torch.ones(len(x)).double(), torch.tensor(0))


def params_of(learner: Relation) -> dict:
    """Params of which none is 0, 1 or near to it."""
    random = np.random.default_rng(3)
    start = tree.map(torch.Tensor.double, learner.init(0))
    return {
        **start,
        "relation": tree.map(lambda leaf: torch.from_numpy(random.normal(size=leaf.shape)), start["relation"]),
    }


def convolved(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """One map [C, H, W] under filters [F, C, kh, kw], with zeros around it."""
    tall, wide = kernel.shape[2:]
    padded = np.pad(x, ((0, 0), (tall // 2, tall // 2), (wide // 2, wide // 2)))
    out = np.zeros((len(kernel), *x.shape[1:]))
    for down in range(x.shape[1]):
        for right in range(x.shape[2]):
            out[:, down, right] = (kernel * padded[:, down : down + tall, right : right + wide]).sum((1, 2, 3))
    return out


def halved(x: np.ndarray) -> np.ndarray:
    """The largest of every 2 along sides that are longer than 1, a last odd one left out."""
    for axis in (2, 3):
        if x.shape[axis] > 1:
            even = np.moveaxis(x, axis, -1)[..., : x.shape[axis] // 2 * 2]
            x = np.moveaxis(even.reshape(*even.shape[:-1], -1, 2).max(-1), -1, axis)
    return x


def normalised(x: np.ndarray, weights: dict, layer: str, norm: str) -> np.ndarray:
    axes = (0, 2, 3) if norm in ("batch", "frozen") else (1, 2, 3)
    x = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
    return weights[f"{layer}.weight"][:, None, None] * x + weights[f"{layer}.bias"][:, None, None]


def logits(learner: Relation, params: dict, support: Examples, query: Examples) -> np.ndarray:
    g = {name: leaf.detach().numpy() for name, leaf in params["relation"].items()}
    with torch.no_grad():
        z, q = (learner.encoder(part.x).numpy() for part in (support, query))
    z, q = (maps.reshape(*maps.shape, *(1,) * (4 - maps.ndim)) for maps in (z, q))
    labels = support.y.argmax(1).numpy()
    classes = [z[labels == k].sum(0) for k in range(support.y.shape[1])]
    stacked = np.concatenate([g["of_class.weight"], g["of_query.weight"]], axis=1)
    out = np.stack([convolved(np.concatenate([c, x]), stacked) for x in q for c in classes])
    out = halved(np.maximum(normalised(out, g, "pairs.0", learner.norm), 0))
    out = np.stack([convolved(x, g["pairs.3.weight"]) for x in out])
    out = halved(np.maximum(normalised(out, g, "pairs.4", learner.norm), 0)).reshape(len(out), -1)
    units = np.maximum(out @ g["score.1.weight"].T + g["score.1.bias"], 0)
    return (units @ g["score.3.weight"].T + g["score.3.bias"]).reshape(len(q), len(classes))


LABELS, ASKED = [0, 1, 2, 0, 1, 0], [2, 1, 0, 1]  # unequal shots
SUPPORT, QUERY = rows(LABELS, 3), rows(ASKED, 3, seed=1)


@pytest.mark.parametrize("norm", ["batch", "layer", "frozen"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_scores_and_loss_equal_numpys(shape, norm):
    learner = Relation(encoder(shape), filters=5, units=4, norm=norm)
    params, support, query = params_of(learner), rows(LABELS, 3, shape), rows(ASKED, 3, shape, seed=1)
    expected = logits(learner, params, support, query)
    assert np.ptp(expected) > 0.1
    scores = learner.predict(params, learner.adapt(params, support), query.x)
    assert np.allclose(scores.detach().numpy(), expected, rtol=1e-10, atol=1e-12)
    error = np.mean((1 / (1 + np.exp(-expected)) - query.y.numpy()) ** 2)
    assert learner.objective(params, Task(support, query)).item() == pytest.approx(error, rel=1e-12)


def test_the_gradient_reaches_the_encoder_through_the_support_and_through_the_queries():
    learner = Relation(encoder(), filters=5)
    live = tree.map(lambda leaf: leaf.requires_grad_(), params_of(learner))
    copied = tree.map(lambda leaf: leaf.detach().clone().requires_grad_(), live)

    def loss(adapts: dict, predicts: dict) -> torch.Tensor:
        relations = learner.predict(predicts, learner.adapt(adapts, SUPPORT), QUERY.x).sigmoid()
        return ((relations - QUERY.y) ** 2).mean()

    leaf = "0.weight"
    result = loss(live, copied)
    paths = torch.autograd.grad(result, [live["encoder"][leaf], copied["encoder"][leaf]])
    assert all(float(path.abs().max()) > 1e-6 for path in paths)
    (whole,) = torch.autograd.grad(learner.objective(live, Task(SUPPORT, QUERY)), live["encoder"][leaf])
    assert torch.allclose(whole, sum(paths), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_an_absent_class_and_a_row_of_weight_0_change_nothing(norm):
    learner = Relation(encoder(), filters=5, norm=norm)
    params = params_of(learner)
    padded = rows([0, 1, 2, 0, 1, 3], ways=4)
    padded = padded._replace(weight=torch.tensor([1.0, 1, 1, 1, 1, 0]).double())
    plain = Examples(padded.x[:5], padded.y[:5, :3], padded.weight[:5], padded.key)
    a, b = (learner.predict(params, learner.adapt(params, support), QUERY.x) for support in (padded, plain))
    assert torch.allclose(a[:, :3], b, rtol=1e-12)
    assert bool((a[:, 3] == torch.finfo(a.dtype).min / 2).all())
    wide = QUERY._replace(y=F.pad(QUERY.y, (0, 1)))
    losses = [learner.objective(params, Task(padded, wide)), learner.objective(params, Task(plain, QUERY))]
    assert torch.allclose(*losses, rtol=1e-12)


def test_a_second_shot_adds_its_maps_to_the_first():
    learner = Relation(encoder(), filters=5)
    params = params_of(learner)
    maps = [learner.adapt(params, rows(labels, 2))["maps"] for labels in ([0, 1], [0, 1, 1])]
    with torch.no_grad():
        third = learner.encoder(rows([0, 1, 1], 2).x[2:])[0]
    assert torch.equal(maps[1][0], maps[0][0])
    assert torch.allclose(maps[1][1], maps[0][1] + third, rtol=1e-12)


def test_more_ways_than_it_was_trained_with_need_nothing_new():
    learner = Relation(encoder(), filters=5)
    params = params_of(learner)
    for ways in (2, 9):
        fast = learner.adapt(params, rows(list(range(ways)), ways))
        assert learner.predict(params, fast, QUERY.x).shape == (4, ways)


def test_the_last_layer_starts_small_and_the_stacked_convolution_as_one_convolution():
    learner = Relation(Conv4((1, 28, 28), maps=True, halvings=2), units=400)
    start = learner.init(0)["relation"]
    assert start["score.3.weight"].std().item() == pytest.approx(0.01, rel=0.1) and start["score.3.bias"].item() == 0
    # torch starts a convolution uniform up to 1 / sqrt(inputs of a filter), and a filter sees 128 maps of 3x3.
    for name in ("of_class.weight", "of_query.weight"):
        assert start[name].shape == (64, 64, 3, 3)
        assert start[name].abs().max().item() == pytest.approx((128 * 9) ** -0.5, rel=1e-3)
    assert not torch.equal(start["of_class.weight"], start["of_query.weight"])
    assert functional.blueprint(learner.module()).score[1].in_features == 64  # maps of 7x7, halved twice


def test_encoders_it_cannot_compare_are_refused():
    with pytest.raises(ValueError, match=r"the net \(Conv2d\) has no output_shape"):
        Relation(nn.Conv2d(1, 2, 3))
    flat = encoder()
    flat.output_shape = (2, 9)
    with pytest.raises(ValueError, match=r"rows of shape \(2, 9\), and relations are .* such as conv4 with maps"):
        Relation(flat)
    with pytest.raises(ValueError, match="norm is 'support': give 'frozen', 'batch', 'group' or 'layer'"):
        Relation(encoder(), norm="support")


def source() -> Episodes:
    x = np.random.default_rng(0).normal(2, 3, size=(60, 4)).astype(np.float32)
    # From 2 to 3 ways, so that some tasks have an absent class and rows of weight 0.
    return Episodes(LabelledRows.of(x, np.repeat(np.arange(12), 5)), ways=(2, 3), shots=2, queries=1, tasks=2)


def test_frozen_statistics_of_pairs_are_measured_over_training_episodes_and_used():
    learner = Relation(MLP((4,), hidden=(6,)), filters=5)
    start = learner.init(0)
    params = learner.measure(start, source())
    assert set(params["measured"]) == {"pairs.0", "pairs.4"}
    weights, sums = start["relation"], []
    for step in range(20):
        for support, query in (task_at(source()(step), number) for number in range(2)):
            present = (support.y.sum(0) > 0).nonzero()[:, 0]
            classes = torch.stack([learner.encoder(support.x[support.y[:, k] > 0]).sum(0) for k in present])
            question = learner.encoder(query.x[query.weight > 0])
            of_class, of_query = (weights[f"{name}.weight"][:, :, 0, 0] for name in ("of_class", "of_query"))
            sums.append((question @ of_query.T)[:, None] + (classes @ of_class.T)[None])
    means = torch.stack([pairs.flatten(0, 1).mean(0) for pairs in sums]).mean(0)
    assert len({pairs.shape for pairs in sums}) == 2
    assert torch.allclose(params["measured"]["pairs.0"][0], means, rtol=1e-4, atol=1e-5)
    support, query = task_at(source()(0), 0)
    fast = learner.adapt(params, support)
    together = learner.predict(params, fast, query.x)
    assert torch.allclose(learner.predict(params, fast, query.x[:1]), together[:1], rtol=1e-5)
    again = learner.measure(params, source())
    assert all(torch.equal(again["measured"][name], leaf) for name, leaf in params["measured"].items())
    untouched = Relation(MLP((4,), hidden=(6,)), norm="group")
    start = untouched.init(0)
    assert untouched.measure(start, source()) is start


def test_measured_layers_of_one_name_in_both_networks_are_refused():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.pairs = nn.Sequential(Norm(4, "frozen"))
            self.output_shape = (4,)

        def forward(self, x):
            return self.pairs(x)

    learner = Relation(Named())
    with pytest.raises(ValueError, match=r"a layer named 'pairs\.0', as the relation module has: rename it"):
        learner.measure(learner.init(0), source())
