"""Memory-augmented networks: where they write, what they read, and when they are told a label."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mapwise.core import context, tree
from mapwise.core.losses import cross_entropy
from mapwise.core.task import Examples, Task
from mapwise.learners.memory.mann import MANN
from mapwise.nets import MLP


def encoder() -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5)).double()
    module.output_shape = (5,)
    return module


def learner(**fields) -> MANN:
    return MANN(encoder(), **{"units": 7, "slots": 9, "width": 3, "heads": 2, "max_ways": 4, **fields})


def drawn(mann: MANN, seed: int = 0) -> dict:
    """Params large enough to saturate some gates, and with biases."""
    random = np.random.default_rng(seed)
    return tree.map(lambda leaf: torch.from_numpy(random.normal(size=leaf.shape)), mann.init(0))


def rows(labels: list[int], ways: int = 3, seed: int = 0) -> Examples:
    x = torch.from_numpy(np.random.default_rng(seed).normal(size=(len(labels), 4)))
    return Examples(x, F.one_hot(torch.tensor(labels), ways).double(), torch.ones(len(x)).double(), torch.tensor(0))


STREAM = rows([0, 2, 1, 1, 0, 2, 2, 0])


def first(stream: Examples, count: int) -> Examples:
    return Examples(stream.x[:count], stream.y[:count], stream.weight[:count], stream.key)


def test_with_its_gate_on_the_least_used_it_writes_in_turn_into_slots_that_are_zeroed_before():
    # One head, four slots, and the first of them used: 1, 2, 3, 0, 1.
    mann = learner(slots=4, heads=1)
    params = drawn(mann)
    heads = params["heads"]
    heads["weight"][-2:] = 0
    heads["bias"][-2:] = torch.tensor([-1e3, -1e3])  # the gate, and a strength of 0: all slots are read alike
    places, memory = [], torch.full((4, 3), 1e-6, dtype=torch.float64)
    for count in range(1, 6):
        fast = mann.adapt(params, first(STREAM, count))
        changed = ((fast["memory"] - memory).abs() > 1e-9).any(1).nonzero()[:, 0].tolist()
        assert len(changed) == 1
        answer = heads["weight"] @ fast["h"] + heads["bias"]
        torch.testing.assert_close(fast["memory"][changed[0]], answer[3:6].tanh(), rtol=1e-12, atol=0)
        places, memory = places + changed, fast["memory"]
    assert places == [1, 2, 3, 0, 1]


# The whole pass, by loops in numpy -----------------------------------------------------------------------


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    raised = np.exp(x - x.max())
    return raised / raised.sum()


def along(mann: MANN, params: dict, stream: Examples) -> np.ndarray:
    p = tree.map(lambda leaf: leaf.numpy(), params)
    n, m, heads = mann.slots, mann.width, mann.heads
    with torch.no_grad():
        z = torch.func.functional_call(mann.encoder, params["encoder"], (stream.x,)).numpy()
    h, c, seen = np.zeros(mann.units), np.zeros(mann.units), np.zeros(heads * m)
    memory, usage, reads = np.full((n, m), 1e-6), np.eye(n)[0], np.tile(np.eye(n)[0], (heads, 1))
    label, scores = np.zeros(mann.max_ways), []
    for x, y in zip(z, stream.y.numpy(), strict=True):
        lstm = p["lstm"]
        gates = lstm["input"] @ np.concatenate([x, label]) + lstm["recurrent"] @ np.concatenate([h, seen])
        i, f, g, o = np.split(gates + lstm["bias"], 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        answer = (p["heads"]["weight"] @ h + p["heads"]["bias"]).reshape(heads, -1)
        least = np.argsort(usage, kind="stable")[:heads]
        memory = memory.copy()
        memory[least] = 0
        writes = np.zeros((heads, n))
        for head in range(heads):
            gate = sigmoid(answer[head, -2])
            writes[head] = gate * reads[head]
            writes[head, least[head]] += 1 - gate
        for head in range(heads):
            memory += np.outer(writes[head], np.tanh(answer[head, m : 2 * m]))
        reads = np.zeros((heads, n))
        for head in range(heads):
            key = np.tanh(answer[head, :m])
            lengths = np.sqrt((memory @ memory.T).diagonal() + 1e-8) * np.sqrt(key @ key + 1e-8)
            reads[head] = softmax(np.log1p(np.exp(answer[head, -1])) * (memory @ key) / lengths)
        usage = 0.95 * usage + reads.sum(0) + writes.sum(0)
        seen = (reads @ memory).reshape(-1)
        out = p["out"]["weight"] @ np.concatenate([h, seen]) + p["out"]["bias"]
        scores.append(out[: stream.y.shape[1]])
        label = np.concatenate([y, np.zeros(mann.max_ways - len(y))])
    return np.stack(scores)


@pytest.mark.parametrize("heads", [1, 4])
def test_scores_along_a_stream_and_their_loss_equal_numpys(heads):
    # Nine slots and up to four writes a row: slots are written anew.
    mann = learner(heads=heads)
    params = drawn(mann)
    expected = along(mann, params, STREAM)
    np.testing.assert_allclose(mann.causal(params, STREAM).detach().numpy(), expected, rtol=1e-9)
    loss = mann.objective(params, Task(STREAM, first(STREAM, 0))).item()
    assert loss == pytest.approx(cross_entropy(torch.from_numpy(expected), STREAM).item(), rel=1e-9)
    fast = mann.adapt(params, first(STREAM, 7))
    np.testing.assert_allclose(mann.predict(params, fast, STREAM.x[7:]).detach().numpy(), expected[7:], rtol=1e-9)


def test_a_label_changes_the_scores_of_the_rows_after_it_alone():
    mann = learner()
    params = drawn(mann)
    other = STREAM._replace(y=STREAM.y.clone().index_copy(0, torch.tensor([3]), STREAM.y[:1]))
    gap = (mann.causal(params, STREAM) - mann.causal(params, other)).detach().abs().amax(1)
    assert bool((gap[:4] == 0).all()) and bool((gap[4:] > 1e-6).all())


def test_rows_of_weight_0_change_nothing():
    mann = learner()
    params = drawn(mann)
    result = torch.tensor([0, 2, 3, 5, 6, 7, 8, 10])
    loud = rows([1, 0, 2, 2, 1, 0, 1, 2, 0, 1, 2, 0], seed=5)
    x, y = (100 * loud.x).index_copy(0, result, STREAM.x), loud.y.index_copy(0, result, STREAM.y)
    padded = Examples(x, y, torch.zeros(12).double().index_fill(0, result, 1), loud.key)
    torch.testing.assert_close(mann.causal(params, padded)[result], mann.causal(params, STREAM), rtol=1e-12, atol=1e-12)
    none = Task(STREAM, first(STREAM, 0))
    losses = [mann.objective(params, task) for task in (none._replace(support=padded), none)]
    torch.testing.assert_close(*losses, rtol=1e-12, atol=1e-12)
    a, b = (mann.adapt(params, support) for support in (padded, STREAM))
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-12, atol=1e-12)


def test_where_no_row_is_padding_the_steps_that_are_left_out_change_no_bit():
    mann = learner()
    params = drawn(mann)
    with context.within(all_rows_count=True):
        short = mann.adapt(params, STREAM)
    with context.within(all_rows_count=False):
        long = mann.adapt(params, STREAM)
    assert all(torch.equal(short[name], long[name]) for name in short)


def test_a_query_is_answered_as_the_next_row_and_leaves_no_trace():
    mann = learner()
    params = drawn(mann)
    fast = mann.adapt(params, STREAM)
    before = tree.map(torch.clone, fast)
    queries = rows([0] * 5, seed=3).x
    together = mann.predict(params, fast, queries)
    alone = torch.cat([mann.predict(params, fast, queries[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)
    assert all(torch.equal(fast[name], before[name]) for name in fast)


@pytest.mark.parametrize("labels", [[0], [], [0, 0, 0, 1]])
def test_one_row_no_row_and_unequal_shots_are_read(labels):
    mann = learner()
    fast = mann.adapt(drawn(mann), rows(labels) if labels else first(STREAM, 0))
    result = mann.predict(drawn(mann), fast, STREAM.x)
    assert result.shape == (8, 3) and bool(torch.isfinite(result).all())
    assert fast["label"].tolist() == (rows(labels).y[-1].tolist() if labels else [0, 0, 0])


def test_tasks_of_fewer_classes_are_read_and_of_more_refused():
    mann = learner()
    params = drawn(mann)
    wide, narrow = rows([0, 1, 1], ways=4), rows([0, 1, 1], ways=2)
    torch.testing.assert_close(mann.causal(params, wide)[:, :2], mann.causal(params, narrow), rtol=1e-12, atol=0)
    with pytest.raises(ValueError, match="has 5 classes and the learner was built for 4: train with max_ways 5"):
        mann.adapt(params, rows([0], ways=5))


def test_settings_that_cannot_be_are_refused():
    for fields, fault in (
        ({"slots": 1}, "2 heads write into 1 slots"),
        ({"units": 0}, "units is 0: give 1 or more"),
        ({"decay": 1.5}, "decay is 1.5"),
    ):
        with pytest.raises(ValueError, match=fault):
            learner(**fields)
    with pytest.raises(ValueError, match="has no output_shape"):
        MANN(nn.Linear(4, 2)).init(0)


def test_every_part_learns_and_the_memory_begins_with_a_preference():
    mann = MANN(MLP((4,), hidden=(6,)).double(), units=7, slots=9, width=3, heads=2)
    params = tree.map(lambda leaf: leaf.double().requires_grad_(), mann.init(0))
    mann.objective(params, Task(STREAM, first(STREAM, 0))).backward()
    assert all(float(leaf.grad.abs().max()) > 0 for leaf in tree.flatten(params).values())
    bias = mann.init(0)["heads"]["bias"].reshape(2, -1)
    assert bias[:, -2:].tolist() == [[-2.0, 10.0]] * 2 and not bias[:, :-2].any()
