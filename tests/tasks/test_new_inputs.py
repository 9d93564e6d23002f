"""Sources of one's own whose rows are dicts or integers, and whose labels may stand at every token."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
import torch

import mapwise as mw
from mapwise.catalog.learners import LEARNERS
from mapwise.catalog.rows import SourceRow
from mapwise.catalog.sources import SOURCES
from mapwise.engine.figures import drawn_episode, embedding_map, function_fits, training_curves
from mapwise.engine.results import Findings
from mapwise.laws.case import Case
from mapwise.laws.check import LAWS
from mapwise.learners.row import LearnerRow
from mapwise.report.run_page import run_page
from mapwise.runs.settings import RunSettings
from own_sources import GROUPS, KINDS, Bag, Both, Words, leaves

PAIRS = [
    (name, learner) for name in KINDS for learner in ("maml", "protonet") if (name[0], learner) != ("n", "protonet")
]
TRAINED = {"steps": 60, "optimizer": "Adam lr=0.02", "validate_every": 20, "validation_episodes": 16, "how": "vmap"}


@pytest.mark.parametrize(("name", "learner"), PAIRS)
def test_it_is_trained_judged_and_shown(name, learner):
    source, learner = KINDS[name].source, KINDS[name].learner(learner)
    trained = mw.train(learner, source, **TRAINED)
    report = mw.evaluate(learner, trained.params, source.split("test"), episodes=50, name="mine")
    untrained = mw.evaluate(learner, learner.init(0), source.split("test"), episodes=50)
    gain = report.estimate.mean - untrained.estimate.mean
    assert gain < -0.2 if report.problem.metric.lower_is_better else report.estimate.mean > 0.9 and gain > 0
    assert report.nll is None or report.nll > 0
    assert not report.protocol.transductive
    test = source.split("test")
    findings = Findings(
        name,
        [report],
        training=training_curves(trained.history, source.problem),
        episode=drawn_episode(learner, trained.params, test),
        fits=function_fits(learner, trained.params, test),
        embedding=embedding_map(learner, trained.params, test),
    )
    html = run_page(findings)
    assert report.problem.metric.title in html and findings.episode is None
    assert (findings.embedding is None) == isinstance(learner, mw.MAML)


@pytest.mark.parametrize(("name", "learner"), PAIRS)
def test_it_keeps_the_laws(name, learner):
    verdicts = mw.check(KINDS[name].learner(learner), KINDS[name].source, steps=60, lr=0.02)
    verdicts.raise_if_broken()
    assert {verdict.law.name for verdict in verdicts if verdict.holds} >= {
        "map",
        "learns",
        "gradient",
        "padding",
        "weights",
    }


@pytest.mark.parametrize(("name", "learner"), PAIRS)
def test_its_meta_gradient_is_the_same_however_tasks_are_mapped(name, learner):
    learner, tasks = KINDS[name].learner(learner), KINDS[name].source(3)
    params = learner.init(0)
    ways = [
        {"how": "loop"},
        {"how": "vmap"},
        {"how": 3},
        {"how": "vmap", "remat": True},
        {"how": "loop", "remat": True},
    ]
    (first, loss), *others = (mw.meta_gradient(learner, params, tasks, **way) for way in ways)
    assert bool((leaves(first) != 0).any())
    for gradient, other in others:
        torch.testing.assert_close(other, loss)
        torch.testing.assert_close(leaves(gradient), leaves(first), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("name", "learner"), PAIRS)
def test_a_stopped_training_goes_on_to_the_same_weights(name, learner, tmp_path):
    learner, source = KINDS[name].learner(learner), KINDS[name].source
    settings = {**TRAINED, "steps": 8, "validate_every": 4}
    whole = mw.train(learner, source, **settings)

    def stop(progress):
        if progress.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mw.train(learner, source, **settings, out=tmp_path, progress=stop)
    again = mw.train(learner, source, **settings, out=tmp_path, resume=True)
    assert torch.equal(leaves(again.params), leaves(whole.params))


@dataclass(frozen=True)
class Unmasked(mw.ProtoNet):
    """It takes rows and tokens of weight 0 as any other."""

    def adapt(self, params, support):
        return super().adapt(params, support._replace(weight=torch.ones_like(support.weight)))


@pytest.mark.parametrize("name", ["dicts", "ids", "tokens"])
def test_the_law_of_padding_catches_a_learner_that_reads_what_is_masked(name):
    padding = next(law for law in LAWS if law.name == "padding")
    for learner, result in ((mw.ProtoNet, True), (Unmasked, False)):
        assert padding.judge(Case(learner(KINDS[name].module()), KINDS[name].source, steps=2))[0] is result


MODULES = {
    name: partial(mw.MAML, net=partial(module, GROUPS), inner_steps=2, inner_lr=0.5)
    for name, module in (("dicts", Both), ("ids", Bag), ("tokens", Words))
}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_row_of_the_catalog_is_trained_judged_and_reported_by_commands(name, cli, tmp_path, monkeypatch):
    kind = KINDS[name]
    row = LearnerRow(MODULES[name], "Finn 2017", "mine", page="maml")
    source = SourceRow(
        lambda wanted: replace(kind.source, tasks=wanted.tasks, seed=wanted.seed), "classification", "mine"
    )
    monkeypatch.setitem(LEARNERS, "mine", row)
    monkeypatch.setitem(SOURCES, "mine", source)
    words = ("--steps", 40, "--tasks", 8, "--optimizer", "Adam lr=0.02", "--validation-episodes", 8, "--how", "vmap")
    done = cli("train", "mine", "mine", *words, "--out", "run")
    assert done.code == 0, done.err
    assert RunSettings.read(tmp_path / "run").trained_on.shape.inputs == kind.source.inputs
    done = cli("eval", "run", "--episodes", 20, "--json")
    assert done.code == 0, done.err
    assert done.answer["accuracy"] > 0.7 and done.answer["beside"] == []
    done = cli("report", "run", "--episodes", 8)
    assert done.code == 0, done.err
    assert "accuracy" in (tmp_path / "run" / "report.html").read_text()
    with pytest.raises(ValueError, match="a predictor takes rows of one float32 tensor and these are"):
        mw.FewShotClassifier(learner=str(tmp_path / "run")).fit(np.eye(4), ["a", "a", "b", "b"])
