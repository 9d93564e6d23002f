"""MAML: the worked example of the literature to the last digit, and a plain PyTorch loop as its oracle."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mapwise.core import functional, tree
from mapwise.core.task import Examples, Task
from mapwise.learners.optimization.maml import MAML
from mapwise.nets import MLP
from small_tasks import TASK, net, rows

W = torch.tensor([[2.0, 3.0, 5.0]]).double()
TRAIN, TEST = [1.0, 2.0, 3.0], [4.0, 5.0, 6.0]


def half_square(scores: torch.Tensor, rows: Examples) -> torch.Tensor:
    """f = (x.w)^2 / 2, whatever the target."""
    return (scores**2 / 2).mean()


def one_row(x: list[float]) -> Examples:
    return Examples(torch.tensor([x]).double(), torch.zeros(1, 1).double(), torch.ones(1).double(), torch.tensor(0))


def line(**settings) -> MAML:
    return MAML(nn.Linear(3, 1, bias=False).double(), inner_steps=1, inner_lr=0.5, loss=half_square, **settings)


def meta_gradient(learner: MAML, params: dict, task: Task) -> tuple[torch.Tensor, dict]:
    live = tree.map(lambda leaf: leaf.detach().clone().requires_grad_(), params)
    loss = learner.objective(live, task)
    result = torch.autograd.grad(loss, list(live.values()), allow_unused=True)
    return loss.detach(), dict(zip(live, result, strict=True))


def test_the_worked_example_comes_out_to_the_last_digit():
    learner, params = line(), {"weight": W}
    support, query = one_row(TRAIN), one_row(TEST)
    assert float(half_square(learner.predict(params, params, support.x), support)) == 264.5
    fast = learner.adapt(params, support)
    assert fast["weight"].tolist() == [[-9.5, -20, -29.5]]
    loss, gradient = meta_gradient(learner, params, Task(support, query))
    assert float(loss) == 49612.5
    assert gradient["weight"].tolist() == [[3780, 8505, 13230]]


def test_in_first_order_the_worked_example_has_the_other_gradient():
    loss, gradient = meta_gradient(line(first_order=True), {"weight": W}, Task(one_row(TRAIN), one_row(TEST)))
    assert float(loss) == 49612.5
    assert gradient["weight"].tolist() == [[-1260, -1575, -1890]]


def test_the_reversed_example_tells_first_and_second_order_apart():
    task = Task(one_row(TEST), one_row(TRAIN))
    assert meta_gradient(line(first_order=True), {"weight": W}, task)[1]["weight"].tolist() == [[-825, -1650, -2475]]
    assert meta_gradient(line(), {"weight": W}, task)[1]["weight"].tolist() == [[51975, 64350, 76725]]


# A small classifier --------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_the_gradient_through_any_number_of_steps_equals_finite_differences(steps):
    learner = MAML(net(), inner_steps=steps, inner_lr=0.5)
    params = learner.init(0)
    _, gradient = meta_gradient(learner, params, TASK)
    h = 1e-5
    for name, leaf in params.items():
        for place in (0, leaf.numel() - 1):
            nudge = torch.zeros_like(leaf)
            nudge.view(-1)[place] = h
            up, down = (float(learner.objective({**params, name: leaf + s * nudge}, TASK)) for s in (1, -1))
            assert float(gradient[name].view(-1)[place]) == pytest.approx((up - down) / (2 * h), rel=1e-6, abs=1e-9)


def test_adapting_takes_the_steps_of_torchs_sgd():
    learner = MAML(net(), inner_steps=4, inner_lr=0.3)
    fast = learner.adapt(learner.init(0), TASK.support)
    module = copy.deepcopy(learner.net)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.3)
    for _ in range(4):
        optimizer.zero_grad()
        F.cross_entropy(module(TASK.support.x), TASK.support.y.argmax(1)).backward()
        optimizer.step()
    assert all(torch.allclose(fast[name], p, rtol=1e-12) for name, p in module.named_parameters())
    assert torch.allclose(learner.predict(learner.init(0), fast, TASK.query.x), module(TASK.query.x))


def test_regression_adapts_on_the_squared_error():
    support = rows(5)._replace(y=rows(5).x[:, :3] ** 2)
    learner = MAML(net(), inner_steps=1, inner_lr=0.1, loss="squared_error")
    fast = learner.adapt(learner.init(0), support)
    module = copy.deepcopy(learner.net)
    F.mse_loss(module(support.x), support.y).backward()
    assert torch.allclose(fast["2.bias"], module[2].bias - 0.1 * module[2].bias.grad)
    assert "present" not in fast


@pytest.mark.parametrize(("part", "moving"), [("head", {"2.weight", "2.bias"}), ("body", {"0.weight", "0.bias"})])
def test_anil_moves_only_the_head_and_boil_only_the_body(part, moving):
    learner = MAML(net(), inner_steps=2, inner_lr=0.5, moves=(part,))
    params = learner.init(0)
    fast = learner.adapt(params, TASK.support)
    assert set(fast) - {"present"} == moving
    assert all(not torch.equal(fast[name], params[name]) for name in moving)
    # The rest is that of params: predicting with it put in by hand changes nothing.
    module = copy.deepcopy(learner.net)
    module.load_state_dict({**params, **{name: fast[name] for name in moving}})
    assert torch.allclose(learner.predict(params, fast, TASK.query.x), module(TASK.query.x))
    # And the held part is learned all the same.
    _, gradient = meta_gradient(learner, params, TASK)
    assert all(gradient[name] is not None and bool(gradient[name].any()) for name in params)


def nodes(tensor: torch.Tensor) -> set[str]:
    """The kinds of operation in the graph behind a tensor."""
    result, waiting = set(), [tensor.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None:
            result.add(type(node).__name__)
            waiting.extend(after for after, _ in node.next_functions)
    return result


def test_in_first_order_no_second_order_graph_is_built():
    graphs = {}
    for first_order in (True, False):
        learner = MAML(net(), inner_steps=3, first_order=first_order)
        live = tree.map(lambda leaf: leaf.requires_grad_(), learner.init(0))
        graphs[first_order] = nodes(learner.adapt(live, TASK.support)["0.weight"])
    assert graphs[True] == {"SubBackward0", "AccumulateGrad"}
    assert any("Tanh" in name for name in graphs[False])


def test_first_order_gives_the_gradient_at_the_adapted_weights():
    learner = MAML(net(), inner_steps=3, first_order=True)
    params = learner.init(0)
    _, gradient = meta_gradient(learner, params, TASK)
    fast = {name: leaf for name, leaf in learner.adapt(params, TASK.support).items() if name != "present"}
    module = copy.deepcopy(learner.net)
    module.load_state_dict(fast)
    F.cross_entropy(module(TASK.query.x), TASK.query.y.argmax(1)).backward()
    assert all(torch.allclose(gradient[name], p.grad, rtol=1e-10) for name, p in module.named_parameters())


def test_a_head_takes_tasks_of_fewer_classes_and_refuses_more():
    learner = MAML(net(outputs=3), inner_steps=2)
    params = learner.init(0)
    support = rows(4, ways=2)
    fast = learner.adapt(params, support)
    assert learner.predict(params, fast, TASK.query.x).shape == (9, 2)
    # As a head of two columns does.
    narrow = {**params, "2.weight": params["2.weight"][:2], "2.bias": params["2.bias"][:2]}
    smaller = MAML(net(outputs=2), inner_steps=2)
    expected = smaller.adapt(narrow, support)
    assert torch.allclose(fast["2.weight"][:2], expected["2.weight"])
    assert torch.equal(fast["2.weight"][2], params["2.weight"][2])
    with pytest.raises(ValueError, match=r"the head has 3 columns and the task has 4 classes: .* such as protonet"):
        learner.adapt(params, rows(4, ways=4))


def test_training_may_take_other_steps_than_testing():
    learner = MAML(net(), inner_steps=5, train_steps=1)
    assert learner.at(0.5).inner_steps == 1 and learner.inner_steps == 5
    plain = MAML(net(), inner_steps=5)
    assert plain.at(0.5) is plain


def test_without_steps_nothing_moves():
    learner = MAML(net(), inner_steps=0)
    params = learner.init(0)
    fast = learner.adapt(params, TASK.support)
    assert all(torch.equal(fast[name], params[name]) for name in params)


def test_support_statistics_are_those_of_the_adapted_weights():
    learner = MAML(MLP((4,), 3, hidden=(6,), norm="support", activation="tanh").double(), inner_steps=2)
    params = learner.init(0)
    fast = learner.adapt(params, TASK.support)
    hidden = TASK.support.x @ fast["body.1.weight"].T + fast["body.1.bias"]
    expected = torch.stack([hidden.mean(0), hidden.var(0, correction=0)])
    assert torch.allclose(fast["statistics"]["body.2"], expected)
    assert functional.statistics_kept(learner.net) == {"statistics"}


def test_unknown_losses_and_patterns_are_refused():
    with pytest.raises(ValueError, match="there is no loss 'hinge'"):
        MAML(net(), loss="hinge").objective(MAML(net()).init(0), TASK)
    with pytest.raises(ValueError, match="the pattern 'tail' matches none"):
        MAML(net(), moves=("tail",)).adapt(MAML(net()).init(0), TASK.support)
