"""Meta Networks against its slow network, and against the algorithm written out row by row in plain PyTorch."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mapwise.core import tree
from mapwise.core.learner import WAIVABLE
from mapwise.core.task import Examples
from mapwise.learners.memory.meta_networks import MetaNetworks, _chunks
from mapwise.nets import MLP
from small_tasks import TASK, rows


def encoder() -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.Tanh()).double()
    module.output_shape = (6,)
    return module


def build(**fields) -> tuple[MetaNetworks, dict]:
    learner = MetaNetworks(encoder(), **{"units": 5, "hidden": 4, "chunks": 2, "most_ways": 3, **fields})
    return learner, tree.map(torch.Tensor.double, learner.init(0))


def predicted(learner, params, support, x=TASK.query.x):
    return learner.predict(params, learner.adapt(params, support), x)


def slow(params, x):
    base = params["base"]
    return F.relu(encoder()(x) @ base["dense"].T) @ base["head"].T


def test_without_fast_weights_it_is_the_slow_network():
    learner, params = build()
    fast = learner.adapt(params, TASK.support)
    nothing = {**fast, "memory": tree.zeros_like(fast["memory"])}
    assert torch.allclose(learner.predict(params, nothing, TASK.query.x), slow(params, TASK.query.x), rtol=1e-13)


def test_writers_that_write_zeros_leave_the_slow_network():
    learner, params = build()
    params["rows"]["layer2"] = tree.zeros_like(params["rows"]["layer2"])
    assert torch.allclose(predicted(learner, params, TASK.support), slow(params, TASK.query.x), rtol=1e-13)


def log_and_sign(gradient: torch.Tensor) -> torch.Tensor:
    size = (gradient.abs() + 1e-300).log() / 7
    return torch.stack([size.clamp(min=-1), (gradient * torch.exp(torch.tensor(7.0).double())).clamp(-1, 1)], -1)


def algorithm_1(params: dict, support: Examples, x: torch.Tensor, chunks: list[list[int]]) -> torch.Tensor:
    """Line after line, a row, a chunk and a query at a time."""
    net = encoder()

    def loss_gradients(layers, members):
        live = {name: leaf.detach().clone().requires_grad_() for name, leaf in layers.items()}
        scores = F.relu(net(support.x[members]) @ live["dense"].T) @ live["head"].T
        loss = F.cross_entropy(scores, support.y[members].argmax(1))
        return dict(zip(live, torch.autograd.grad(loss, list(live.values())), strict=True))

    cell = nn.LSTMCell(2, 4).double()
    for name, value in (("weight_ih", "input"), ("weight_hh", "recurrent"), ("bias_ih", "bias")):
        getattr(cell, name).data = params["chunks"]["lstm"][value]
    cell.bias_hh.data.zero_()
    state = None
    for members in chunks:
        slope = loss_gradients(params["key"], members)["dense"]
        state = cell(log_and_sign(slope).reshape(-1, 2), state)
    fast_key = (state[0] @ params["chunks"]["weight"] + params["chunks"]["bias"]).reshape(slope.shape)

    def written(slope):
        hidden = log_and_sign(slope)
        for place in range(3):
            layer = params["rows"][f"layer{place}"]
            hidden = hidden @ layer["weight"].T + layer["bias"]
            hidden = F.relu(hidden) if place < 2 else hidden
        return hidden[..., 0]

    def key(z):
        return z @ (params["key"]["dense"] + fast_key).T

    memory = [tree.map(written, loss_gradients(params["base"], [row])) for row in range(len(support.x))]
    scores = []
    for z in net(x):
        alike = torch.stack([F.cosine_similarity(key(z), key(net(row[None])[0]), dim=0) for row in support.x])
        attention = (params["log_strength"].exp() * alike).softmax(0)
        fast = tree.map(lambda *leaves: sum(a * leaf for a, leaf in zip(attention, leaves, strict=True)), *memory)  # noqa: B023
        g = F.relu(params["base"]["dense"] @ z) + F.relu(fast["dense"] @ z)
        scores.append(params["base"]["head"] @ g + fast["head"] @ g)
    return torch.stack(scores)


@pytest.mark.parametrize(
    ("count", "chunks"), [(6, [[0, 1, 2], [3, 4, 5]]), (3, [[0, 1], [2]]), (5, [[0, 1, 2], [3, 4]])]
)
def test_it_is_the_algorithm_of_the_paper_on_its_last_layers(count, chunks):
    learner, params = build()
    support = rows(count)
    expected = algorithm_1(params, support, TASK.query.x, chunks)
    assert torch.allclose(predicted(learner, params, support), expected, rtol=1e-9, atol=1e-10)


def test_chunks_are_cut_from_the_rows_that_count():
    whole = _chunks(torch.ones(10), 5)
    assert torch.equal(whole, torch.eye(5).repeat_interleave(2, 1))
    assert torch.equal(_chunks(torch.tensor([1.0, 0, 1, 0, 1, 1]), 2).sum(1), torch.tensor([2.0, 2.0]))
    # Fewer rows than chunks: one row each, and chunks without any.
    few = _chunks(torch.ones(3), 5)
    assert torch.equal(few.sum(0), torch.ones(3)) and sorted(few.sum(1).tolist()) == [0, 0, 1, 1, 1]


def test_a_chunk_without_rows_is_passed_over():
    results = [predicted(*build(chunks=chunks), rows(3)) for chunks in (3, 5)]
    assert torch.allclose(*results, rtol=1e-12)


def test_gradients_enter_as_constants():
    learner, params = build()
    live = tree.map(lambda leaf: leaf.clone().requires_grad_(), params)
    fast = learner.adapt(live, TASK.support)
    # The slow head of the keys is used in their gradients alone.
    fast["memory"]["dense"].sum().backward()
    assert live["key"]["head"].grad is None and live["base"]["dense"].grad is None
    assert bool((live["rows"]["layer0"]["weight"].grad != 0).any())


def test_the_order_of_rows_and_the_names_of_classes_change_the_answer():
    learner, params = build()
    support, turned = TASK.support, torch.tensor([3, 1, 2, 0, 4, 5])
    shuffled = support._replace(x=support.x[turned], y=support.y[turned])
    plain = predicted(learner, params, support)
    assert not torch.allclose(plain, predicted(learner, params, shuffled))
    renamed = predicted(learner, params, support._replace(y=support.y.roll(1, 1)))
    assert not torch.allclose(plain.roll(1, 1), renamed)
    assert WAIVABLE - learner.keeps == {"relabel", "order", "weights"}


def test_fewer_classes_and_absent_ones_are_taken_and_more_are_refused():
    learner, params = build()
    assert predicted(learner, params, rows(2, 2)).shape == (9, 2)
    absent = rows(2, 3)  # nothing of the third class
    scores = predicted(learner, params, absent)
    assert bool((scores[:, 2] < -1e30).all())
    assert torch.allclose(scores[:, :2], predicted(learner, params, rows(2, 2)), rtol=1e-12)
    with pytest.raises(ValueError, match="rows for 3 classes and the task has 4: set most_ways to 4") as caught:
        learner.adapt(params, rows(4, 4))
    assert "\n" not in str(caught.value)


def test_memory_has_a_slot_a_row_and_keys_are_no_longer_than_asked():
    learner, params = build()
    fast = learner.adapt(params, TASK.support)
    shapes = {path: tuple(leaf.shape) for path, leaf in tree.flatten(fast).items()}
    assert shapes == {
        "keys": (6, 5),
        "memory/dense": (6, 5, 6),
        "memory/head": (6, 3, 5),
        "dense": (5, 6),
        "weight": (6,),
        "present": (3,),
    }


def test_a_wrong_setting_is_a_one_line_error():
    for fields, answer in (({"strength": 0.0}, "strength is 0.0"), ({"chunks": 0}, "chunks is 0")):
        with pytest.raises(ValueError, match=answer) as caught:
            MetaNetworks(partial(MLP, (4,)), **fields)
        assert "\n" not in str(caught.value)


def test_the_slow_head_of_the_keys_gets_no_gradient():
    learner, params = build()
    leaves = {path: leaf.clone().requires_grad_() for path, leaf in tree.flatten(params).items()}
    learner.objective(tree.unflatten(leaves), TASK).backward()
    without = {path for path, leaf in leaves.items() if leaf.grad is None or not leaf.grad.any()}
    assert without == {"key/head"}
