"""Names of version 0.1.0: each still works, and warns with the name that replaced it."""

import importlib
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

import mapwise as mw
from mapwise.core.renamed import KEYWORDS, MODULES, MOVED, RENAMED
from mapwise.data.rows import LabelledRows
from mapwise.nets import MLP
from mapwise.predictors.diagnostics.which_next import which_next
from mapwise.tasks.sequences import Copy

POINTS = np.random.default_rng(0).normal(size=(12, 2)) + np.repeat([[0, 0], [9, 9], [0, 9]], 4, axis=0)
NAMES = ["a"] * 4 + ["b"] * 4 + ["c"] * 4
LINEAR = mw.MAML(nn.Linear(1, 1), loss="squared_error")


def classifier():
    return mw.FewShotClassifier("table", "nearest_mean").fit(POINTS, NAMES)


def report():
    return mw.evaluate(LINEAR, LINEAR.init(0), mw.Lines(part="test"), episodes=4)


def verdict():
    source = mw.Lines(tasks=4)
    return mw.check(mw.MAML(MLP((1,), 1, hidden=(4,), activation="tanh"), inner_steps=1), source, steps=1)[0]


def trace():
    learner = mw.NTM(inputs=5, outputs=3, units=4, slots=4, width=3)
    rows = Copy(length="2", width=3, tasks=1)(0).support
    one = type(rows)(*(part[0] for part in rows))
    return learner.through(learner.init(0), one)


ATTRIBUTES = {
    # class -> old name -> what it gives
    "Source": {"kind": lambda: mw.Lines().kind == "regression"},
    "Report": {"kind": lambda: report().kind == mw.Regression(), "sights": lambda: report().sights is None},
    "Protocol": {"kind": lambda: report().protocol.kind == "regression"},
    "Verdict": {"kept": lambda: verdict().kept is True},
    "NTM": {"through": trace},
    "FittedPredictor": {"kind": lambda: classifier().predictor_.kind == "classification"},
    "Predictor": {
        "report": lambda: classifier().predictor_.report.accuracy == 1.0,
        "explain": lambda: classifier().predictor_.explain(_columns([[0.0, 0.0]]))[0].label == "a",
        "which_next": lambda: classifier().predictor_.which_next(_columns([[0.0, 0.0]]), 1)[0].row == 0,
        "unknown_of": lambda: classifier().predictor_.unknown_of(np.array([[0.0, 0.0]]), 0.1).shape == (1,),
        "export_onnx": None,  # tested with the extra: it takes the path alone
    },
    "TargetPredictor": {"error": lambda: mw.FewShotRegressor("table").fit(POINTS, POINTS[:, 0]).predictor_.error < 9},
}


def rows():
    return LabelledRows.of(np.zeros((12, 2), np.float32), ["a", "b"] * 6, name="table")


FIGURES = {name: name for name in KEYWORDS["Report"]} | {"sights": "instances"}
CALLS = {
    # class or function -> a call with one keyword by its old name, and what it gives
    "Report": lambda name: mw.Report(report().protocol, np.ones(2), **{name: 0.5}).figures == {FIGURES[name]: 0.5},
    "Report.from_json": lambda name: (
        mw.Report.from_json(**{name: mw.Report(report().protocol, np.ones(4)).to_json()}, values=np.ones(4)).metric
        == "mse"
    ),
    "AssociativeRecall": lambda name: mw.AssociativeRecall(**{name: "multilabel"}).problem == mw.Multilabel(),
    "Copy": lambda name: mw.Copy(**{name: "multilabel"}).problem == mw.Multilabel(),
    "Episodes": lambda name: mw.Episodes(rows(), ways=2, **{name: "classification"}).problem == mw.Classification(),
    "GaussianProcess": lambda name: mw.GaussianProcess(**{name: "regression"}).problem == mw.Regression(),
    "Lines": lambda name: mw.Lines(tasks=3, **{name: "regression"}).tasks == 3,
    "Sinusoid": lambda name: mw.Sinusoid(**{name: "regression"}).problem == mw.Regression(),
    "Stream": lambda name: mw.Stream(rows(), ways=2, length=4, **{name: "classification"}).length == 4,
}


def _columns(rows):
    return {str(place): column for place, column in enumerate(np.asarray(rows).T)}


