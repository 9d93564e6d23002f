"""A row of the catalog is all that a new learner needs, and `mapwise list` shows every name that an error speaks of."""

import ast
import json
import math
import re
from dataclasses import dataclass

import pytest
import torch

import mapwise as mw
from floors import sources
from mapwise.catalog.encoders import ENCODERS, FAMILIES, encoder_named
from mapwise.catalog.heads import HEADS, REGRESSION_HEADS
from mapwise.catalog.learners import LEARNERS
from mapwise.catalog.nets import NETS, net_options
from mapwise.catalog.sources import SOURCES, training_source
from mapwise.core import tree
from mapwise.core.losses import binary_cross_entropy, cross_entropy, gaussian, squared_error
from mapwise.core.source import TaskShape
from mapwise.engine.gradient import meta_gradient
from mapwise.interfaces.cli import main
from mapwise.learners.metric.protonet import ProtoNet
from mapwise.learners.row import LearnerRow
from mapwise.predictors.diagnostics.diagnostic import diagnostic_named, every_diagnostic
from mapwise.predictors.heads.head import NamedHead
from mapwise.problems import PROBLEMS
from mapwise.runs.learner import LearnerSettings, learner_of, shape_of
from mapwise.runs.settings import RunSettings, named_source
from mapwise.runs.sources import source_of
from mapwise.runs.words import flag
from mapwise.workflows.comparison.bench import BENCHES, asked_bench, asked_learners
from tiny_models import tiny_model


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
    row = LearnerRow(Nearest, "Nobody 2000", "nearest", recipe={"tasks": 3})
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


SHOWS = re.compile(r"mapwise (?P<command>list(?: [A-Za-z_]+)?) (?:shows|lists|names) ")
"""How errors and help texts say which command shows a name."""
RUN = LearnerSettings(
    learner="maml", fields={"x": 1}, net="mlp", net_options={"x": 1}, shape=TaskShape("regression", mw.Spec((1,)), 1)
)
OF_X = LearnerSettings(learner="maml", fields={}, net="mlp", net_options={}, shape=TaskShape("x", mw.Spec((1,)), 1))
MISTAKES = [
    # what is looked for, as the call of `named` says it; a call with a name that isn't there; the names that are
    ("'learner'", lambda: RunSettings(learner="x", source="digits").row, LEARNERS),
    ("'learner'", lambda: asked_learners(["x"]), LEARNERS),
    ("'learner'", lambda: NamedHead.of("x", "classification"), HEADS),
    ("'learner'", lambda: NamedHead.of("x", "regression"), REGRESSION_HEADS),
    ("'net'", lambda: net_options("x"), NETS),
    ("'source'", lambda: named_source("x"), SOURCES),
    ("'encoder'", lambda: encoder_named("x", fetch=False), ENCODERS),
    ("'family of encoders or imported module'", lambda: encoder_named("x:y", fetch=False), FAMILIES),
    ("'diagnostic'", lambda: diagnostic_named("x"), every_diagnostic()),
    ("'comparison'", lambda: asked_bench("x", episodes=None, quick=False), BENCHES),
    ("'problem'", OF_X.build, PROBLEMS),
    ("'field of the learner'", RUN.typed_fields, map(flag, LEARNERS["maml"].fields)),
    ("f'option of net {self.net}'", RUN.typed_net_options, [f"--net.{name}" for name in net_options("mlp")]),
]


def test_the_command_that_an_error_names_shows_every_name_there_is(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "160")
    for _, mistake, names in MISTAKES:
        with pytest.raises(Exception, match=r"there is no .*(did you mean|choose from)") as error:
            mistake()
        mention = SHOWS.search(str(error.value))
        assert mention, error.value
        command = mention["command"].split()
        assert ended(*command) == 0
        text = capsys.readouterr().out
        assert ended(*command, "--json") == 0
        output = capsys.readouterr().out
        missing = [name for name in names if not re.search(rf"(?<![\w-]){name}\b", text) or name not in output]
        assert not missing, (str(error.value), missing)


def test_every_search_for_a_name_is_among_the_mistakes():
    calls = [
        ast.unparse(node.args[2])
        for text, _, _ in sources()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "named"
    ]
    assert set(calls) == {what for what, _, _ in MISTAKES}


def test_every_command_that_shows_names_is_one(capsys):
    mentions = {mention["command"] for text, _, _ in sources() for mention in SHOWS.finditer(text)}
    assert "list" in mentions
    for command in sorted(mentions):
        assert ended(*command.replace("LEARNER", "maml").split()) == 0, command


