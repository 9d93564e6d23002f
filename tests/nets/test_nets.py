"""Networks: shapes, sizes, and what they refuse."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from mapwise.core import functional, tree
from mapwise.data.rows import LabelledRows
from mapwise.engine.gradient import meta_gradient
from mapwise.learners.metric.protonet import ProtoNet
from mapwise.learners.optimization.maml import MAML
from mapwise.nets import MLP, Conv4, Norm, ResNet12
from mapwise.nets import norm as norms
from mapwise.nets.conv4 import channels_last
from mapwise.nets.statistics import row_statistics
from mapwise.tasks.episodes import Episodes

NORMS = ["batch", "support", "frozen", "group", "layer"]


def parameters(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("kind", ["batch", "support"])
def test_a_row_of_weight_two_counts_twice(kind):
    net = MLP((3,), 2, hidden=(4,), norm=kind)
    weights, x = functional.initial_weights(net, 0), torch.randn(3, 3, generator=torch.manual_seed(0))
    twice = functional.apply(net, weights, x[[0, 0, 1, 2]])[1:]
    weight = torch.tensor([2.0, 1, 1])
    torch.testing.assert_close(functional.apply(net, weights, x, weight), twice)


@pytest.mark.parametrize("how", ["vmap", 2])
@pytest.mark.parametrize("make", [Conv4, partial(Conv4, down="stride")])
@pytest.mark.parametrize("kind", ["group", "layer"])
def test_norms_of_single_rows_have_a_rule_under_vmap(kind, make, how):
    learner = MAML(net=partial(make, (1, 16, 16), 3, filters=8, norm=kind), inner_steps=2)
    rows = LabelledRows.of(np.random.default_rng(0).random((45, 1, 16, 16)), np.arange(45) % 9)
    params, tasks = learner.init(0), Episodes(rows, ways=3, shots=1, queries=2, tasks=3)(0)
    gradient, expected = (tree.flatten(meta_gradient(learner, params, tasks, how=way)[0]) for way in (how, "loop"))
    for path, leaf in expected.items():
        torch.testing.assert_close(gradient[path], leaf, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("filters", [32, 64])
@pytest.mark.parametrize(
    ("shape", "down", "features"),
    [
        ((1, 28, 28), "pool", 1),
        ((1, 28, 28), "average", 1),
        ((1, 28, 28), "stride", 1),
        ((3, 84, 84), "pool", 25),
        ((3, 84, 84), "average", 25),
        ((3, 84, 84), "stride", 1),
        ((1, 16, 16), "pool", 1),
        ((2, 17, 40), "pool", 2),
        ((1, 8, 8), "stride", 1),
    ],
)
def test_conv4_gives_so_many_features_per_filter(shape, down, features, filters):
    encoder = Conv4(shape, filters=filters, down=down)
    assert encoder(torch.rand(2, *shape)).shape == (2, features * filters)
    assert Conv4(shape, 7, filters=filters, down=down)(torch.rand(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize(
    "make",
    [
        partial(Conv4, (1, 28, 28), filters=5),
        partial(Conv4, (3, 40, 33), filters=5),
        partial(Conv4, (1, 8, 8), filters=5, down="stride"),
        partial(Conv4, (1, 8, 9), filters=5, halvings=3),
        partial(ResNet12, (3, 16, 16), filters=(4, 5, 6, 7)),
        partial(MLP, (2, 3), hidden=(7, 5)),
    ],
)
def test_every_net_says_the_shape_of_its_outputs(make):
    for net in (make(), make(outputs=3)):
        shape = next(iter(make.args))
        assert functional.output_shape(net) == net(torch.rand(2, *shape)).shape[1:]


@pytest.mark.parametrize(
    ("make", "side", "maps"),
    [
        (partial(Conv4, filters=5, halvings=2), 28, (5, 7, 7)),
        (partial(Conv4, filters=5, halvings=2, down="average"), 30, (5, 7, 7)),
        (partial(Conv4, filters=5, halvings=2, down="stride"), 30, (5, 8, 8)),
        (partial(Conv4, filters=5), 28, (5, 1, 1)),
        (partial(Conv4, filters=5, halvings=0), 3, (5, 3, 3)),
        (partial(ResNet12, filters=(4, 5, 6, 7)), 40, (7, 2, 2)),
    ],
)
def test_nets_can_end_in_their_feature_maps(make, side, maps):
    x = torch.rand(2, 1, side, side)
    nets = [functional.blueprint(lambda end=end: make((1, side, side), maps=end)) for end in (True, False)]
    result, usual = (net(x) for net in nets)
    assert result.shape == (2, *maps) == (2, *functional.output_shape(nets[0]))
    averages = make.func is ResNet12 or make.keywords.get("down") == "stride"
    assert torch.equal(result.mean((2, 3)) if averages else result.flatten(1), usual)
    with pytest.raises(ValueError, match="has no head, and 3 outputs are asked for: leave out maps, or take"):
        make((1, side, side), 3, maps=True)


def test_the_standard_encoder_has_as_many_parameters_as_published():
    # Four 3x3 convolutions without biases, each with a scale and a shift.
    assert parameters(Conv4((1, 28, 28))) == 9 * 64 + 3 * 9 * 64 * 64 + 4 * 2 * 64 == 111_680
    assert parameters(Conv4((1, 28, 28), filters=32)) == 9 * 32 + 3 * 9 * 32 * 32 + 4 * 2 * 32
    assert parameters(Conv4((1, 28, 28), 5)) == 111_680 + 64 * 5 + 5
    assert not any(name.endswith("conv.bias") for name, _ in Conv4((1, 28, 28)).named_parameters())


def test_resnet12_has_as_many_parameters_as_published():
    widths = [3, 64, 160, 320, 640]
    each = [9 * a * b + 2 * 9 * b * b + a * b + 4 * 2 * b for a, b in itertools.pairwise(widths)]
    assert parameters(ResNet12((3, 84, 84))) == sum(each) == 12_424_320


@pytest.mark.parametrize("pool", ["max", "average"])
@pytest.mark.parametrize("side", [28, 84])
def test_resnet12_gives_its_last_width(side, pool):
    small = ResNet12((3, side, side), filters=(4, 5, 6, 7), pool=pool)
    assert small(torch.rand(2, 3, side, side)).shape == (2, 7)
    assert ResNet12((3, side, side), 9, filters=(4, 5, 6, 7))(torch.rand(2, 3, side, side)).shape == (2, 9)


def test_mlp_flattens_its_rows():
    assert MLP((1, 8, 8), 3)(torch.rand(2, 1, 8, 8)).shape == (2, 3)
    assert MLP((4,), None, hidden=(9,))(torch.rand(2, 4)).shape == (2, 9)
    assert parameters(MLP((1,), 1, hidden=(40, 40))) == 80 + 40 * 41 + 41


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("net", ["mlp", "conv4", "resnet12"])
def test_every_net_takes_every_norm(net, norm):
    shape = (1, 16, 16)
    result = {
        "mlp": lambda: MLP(shape, 3, hidden=(8,), norm=norm),
        "conv4": lambda: Conv4(shape, 3, filters=8, norm=norm),
        "resnet12": lambda: ResNet12(shape, 3, filters=(8, 8, 8, 8), norm=norm),
    }[net]
    weights = functional.initial_weights(result, seed=1)
    out = functional.apply(result, weights, torch.rand(4, *shape))
    assert out.shape == (4, 3)
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("make", [lambda: Norm(8, "instance"), lambda: Conv4((1, 28, 28), norm="instance")])
def test_an_unknown_norm_is_refused(make):
    with pytest.raises(ValueError, match="is 'instance': give 'batch', 'support', 'frozen', 'group'"):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Conv4((1, 8, 8)), "images of 8x8 vanish when halved 4 times: set net.down to stride"),
        (lambda: Conv4((1, 28, 15), down="average"), "images of 28x15 vanish"),
        (lambda: Conv4((1, 28, 28), halvings=5), "halvings is 5 and conv4 has four blocks: give a number from 0 to 4"),
        (lambda: Conv4((64,)), r"conv4 reads images \(C, H, W\) and the rows have shape \(64,\): use net mlp"),
        (lambda: ResNet12((3, 15, 84)), r"resnet12 reads images \(C, H, W\) of at least 16x16"),
        (lambda: ResNet12((64,)), r"the rows have shape \(64,\): use net mlp"),
    ],
)
def test_rows_a_net_cannot_read_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("norm", ["batch", "support", "group", "layer"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_pooling_first_changes_nothing(norm, activation):
    net = Conv4((2, 16, 20), filters=6, norm=norm, activation=activation).double()
    for block in net.body:
        nn.init.normal_(block.norm.weight)  # scales of both signs
        nn.init.normal_(block.norm.bias)
    x = torch.rand(3, 2, 16, 20, dtype=torch.float64)

    def in_the_usual_order(weights):
        maps = x
        for i, block in enumerate(net.body):
            own = {name: weights[f"body.{i}.{name}"] for name in ("conv.weight", "norm.weight", "norm.bias")}
            maps = nn.functional.conv2d(maps, own["conv.weight"], padding=1)
            if norm in ("group", "layer"):
                maps = nn.functional.group_norm(maps, block.norm.groups, own["norm.weight"], own["norm.bias"])
            else:
                maps = nn.functional.batch_norm(maps, None, None, own["norm.weight"], own["norm.bias"], training=True)
            maps = nn.functional.max_pool2d(block.activation(maps), 2)
        return maps.flatten(1)

    weights = {name: p.detach().requires_grad_() for name, p in net.named_parameters()}
    result, expected = functional.apply(net, weights, x), in_the_usual_order(weights)
    torch.testing.assert_close(result, expected)
    seed = torch.rand_like(result)
    slopes = (torch.autograd.grad((seed * out).sum(), list(weights.values())) for out in (result, expected))
    for a, b in zip(*slopes, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 8, 9)])
def test_images_are_laid_out_with_the_channels_of_a_pixel_side_by_side(shape):
    x = torch.rand(2, *shape)
    turned = channels_last(x)
    assert torch.equal(turned, x)
    assert turned.stride(1) == 1 and turned.stride(3) == shape[0]
    assert Conv4((1, 28, 28)).body[1].conv.weight.is_contiguous(memory_format=torch.channels_last)


# Statistics.


@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 5), (4, 2, 3, 3), (1, 3)])
def test_statistics_and_their_derivatives_of_three_orders_are_right(shape):
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    around = (0, *range(2, len(shape)))
    mean, variance = row_statistics(x)
    torch.testing.assert_close(mean, x.mean(around))
    torch.testing.assert_close(variance, x.var(around, correction=0))

    def bent(x):
        mean, variance = row_statistics(x)
        return torch.sin(mean) + torch.exp(variance) * mean

    def slope_of_bent(x):
        (slope,) = torch.autograd.grad(bent(x).sum(), x, create_graph=True)
        return torch.sin(slope) * x

    assert torch.autograd.gradcheck(bent, (x,))
    assert torch.autograd.gradgradcheck(bent, (x,))
    assert torch.autograd.gradgradcheck(slope_of_bent, (x,))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_statistics_far_from_zero_lose_no_digits(layout):
    x = (torch.randn(6, 4, 8, 8) + 1000).contiguous(memory_format=layout)
    _, variance = row_statistics(x)
    torch.testing.assert_close(variance.double(), x.double().var((0, 2, 3), correction=0), rtol=1e-4, atol=0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_statistics_of_many_tasks_are_those_of_each(axis):
    x = torch.rand(3, 4, 2, 5, dtype=torch.float64).movedim(0, axis)  # the axis of tasks may stand anywhere
    mapped = torch.vmap(row_statistics, in_dims=axis)(x)
    looped = [row_statistics(one) for one in x.movedim(axis, 0)]
    for result, expected in zip(mapped, zip(*looped, strict=True), strict=True):
        torch.testing.assert_close(result, torch.stack(expected))


# A user's own module.


def own():
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))


def test_the_weights_of_any_module_are_flat_and_carry_its_own_names():
    learner = ProtoNet(encoder=own)
    params = learner.init(0)
    assert {name: tuple(leaf.shape) for name, leaf in params.items()} == {
        "1.weight": (3, 4),
        "1.bias": (3,),
        "3.weight": (2, 3),
        "3.bias": (2,),
    }


def test_a_callable_is_built_under_the_seed_and_leaves_torchs_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = functional.initial_weights(own, seed=1)
    assert torch.equal(torch.rand(3), expected)
    again, other = functional.initial_weights(own, seed=1), functional.initial_weights(own, seed=2)
    assert torch.equal(first["1.weight"], again["1.weight"])
    assert not torch.equal(first["1.weight"], other["1.weight"])


def test_a_built_module_keeps_its_weights_and_is_never_changed():
    module = own()
    weights = functional.initial_weights(module, seed=9)
    assert torch.equal(weights["1.weight"], module[1].weight)
    x = torch.rand(5, 4)
    before = module(x)
    weights["1.weight"].zero_()
    assert not torch.equal(functional.apply(module, weights, x), before)
    assert torch.equal(module(x), before)


def test_frozen_pretrained_parameters_stay_inside():
    module = own()
    module[1].requires_grad_(False)
    weights = functional.initial_weights(module, seed=0)
    assert set(weights) == {"3.weight", "3.bias"}
    x = torch.rand(5, 4)
    torch.testing.assert_close(functional.apply(module, weights, x), module(x))
    module.requires_grad_(False)
    assert functional.initial_weights(module, seed=0) == {}
    torch.testing.assert_close(functional.apply(module, {}, x), module(x))


def test_running_statistics_that_would_be_updated_are_refused():
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    with pytest.raises(ValueError, match=r"layer '1' \(BatchNorm1d\) updates running statistics while it runs: build"):
        ProtoNet(encoder=module)
    with pytest.raises(ValueError, match="updates running statistics"):
        ProtoNet(encoder=lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)))
    frozen = ProtoNet(encoder=module.eval())
    assert "alone" in frozen.keeps
    stateless = ProtoNet(encoder=nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False)))
    assert "alone" not in stateless.keeps


def test_dropout_that_would_draw_is_refused():
    module = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5))
    with pytest.raises(ValueError, match=r"layer '1' \(Dropout\) draws random numbers of its own: switch it off"):
        ProtoNet(encoder=module)
    assert set(ProtoNet(encoder=module.eval()).init(0)) == {"0.weight", "0.bias"}
    assert set(ProtoNet(encoder=nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.0))).init(0)) == {"0.weight", "0.bias"}


def test_a_parameter_with_a_reserved_name_is_refused():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.measured = nn.Parameter(torch.ones(2))

        def forward(self, x):
            return x * self.measured

    with pytest.raises(ValueError, match="a parameter named 'measured', a reserved name: rename it"):
        ProtoNet(encoder=Odd).init(0)


@pytest.mark.parametrize("padded", [False, True])
def test_a_single_task_without_padding_takes_the_faster_statistics(padded, monkeypatch):
    taken = []
    for name in ("row_statistics", "_weighted_statistics"):
        real = getattr(norms, name)
        monkeypatch.setattr(norms, name, lambda *of, real=real, name=name: (taken.append(name), real(*of))[1])
    net = MLP((3,), 2, norm="batch")
    weights = functional.initial_weights(net, 0)
    x, weight = torch.randn(6, 3), torch.ones(6)
    weight[-1] = 0.0 if padded else 1.0
    alone = functional.apply(net, weights, x, weight)
    assert set(taken) == {"_weighted_statistics" if padded else "row_statistics"}
    # Inside a map nobody can look, and the answer is the same.
    mapped = torch.vmap(lambda rows, counts: functional.apply(net, weights, rows, counts))(x[None], weight[None])[0]
    assert taken[-1] == "_weighted_statistics"
    torch.testing.assert_close(alone, mapped, rtol=1e-5, atol=1e-6)
