"""A row of the catalog is all that a new learner needs."""

import json
from dataclasses import dataclass

import pytest

from mapwise.catalog.learners import LEARNERS
from mapwise.catalog.rows import LearnerRow
from mapwise.interfaces.cli import main
from mapwise.learners.metric.protonet import ProtoNet
from mapwise.runs.settings import RunSettings


@dataclass(frozen=True)
class Nearest(ProtoNet):
    """ProtoNet with an exponent that nothing reads.

    exponent: of nothing.
    """

    exponent: float = 2.0


def ended(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(list(words))
    return int(end.value.code or 0)


def test_a_learner_is_listed_trained_and_judged_by_its_row_alone(tmp_path, monkeypatch, capsys):
    row = LearnerRow(Nearest, "metric", "Nobody 2000", "nearest", "nearest", recipe={"tasks": 3})
    monkeypatch.setitem(LEARNERS, "nearest", row)
    run = str(tmp_path / "run")

    assert ended("list", "nearest", "--json") == 0
    fields = json.loads(capsys.readouterr().out)["fields"]
    assert {"flag": "--exponent", "type": "float", "default": 2.0, "meaning": "of nothing."} in fields

    words = ["--steps", "2", "--validation-episodes", "2", "--net.hidden", "4", "--exponent", "3"]
    assert ended("train", "nearest", "digits", *words, "--out", run) == 0
    settings = RunSettings.read(tmp_path / "run")
    assert settings.tasks == 3 and settings.fields == {"exponent": 3.0}
    capsys.readouterr()
    assert ended("eval", run, "--episodes", "2", "--no-baselines", "--json") == 0
    assert json.loads(capsys.readouterr().out)
