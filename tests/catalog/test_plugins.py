"""Rows that others add: entry points of installed packages, and MODULE:NAME of imported modules."""

import importlib.metadata
import sys
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest

from mapwise.catalog.encoders import ENCODERS, encoder_named, has_encoder
from mapwise.catalog.learners import LEARNERS
from mapwise.catalog.plugins import Registry
from mapwise.catalog.sources import SOURCES
from mapwise.engine.gradient import meta_gradient
from mapwise.laws.check import Verdicts

CODE = '''
"""A module of a user's own."""

from dataclasses import dataclass

import numpy as np

import mapwise as mw
from mapwise.tasks.sinusoid import Sinusoid


@dataclass(frozen=True)
class Mine(mw.ProtoNet):
    """A nearest mean with a field of its own."""

    warmth: float = 1.0


@dataclass(frozen=True)
class Plain:
    """No learner at all."""


def steep(*, shots=5, tasks=4, seed=0, height: float = 2.0):
    """Sine waves of a user's own."""
    assert isinstance(height, float)
    return Sinusoid(shots=shots, tasks=tasks, seed=seed)


class Lengths:
    """The length of a text, and its spaces."""

    name, reads, version, state, usual = "own_code:Lengths", "texts", "1", {}, None

    def with_state(self, state):
        return self

    def fitted(self, rows, weight):
        return self

    def __call__(self, rows):
        return np.array([[len(row), row.count(" ")] for row in rows], dtype=np.float32)


class Nameless(Lengths):
    """An encoder by another name."""

    name = "lengths"


def broken():
    """Not what it is taken for."""
'''


@pytest.fixture
def own_code(tmp_path, monkeypatch):
    """The folder of a module own_code, which nothing has imported."""
    (tmp_path / "own_code.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("own_code", None)
    for rows in (LEARNERS, SOURCES, ENCODERS):
        for name in [name for name in rows if name.startswith("own_code:")]:
            del rows[name]


def test_a_learner_of_ones_own_is_trained_and_evaluated_by_its_name(own_code, cli):
    train = ["train", "own_code:Mine", "digits", "--steps", 2, "--validate-every", 2, "--validation-episodes", 2]
    done = cli(*train, "--warmth", 0.5, "--json")
    assert done.code == 0, done.err
    assert done.answer["run"] == "runs/own_code-Mine-digits"
    sys.modules.pop("own_code")
    LEARNERS.pop("own_code:Mine")

    refused = cli("eval", done.answer["run"], "--episodes", 2)
    assert refused.code != 0
    assert "give --import own_code" in refused.err
    for words in (["--import", "own_code", "eval"], ["--import=own_code", "eval"]):
        judged = cli(*words, done.answer["run"], "--episodes", 2, "--json")
        assert judged.code == 0, judged.err
        assert judged.answer["learner"] == "own_code:Mine"


def test_a_source_of_ones_own_takes_settings(own_code, cli):
    words = ["train", "maml", "own_code:steep", "--steps", 2, "--validate-every", 2, "--validation-episodes", 2]
    done = cli(*words, "--source.height", 3, "--tasks", 2, "--json")
    assert done.code == 0, done.err


def test_an_encoder_of_ones_own_stands_behind_a_predictor_and_its_file(own_code, cli):
    (own_code / "t.csv").write_text(
        "text,label\n" + "aa,x\nab,x\nac,x\na long text,y\nanother text,y\nso long a text,y\n"
    )
    fit = cli(
        "fit", "t.csv", "--text", "text", "--label", "label", "--encoder", "own_code:Lengths", "-o", "t.safetensors"
    )
    assert fit.code == 0, fit.err
    assert cli("--import", "own_code", "predict", "t.safetensors", "bb", "--json").code == 0
    sys.modules.pop("own_code")
    ENCODERS.pop("own_code:Lengths")
    refused = cli("predict", "t.safetensors", "bb")
    assert refused.code != 0
    assert "own_code" in refused.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["train", "own_code:Nothing", "digits"], "the module own_code has no 'Nothing': "),
        (["train", "own_code:Plain", "digits"], "own_code:Plain is no learner: give a dataclass that extends"),
        (["train", "no_such_code:Mine", "digits"], "there is no module no_such_code here"),
        (["--import", "no_such_code", "list"], "there is no module no_such_code here"),
        (["list", "--import"], "--import needs the name of a module"),
        (["--import", "faulty", "list"], "the module faulty can't be imported (ZeroDivisionError: division by zero)"),
        (["--import", "lacking", "list"], "the module lacking needs no_such_package, which is not installed"),
        (["fit", "t.csv", "--encoder", "own_code:Nameless", "-o", "x.safetensors"], "let its `name` be"),
        (["fit", "t.csv", "--encoder", "own_code:broken", "-o", "x.safetensors"], "own_code:broken makes no encoder"),
    ],
)
def test_what_is_no_such_code_is_one_sentence(own_code, cli, words, sentence):
    (own_code / "faulty.py").write_text("1 / 0\n")
    (own_code / "lacking.py").write_text("import no_such_package\n")
    (own_code / "t.csv").write_text("text,label\n" + "aa,x\nab,x\na long text,y\nanother text,y\n")
    done = cli(*words)
    assert done.code == 2 if words[0] != "fit" else done.code in (1, 2)
    assert sentence in done.err
    assert "Traceback" not in done.err


