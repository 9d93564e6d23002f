"""The LSTM meta-learner: gradient descent where its gates are fixed so, and one LSTM for all coordinates."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mapwise.core import context, inner_loop, tree
from mapwise.core.inner_loop import SGD
from mapwise.core.map_tasks import task_at
from mapwise.core.task import Task
from mapwise.engine.gradient import meta_gradient
from mapwise.learners.optimization.maml import MAML
from mapwise.learners.optimization.meta_lstm import Gates, MetaLSTM
from mapwise.nets import MLP
from mapwise.nets.log_and_sign import log_and_sign
from mapwise.nets.lstm import lstm_cell
from mapwise.tasks.sinusoid import Sinusoid
from small_tasks import TASK, net, rows


def as_double(params):
    return tree.map(lambda leaf: leaf.double(), params)


def drawn(learner, seed=0, size=0.5):
    """Params whose gates say something: at the start their weights are nearly zero and their biases large."""
    params, random = as_double(learner.init(seed)), torch.Generator().manual_seed(seed)
    for part, bias in (("forget", 1.0), ("input", -1.0)):
        weight = size * torch.randn(params[part]["weight"].shape, generator=random)
        params[part] = as_double({"weight": weight, "bias": torch.tensor(bias)})
    return params


def slopes(learner, params, task=TASK):
    live = tree.map(lambda leaf: leaf.detach().clone().requires_grad_(), params)
    leaves = tree.flatten(live)
    loss = learner.objective(live, task)
    return loss.detach(), dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


# The rule ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.5, 0.01])
@pytest.mark.parametrize("steps", [1, 5, 12])
def test_with_all_kept_and_a_fixed_input_gate_it_is_gradient_descent(rate, steps):
    learner = MetaLSTM(net(), inner_steps=steps)
    params = as_double(learner.init(0))
    logit = np.log(rate / (1 - rate))
    for part, bias in (("forget", 50.0), ("input", logit)):
        params[part] = {"weight": torch.zeros(22).double(), "bias": torch.tensor(bias).double()}
    maml = MAML(learner.net, inner_steps=steps, inner_lr=rate, first_order=True)
    fast, expected = learner.adapt(params, TASK.support), maml.adapt(params["net"], TASK.support)
    assert fast.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(fast[name], expected[name], rtol=1e-10, atol=1e-12)
    loss, gradient = slopes(learner, params)
    expected_loss, expected_gradient = slopes(maml, params["net"])
    torch.testing.assert_close(loss, expected_loss, rtol=1e-10, atol=0)
    for name, slope in expected_gradient.items():
        torch.testing.assert_close(gradient[f"net/{name}"], slope, rtol=1e-10, atol=1e-12)


def test_every_coordinate_takes_the_steps_of_torchs_lstm_and_two_gates():
    learner = MetaLSTM(net(), inner_steps=3, hidden=5)
    params = drawn(learner)
    cell = nn.LSTMCell(4, 5).double()
    cell.load_state_dict(as_torch(params["lstm"]))
    theta = torch.cat([leaf.flatten() for leaf in params["net"].values()])
    sizes = [leaf.numel() for leaf in params["net"].values()]
    h = c = torch.zeros(len(theta), 5).double()
    f, i = torch.ones_like(theta), torch.zeros_like(theta)
    for _ in range(3):
        pieces = zip(params["net"].items(), theta.split(sizes), strict=True)
        live = {name: piece.view(leaf.shape).clone().requires_grad_() for (name, leaf), piece in pieces}
        loss = F.cross_entropy(
            torch.func.functional_call(learner.net, live, (TASK.support.x,)), TASK.support.y.argmax(1)
        )
        slope = torch.cat([leaf.flatten() for leaf in torch.autograd.grad(loss, list(live.values()))])
        with torch.no_grad():
            message = torch.from_numpy(by_numpy(loss.detach().numpy())).expand(len(slope), 2)
            h, c = cell(torch.cat([torch.from_numpy(by_numpy(slope.numpy())), message], 1), (h, c))
            gate = {
                part: torch.sigmoid(
                    torch.cat([h, theta[:, None], last[:, None]], 1) @ params[part]["weight"] + params[part]["bias"]
                )
                for part, last in (("forget", f), ("input", i))
            }
            f, i = gate["forget"], gate["input"]
            theta = f * theta - i * slope
    fast = learner.adapt(params, TASK.support)
    result = torch.cat([fast[name].flatten() for name in params["net"]])
    torch.testing.assert_close(result, theta, rtol=1e-10, atol=1e-12)
    assert float(f.std()) > 0.01 and float(i.std()) > 0.01


def as_torch(weights):
    """A cell's weights by the names of nn.LSTMCell, which has two biases for one."""
    return {
        "weight_ih": weights["input"],
        "weight_hh": weights["recurrent"],
        "bias_ih": weights["bias"],
        "bias_hh": torch.zeros_like(weights["bias"]),
    }