def test_the_list_names_the_problems_of_sources_and_learners(capsys):
    assert ended("list", "--json") == 0
    text = json.loads(capsys.readouterr().out)
    assert {row["problem"] for row in text["sources"]} == set(PROBLEMS)
    only_for = {row["name"]: row["only_for"] for row in text["learners"]}
    assert only_for["ntm"] == ["multilabel"] and only_for["cnp"] == ["classification", "regression"]
    assert only_for["protonet"] == ["classification"] and only_for["maml"] == []


OF_PROBLEM = {"classification": "digits", "regression": "sinusoid", "multilabel": "copy", "spans": "conll"}
"""A small source of every problem."""
SHAPES = {problem: TaskShape(problem, mw.Spec((3,)), 2) for problem in PROBLEMS}
LOSSES = {
    "classification": (cross_entropy,),
    "regression": (squared_error, gaussian),
    "multilabel": (binary_cross_entropy,),
    "spans": (cross_entropy,),
}
"""What is to be lowered there; another loss has no meaning for such labels."""


def losses_going_down(learner, batch, steps=12):
    """The losses of one batch before each of some steps of Adam down its gradient."""
    leaves = {path: leaf.clone() for path, leaf in tree.flatten(learner.init(0)).items()}
    optimizer = torch.optim.Adam(leaves.values(), lr=0.003) if leaves else None
    losses = []
    for _ in range(steps if leaves else 1):
        gradient, loss = meta_gradient(learner, tree.unflatten(leaves), batch, how="vmap")
        losses.append(float(loss))
        for path, part in tree.flatten(gradient).items():
            leaves[path].grad = part
        if optimizer is not None:
            optimizer.step()
    return losses


WITH_A_LOSS_OF_THEIR_OWN = {"memory_network", "memory_network_nearest"}
"""Classes that are in the memory, which others have no chance against."""

DOWN_A_BOUND = {"viml"}
"""The value of the objective isn't what they descend, and may rise again."""


@pytest.fixture(scope="module")
def sentences(tmp_path_factory):
    """A few sentences with two types of spans."""
    path = tmp_path_factory.mktemp("sentences") / "train.txt"
    path.write_text("".join(f"[Anna](PER) {i} saw [Rome](LOC)\n" for i in range(30)))
    return path.parent


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # torch maps attention one by one, and says so
@pytest.mark.parametrize("problem", sorted(PROBLEMS))
@pytest.mark.parametrize("name", sorted(LEARNERS))
def test_a_learner_lowers_its_loss_on_a_problem_or_is_refused_by_its_row(name, problem, sentences, tmp_path):
    values = {"tasks": 2} | ({"net": "mlp", "net.hidden": "16"} if LEARNERS[name].blueprint else {})
    values |= {"source.length": "1-4"} if problem == "multilabel" else {}
    if LEARNERS[name].of_runs:
        with pytest.raises(ValueError, match=r"is for .* and the source is of|is made of trained runs"):
            LearnerSettings.of(RunSettings.of(name, "digits"), SHAPES[problem]).build()
        return
    values |= {"data": str(sentences), "ways": "2"} if problem == "spans" else {}
    if problem == "spans" and LEARNERS[name].columns == ("tags",):
        model = f"hf:{tiny_model(tmp_path / 'tiny', positions=128)}"
        values |= {"net": "tokens", "net.model": model, "encoder": model, "source.length": "100"}
        del values["net.hidden"]
    settings = RunSettings.of(name, OF_PROBLEM[problem], values)
    episodes = source_of(settings)
    if not LEARNERS[name].takes(problem):
        with pytest.raises(ValueError, match=rf"^{name} is for .* and the source is of {problem}: choose another "):
            LearnerSettings.of(settings, shape_of(episodes)).build()
        return
    source = training_source(LEARNERS[name], episodes)
    if not LEARNERS[name].columns and isinstance(source.inputs, dict):  # no net of the catalog reads pieces
        with pytest.raises(ValueError, match="train a learner with a module of your own, in Python"):
            learner_of(settings, source)
        return
    learner = learner_of(settings, source).at(0.5)
    assert learner.criterion in LOSSES[problem] or name in WITH_A_LOSS_OF_THEIR_OWN
    losses = losses_going_down(learner, source(0))
    assert all(math.isfinite(loss) for loss in losses)
    last = min(losses[1:]) if name in DOWN_A_BOUND else losses[-1]
    assert last < losses[0] or len(losses) == 1  # with nothing to train