@pytest.mark.parametrize(("owner", "name"), [(owner, name) for owner, names in RENAMED.items() for name in names])
def test_an_old_attribute_works_and_warns(owner, name, tmp_path):
    use = ATTRIBUTES[owner][name]
    if name == "export_onnx":
        pytest.importorskip("onnxscript")
        predictor = classifier().predictor_
        with pytest.warns(DeprecationWarning, match=r"Predictor\.export_onnx is now mapwise\.predictors\.onnx"):
            export = predictor.export_onnx
        assert export.args == (predictor,)
        return
    new = RENAMED[owner][name].rpartition(":")[2]
    with pytest.warns(
        DeprecationWarning, match=rf"\.{name} is now .*{new.partition('(')[0]}.* with the next"
    ) as warned:
        assert use()
    assert warned[0].filename == __file__


@pytest.mark.parametrize(("owner", "name"), [(owner, name) for owner, names in KEYWORDS.items() for name in names])
def test_an_old_keyword_works_and_warns(owner, name):
    with pytest.warns(DeprecationWarning, match=f"{name}= of {owner} is now ") as warned:
        assert CALLS[owner](name)
    assert warned[0].filename == __file__


def test_a_suggestion_of_what_to_label_is_one_unless_more_are_wanted():
    predictor = classifier().predictor_
    points = _columns([[0.0, 0.0], [1.0, 2.0], [3.0, 3.0]])
    with pytest.warns(DeprecationWarning, match="which_next"):
        assert len(predictor.which_next(points)) == 1
    assert len(which_next(predictor, points, None)) == 3


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in MOVED.items() for name in names])
def test_a_name_that_moved_is_found_and_warns(module, name):
    home, _, other = MOVED[module][name].partition(":")
    old = importlib.import_module(f"mapwise.{module}")
    with pytest.warns(DeprecationWarning, match=rf"mapwise\.{module}\.{name} is now mapwise\.{home}"):
        part = getattr(old, name)
    assert part is getattr(importlib.import_module(f"mapwise.{home}"), other or name)
    with pytest.raises(AttributeError, match="has no attribute 'odd'"):
        old.odd  # noqa: B018


@pytest.mark.parametrize("module", MODULES)
def test_a_module_that_moved_is_found_and_warns(module, monkeypatch):
    import sys

    monkeypatch.delitem(sys.modules, f"mapwise.{module}", raising=False)
    new = importlib.import_module(f"mapwise.{MODULES[module]}")
    names = [name for name, part in vars(new).items() if getattr(part, "__module__", "") == new.__name__]
    with pytest.warns(DeprecationWarning, match=rf"mapwise\.{module} is now mapwise\.{MODULES[module]}") as warned:
        exec(compile(f"from mapwise.{module} import {names[0]} as part", "their_file.py", "exec"), space := {})
    assert space["part"] is getattr(new, names[0])
    assert warned[0].filename == "their_file.py"


def test_a_row_of_the_earlier_catalog_is_one_of_today():
    with pytest.warns(DeprecationWarning, match="LearnerRow"):
        from mapwise.catalog import LearnerRow
    row = LearnerRow(mw.ProtoNet, "metric", "Snell 2017", "means", page="means", kinds=("classification",))
    assert (row.paper, row.page, row.only_for) == ("Snell 2017", "means", ["classification"])


@dataclass
class Slopes:
    """A source as a user wrote it for 0.1.0: it extends nothing, and says its kind."""

    part: str = "train"
    kind: ClassVar[str] = "regression"
    input_shape: ClassVar[tuple[int, ...]] = (1,)
    outputs: ClassVar[int] = 1

    @property
    def about(self):
        return mw.Lines(part=self.part).about

    def __call__(self, step):
        return mw.Lines(part=self.part, tasks=4)(step)

    def split(self, name):
        return replace(self, part=name)

    def names(self, step):
        return [[] for _ in range(4)]


def test_a_users_source_with_a_kind_is_trained_judged_and_checked():
    learner = mw.MAML(MLP((1,), 1, hidden=(4,), activation="tanh"), inner_steps=1, inner_lr=0.01, loss="squared_error")
    with pytest.warns(DeprecationWarning, match=r"Slopes\.kind is now problem = mapwise\.Regression") as warned:
        trained = mw.train(learner, Slopes(), steps=2, validation_episodes=4)
    assert warned[0].filename == __file__
    with pytest.warns(DeprecationWarning, match="Slopes.kind"):
        judged = mw.evaluate(learner, trained.params, Slopes().split("test"), episodes=4)
    assert judged.metric == "mse" and torch.isfinite(torch.tensor(judged.estimate.mean))
    with pytest.warns(DeprecationWarning, match="Slopes.kind"):
        assert len(mw.check(learner, Slopes(), steps=1)) > 10


def test_a_kind_that_no_problem_has_is_refused():
    source = Slopes()
    source.kind = "odd"
    with pytest.raises(ValueError, match=r"of kind 'odd': give it a problem, such as mapwise\.Classification"):
        mw.check(mw.MAML(nn.Linear(1, 1)), source)
