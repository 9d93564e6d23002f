"""SNAIL beside whole sequences written out in numpy; what a row may read, and in which order rows are read."""

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mapwise.core import tree
from mapwise.core.losses import cross_entropy
from mapwise.core.task import Examples, Task
from mapwise.data.rows import LabelledRows
from mapwise.engine.evaluate import evaluate
from mapwise.engine.train import train
from mapwise.learners.memory import snail
from mapwise.learners.memory.snail import SNAIL
from mapwise.nets import MLP
from mapwise.tasks.episodes import Episodes


def encoder() -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5)).double()
    module.output_shape = (5,)
    return module


def learner(**fields) -> SNAIL:
    given = {"keys": (3, 4, 5), "values": (2, 3, 4), "filters": 3, "reach": 8, "max_ways": 4, **fields}
    return SNAIL(encoder(), **given)


def drawn(one: SNAIL, seed: int = 0) -> dict:
    """Params with biases, large enough to bend every gate."""
    random = np.random.default_rng(seed)
    return tree.map(lambda leaf: torch.from_numpy(random.normal(size=leaf.shape)) / 2, one.init(0))


def rows(labels: list[int], ways: int = 3, seed: int = 0, key: int = 0) -> Examples:
    x = torch.from_numpy(np.random.default_rng(seed).normal(size=(len(labels), 4)))
    return Examples(x, F.one_hot(torch.tensor(labels), ways).double(), torch.ones(len(x)).double(), torch.tensor(key))


SUPPORT = rows([0, 2, 1, 1, 0, 2, 2])
QUERY = rows([1, 0, 2, 2, 1], seed=1)


# Whole sequences, by loops in numpy ----------------------------------------------------------------------


