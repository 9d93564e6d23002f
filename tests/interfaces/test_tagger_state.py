"""What a tagger knows is one value, which threads change one after another; and a file begins where its fit began."""

import copy
import pickle
import threading

import pytest
import torch
from sklearn.base import clone

import mapwise as mw
from conftest import command
from mapwise.core import tree
from mapwise.predictors.spans.predictor import SpanPredictor
from mapwise.workflows.spans.fit import annotated_examples, fit_annotated

pytest.importorskip("peft")
from tiny_models import tiny_model

NOTES = """[ada byron](person) met [ann lee](person) in [rome](city).
[rome](city) and [oslo](city) are far apart.
in [oslo](city) lives [tom ray](person).
it rained on may 3.
[tom ray](person) left [rome](city) on june 9.
"""
DAYS = {"day": (["it rained on may 3."], [[(13, 18)]]), "month": (["he came in june."], [[(11, 15)]])}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return f"hf:{tiny_model(tmp_path_factory.mktemp('models') / 'tiny')}"


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    path = tmp_path_factory.mktemp("notes") / "notes.txt"
    path.write_text(NOTES)
    return mw.read_annotated(path).texts


@pytest.fixture(scope="module")
def tagger(model, notes):
    return mw.FewShotTagger(model, steps=3).fit(notes)


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    for part in ("train", "dev"):
        (folder / f"{part}.txt").write_text(NOTES)
    words = ("--source.whole", "--source.batch", 4, "--tasks", 1, "--steps", 3, "--select", "last")
    words = (*words, "--validation-episodes", 2, "--net.model", model, "--encoder", model)
    words = (*words, "--threads", 1, "--out", folder / "run")
    assert command("train", "span_finder", "conll", "--data", folder, *words) == 0
    return folder / "run"


def same(one, other):
    first, second = (tree.flatten(tagger.predictor_.fast) for tagger in (one, other))
    return first.keys() == second.keys() and all(torch.equal(leaf, second[name]) for name, leaf in first.items())


def test_a_loaded_tagger_begins_where_the_run_of_its_file_ended(run, model, notes, tagger, tmp_path):
    of_run = mw.FewShotTagger(learner=run, steps=3).fit(notes[:3])
    of_run.save(tmp_path / "finder.safetensors")
    loaded = mw.FewShotTagger.load(tmp_path / "finder.safetensors")
    assert loaded.learner.settings.learner == "span_finder" and "span_finder" in repr(loaded)
    for texts, types in ((notes, ()), (notes[:2], ["river", "day"])):
        expected = mw.FewShotTagger(learner=run, steps=3).fit(texts, types=types)
        assert same(loaded.fit(texts, types=types), expected)
        assert same(clone(loaded).fit(texts, types=types), expected)
    assert not same(loaded.fit(notes), tagger)  # of which no run knew anything
    loaded.encoder = "minilm"
    with pytest.raises(ValueError, match=r"the learner that is given reads texts by hf:.* and minilm is asked for"):
        loaded.fit(notes)


def test_a_loaded_tagger_of_no_run_is_fitted_as_at_first(tagger, notes, tmp_path):
    tagger.save(tmp_path / "finder.safetensors")
    assert same(mw.FewShotTagger.load(tmp_path / "finder.safetensors").fit(notes), tagger)


def test_of_two_types_added_at_once_none_is_lost(monkeypatch, tagger):
    """The second is given while the first is learned."""
    other = mw.FewShotTagger(tagger.encoder)._keep(tagger._fitted)
    second = threading.Thread(target=lambda: other.add_type("month", *DAYS["month"]))
    with_type = SpanPredictor.with_type

    def begin_second(self, *arguments):
        monkeypatch.undo()
        second.start()
        second.join(0.5)
        return with_type(self, *arguments)

    monkeypatch.setattr(SpanPredictor, "with_type", begin_second)
    other.add_type("day", *DAYS["day"])
    second.join()
    assert other.types_ == ["city", "day", "month", "person"] and tagger.types_ == ["city", "person"]


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_of_a_tagger_that_was_changed_answers_alike_and_changes_apart(duplicate, tagger, notes):
    one = mw.FewShotTagger(tagger.encoder)._keep(tagger._fitted)
    one.add_type("day", *DAYS["day"])
    other = duplicate(one)
    texts = [text.text for text in notes]
    assert other.predict(texts) == one.predict(texts)
    other.add_type("month", *DAYS["month"])
    assert len(other.types_) == len(one.types_) + 1


def test_a_text_with_different_spans_is_refused_and_both_places_are_named(model, tmp_path):
    texts = ["rome is far", "it rained", "rome is far"]
    spans = [[(0, 4, "city")], [], [(0, 4, "club")]]
    tagger = mw.FewShotTagger(model, steps=0)
    message = r"text 0 and text 2 are the same and have different spans, such as 0-4 \('rome', 'city'\) of text 0 alone"
    with pytest.raises(ValueError, match=message):
        tagger.fit(texts, spans)
    with pytest.raises(ValueError, match=r"of text 2 alone: keep the one that is right"):
        tagger.fit(texts, [[], [], [(0, 4, "club")]])
    assert tagger.fit(texts, [spans[0], [], spans[0]]).types_ == ["city"]
    path = tmp_path / "notes.txt"
    path.write_text("[rome](city) is far\n\nrome is far\n")
    with pytest.raises(ValueError, match=r"line 1 of notes.txt and line 3 of notes.txt are the same"):
        fit_annotated(annotated_examples(str(path)), encoder=model, steps=0)
