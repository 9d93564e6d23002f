"""Learners as ONNX graphs: onnxruntime says what torch says, for supports of other sizes than it was exported with."""

import numpy as np
import pytest
import torch
from torch import nn

import mapwise as mw
from conftest import ROOT
from mapwise.catalog.heads import HEADS
from mapwise.core import context, solvers
from mapwise.core.task import Examples
from mapwise.predictors import graph
from test_docs import blocks

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

TEXTS = ["cancel my order", "cancel it please", "where is my refund", "refund my money", "good morning", "hello there"]
INTENTS = ["cancel", "cancel", "refund", "refund", "hello", "hello"]
WIDTH = 5


def support(rows, ways, *, seed=0, weights=False, width=WIDTH):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, width, generator=random)
    weight = 3 * torch.rand(rows, generator=random) if weights else torch.ones(rows)
    return Examples(x, torch.eye(ways)[torch.arange(rows) % ways], weight, torch.zeros((), dtype=torch.int64))


LEARNERS = {
    "euclidean": lambda: mw.ProtoNet(nn.Flatten),
    "cosine": lambda: mw.ProtoNet(nn.Flatten, distance="cosine"),
    "attention": lambda: mw.Matching(nn.Flatten),
    "ridge": lambda: HEADS["ridge"](support(12, 3)),
    "logistic": lambda: HEADS["logistic"](support(12, 3)),
    "with a net": lambda: mw.ProtoNet(lambda: nn.Linear(WIDTH, 7)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNERS)
def test_onnxruntime_says_what_torch_says_for_other_sizes(name, tmp_path):
    learner = LEARNERS[name]()
    params = learner.init(0)
    path = tmp_path / "learner.onnx"
    written = graph.write_graph(learner, params, support(6, 3), path, {"encoder": "none"})
    assert written.bytes == path.stat().st_size < 20_000
    assert written.farthest < 1e-6
    for rows, ways, queries in ((2, 2, 1), (3, 3, 2), (40, 17, 9)):
        given = support(rows, ways, seed=rows, weights=True)
        query = support(queries, 1, seed=99).x
        scores = learner.predict(params, learner.adapt(params, given), query)
        result = graph.answered(path, given, query)
        assert result.shape == (queries, ways)
        np.testing.assert_allclose(result, scores.softmax(-1).detach(), atol=1e-5)
    # A class without rows and a row of weight 0 change nothing.
    wider = given._replace(y=nn.functional.pad(given.y, (0, 2)))
    np.testing.assert_allclose(graph.answered(path, wider, query)[:, :-2], result, atol=1e-6)
    longer = Examples(*(torch.cat([part, part[:1]]) for part in given[:3]), given.key)
    longer.weight[-1] = 0
    np.testing.assert_allclose(graph.answered(path, longer, query), result, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("learner", "words"),
    [
        (lambda: Inverting(nn.Flatten), "ONNX has no operator for linalg_inv"),
        (lambda: mw.MAML(lambda: nn.Sequential(nn.Linear(WIDTH, 8), nn.Tanh(), nn.Linear(8, 3))), "can't follow"),
        (
            lambda: mw.Finetune(lambda: nn.Sequential(nn.Linear(WIDTH, 8), nn.Tanh(), nn.Linear(8, 3)), tune_steps=2),
            "can't follow",
        ),
    ],
    ids=["inverse", "maml", "finetune"],
)
def test_a_learner_that_no_graph_computes_is_refused(learner, words, tmp_path):
    result = learner()
    with pytest.raises(ValueError, match=words) as refused:
        graph.write_graph(result, result.init(0), support(6, 3), tmp_path / "learner.onnx", {})
    assert "\n" not in str(refused.value)
    assert "take a learner" in str(refused.value) and str(refused.value).endswith("(fit it with --learner ridge)")
    assert not list(tmp_path.iterdir())


class Inverting(mw.ProtoNet):
    """Inverts a matrix, for which ONNX has no operator."""

    def adapt(self, params, support):
        fast = super().adapt(params, support)
        return {**fast, "prototypes": fast["prototypes"] @ torch.linalg.inv(torch.eye(WIDTH) + support.x.T @ support.x)}


class OfThree(mw.ProtoNet):
    """Takes three classes and no other number."""

    def adapt(self, params, support):
        assert support.y.shape[1] == 8
        return super().adapt(params, support)


@pytest.mark.slow
def test_a_learner_of_one_number_of_classes_is_refused(tmp_path):
    learner = OfThree(nn.Flatten)
    with pytest.raises(ValueError, match="one number of classes alone"):
        graph.write_graph(learner, {}, support(16, 8), tmp_path / "learner.onnx", {})


@pytest.mark.slow
def test_a_graph_that_comes_out_elsewhere_in_32_bits_is_refused(tmp_path):
    far = support(6, 3)
    far = far._replace(x=far.x.double() + 1e4)
    with pytest.raises(ValueError, match=r"in 32 bits a probability of ProtoNet comes out .* from where it should"):
        graph.write_graph(mw.ProtoNet(nn.Flatten), {}, far, tmp_path / "learner.onnx", {})
    assert not list(tmp_path.iterdir())


def test_without_a_package_the_extra_is_named(cli, monkeypatch):
    mw.FewShotClassifier().fit(TEXTS, INTENTS).save("few.safetensors")
    monkeypatch.setattr(graph.importlib.util, "find_spec", lambda name: None if name == "onnxscript" else name)
    done = cli("export", "few.safetensors", "--onnx")
    assert done.code == 1
    assert done.err == ('mapwise: an export needs onnxscript, which is not installed: pip install "mapwise[onnx]"\n')


def test_a_form_must_be_named_and_a_file_be_there(cli):
    assert cli("export", "few.safetensors").code == 2
    assert "there is no file few.safetensors" in cli("export", "few.safetensors", "--onnx").err
    assert "call it few.onnx" in cli("export", "few.safetensors", "--onnx", "-o", "few.safetensors").err


@pytest.mark.slow
def test_a_file_is_exported_and_says_what_it_takes(cli, tmp_path):
    mw.FewShotClassifier("words", "nearest_mean").fit(TEXTS, INTENTS).save("few.safetensors")
    done = cli("export", "few.safetensors", "--onnx", "--json")
    assert done.code == 0, done.err
    assert done.answer["bytes"] < 10_000
    assert done.answer["farthest"] < 1e-6
    model = onnx.load("few.onnx")
    onnx.checker.check_model(model, full_check=True)
    sizes = {
        value.name: [size.dim_param for size in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert sizes == {
        "support": ["S", "D"],
        "labels": ["S", "W"],
        "weight": ["S"],
        "query": ["Q", "D"],
        "scores": ["Q", "W"],
        "probabilities": ["Q", "W"],
    }
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert about["learner"] == "nearest_mean"
    assert about["encoder"] == "words"
    assert "a new class is a new column" in " ".join(model.doc_string.split())
    whole = (tmp_path / "few.onnx").read_bytes()
    assert b"refund" not in whole  # no names of classes
    assert str(tmp_path).encode() not in whole
    assert b".py" not in whole


@pytest.mark.slow
def test_the_page_adds_a_class_through_onnxruntime_as_mapwise_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    intents = mw.FewShotClassifier(learner="ridge").fit(TEXTS, INTENTS)
    intents.save("intents.safetensors")
    page = (ROOT / "docs" / "few-examples" / "deploy.md").read_text(encoding="utf-8")
    shown = [block.code for block in blocks(page) if "onnx" in block.code and block.language == "python no-run"]
    new, question = ["what time is it", "how late is it"], ["what time is it now", "cancel the refund"]
    encoded = intents.predictor_.encoded
    namespace = {"intents": intents, "new_rows": encoded(new), "query": encoded(question)}
    namespace = {name: v.astype(np.float32) if isinstance(v, np.ndarray) else v for name, v in namespace.items()}
    for code in shown:
        exec(code, namespace)
    # The graph has the temperature of the examples that it was exported with, and their belief in names.
    predictor = intents.predictor_
    known, temperature = predictor.joined_support, predictor.temperature
    assert predictor.description_rows is not None
    x, query = (torch.as_tensor(encoded(part), dtype=torch.float64) for part in (new, question))
    y = nn.functional.pad(known.y, (0, 1))
    added = nn.functional.one_hot(torch.full((2,), 3), 4).double()
    wider = Examples(
        torch.cat([known.x, x]), torch.cat([y, added]), torch.cat([known.weight, torch.ones(2)]), known.key
    )
    learner = predictor.head.learner_for(known)
    params = predictor.params_of(learner)
    scores = learner.predict(params, learner.adapt(params, wider), query)
    expected = torch.softmax(torch.as_tensor(scores) / temperature, -1).numpy()
    np.testing.assert_allclose(namespace["probabilities"], expected, atol=1e-5)
    assert namespace["probabilities"][0].argmax() == 3


SUPPORTS = [(2, 2, 1.0, 0.0), (25, 64, 1.0, 3.0), (100, 2000, 0.1, 0.0), (500, 64, 1.0, 5.0), (1000, 30, 1.0, 0.0)]


def patterned(rows, width, spread, mean):
    """Columns of a few patterns, as what encoders give: some directions are far longer than others."""
    random = torch.Generator().manual_seed(rows)
    patterns = torch.randn(rows, 10, generator=random) @ torch.randn(10, width, generator=random) / 3
    x = spread * (patterns + 0.3 * torch.randn(rows, width, generator=random)) + mean
    return x, torch.eye(5)[torch.arange(rows) % 5], 0.5 + torch.rand(rows, generator=random)


@pytest.mark.parametrize(("rows", "width", "spread", "mean"), SUPPORTS[:-1])
def test_a_logistic_regression_in_products_equals_one_with_an_inverse(rows, width, spread, mean):
    x, y, weight = patterned(rows, width, spread, mean)
    strength = 0.03 * float((x**2).sum(1).mean())
    exact = solvers.logistic(x.double(), y.double(), weight.double(), strength, steps=100)
    with context.within(in_products=True):
        wide = solvers.logistic(x.double(), y.double(), weight.double(), strength, steps=100)
        result = solvers.logistic(x, y, weight, strength, steps=100)
    chances = [torch.softmax(x.double() @ head.double(), -1) for head in (exact, wide, result)]
    assert (chances[1] - chances[0]).abs().max() < 1e-12
    assert (chances[2] - chances[0]).abs().max() < 1e-4


@pytest.mark.parametrize(("rows", "width", "spread", "mean"), SUPPORTS)
def test_a_ridge_regression_in_products_equals_the_exact_solution(rows, width, spread, mean):
    x, y, _ = patterned(rows, width, spread, mean)
    exact = x.double() @ solvers.ridge(x.double(), y.double(), 1.0)
    with context.within(in_products=True):
        result = x @ solvers.ridge(x, y, 1.0)
    assert (result - exact).abs().max() < 1e-5
    one = x @ solvers.ridge(x, y, 1.0)
    assert (result - exact).abs().max() < 3 * (one - exact).abs().max() + 1e-6