def sequence(p: dict, h: np.ndarray, reach: int) -> np.ndarray:
    """The scores at every step of one sequence, [T, max_ways]."""
    steps = len(h)
    for place in range(len(p["attention"])):
        q, k, v = (
            h @ p["attention"][str(place)][name]["weight"].T + p["attention"][str(place)][name]["bias"]
            for name in ("queries", "keys", "values")
        )
        read = np.zeros((steps, v.shape[1]))
        for t in range(steps):
            raised = np.exp([q[t] @ k[s] / np.sqrt(k.shape[1]) for s in range(t + 1)])
            read[t] = sum(share * v[s] for s, share in enumerate(raised / raised.sum()))
        h = np.concatenate([h, read], 1)
        dilation = 1
        while dilation < reach and str(place) in p["convolution"]:
            layer = p["convolution"][str(place)][str(dilation)]
            out = np.zeros((steps, len(layer["bias"]) // 2))
            for t in range(steps):
                before = h[t - dilation] if t >= dilation else np.zeros(h.shape[1])
                gates = layer["here"] @ h[t] + layer["before"] @ before + layer["bias"]
                a, b = gates[: len(gates) // 2], gates[len(gates) // 2 :]
                out[t] = np.tanh(a) / (1 + np.exp(-b))
            h = np.concatenate([h, out], 1)
            dilation *= 2
    return h @ p["out"]["weight"].T + p["out"]["bias"]


def one_by_one(one: SNAIL, params: dict, support: Examples, x: torch.Tensor) -> np.ndarray:
    """The last step of a sequence for each query: the support in its order, then the query with a zero label."""
    ways, order = support.y.shape[1], snail.drawn_order(support).numpy()
    with torch.no_grad():
        z, q = (torch.func.functional_call(one.encoder, params["encoder"], (part,)).numpy() for part in (support.x, x))
    labels = np.zeros((len(z) + 1, one.max_ways))
    labels[:-1, :ways] = support.y.numpy()[order]
    p = tree.map(lambda leaf: leaf.numpy(), params)
    whole = [np.concatenate([np.concatenate([z[order], row[None]]), labels], 1) for row in q]
    return np.stack([sequence(p, h, one.reach)[-1, :ways] for h in whole])


def scores_are_those_of_whole_sequences(**fields) -> None:
    one = learner(**fields)
    params = drawn(one)
    expected = one_by_one(one, params, SUPPORT, QUERY.x)
    scores = one.predict(params, one.adapt(params, SUPPORT), QUERY.x).detach().numpy()
    np.testing.assert_allclose(scores, expected, rtol=1e-9)
    loss = cross_entropy(torch.from_numpy(expected), QUERY).item()
    assert one.objective(params, Task(SUPPORT, QUERY)).item() == pytest.approx(loss, rel=1e-9)


@pytest.mark.parametrize("fields", [{}, {"reach": 1}, {"reach": 20}, {"keys": (6,), "values": (5,)}])
def test_scores_and_loss_equal_numpys_of_one_whole_sequence_for_every_query(fields):
    scores_are_those_of_whole_sequences(**fields)


def later_rows_change_no_earlier_output() -> None:
    one = learner()
    params = drawn(one)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snail, "drawn_order", lambda support: torch.arange(len(support.y)))
        for place in range(len(SUPPORT.y)):
            here = torch.tensor([place])
            other = SUPPORT._replace(
                x=SUPPORT.x.index_fill(0, here, 3.0), y=SUPPORT.y.index_copy(0, here, SUPPORT.y[[(place + 2) % 7]])
            )
            outputs, moved = (one._read(params, one.embed(params, {}, s.x), s)[0] for s in (SUPPORT, other))
            changed = (outputs - moved).detach().abs().amax(1) > 1e-9
            assert changed.tolist() == [step >= place for step in range(7)]


def test_later_rows_change_no_earlier_output():
    later_rows_change_no_earlier_output()


def every_earlier_row_is_read_by_convolutions() -> None:
    one = learner(reach=8)
    params = drawn(one)
    for attention in params["attention"].values():
        attention["values"] = tree.map(torch.zeros_like, attention["values"])  # nothing comes by attention
    x = SUPPORT.x.clone().requires_grad_()
    one.predict(params, one.adapt(params, SUPPORT._replace(x=x)), QUERY.x[:1]).sum().backward()
    assert bool((x.grad.abs().amax(1) > 1e-9).all())


def test_the_convolutions_of_a_block_read_every_row_within_their_reach():
    assert [learner(reach=reach).dilations for reach in (1, 2, 5, 8)] == [(), (1,), (1, 2, 4), (1, 2, 4)]
    every_earlier_row_is_read_by_convolutions()


# Wrong formulas ------------------------------------------------------------------------------------------


def attend_over_rows(weights, h, memory, seen):
    """As `attend`, but the softmax is over the rows that read."""
    q, k, v = (snail._linear(weights[name], h) for name in ("queries", "keys", "values"))
    alike = torch.where(seen, q @ memory["keys"].T, -1e9)
    shares = (torch.cat([alike, (q * k).sum(1, keepdim=True)], 1) / k.shape[1] ** 0.5).softmax(0)
    return torch.cat([h, shares[:, :-1] @ memory["values"] + shares[:, -1:] * v], 1)


def attend_unscaled(weights, h, memory, seen):
    scale = len(weights["keys"]["bias"]) ** 0.5
    larger = {**weights, "queries": tree.map(lambda leaf: leaf * scale, weights["queries"])}
    return ATTEND(larger, h, memory, seen)


def convolve_without_gate(weights, h, before):
    a, _ = (h @ weights["here"].T + before @ weights["before"].T + weights["bias"]).chunk(2, 1)
    return torch.cat([h, a.tanh()], 1)


ATTEND, CONVOLVE = snail.attend, snail.convolve
BUGS: dict[str, tuple[Any, str, Any, Callable[[], None]]] = {
    "softmax over the rows that read": (snail, "attend", attend_over_rows, later_rows_change_no_earlier_output),
    "a mask that isn't causal": (
        *(snail, "earlier", lambda rows, device: torch.ones(rows, rows, dtype=torch.bool)),
        later_rows_change_no_earlier_output,
    ),
    "a mask that isn't causal, in scores": (
        *(snail, "earlier", lambda rows, device: torch.ones(rows, rows, dtype=torch.bool)),
        scores_are_those_of_whole_sequences,
    ),
    "similarities that aren't scaled": (snail, "attend", attend_unscaled, scores_are_those_of_whole_sequences),
    "a convolution without its gate": (
        *(snail, "convolve", convolve_without_gate),
        scores_are_those_of_whole_sequences,
    ),
    "dilations from 2 on": (SNAIL, "dilations", (2, 4, 8), every_earlier_row_is_read_by_convolutions),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_wrong_formula_is_caught(bug, monkeypatch):
    owner, name, wrong, check = BUGS[bug]
    check()
    monkeypatch.setattr(owner, name, wrong)
    with pytest.raises(AssertionError):
        check()


# Labels --------------------------------------------------------------------------------------------------


def blobs(**settings) -> Episodes:
    random = np.random.default_rng(0)
    x = (2 * random.normal(size=(60, 1, 4)) + 0.3 * random.normal(size=(60, 12, 4))).reshape(-1, 4)
    table = LabelledRows.of(x.astype(np.float32), np.repeat(np.arange(60), 12))
    return Episodes(table, **{"ways": 3, "shots": 2, "queries": 5, "tasks": 6, **settings})


@dataclass(frozen=True)
class WithoutLabels(SNAIL):
    def adapt(self, params, support):
        fast = super().adapt(params, support._replace(y=torch.zeros_like(support.y)))
        return {**fast, "present": torch.ones(support.y.shape[1])}


def accuracies(kind: type[SNAIL]) -> tuple[float, float]:
    """After a short training: with the support's labels, and with labels dealt out at random."""
    one = kind(
        partial(MLP, (4,), hidden=(16,), activation="tanh"), keys=(8, 8), values=(8, 8), filters=8, reach=8, max_ways=3
    )
    params = train(one, blobs(), steps=40, optimizer="Adam lr=0.01", how="vmap").params
    tests = (blobs(part="test", shuffle_labels=shuffled) for shuffled in (False, True))
    right, dealt = (evaluate(one, params, test, episodes=200).estimate.mean for test in tests)
    return right, dealt


def test_shuffled_labels_give_chance_and_so_does_a_training_without_labels():
    right, dealt = accuracies(SNAIL)
    assert right > 0.8 and dealt == pytest.approx(1 / 3, abs=0.05)
    withheld, _ = accuracies(WithoutLabels)
    assert withheld == pytest.approx(1 / 3, abs=0.05)


# The order of rows ---------------------------------------------------------------------------------------


def test_all_orders_are_drawn_equally_often_and_the_places_of_rows_do_not_matter():
    three = rows([0, 1, 2])
    moved = [2, 0, 1]
    orders = Counter[tuple[int, ...]]()
    for key in range(300):
        task = three._replace(key=torch.tensor(key))
        order = snail.drawn_order(task)
        orders[tuple(order.tolist())] += 1
        again = snail.drawn_order(Examples(task.x[moved], task.y[moved], task.weight, task.key))
        assert torch.equal(task.x[order], task.x[moved][again])
    assert set(orders) == set(itertools.permutations(range(3)))
    assert all(25 < count < 80 for count in orders.values())


def test_equal_rows_with_other_labels_have_places_of_their_own():
    twins = rows([0, 1])._replace(x=torch.ones(2, 4).double())
    orders = {tuple(snail.drawn_order(twins._replace(key=torch.tensor(key))).tolist()) for key in range(20)}
    assert orders == {(0, 1), (1, 0)}


def test_rows_of_weight_0_change_no_score():
    one = learner()
    params = drawn(one)
    places = torch.tensor([0, 2, 3, 5, 6, 7, 9])
    loud = rows([1, 0, 2, 2, 1, 0, 1, 2, 0, 1], seed=5)
    x, y = (100 * loud.x).index_copy(0, places, SUPPORT.x), loud.y.index_copy(0, places, SUPPORT.y)
    padded = Examples(x, y, torch.zeros(10).double().index_fill(0, places, 1), SUPPORT.key)
    a, b = (one.predict(params, one.adapt(params, support), QUERY.x) for support in (padded, SUPPORT))
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("labels", [[0], [], [0, 0, 0, 1]])
def test_one_row_no_row_and_unequal_shots_are_read(labels):
    one = learner()
    params = drawn(one)
    support = rows(labels) if labels else Examples(*(leaf[:0] for leaf in SUPPORT[:3]), SUPPORT.key)
    scores = one.predict(params, one.adapt(params, support), QUERY.x).detach()
    assert scores.shape == (5, 3) and bool(torch.isfinite(scores).all())
    if labels:
        np.testing.assert_allclose(scores[:, 0].numpy(), one_by_one(one, params, support, QUERY.x)[:, 0], rtol=1e-9)


def test_tasks_of_fewer_classes_are_read_and_of_more_refused():
    one = learner()
    params = drawn(one)
    wide, narrow = (rows([0, 1, 1], ways=ways) for ways in (4, 2))
    a, b = (one.predict(params, one.adapt(params, support), QUERY.x) for support in (wide, narrow))
    torch.testing.assert_close(a[:, :2], b, rtol=1e-12, atol=0)
    assert bool((a[:, 2:] == torch.finfo(torch.float64).min / 2).all())
    with pytest.raises(ValueError, match="has 5 classes and the learner was built for 4: train with max_ways 5"):
        one.adapt(params, rows([0], ways=5))


def test_settings_that_cannot_be_are_refused():
    for fields, fault in (
        ({"keys": ()}, r"keys is \(\): give one number"),
        ({"values": (2, 0, 1)}, r"values is \(2, 0, 1\)"),
        ({"keys": (3, 4)}, "2 keys and 3 values are given"),
        ({"filters": 0}, "filters is 0: give 1 or more"),
        ({"reach": 0}, "reach is 0: give 1 or more"),
    ):
        with pytest.raises(ValueError, match=fault):
            learner(**fields)
    with pytest.raises(ValueError, match="has no output_shape"):
        SNAIL(nn.Linear(4, 2)).init(0)


def test_every_part_learns():
    one = SNAIL(MLP((4,), hidden=(6,)).double(), keys=(3, 4), values=(2, 3), filters=3, reach=8, max_ways=3)
    params = tree.map(lambda leaf: leaf.double().requires_grad_(), one.init(0))
    one.objective(params, Task(SUPPORT, QUERY)).backward()
    assert all(float(leaf.grad.abs().max()) > 0 for leaf in tree.flatten(params).values())
