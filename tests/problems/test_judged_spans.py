"""Learners of spans are trained, judged and held to the laws like any others."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

import mapwise as mw
from law_cases import sentences
from mapwise.core.learner import WAIVABLE, Learner
from mapwise.core.task import by_token
from mapwise.engine.evaluate import episode_values, evaluate, fitted_temperature
from mapwise.engine.train import train
from mapwise.laws.check import check
from mapwise.runs.settings import RunSettings
from mapwise.runs.sources import judging, source_of

VOCABULARY = 30522


@dataclass(frozen=True)
class Lookup(Learner):
    """Each piece has the tags that it had in the support, and the tag O a little.

    Paper:   none.
    Fast:    {"tags": [V, W]}.
    Loss:    cross-entropy.
    Differs: nothing.

    Breaks `relabel`: a tag has its column.
    """

    takes_tokens = True

    @property
    def keeps(self):
        return WAIVABLE - {"relabel"}

    def init(self, seed):
        return {"sure": torch.zeros(())}

    def adapt(self, params, support):
        rows = by_token(support)
        counts = torch.zeros(VOCABULARY, rows.y.shape[-1], dtype=rows.y.dtype)
        tags = counts.index_add(0, support.x["pieces"].flatten(), rows.y * rows.weight[:, None])
        return {"tags": tags}

    def predict(self, params, fast, x):
        scores = fast["tags"][x["pieces"]]
        outside = torch.zeros(scores.shape[-1], dtype=scores.dtype)
        outside[0] = 0.5
        return params["sure"].exp() * (scores + outside)


@dataclass(frozen=True)
class Outside(Lookup):
    def predict(self, params, fast, x):
        return super().predict(params, fast, x) * torch.tensor([1.0, *[0.0] * (fast["tags"].shape[1] - 1)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sentences in which a word says what type it is of."""
    folder = tmp_path_factory.mktemp("corpus")
    random = np.random.default_rng(0)
    words = {"PER": ["anna", "bob", "carl"], "LOC": ["rome", "paris", "berlin"], "ORG": ["nato", "bank", "club"]}
    for part in ("train", "dev", "test"):
        lines = []
        for number in range(60):
            kinds = random.choice(list(words), 2)
            marks = [f"[{random.choice(words[kind])}]({kind})" for kind in kinds]
            lines.append(f"in {number} we saw {marks[0]} and {marks[1]}")
        (folder / f"{part}.txt").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def source(folder):
    rows = mw.AnnotatedRows.of([mw.read_annotated(folder)], mw.model_pieces(), 20)
    return mw.SpanEpisodes(rows, ways=3, shots=3, tasks=10)


def test_a_lookup_is_judged_by_whole_spans(source):
    params = Lookup().init(0)
    report = evaluate(Lookup(), params, source.split("test"), episodes=25)
    none = evaluate(Outside(), params, source.split("test"), episodes=25)
    assert 0.5 < report.estimate.mean < 1 and report.chance < 0.5 and none.estimate.mean == 0
    assert none.figures["token_accuracy"] > 0.5 and set(report.figures["types"]) == {"PER", "LOC", "ORG"}
    assert (report.values == episode_values(Lookup(), params, source.split("test"), 25)).all()
    assert not report.protocol.transductive and len(report.values) == 25
    assert "3 types 3~6-shot, 3 queries a type, 25 episodes, inductive" in str(report)
    assert fitted_temperature(Lookup(), params, source.split("val"), episodes=10) > 0


def test_batches_of_all_types_are_judged_too(source):
    batches = mw.SpanBatches(source, batch=16)
    report = evaluate(Lookup(), Lookup().init(0), batches.split("test"), episodes=5)
    assert report.estimate.mean == 0, "no name is a word of the sentences"
    assert report.figures["spans"]["true"] == 2 * 16 * 5 and report.protocol.shots == "0"


def test_training_selects_the_best_f1(source):
    training = train(Lookup(), source, steps=6, optimizer="SGD lr=1.0", validate_every=3)
    assert training.validation is not None and 0.5 < training.validation < 1


def test_the_laws_compare_spans_with_a_guess():
    verdicts = check(Lookup(), sentences(), steps=20, lr=0.1)
    broken = [verdict.law.name for verdict in verdicts if verdict.holds is False]
    assert set(broken) <= {"learns"}, [verdict.detail for verdict in verdicts if verdict.holds is False]
    learns = next(verdict for verdict in verdicts if verdict.law.name == "learns")
    assert "entity F1" in learns.detail and "chance" in learns.detail
    relabel = next(verdict for verdict in verdicts if verdict.law.name == "relabel")
    assert relabel.holds is None


def test_runs_open_annotated_texts_by_their_path(folder):
    settings = RunSettings.of("maml", str(folder), {"ways": "2", "shots": "1", "source.length": "30", "tasks": "3"})
    episodes = source_of(settings)
    assert isinstance(episodes, mw.SpanEpisodes) and episodes.rows.length == 30 and episodes.outputs == 5
    assert settings.problem == mw.Spans() and episodes(0).support.y.shape == (3, 4, 30, 5)
    assert judging(settings, "val", training=episodes).about.split == "val"
    whole = source_of(RunSettings.of("maml", "conll", {"data": str(folder), "source.whole": "true"}))
    assert isinstance(whole, mw.SpanBatches) and whole.outputs == 7
    for values, sentence in (
        ({"ways": "2-3"}, "ways is a range"),
        ({"encoder": "text-hash"}, "has no pieces of words"),
        ({"source.length": "1"}, "length is 1"),
    ):
        with pytest.raises(ValueError, match=sentence):
            source_of(RunSettings.of("maml", str(folder), values))
