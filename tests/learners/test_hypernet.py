"""HyperNet against the clone, against plain transfer, and against weights written by plain PyTorch."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

import mapwise as mw
from mapwise.core import functional, tree
from mapwise.core.losses import cross_entropy
from mapwise.core.task import Examples
from mapwise.learners.generation.hypernet import HyperNet
from mapwise.learners.optimization.maml import MAML
from mapwise.nets import MLP
from small_tasks import TASK, net, rows

LINE = Examples(
    *(t.double() for t in (torch.linspace(-2, 2, 5)[:, None],) * 2), torch.ones(5).double(), torch.tensor(0)
)


def regressor(outputs: int = 1) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, outputs)).double()


def as_double(params):
    return tree.map(torch.Tensor.double, params)


def drawn(learner, seed=0):
    """Params whose writers write something."""
    torch.manual_seed(seed)
    return tree.map(lambda leaf: leaf + 0.1 * torch.randn_like(leaf), as_double(learner.init(0)))


@pytest.mark.parametrize("writes", [("head",), ("*",), ("body",)])
def test_with_a_zero_output_layer_it_is_the_clone(writes):
    module = regressor()
    learner = HyperNet(module, writes=writes, loss="squared_error")
    params = as_double(learner.init(0))
    fast = learner.adapt(params, LINE)
    assert all(torch.equal(leaf, params["net"][name]) for name, leaf in fast.items())
    assert torch.equal(learner.predict(params, fast, LINE.x), module(LINE.x))


def test_with_a_zero_output_layer_every_class_has_the_mean_row_of_the_head():
    learner = HyperNet(net())
    params = as_double(learner.init(0))
    fast = learner.adapt(params, TASK.support)
    assert torch.equal(fast["2.weight"], net()[2].weight.mean(0, keepdim=True).expand(3, -1))
    assert torch.equal(fast["2.bias"], net()[2].bias.mean().expand(3))


@pytest.mark.parametrize("moved", ["head", "*"])
def test_a_fit_after_nothing_was_written_is_plain_transfer(moved):
    """The clone, then gradient steps: what maml does that was trained without steps."""
    learner = HyperNet(regressor(), writes=(moved,), inner_steps=3, inner_lr=0.1, loss="squared_error")
    transfer = MAML(regressor(), moves=(moved,), inner_steps=3, inner_lr=0.1, train_steps=0, loss="squared_error")
    assert transfer.at(0.5).inner_steps == 0
    result = learner.adapt(as_double(learner.init(0)), LINE)
    expected = transfer.adapt(transfer.init(0), LINE)
    assert result.keys() == {name for name in expected if moved == "*" or name.startswith("2")}
    assert all(torch.allclose(result[name], expected[name], rtol=1e-12, atol=1e-14) for name in result)


def two_layers(layers, x):
    first, last = layers["first"], layers["last"]
    hidden = nn.functional.silu(x @ first["weight"].T + first["bias"])
    return torch.cat([hidden, x], -1) @ last["weight"].T + last["bias"]


def features(params, x):
    return torch.tanh(x @ params["net"]["0.weight"].T + params["net"]["0.bias"])


def test_a_head_is_written_from_the_means_of_what_was_read():
    learner = HyperNet(net(), hidden=7)
    params = drawn(learner)
    support = rows(5)  # classes 0 1 2 0 1
    # Every class has the same score at first, so each row lacks two thirds of its own.
    z = torch.cat([features(params, support.x), torch.full((5, 1), 2 / 3, dtype=torch.float64)], 1)
    read = two_layers(params["reads"], z)
    fast = learner.adapt(params, support)
    for column, members in enumerate(([0, 3], [1, 4], [2])):
        change = two_layers(params["class_writes"], torch.cat([read[members].mean(0), read.mean(0)]))
        expected = torch.cat([params["net"]["2.bias"], params["net"]["2.weight"][0]]) + change  # by name
        result = torch.cat([fast["2.bias"][column, None], fast["2.weight"][column]])
        assert torch.allclose(result, expected, rtol=1e-12, atol=1e-13)


def test_a_small_net_is_written_whole_and_then_mended():
    learner = HyperNet(regressor(), writes=("*",), hidden=7, passes=2, loss="squared_error")
    params = drawn(learner)
    theta, y = {name: params["net"][name] for name in sorted(params["net"])}, LINE.x * 3
    for _ in range(2):
        z = features({"net": theta}, LINE.x)
        missed = y - (z @ theta["2.weight"].T + theta["2.bias"])
        change = two_layers(params["writes"], two_layers(params["reads"], torch.cat([z, missed], 1)).mean(0))
        pieces = change.split([leaf.numel() for leaf in theta.values()])
        theta = {
            name: leaf + piece.reshape(leaf.shape) for (name, leaf), piece in zip(theta.items(), pieces, strict=True)
        }
    fast = learner.adapt(params, LINE._replace(y=y))
    assert all(torch.allclose(fast[name], leaf, rtol=1e-12, atol=1e-13) for name, leaf in theta.items())


def test_it_takes_any_number_of_ways_and_leaves_out_absent_classes():
    learner = HyperNet(net(3))
    params = drawn(learner)
    for ways in (1, 2, 5):
        fast = learner.adapt(params, rows(2 * ways, ways))
        assert learner.predict(params, fast, TASK.query.x).shape == (9, ways)
    support = rows(4, 5)  # one shot of four classes of five
    scores = learner.predict(params, learner.adapt(params, support), TASK.query.x)
    assert bool((scores[:, 4] < -1e30).all())
    fewer = support._replace(y=support.y[:, :4])
    assert torch.allclose(scores[:, :4], learner.predict(params, learner.adapt(params, fewer), TASK.query.x))


def test_a_fit_lowers_the_support_loss_of_what_was_written():
    learner = HyperNet(net(), writes=("*",), inner_lr=0.5)
    params, losses = drawn(learner), []
    for steps in (0, 1, 5):
        fast = replace(learner, inner_steps=steps).adapt(params, TASK.support)
        losses.append(float(cross_entropy(learner.predict(params, fast, TASK.support.x), TASK.support)))
    assert losses[0] > losses[1] > losses[2]


def test_only_what_is_written_is_fast():
    learner = HyperNet(net(), writes=("head", "0.bias"), inner_steps=2)
    assert learner.adapt(drawn(learner), TASK.support).keys() == {"2.weight", "2.bias", "0.bias", "present"}


def test_with_norm_support_the_statistics_are_those_under_the_written_weights():
    learner = HyperNet(partial(MLP, (4,), 3, hidden=(6,), norm="support"), writes=("*",))
    params = drawn(learner)
    fast = learner.adapt(params, TASK.support)
    moved = {name: leaf for name, leaf in fast.items() if name not in ("present", "statistics")}
    _, seen = functional.observe(learner.net, moved, TASK.support.x)
    assert torch.equal(fast["statistics"]["body.2"], seen["statistics"]["body.2"])


def test_two_targets_have_starts_of_their_own():
    learner = HyperNet(regressor(2), loss="squared_error")
    params = drawn(learner)
    support = LINE._replace(y=torch.cat([LINE.y, -LINE.y], 1))
    scores = learner.predict(params, learner.adapt(params, support), LINE.x)
    swapped = learner.predict(params, learner.adapt(params, support._replace(y=support.y.flip(1))), LINE.x)
    assert not torch.allclose(scores.flip(1), swapped) and "relabel" not in learner.keeps
    assert "relabel" in HyperNet(net()).keeps


def test_weights_that_come_from_a_file_in_another_order_are_written_alike():
    learner = HyperNet(net(), writes=("*",))
    params = drawn(learner)
    turned = {**params, "net": dict(reversed(params["net"].items()))}
    result, expected = (learner.adapt(one, TASK.support) for one in (turned, params))
    assert all(torch.equal(result[name], leaf) for name, leaf in expected.items())


def test_at_least_one_pass_is_asked_for():
    with pytest.raises(ValueError, match="passes is 0"):
        HyperNet(net(), passes=0)


def test_classes_need_a_written_head():
    with pytest.raises(ValueError, match="writes is body, without the head") as caught:
        HyperNet(net(), writes=("body",)).init(0)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_trained_on_lines_it_writes_y_equals_2x_and_a_fit_finds_it():
    source = mw.Lines(shots=10, queries=10, tasks=32)
    learner = HyperNet(partial(MLP, (1,), 1, hidden=()), hidden=64, passes=4, loss="squared_error")
    settings = {"optimizer": "Adam lr=0.005", "schedule": "cosine", "how": "vmap", "select": "last"}
    params = mw.train(learner, source, steps=1000, validation_episodes=1, **settings).params
    x = torch.linspace(-5, 5, 10)[:, None]
    support, at_4 = Examples(x, 2 * x, torch.ones(10), torch.tensor(0)), torch.tensor([[4.0]])
    written = learner.predict(params, learner.adapt(params, support), at_4)
    assert float(written) == pytest.approx(8.0, abs=0.05)
    fit = replace(learner, inner_steps=100, inner_lr=0.05)
    assert float(fit.predict(params, fit.adapt(params, support), at_4)) == pytest.approx(8.0, abs=1e-3)