def test_the_value_of_another_flag_is_no_code(cli):
    for words in (["--device", "cpu:x"], ["--device=cpu:x"]):
        done = cli("train", "protonet", "digits", *words, "--steps", 1)
        assert done.code == 2
        assert "device" in done.err and "module" not in done.err


def test_a_name_in_a_file_imports_nothing(own_code):
    for rows in (LEARNERS, SOURCES, ENCODERS):
        with pytest.raises(ValueError, match="not imported: give --import own_code"):
            rows["own_code:Mine"]
    with pytest.raises(ValueError, match="there is no family of encoders or imported module 'own_code'"):
        encoder_named("own_code:Lengths", fetch=False)
    assert "own_code" not in sys.modules
    assert has_encoder("hf:anything")


def test_installed_packages_add_rows_and_a_broken_one_is_left_out_with_a_warning(monkeypatch):
    points = [
        EntryPoint("ours", "builtins:min", "some.group"),
        EntryPoint("largest", "builtins:max", "some.group"),
        EntryPoint("missing", "no_such_package:thing", "some.group"),
    ]

    def entry_points(*, group, name=None):
        return [point for point in points if point.group == group and name in (None, point.name)]

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    rows = Registry({"ours": "row of ours"}, "some.group", lambda value, name: f"{name}: {value.__name__}")
    assert rows["ours"] == "row of ours"
    assert rows["largest"] == "largest: max"
    with pytest.warns(UserWarning, match=r"missing .*is left out, since it can't be loaded \(ModuleNotFoundError"):
        assert list(rows) == ["ours", "largest"]
    assert len(rows) == 2
    assert "nothing" not in rows


def test_check_tests_a_learner_against_the_laws(own_code, cli, monkeypatch):
    from mapwise.laws import check as laws

    law = SimpleNamespace(number=1, name="map", statement="all ways agree")
    verdicts = laws.Verdicts([laws.Verdict(law, True, "no difference")])
    monkeypatch.setattr("mapwise.workflows.train.check", lambda learner, source, seed: verdicts)
    assert "no law is broken" in cli("check", "own_code:Mine").out
    broken = laws.Verdicts([laws.Verdict(law, False, "differs by 1")])
    monkeypatch.setattr("mapwise.workflows.train.check", lambda learner, source, seed: broken)
    done = cli("check", "protonet", "--json")
    assert done.code == 1
    assert done.answer["laws"] == [
        {"number": 1, "law": "map", "says": "all ways agree", "holds": False, "detail": "differs by 1"}
    ]


def test_check_trains_on_what_the_learner_trains_on(cli, monkeypatch):
    calls = []
    monkeypatch.setattr(
        "mapwise.workflows.train.check", lambda *parts, **named: calls.append((parts, named)) or Verdicts()
    )
    assert cli("check", "supervised", "digits", "--steps", 7).code == 0
    ((learner, source), named) = calls[0]
    assert named == {"seed": 0, "steps": 7}
    # Fails where the head is made for other classes than those of the source.
    meta_gradient(learner, learner.init(0), source(0), how="loop")


@pytest.mark.slow
def test_check_examines_every_law(own_code, cli):
    done = cli("check", "own_code:Mine", "--json")
    assert [verdict["number"] for verdict in done.answer["laws"]] == list(range(1, 20))
    # Its docstring has no lines Paper, Fast, Loss and Differs; all else is ProtoNet's.
    assert [verdict["law"] for verdict in done.answer["laws"] if verdict["holds"] is False] == ["documented"]