def by_numpy(x: np.ndarray, p: float = 10.0) -> np.ndarray:
    """The preprocessing, number by number."""
    results = [
        (np.log(abs(v)) / p, np.sign(v)) if abs(v) >= np.exp(-p) else (-1.0, np.exp(p) * v)
        for v in np.atleast_1d(x).ravel()
    ]
    return np.array(results).reshape(*x.shape, 2)


def test_numbers_are_told_by_their_logarithm_and_sign():
    edge = np.exp(-10.0)
    x = np.array([[0.0, 1.0, -1.0, 3e4, -2e-3], [edge, -edge, 0.99 * edge, -1e-7, 1e-300]])
    result = log_and_sign(torch.from_numpy(x))
    np.testing.assert_allclose(result.numpy(), by_numpy(x), rtol=1e-12, atol=1e-15)
    assert result.shape == (2, 5, 2) and log_and_sign(torch.tensor(2.0)).shape == (2,)


def test_the_written_out_cell_is_torchs():
    torch.manual_seed(0)
    weights = {"input": torch.randn(20, 3), "recurrent": torch.randn(20, 5), "bias": torch.randn(20)}
    weights = {name: leaf.double() for name, leaf in weights.items()}
    cell = nn.LSTMCell(3, 5).double()
    cell.load_state_dict(as_torch(weights))
    x, h, c = torch.randn(7, 3).double(), torch.randn(7, 5).double(), torch.randn(7, 5).double()
    for result, expected in zip(lstm_cell(x, (h, c), weights), cell(x, (h, c)), strict=True):
        torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-14)


def test_a_permutation_of_the_coordinates_permutes_their_steps():
    learner = MetaLSTM(net(), hidden=5)
    rule = Gates.of(drawn(learner))
    random = torch.Generator().manual_seed(0)
    order = torch.randperm(8, generator=random)
    point, slope = torch.randn(8, generator=random).double(), torch.randn(8, generator=random).double()

    def two_steps(w, slope):
        point = {"w": w}
        state = rule.start(point)
        for t in range(2):
            point, state = rule.step(point, {"w": slope}, state, t, torch.tensor(1.3).double())
        return point["w"]

    torch.testing.assert_close(
        two_steps(point[order], slope[order]), two_steps(point, slope)[order], rtol=1e-12, atol=0
    )


def test_hidden_units_that_change_places_learn_the_same():
    learner = MetaLSTM(net(), inner_steps=4)
    params = drawn(learner)
    order = torch.tensor([3, 0, 5, 1, 4, 2])

    def permuted(weights):
        first, second = {name: weights[name][order] for name in ("0.weight", "0.bias")}, weights["2.weight"][:, order]
        return {**weights, **first, "2.weight": second}

    fast = learner.adapt(params, TASK.support)
    again = learner.adapt({**params, "net": permuted(params["net"])}, TASK.support)
    for name, leaf in permuted(fast).items():
        torch.testing.assert_close(again[name], leaf, rtol=1e-9, atol=1e-12)


def test_it_starts_near_gradient_descent_with_a_small_rate_and_each_seed_in_its_own_place():
    learner = MetaLSTM(net())
    params, other = learner.init(0), learner.init(1)
    assert 4 <= float(params["forget"]["bias"]) <= 5 and -5 <= float(params["input"]["bias"]) <= -4
    for part in ("forget", "input"):
        assert float(params[part]["weight"].abs().max()) <= 0.01 and params[part]["weight"].shape == (22,)
        assert not torch.equal(params[part]["weight"], other[part]["weight"])
    assert not torch.equal(params["lstm"]["recurrent"], other["lstm"]["recurrent"])


# Gradients -----------------------------------------------------------------------------------------------


def test_gradients_and_losses_of_the_steps_are_constants_and_the_lstm_learns():
    learner = MetaLSTM(net(), inner_steps=3, hidden=5)
    params = drawn(learner)
    loss, gradient = slopes(learner, params)
    live = tree.map(lambda leaf: leaf.clone().requires_grad_(), params)
    by_definition = learner.surrogate(params, TASK)(live)
    torch.testing.assert_close(by_definition.detach(), loss, rtol=1e-12, atol=0)
    leaves = tree.flatten(live)
    for path, slope in zip(leaves, torch.autograd.grad(by_definition, list(leaves.values())), strict=True):
        torch.testing.assert_close(gradient[path], slope, rtol=1e-9, atol=1e-14)
        assert bool(gradient[path].any()), path


