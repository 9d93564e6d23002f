"""Normalisation against torch, and statistics of the rows that count."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mapwise.core import functional, tree
from mapwise.core.inner_loop import SGD, descend
from mapwise.nets.norm import Norm
from small_tasks import drawn


def norm_of(kind: str, channels: int = 16) -> tuple[Norm, tree.Params]:
    layer = Norm(channels, kind).double()
    with torch.no_grad():
        layer.weight.copy_(drawn(channels, seed=7))
        layer.bias.copy_(drawn(channels, seed=8))
    return layer, functional.initial_weights(layer, 0)


IMAGES = 2 + 3 * drawn(5, 16, 4, 3)
VECTORS = 2 + 3 * drawn(5, 16)


@pytest.mark.parametrize("x", [IMAGES, VECTORS], ids=["images", "vectors"])
@pytest.mark.parametrize("kind", ["batch", "support", "frozen"])
def test_statistics_of_the_rows_at_hand_are_torchs_batch_norm(kind, x):
    layer, weights = norm_of(kind)
    expected = F.batch_norm(x, None, None, layer.weight, layer.bias, training=True)
    assert torch.allclose(functional.apply(layer, weights, x), expected)
    assert torch.allclose(functional.apply(layer, weights, x, torch.ones(5).double()), expected)
    assert torch.allclose(functional.observe(layer, weights, x)[0], expected)


@pytest.mark.parametrize("x", [IMAGES, VECTORS], ids=["images", "vectors"])
def test_group_and_layer_are_torchs(x):
    layer, weights = norm_of("group")
    assert torch.allclose(functional.apply(layer, weights, x), F.group_norm(x, 2, layer.weight, layer.bias))
    layer, weights = norm_of("layer")
    assert torch.allclose(functional.apply(layer, weights, x), F.group_norm(x, 1, layer.weight, layer.bias))
    expected = F.layer_norm(VECTORS, (16,), layer.weight, layer.bias)
    assert torch.allclose(functional.apply(layer, weights, VECTORS), expected)


@pytest.mark.parametrize("x", [IMAGES, VECTORS], ids=["images", "vectors"])
@pytest.mark.parametrize("kind", ["batch", "support", "frozen", "group", "layer"])
def test_rows_of_weight_0_take_no_part_in_statistics(kind, x):
    layer, weights = norm_of(kind)
    padded = torch.cat([x, 100 * torch.ones_like(x[:2])])
    result = functional.apply(layer, weights, padded, torch.tensor([1.0] * 5 + [0] * 2).double())
    assert torch.allclose(result[:5], functional.apply(layer, weights, x))


def test_queries_are_normalised_by_the_support_when_its_statistics_are_kept():
    layer, weights = norm_of("support")
    _, seen = functional.observe(layer, weights, IMAGES)
    mean, variance = IMAGES.mean((0, 2, 3)), IMAGES.var((0, 2, 3), correction=0)
    assert torch.allclose(seen["statistics"][""], torch.stack([mean, variance]))
    query = drawn(2, 16, 4, 3, seed=5)
    expected = F.batch_norm(query, mean, variance, layer.weight, layer.bias)
    assert torch.allclose(functional.apply(layer, {**weights, **seen}, query), expected)
    alone = functional.apply(layer, {**weights, **seen}, query[:1])
    assert torch.allclose(alone, expected[:1])


@pytest.mark.parametrize("shape", [(16,), (16, 4, 3)], ids=["vectors", "images"])
def test_the_population_of_many_batches_is_numpys_mean_and_variance_of_all_rows(shape):
    layer, weights = norm_of("frozen")
    # Batches of different means: the variance between them must count.
    batches = [drawn(6, *shape, seed=seed) + 3 * seed for seed in range(4)]
    measured = functional.population(layer, weights, batches)
    everything = np.moveaxis(torch.cat(batches).numpy(), 1, -1).reshape(-1, 16)
    assert np.allclose(measured[""].numpy(), np.stack([everything.mean(0), everything.var(0)]))
    x = drawn(3, *shape, seed=9)
    expected = F.batch_norm(x, *measured[""], layer.weight, layer.bias)
    assert torch.allclose(functional.apply(layer, {**weights, "measured": measured}, x), expected)
    assert functional.population(norm_of("batch")[0], weights, batches) == {}


def test_a_single_row_can_be_normalised_by_itself():
    layer, weights = norm_of("batch")
    assert torch.allclose(functional.apply(layer, weights, VECTORS[:1]), layer.bias)


@pytest.mark.parametrize("x", [IMAGES, VECTORS], ids=["images", "vectors"])
def test_the_second_derivative_of_a_norm_is_the_same_under_vmap(x):
    layer, weights = norm_of("batch")
    point = {**weights, "in": drawn(16, seed=4).reshape(16, *(1,) * (x.ndim - 2))}

    def loss(point: tree.Tree, rows: torch.Tensor) -> torch.Tensor:
        own = {name: point[name] for name in weights}
        return torch.tanh(functional.apply(layer, own, rows * point["in"])).pow(2).mean()

    def after_a_step(point: tree.Tree, rows: torch.Tensor) -> torch.Tensor:
        moved = descend(lambda p, step: loss(p, rows), point, SGD(1.0), 1)
        return loss(moved, rows + 1)

    live = tree.map(lambda leaf: leaf.clone().requires_grad_(), point)
    batch = torch.stack([x, 2 * x - 1, x.flip(0) ** 2])
    mapped = torch.vmap(lambda rows: after_a_step(live, rows))(batch).sum()
    looped = sum(after_a_step(live, rows) for rows in batch)
    for a, b in zip(*(torch.autograd.grad(v, list(live.values())) for v in (mapped, looped)), strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-12)


def test_an_unknown_norm_is_refused():
    with pytest.raises(ValueError, match="kind is 'instance': give 'batch'"):
        Norm(4, "instance")
