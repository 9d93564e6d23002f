"""Key-value memories: what a query reads in each hop, and what a memory of nearest neighbours keeps of a stream."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mapwise.core import tree
from mapwise.core.map_tasks import task_at
from mapwise.core.stream import after_prefixes
from mapwise.core.task import Examples, Task
from mapwise.data.rows import LabelledRows
from mapwise.engine.evaluate import evaluate
from mapwise.learners.memory import memory_network
from mapwise.learners.memory.memory_network import MemoryNetwork, margin_loss
from mapwise.learners.metric.matching import Matching
from mapwise.nets import MLP
from mapwise.tasks.stream import Stream


def encoder() -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5)).double()
    module.output_shape = (5,)
    return module


def learner(**fields) -> MemoryNetwork:
    return MemoryNetwork(encoder(), **{"width": 6, **fields})


def lasting(**fields) -> MemoryNetwork:
    return learner(**{"update": "nearest", "hops": 1, "slots": 4, "temperature": 8.0, **fields})


def drawn(one: MemoryNetwork, seed: int = 0) -> dict:
    random = np.random.default_rng(seed)
    return tree.map(lambda leaf: torch.from_numpy(random.normal(size=tuple(leaf.shape))), one.init(0))


def rows(labels: list[int], ways: int = 3, seed: int = 0) -> Examples:
    x = torch.from_numpy(np.random.default_rng(seed).normal(size=(len(labels), 4)))
    return Examples(x, F.one_hot(torch.tensor(labels), ways).double(), torch.ones(len(x)).double(), torch.tensor(0))


SUPPORT = rows([0, 2, 1, 1, 0, 2, 2])._replace(weight=torch.tensor([1.0, 1, 2, 1, 0, 1, 1]).double())
QUERY = rows([1, 0, 2, 2, 1], seed=1)
STREAM = rows(np.random.default_rng(3).integers(0, 6, 60).tolist(), ways=7, seed=3)
NONE = Examples(*(leaf[:0] for leaf in STREAM[:3]), STREAM.key)


def embedded(one: MemoryNetwork, params: dict, x: torch.Tensor, name: str = "key") -> np.ndarray:
    with torch.no_grad():
        z = torch.func.functional_call(one.encoder, params["encoder"], (x,))
    return z.numpy() @ params[name].numpy().T


def unit(z: np.ndarray) -> np.ndarray:
    return z / np.linalg.norm(z, axis=-1, keepdims=True)


# Attention over hops -------------------------------------------------------------------------------------


def one_hop_is_matching() -> None:
    one, other = learner(hops=1, width=5), Matching(encoder())
    theirs = other.init(0)
    params = {**theirs, "key": torch.eye(5).double(), "log_temperature": theirs["log_temperature"].double()}
    a, b = (each.predict(p, each.adapt(p, SUPPORT), QUERY.x) for each, p in ((one, params), (other, params)))
    torch.testing.assert_close(a.softmax(-1), b.softmax(-1), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


def test_one_hop_with_identity_maps_has_the_probabilities_of_matching():
    one_hop_is_matching()


def hops_equal_numpys() -> None:
    one = learner(hops=3)
    params = drawn(one)
    keys, values = unit(embedded(one, params, SUPPORT.x)), embedded(one, params, SUPPORT.x, "value")
    expected = []
    for q in unit(embedded(one, params, QUERY.x)):
        for hop in range(3):
            shares = SUPPORT.weight.numpy() * np.exp(np.exp(params["log_temperature"].numpy()) * keys @ q)
            shares = shares / shares.sum()
            if hop < 2:
                q = unit(params["hops"][str(hop)].numpy() @ (q + shares @ values))
        expected.append(np.log(shares @ SUPPORT.y.numpy()))
    scores = one.predict(params, one.adapt(params, SUPPORT), QUERY.x)
    np.testing.assert_allclose(scores.detach().numpy(), np.stack(expected), rtol=1e-9)
    loss = -np.mean([row[label] for row, label in zip(expected, QUERY.y.argmax(1).tolist(), strict=True)])
    assert one.objective(params, Task(SUPPORT, QUERY)).item() == pytest.approx(loss, rel=1e-9)


def test_scores_after_three_hops_and_their_loss_equal_numpys():
    hops_equal_numpys()


# The update of nearest neighbours ------------------------------------------------------------------------


def nearest_by_a_loop(one: MemoryNetwork, params: dict, stream: Examples) -> tuple[np.ndarray, list, list, list]:
    """Scores of each row before its label is seen; then keys, classes and ages of the slots that are filled."""
    ways = stream.y.shape[1]
    scores, keys, classes, ages = [], list[np.ndarray](), list[int](), list[int]()
    for q, label in zip(unit(embedded(one, params, stream.x)), stream.y.argmax(1).tolist(), strict=True):
        alike = [float(key @ q) for key in keys]
        each = np.full(ways, np.finfo(float).min / 2)
        for c in set(classes):
            each[c] = one.temperature * max(a for a, own in zip(alike, classes, strict=True) if own == c)
        scores.append(each)
        nearest = int(np.argmax(alike)) if keys else -1
        if keys and classes[nearest] == label:
            place, key = nearest, unit(keys[nearest] + q)
        elif len(keys) < one.slots:
            keys, classes, ages = [*keys, q], [*classes, label], [*ages, 0]
            place, key = len(keys) - 1, q
        else:
            place, key = ages.index(max(ages)), q
        ages = [age + 1 for age in ages]
        keys[place], classes[place], ages[place] = key, label, 0
    return np.stack(scores), keys, classes, ages


def a_memory_is_that_of_a_loop() -> None:
    for slots in (4, 16, 100):
        one = lasting(slots=slots)
        params = drawn(one)
        scores, keys, classes, ages = nearest_by_a_loop(one, params, STREAM)
        np.testing.assert_allclose(one.causal(params, STREAM).detach().numpy(), scores, rtol=1e-9)
        fast = one.adapt(params, STREAM)
        filled = fast["classes"] >= 0
        assert fast["keys"].shape == (min(slots, 60), 6)
        np.testing.assert_allclose(fast["keys"][filled].detach().numpy(), np.stack(keys), rtol=1e-9)
        assert fast["classes"][filled].tolist() == classes and fast["ages"][filled].tolist() == ages
        assert fast["rows"].tolist() == STREAM.y.sum(0).tolist()


def test_keys_classes_ages_and_scores_along_a_stream_equal_those_of_a_plain_loop():
    hits = nearest_by_a_loop(lasting(slots=100), drawn(lasting()), STREAM)
    assert 10 < len(hits[1]) < 50  # both hits and misses
    a_memory_is_that_of_a_loop()


def the_loss_is_the_margin() -> None:
    cosines = [[0.5, 0.9, 0.2], [0.9, 0.85, 0.1], [0.9, 0.1, 0.1], [0.3, 0.2, 0.0]]
    scores = 8 * torch.tensor(cosines, dtype=torch.float64)
    barred = scores.clone()
    barred[3, 0] = torch.finfo(torch.float64).min / 2
    y = F.one_hot(torch.tensor([0, 0, 0, 0]), 3).double()
    task = Examples(scores, y, torch.tensor([1.0, 1, 2, 1]).double(), torch.tensor(0))
    # 0.9 - 0.5 + 0.1 and 0.85 - 0.9 + 0.1; the third is beyond the margin, the fourth's class isn't in the memory.
    loss = margin_loss(barred, task, margin=0.1, temperature=8.0)
    assert loss.item() == pytest.approx((0.5 + 0.05) / 4, rel=1e-12)


def test_the_loss_is_the_margin_between_the_nearest_keys_of_rows_whose_class_is_in_the_memory():
    the_loss_is_the_margin()
    one = lasting()
    params = tree.map(lambda leaf: leaf.requires_grad_(), drawn(one))
    loss = one.objective(params, Task(STREAM, NONE))
    expected = margin_loss(
        torch.from_numpy(nearest_by_a_loop(one, tree.detach(params), STREAM)[0]), STREAM, margin=0.1, temperature=8.0
    )
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9) and 0 < loss.item() < 2.1
    loss.backward()
    assert all(bool(torch.isfinite(leaf.grad).all()) for leaf in tree.flatten(params).values())


def clouds() -> LabelledRows:
    random = np.random.default_rng(0)
    x = (random.normal(size=(1000, 1, 8)) + 0.3 * random.normal(size=(1000, 5, 8))).reshape(-1, 8)
    labels = [f"class {place:03d}" for place in np.repeat(np.arange(1000), 5)]
    return LabelledRows.of(x.astype(np.float32), labels, splits={"train": [], "val": [], "test": sorted(set(labels))})


def test_a_stream_of_a_thousand_classes_is_answered_as_by_a_plain_loop_in_a_memory_of_bounded_size():
    module = nn.Identity()
    module.output_shape = (8,)
    one = MemoryNetwork(module, update="nearest", hops=1, width=8, slots=300)
    params = {"key": torch.eye(8)}
    source = Stream(clouds(), ways=1000, tasks=1, part="test", length=1100)
    stream = task_at(source(0), 0).support
    assert one.adapt(params, stream)["keys"].shape == (300, 8)
    expected = nearest_by_a_loop(one, {**params, "encoder": {}}, stream)[0]
    truth = stream.y.argmax(1).numpy()
    seen = [int((truth[:place] == label).sum()) for place, label in enumerate(truth)]
    right = (expected.argmax(1) == truth) & np.isfinite(expected).any(1)
    report = evaluate(one, params, source, episodes=1, how="loop")
    for number in (1, 2, 3):
        share = right[np.array(seen) == number - 1].mean()
        assert report.instances[number].mean == pytest.approx(share, abs=1e-9)
    assert report.instances[1].mean < 0.01 < 0.1 < report.instances[2].mean


# Wrong formulas ------------------------------------------------------------------------------------------


ALONG, KNOWN = memory_network.written, memory_network.known


def written_over_the_youngest(memory, query, y, alike):
    after = ALONG({**memory, "ages": -memory["ages"]}, query, y, alike)
    return {**after, "ages": memory_network.aged(memory["ages"], after["ages"] == 0)}


def written_over_any_nearest(memory, query, y, alike):
    """A row is merged with the nearest key whatever its label."""
    nearest = torch.where(memory["classes"] < 0, -torch.inf, alike).argmax()
    classes = torch.where(torch.arange(len(alike)) == nearest, y.argmax(), memory["classes"])
    return ALONG({**memory, "classes": torch.where(memory["classes"] < 0, -1, classes)}, query, y, alike)


BUGS: dict[str, tuple[str, Any, Callable[[], None]]] = {
    "a sum that isn't normalised": ("merged", lambda key, query: key + query, a_memory_is_that_of_a_loop),
    "a mean that isn't normalised": ("merged", lambda key, query: (key + query) / 2, a_memory_is_that_of_a_loop),
    "a key that is replaced": ("merged", lambda key, query: query, a_memory_is_that_of_a_loop),
    "an age that isn't reset": ("aged", lambda ages, slot: ages + 1, a_memory_is_that_of_a_loop),
    "ages that stand still": ("aged", lambda ages, slot: torch.where(slot, 0, ages), a_memory_is_that_of_a_loop),
    "the youngest overwritten": ("written", written_over_the_youngest, a_memory_is_that_of_a_loop),
    "merged whatever the label": ("written", written_over_any_nearest, a_memory_is_that_of_a_loop),
    "keys of any length": ("unit", lambda z: z, one_hop_is_matching),
    "queries that grow from hop to hop": ("unit", lambda z: z, hops_equal_numpys),
    "rows of unknown classes": ("known", lambda scores, rows: rows, the_loss_is_the_margin),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_wrong_formula_is_caught(bug, monkeypatch):
    name, wrong, check = BUGS[bug]
    check()
    monkeypatch.setattr(memory_network, name, wrong)
    with pytest.raises(AssertionError):
        check()


# What both keep ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", [learner(), lasting(), lasting(slots=50)], ids=["append", "few slots", "many slots"])
def test_a_causal_pass_is_adapting_to_every_prefix_and_rows_of_weight_0_change_nothing(one):
    params = drawn(one)
    weight = torch.tensor([float(place % 4 > 0) for place in range(20)]).double()
    part = Examples(STREAM.x[:20], STREAM.y[:20], weight, STREAM.key)
    expected = after_prefixes(one, params, part)
    torch.testing.assert_close(one.causal(params, part), expected, rtol=1e-9, atol=1e-9)
    counted = weight > 0
    whole = Examples(part.x[counted], part.y[counted], weight[counted], part.key)
    torch.testing.assert_close(one.causal(params, whole), expected[counted], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("one", [learner(), lasting()], ids=["append", "nearest"])
def test_a_memory_without_rows_can_choose_no_class_and_has_no_loss(one):
    params = drawn(one)
    fast = one.adapt(params, NONE)
    scores = one.predict(params, fast, QUERY.x)
    assert scores.shape == (5, 7) and bool((scores == torch.finfo(torch.float64).min / 2).all())
    assert one.objective(params, Task(NONE, STREAM)).item() == 0


def test_a_class_whose_last_key_was_overwritten_cannot_be_chosen():
    one = lasting(slots=2)
    params = drawn(one)
    support = rows([0, 1, 2], ways=3)
    scores = one.predict(params, one.adapt(params, support), QUERY.x)
    assert bool((scores[:, 0] == torch.finfo(torch.float64).min / 2).all()) and bool((scores[:, 1:] > -9).all())


def test_first_maps_hardly_change_a_cosine_and_every_part_learns():
    one = MemoryNetwork(MLP((4,), hidden=(16,), activation="tanh"))
    key = one.init(0)["key"].double()
    z = torch.from_numpy(np.random.default_rng(0).normal(size=(20, 16)))
    before, after = (unit(part) @ unit(part).T for part in (z.numpy(), (z @ key.T).numpy()))
    assert key.shape == (256, 16) and float(np.abs(before - after).max()) < 0.25
    params = tree.map(lambda leaf: leaf.double().requires_grad_(), one.init(0))
    MemoryNetwork(MLP((4,), hidden=(16,), activation="tanh").double()).objective(
        params, Task(SUPPORT, QUERY)
    ).backward()
    assert all(float(leaf.grad.abs().max()) > 0 for leaf in tree.flatten(params).values())


def test_settings_that_cannot_be_are_refused():
    for fields, fault in (
        ({"hops": 0}, "hops is 0: give 1 or more"),
        ({"slots": 0}, "slots is 0"),
        ({"temperature": 0.0}, "temperature is 0.0 and must be positive"),
        ({"margin": -1.0}, "margin is -1.0"),
        ({"update": "nearest"}, "hops is 2, and with update nearest a query reads once: give 1"),
    ):
        with pytest.raises(ValueError, match=fault):
            learner(**fields)
    with pytest.raises(ValueError, match="has no output_shape"):
        MemoryNetwork(nn.Linear(4, 2)).init(0)
