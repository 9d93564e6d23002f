"""Networks: shapes, sizes, and what they refuse."""

import itertools

import pytest
import torch
from torch import nn

from mapwise.core import functional
from mapwise.learners.metric.protonet import ProtoNet
from mapwise.nets import MLP, Conv4, Norm, ResNet12

NORMS = ["batch", "support", "frozen", "group", "layer"]


def parameters(net):
    return sum(p.numel() for p in net.parameters())


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
    made = {
        "mlp": lambda: MLP(shape, 3, hidden=(8,), norm=norm),
        "conv4": lambda: Conv4(shape, 3, filters=8, norm=norm),
        "resnet12": lambda: ResNet12(shape, 3, filters=(8, 8, 8, 8), norm=norm),
    }[net]
    weights = functional.initial_weights(made, seed=1)
    out = functional.apply(made, weights, torch.rand(4, *shape))
    assert out.shape == (4, 3)
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("make", [lambda: Norm(8, "instance"), lambda: Conv4((1, 28, 28), norm="instance")])
def test_an_unknown_norm_is_refused(make):
    with pytest.raises(ValueError, match="there is no norm 'instance': give one of batch, support, frozen, group"):
        make()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Conv4((1, 8, 8)), "images of 8x8 vanish when halved four times: set net.down to stride"),
        (lambda: Conv4((1, 28, 15), down="average"), "images of 28x15 vanish"),
        (lambda: Conv4((64,)), r"conv4 reads images \(C, H, W\) and the rows have shape \(64,\): use net mlp"),
        (lambda: ResNet12((3, 15, 84)), r"resnet12 reads images \(C, H, W\) of at least 16x16"),
        (lambda: ResNet12((64,)), r"the rows have shape \(64,\): use net mlp"),
    ],
)
def test_rows_a_net_cannot_read_are_refused(make, told):
    with pytest.raises(ValueError, match=told):
        make()


def test_pooling_before_the_activation_changes_nothing():
    net = Conv4((1, 28, 28), filters=4, norm="group")
    x = torch.rand(3, 1, 28, 28)
    expected = x
    for block in net.body:
        expected = block.pool(block.activation(block.norm(block.conv(expected))))
    torch.testing.assert_close(net(x), expected.flatten(1), rtol=0, atol=0)


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
