"""What a learner can do besides adapting and predicting is asked of it in one way, and holds behind a predictor."""

import ast
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import mapwise
from mapwise.catalog.learners import LEARNERS
from mapwise.core import capabilities, tree
from mapwise.core.capabilities import Embeds
from mapwise.core.families.embedding import learned_features
from mapwise.core.task import Examples
from mapwise.data.tensor_file import load_tensors, save_tensors
from mapwise.encoders.pixels import Ink
from mapwise.predictors.classes import Predictor
from mapwise.predictors.heads.trained_learner import TrainedLearner
from mapwise.runs.learner import LearnerSettings

NO_BASE = ["supervised", "simpleshot", "finetune", "proto_maml"]
"""Learners that embed rows and share no base class with the metric learners."""


def behind_a_predictor(name: str, **fields) -> TrainedLearner:
    settings = LearnerSettings(
        learner=name,
        fields=fields,
        net="conv4",
        net_options={"filters": 4, "norm": "group"},
        shape=("classification", (1, 16, 16), 5),
    )
    return TrainedLearner.of(settings, settings.build().init(0), None)


def drawings(rows: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, 1, 16, 16)).astype(np.float32)


@pytest.mark.parametrize("name", NO_BASE)
def test_rows_are_measured_where_the_learner_compares_them(name):
    whole = behind_a_predictor(name)
    x = torch.as_tensor(whole.encode(drawings(6)))
    support = Examples(x, torch.eye(3).repeat(2, 1), torch.ones(6), torch.tensor(0))
    learner = whole.learner_for(support)
    params = whole.params_of(learner)
    fast = learner.adapt(params, support)
    expected = learner.embed(params, fast, x)
    result = learned_features(learner, params, fast, x)
    assert result.shape == (6, 4)
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize(("name", "fields"), [("supervised", {}), ("simpleshot", {}), ("finetune", {"body_lr": 0.0})])
def test_a_row_is_embedded_once_where_nothing_moves_its_embedding(name, fields):
    whole = behind_a_predictor(name, **fields)
    assert whole.row_shape == (4,)
    assert whole.encode(drawings(3)).shape == (3, 4)


@pytest.mark.parametrize("name", ["finetune", "proto_maml"])
def test_a_row_stays_raw_where_a_task_moves_its_embedding(name):
    whole = behind_a_predictor(name)
    assert whole.row_shape == (1, 16, 16)
    assert whole.encode(drawings(3)).shape == (3, 1, 16, 16)


@pytest.mark.parametrize(
    "name", [name for name, row in LEARNERS.items() if row.blueprint and row.takes("classification")]
)
def test_no_weight_of_the_encoder_is_kept_where_rows_are_embedded_once(name):
    options = {"learner": name, "fields": {}, "net": "mlp", "net_options": {}, "shape": ("classification", (8,), 5)}
    learner = LearnerSettings(**options).build()
    over = learner.over_embedded(learner.init(0)) if isinstance(learner, Embeds) else None
    assert over is None or not [path for path in tree.flatten(over.params) if path.startswith(("body", "encoder"))]


def test_a_file_that_holds_raw_rows_opens_as_one_that_holds_embedded_ones(tmp_path):
    encoder, x, columns = Ink((1, 16, 16)), drawings(6), np.arange(6) % 3
    whole = dataclasses.replace(behind_a_predictor("supervised"), encoder=encoder)
    result = Predictor(encoder, whole, whole.encode(x), columns, np.ones(6), ("a", "b", "c"))
    result.save(tmp_path / "embedded.safetensors")
    tensors, about = load_tensors(tmp_path / "embedded.safetensors", "predictor", "")
    assert tensors["rows"].shape == (6, 4)
    save_tensors(tmp_path / "raw.safetensors", {**tensors, "rows": torch.from_numpy(x)}, about)
    opened = Predictor.load(tmp_path / "raw.safetensors")
    np.testing.assert_array_equal(opened.rows, result.rows)
    np.testing.assert_array_equal(opened.scores_of(result.rows), result.scores_of(result.rows))


# Only a protocol is asked --------------------------------------------------------------------------------

PACKAGE = Path(mapwise.__file__).parent
BASES = {"EmbeddingLearner", "FixedHeadLearner"}


def members() -> set[str]:
    """The names that a capability asks a learner for, by which nobody else may look."""
    text = ast.parse(Path(capabilities.__file__).read_text())
    classes = [node for node in text.body if isinstance(node, ast.ClassDef)]
    protocols = [node for node in classes if "runtime_checkable" in map(ast.unparse, node.decorator_list)]
    names = {part.name for node in protocols for part in node.body if isinstance(part, ast.FunctionDef)}
    return names | {part.target.id for node in protocols for part in node.body if isinstance(part, ast.AnnAssign)}


def faults(text: str) -> list[str]:
    """Calls that ask a learner what it can do in another way than by a protocol."""
    results = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or len(node.args) < 2:
            continue
        second = node.args[1]
        if node.func.id in ("getattr", "hasattr") and isinstance(second, ast.Constant) and second.value in members():
            results.append(ast.unparse(node))
        names = {part.id for part in ast.walk(second) if isinstance(part, ast.Name)}
        if node.func.id in ("isinstance", "issubclass") and names & BASES:
            results.append(ast.unparse(node))
    return results


def test_a_learner_is_asked_what_it_can_do_by_a_protocol_alone():
    of_rows = {"embed", "over_embedded", "votes", "votes_add_to", "causal", "trace"}
    of_steps = {"inner_steps", "start", "unroll", "begin", "window", "fast_after", "over_adapted", "resume"}
    assert of_rows | of_steps == members()
    text = {str(path.relative_to(PACKAGE)): faults(path.read_text()) for path in PACKAGE.rglob("*.py")}
    assert {path: calls for path, calls in text.items() if calls} == {}


@pytest.mark.parametrize(
    "text",
    [
        "getattr(learner, 'embed', None)",
        "if hasattr(learner, 'causal'): pass",
        "isinstance(learner, EmbeddingLearner)",
        "isinstance(learner, (int, embedding.EmbeddingLearner | FixedHeadLearner))",
    ],
)
def test_another_way_to_ask_is_caught(text):
    assert len(faults(text)) == 1


def test_asking_a_protocol_is_no_fault():
    assert faults("isinstance(learner, Embeds) and getattr(learner, name)") == []