@pytest.mark.parametrize("how", ["vmap", "loop", 2])
@pytest.mark.parametrize("remat", [False, True])
def test_every_mapping_gives_the_same_meta_gradient_recomputed_or_not(how, remat):
    build = partial(MLP, (1,), 1, hidden=(6,), activation="tanh")
    learner = MetaLSTM(build, inner_steps=3, hidden=5, loss="squared_error")
    params, tasks = drawn(learner), Sinusoid(shots=4, queries=5, tasks=3)(0)
    tasks = Task(*(part._replace(x=part.x.double(), y=part.y.double(), weight=part.weight.double()) for part in tasks))
    result = tree.flatten(meta_gradient(learner, params, tasks, how=how, remat=remat)[0])
    one_by_one = [slopes(learner, params, task_at(tasks, t))[1] for t in range(3)]
    for path, slope in result.items():
        expected = torch.stack([each[path] for each in one_by_one]).mean(0)
        torch.testing.assert_close(slope, expected, rtol=1e-10, atol=1e-12)


def test_recomputed_it_keeps_the_states_between_steps_and_not_the_gates():
    learner = MetaLSTM(net(), inner_steps=6)
    params = tree.map(lambda leaf: leaf.requires_grad_(), drawn(learner))
    coordinates = sum(leaf.numel() for leaf in params["net"].values())

    def count_kept(recomputes: bool) -> int:
        sizes: dict[int, int] = {}
        hold = []  # a tensor that is let go gives its address to the next

        def pack(tensor):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // 8
            hold.append(tensor)
            return tensor

        hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
        with context.within(recomputes=recomputes), hooks:
            assert learner.adapt(params, TASK.support)["0.weight"].requires_grad
        return sum(sizes.values())

    # h and c of 20 numbers each, theta, f and i in every step; of the LSTM's own graph there is four times as much.
    assert count_kept(True) <= 6 * 45 * coordinates + 4 * 20 * 30 < count_kept(False) / 3


def test_in_first_order_descent_has_nothing_to_recompute():
    assert not SGD(0.1).deep and Gates.deep
    w = torch.ones(3, requires_grad=True)
    with context.within(recomputes=True):
        end = inner_loop.descend(lambda p, t: (p["w"] ** 2).sum(), {"w": w}, SGD(0.1), 2, first_order=True)
    assert "Recomputed" not in type(end["w"].grad_fn).__name__


# Particular tasks ----------------------------------------------------------------------------------------


def test_it_adapts_for_other_numbers_of_steps_than_it_was_trained_for():
    learner = MetaLSTM(net(), inner_steps=3)
    params = drawn(learner)
    assert all(
        torch.equal(replace(learner, inner_steps=0).adapt(params, TASK.support)[n], params["net"][n])
        for n in params["net"]
    )
    longer = replace(learner, inner_steps=7).adapt(params, TASK.support)
    assert not torch.equal(longer["0.weight"], learner.adapt(params, TASK.support)["0.weight"])


def test_a_head_takes_tasks_of_fewer_classes_and_refuses_more():
    learner = MetaLSTM(net())
    params = as_double(learner.init(0))
    fast = learner.adapt(params, rows(4, ways=2))
    assert learner.predict(params, fast, TASK.query.x).shape == (9, 2)
    with pytest.raises(ValueError, match="the head has 3 columns and the task has 4 classes"):
        learner.adapt(params, rows(4, ways=4))


def test_one_shot_unequal_shots_and_absent_classes_are_taken():
    learner = MetaLSTM(net())
    params = drawn(learner)
    assert bool(torch.isfinite(learner.predict(params, learner.adapt(params, rows(3)), TASK.query.x)).all())
    support = rows(7)
    support = support._replace(weight=support.weight * (support.y[:, 1] == 0))
    scores = learner.predict(params, learner.adapt(params, support), TASK.query.x)
    assert bool((scores.argmax(1) != 1).all()) and bool(torch.isfinite(scores).all())


def test_a_support_without_any_row_has_no_gradient_and_gives_numbers():
    learner = MetaLSTM(net())
    params = drawn(learner)
    fast = learner.adapt(params, TASK.support._replace(weight=torch.zeros(6).double()))
    assert all(bool(torch.isfinite(leaf).all()) for leaf in fast.values())
