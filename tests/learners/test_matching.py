"""Matching networks against numpy, and what their attention does to unequal shots and to rows far away."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mapwise.core import functional, tree
from mapwise.core.task import Examples, Task
from mapwise.data.rows import LabelledRows
from mapwise.learners.metric.matching import Matching
from mapwise.learners.metric.protonet import ProtoNet
from mapwise.nets import MLP
from mapwise.runs import run
from mapwise.tasks.episodes import Episodes


def encoder() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5)).double()


def rows(labels: list[int], ways: int, seed: int = 0) -> Examples:
    x = torch.from_numpy(np.random.default_rng(seed).normal(size=(len(labels), 4)))
    return Examples(x, F.one_hot(torch.tensor(labels), ways).double(), torch.ones(len(x)).double(), torch.tensor(0))


def scores(learner: Matching, support: Examples, x: torch.Tensor) -> torch.Tensor:
    params = tree.map(torch.Tensor.double, learner.init(0))
    return learner.predict(params, learner.adapt(params, support), x)


SUPPORT = rows([0, 1, 2, 0, 1, 0], ways=3)  # unequal shots
QUERY = rows([2, 1, 0, 1], ways=3, seed=1)


def attention(module: nn.Module, temperature: float) -> np.ndarray:
    z, q = (module(part.x).detach().numpy() for part in (SUPPORT, QUERY))
    cosine = (q @ z.T) / np.linalg.norm(q, axis=1)[:, None] / np.linalg.norm(z, axis=1)
    raised = np.exp(temperature * cosine)
    return raised / raised.sum(1, keepdims=True)


@pytest.mark.parametrize("temperature", [1.0, 10.0])
def test_scores_and_loss_equal_numpys(temperature):
    module = encoder()
    learner = Matching(module, temperature=temperature)
    expected = np.log(attention(module, np.exp(np.float64(np.float32(math.log(temperature))))) @ SUPPORT.y.numpy())
    assert np.allclose(scores(learner, SUPPORT, QUERY.x).detach().numpy(), expected, rtol=1e-12)
    loss = -expected[np.arange(4), QUERY.y.argmax(1).numpy()].mean()
    params = tree.map(torch.Tensor.double, learner.init(0))
    assert learner.objective(params, Task(SUPPORT, QUERY)).item() == pytest.approx(loss, rel=1e-12)


def test_a_temperature_of_1_caps_the_probability_where_the_paper_says():
    directions = torch.tensor([[1.0], [-1.0], [-1.0], [-1.0], [-1.0]])
    support = Examples(directions, torch.eye(5), torch.ones(5), torch.tensor(0))
    learner = Matching(nn.Flatten(), temperature=1.0)
    params = learner.init(0)
    likely = learner.predict(params, learner.adapt(params, support), torch.ones(1, 1)).exp()
    assert likely[0, 0].item() == pytest.approx(math.e / (math.e + 4 / math.e), rel=1e-6)


def test_one_shot_equals_prototypes_with_cosines():
    support = rows([2, 0, 1], ways=3)
    module = encoder()
    other = ProtoNet(module, distance="cosine", scale=10.0)
    params = other.init(0)
    expected = torch.log_softmax(other.predict(params, other.adapt(params, support), QUERY.x), -1)
    assert torch.allclose(scores(Matching(module), support, QUERY.x), expected, rtol=1e-6)


def test_the_temperature_is_learned():
    learner = Matching(encoder())
    params = tree.map(lambda leaf: leaf.double().requires_grad_(), learner.init(0))
    learner.objective(params, Task(SUPPORT, QUERY)).backward()
    assert params["log_temperature"].grad.item() != 0


def test_a_row_far_away_keeps_its_slope_where_its_attention_rounds_to_nothing():
    support = Examples(torch.tensor([[1.0, 0.0], [-1.0, 0.01]]), torch.eye(2), torch.ones(2), torch.tensor(0))
    learner = Matching(nn.Flatten(), temperature=1000.0)
    params = learner.init(0)
    x = torch.tensor([[1.0, 0.5]], requires_grad=True)
    result = learner.predict(params, learner.adapt(params, support), x)
    assert result[0, 1].exp().item() == 0
    assert bool(torch.isfinite(result).all())
    result[0, 1].backward()
    assert bool((x.grad.abs() > 1).all())


@pytest.mark.parametrize("left_out", [[3], [1, 4]])
def test_a_weight_of_0_leaves_a_row_out(left_out):
    results = [i for i in range(6) if i not in left_out]
    weight = torch.tensor([float(i in results) for i in range(6)]).double()
    removed = Examples(SUPPORT.x[results], SUPPORT.y[results], SUPPORT.weight[results], SUPPORT.key)
    learner = Matching(encoder())
    a, b = (scores(learner, support, QUERY.x) for support in (SUPPORT._replace(weight=weight), removed))
    assert torch.allclose(a, b, rtol=1e-12)


def test_an_absent_class_changes_no_probability_and_cannot_be_chosen():
    wide = SUPPORT._replace(y=torch.cat([SUPPORT.y, torch.zeros(6, 1).double()], 1))
    learner = Matching(encoder())
    result, narrow = scores(learner, wide, QUERY.x), scores(learner, SUPPORT, QUERY.x)
    assert torch.allclose(result[:, :3], narrow, rtol=1e-12)
    assert bool((result[:, 3] == torch.finfo(torch.float64).min / 2).all())


def test_probabilities_sum_to_1_for_any_number_of_ways():
    learner = Matching(encoder())
    for ways in (2, 7):
        result = scores(learner, rows(list(range(ways)) * 2, ways), QUERY.x)
        assert torch.allclose(result.exp().sum(1), torch.ones(4).double(), rtol=1e-12)


def test_a_temperature_that_is_not_positive_is_refused():
    for temperature in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="give a number"):
            Matching(encoder(), temperature=temperature)


def test_frozen_statistics_are_measured_on_the_training_supports():
    x = np.random.default_rng(0).normal(2, 3, size=(60, 4)).astype(np.float32)
    source = Episodes(LabelledRows.of(x, np.repeat(np.arange(12), 5)), ways=3, shots=2, queries=1, tasks=2)
    learner = Matching(MLP((4,), hidden=(6,), norm="frozen"))
    params = learner.measure(learner.init(0), source)
    seen = torch.cat([source(step).support.x.flatten(0, 1) for step in range(20)])
    hidden = seen @ params["encoder"]["body.1.weight"].T + params["encoder"]["body.1.bias"]
    assert torch.allclose(params["measured"]["body.2"][0], hidden.mean(0), rtol=1e-4, atol=1e-5)
    # They are used: a query's embedding doesn't depend on its neighbours.
    queries = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(learner.embed(params, {}, queries)[:1], learner.embed(params, {}, queries[:1]), atol=1e-6)


def test_support_statistics_are_kept_in_fast():
    learner = Matching(MLP((4,), hidden=(6,), norm="support").double())
    params = tree.map(torch.Tensor.double, learner.init(0))
    fast = learner.adapt(params, SUPPORT)
    together = learner.predict(params, fast, QUERY.x)
    assert torch.allclose(learner.predict(params, fast, QUERY.x[:1]), together[:1], rtol=1e-12)


def test_a_part_of_params_brings_the_statistics_along():
    params = {"encoder": {"weight": torch.ones(1)}, "scale": torch.ones(()), "measured": {"norm": torch.ones(2, 1)}}
    fast = {"rows": torch.ones(1), "statistics": {"norm": torch.zeros(2, 1)}}
    assert functional.part(params, "encoder", fast) == {
        "weight": params["encoder"]["weight"],
        "measured": params["measured"],
        "statistics": fast["statistics"],
    }
    assert functional.part({"scale": torch.ones(())}, "encoder") == {}


# Full-context embeddings (appendix A) --------------------------------------------------------------------


def encoder_of_five() -> nn.Module:
    module = encoder()
    module.output_shape = (5,)
    return module


def drawn_params(learner: Matching) -> dict:
    """Params with cells large enough to saturate some of their gates."""
    random = np.random.default_rng(5)
    start = tree.map(torch.Tensor.double, learner.init(0))
    return {
        **start,
        "context": tree.map(lambda leaf: torch.from_numpy(random.normal(size=leaf.shape)), start["context"]),
    }


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def cell(x: np.ndarray, h: np.ndarray, c: np.ndarray, weights: dict) -> tuple[np.ndarray, np.ndarray]:
    i, f, g, o = np.split(weights["input"] @ x + weights["recurrent"] @ h + weights["bias"], 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def attending(x: np.ndarray, rows: list[np.ndarray], steps: int, weights: dict) -> np.ndarray:
    h = c = np.zeros(len(x))
    for _ in range(steps):
        raised = [np.exp(h @ row) for row in rows]
        read = sum(share * row for share, row in zip(raised, rows, strict=True)) / sum(raised)
        answer, c = cell(x, np.concatenate([h, read]), c, weights)
        h = answer + x
    return h


def in_context(kind: str, params: dict, module: nn.Module, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """g(x_i, S) of the support and f(x, S) of the queries, row by row."""
    cells = {name: tree.map(lambda leaf: leaf.numpy(), weights) for name, weights in params["context"].items()}
    with torch.no_grad():
        z, q = (list(module(part.x).numpy()) for part in (SUPPORT, QUERY))
    if kind == "set":
        rows = [attending(x, z, steps, cells["support"]) for x in z]
    else:
        by_name = {}
        for name, order in (("forward", range(6)), ("backward", reversed(range(6)))):
            h = c = np.zeros(5)
            for i in order:
                h, c = cell(z[i], h, c, cells[name])
                by_name[name, i] = h
        rows = [by_name["forward", i] + by_name["backward", i] + z[i] for i in range(6)]
    return np.stack(rows), np.stack([attending(x, rows, steps, cells["query"]) for x in q])


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("kind", ["sequence", "set"])
def test_full_context_embeddings_and_scores_equal_numpys(kind, steps):
    module = encoder_of_five()
    learner = Matching(module, full_context=kind, context_steps=steps)
    params = drawn_params(learner)
    rows, queries = in_context(kind, params, module, steps)
    fast = learner.adapt(params, SUPPORT)
    assert np.allclose(fast["rows"].detach().numpy(), rows, rtol=1e-11)
    assert np.allclose(learner.embed(params, fast, QUERY.x).detach().numpy(), queries, rtol=1e-11)
    cosine = (queries @ rows.T) / np.linalg.norm(queries, axis=1)[:, None] / np.linalg.norm(rows, axis=1)
    raised = np.exp(np.exp(params["log_temperature"].item()) * cosine)
    expected = np.log(raised / raised.sum(1, keepdims=True) @ SUPPORT.y.numpy())
    assert np.allclose(learner.predict(params, fast, QUERY.x).detach().numpy(), expected, rtol=1e-10)


def test_the_support_is_read_as_torchs_own_lstm_reads_it():
    learner = Matching(encoder_of_five(), full_context="sequence")
    params = drawn_params(learner)
    theirs = nn.LSTM(5, 5, bidirectional=True).double()
    for name, end in (("forward", ""), ("backward", "_reverse")):
        cell_weights = params["context"][name]
        named = {"weight_ih": "input", "weight_hh": "recurrent", "bias_ih": "bias"}
        for their, our in named.items():
            getattr(theirs, f"{their}_l0{end}").data = cell_weights[our]
        getattr(theirs, f"bias_hh_l0{end}").data.zero_()
    z = learner.encoder(SUPPORT.x)
    ahead, back = theirs(z)[0].chunk(2, -1)
    assert torch.allclose(learner.adapt(params, SUPPORT)["rows"], ahead + back + z, rtol=1e-11)


@pytest.mark.parametrize("kind", ["sequence", "set"])
def test_in_full_context_rows_of_weight_0_and_absent_classes_change_nothing(kind):
    learner = Matching(encoder_of_five(), full_context=kind)
    params = drawn_params(learner)
    loud = rows([0, 3, 1, 2, 3, 0, 1, 0], ways=4, seed=7)
    result = torch.tensor([0, 2, 3, 5, 6, 7])
    x = loud.x * 100
    x[result] = SUPPORT.x
    padded = Examples(x, loud.y, torch.zeros(8).double().index_fill(0, result, 1), loud.key)
    a, b = (learner.predict(params, learner.adapt(params, support), QUERY.x) for support in (padded, SUPPORT))
    assert torch.allclose(a[:, :3], b, rtol=1e-11)
    assert bool((a[:, 3] == torch.finfo(torch.float64).min / 2).all())


def test_the_order_of_support_rows_matters_to_a_sequence_and_not_to_a_set():
    turned = Examples(SUPPORT.x.flip(0), SUPPORT.y.flip(0), SUPPORT.weight, SUPPORT.key)
    changes = {}
    for kind in ("sequence", "set"):
        learner = Matching(encoder_of_five(), full_context=kind)
        params = drawn_params(learner)
        a, b = (learner.predict(params, learner.adapt(params, support), QUERY.x) for support in (SUPPORT, turned))
        changes[kind] = float((a - b).detach().abs().max())
        assert ("order" in learner.keeps) is (kind == "set")
    assert changes["set"] < 1e-10 and changes["sequence"] > 1e-2


@pytest.mark.parametrize("kind", ["sequence", "set"])
def test_every_cell_of_the_full_context_learns(kind):
    learner = Matching(encoder_of_five(), full_context=kind)
    params = tree.map(lambda leaf: leaf.double().requires_grad_(), learner.init(0))
    learner.objective(params, Task(SUPPORT, QUERY)).backward()
    slopes = tree.flatten(tree.map(lambda leaf: leaf.grad, params["context"]))
    assert len(slopes) == (9 if kind == "sequence" else 6)
    assert all(float(slope.abs().max()) > 0 for slope in slopes.values())
    cells = tree.flatten(learner.init(0)["context"])
    assert len({float(leaf.sum()) for leaf in cells.values()}) == len(cells)
    assert all(float(leaf.abs().max()) <= 5**-0.5 for leaf in cells.values())


def test_full_context_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="full_context is 'all': give 'sequence', 'set' or None"):
        Matching(encoder_of_five(), full_context="all")
    with pytest.raises(ValueError, match="context_steps is 0: give 1 or more"):
        Matching(encoder_of_five(), full_context="set", context_steps=0)
    with pytest.raises(ValueError, match="has no output_shape"):
        Matching(encoder(), full_context="set").init(0)
    assert "context" not in Matching(encoder()).init(0)


def test_a_run_in_full_context_starts_from_the_same_cells_of_another(monkeypatch):
    learner = Matching(encoder_of_five(), full_context="sequence")
    trained = {**learner.init(1), "measured": {"layer": torch.ones(2, 5)}}
    monkeypatch.setattr(run, "load_params", lambda folder: (trained, 7))
    settings = run.RunSettings(learner="matching_fce", source="digits", seed=0, init="runs/other")
    result = run.initial_params(learner, settings)
    there, here = tree.flatten(trained), tree.flatten(result)
    assert here.keys() == there.keys() and len({path.rpartition("/")[2] for path in there}) < len(there)
    assert all(torch.equal(here[path], leaf) for path, leaf in there.items())
    # One whose weights lie elsewhere fits by name and shape, as before.
    plain = run.initial_params(ProtoNet(encoder_of_five()), settings)
    assert tree.flatten(plain).keys() == {*trained["encoder"], "measured/layer"}
    assert all(torch.equal(plain[name], leaf) for name, leaf in trained["encoder"].items())
