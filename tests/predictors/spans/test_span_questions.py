"""What may be asked of a finder of spans: votes, which text next, one more type, and how good it is."""

import itertools
from dataclasses import fields

import numpy as np
import pytest
import torch

import mapwise as mw
from mapwise.predictors.spans.report import FittedSpans, cross_validate
from mapwise.predictors.spans.votes import NAME
from mapwise.problems.spans import entity_scores

pytest.importorskip("peft")
from tiny_models import tiny_model

TEXTS = [
    "ada byron met ann lee in rome.",
    "rome and oslo are far apart.",
    "in oslo lives tom ray.",
    "it rained on may 3.",
    "tom ray left rome on june 9.",
]
MARKS = [
    ["ada byron/person", "ann lee/person", "rome/city"],
    ["rome/city", "oslo/city"],
    ["oslo/city", "tom ray/person"],
    [],
    ["tom ray/person", "rome/city"],
]


def spans_in(text, marks):
    pairs = [mark.split("/") for mark in marks]
    return [(text.index(words), text.index(words) + len(words), kind) for words, kind in pairs]


SPANS = [spans_in(text, marks) for text, marks in zip(TEXTS, MARKS, strict=True)]


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    folder = tiny_model(tmp_path_factory.mktemp("models") / "tiny")
    return mw.FewShotTagger(f"hf:{folder}", steps=200).fit(TEXTS, SPANS)


def test_votes_add_up_to_the_score_of_the_type(tagger):
    explanations = [one for row in tagger.explain(TEXTS) for one in row]
    assert explanations
    predictor = tagger.predictor_
    for one in explanations:
        assert sum(vote.vote for vote in one.votes) == pytest.approx(one.scores[one.span.type], rel=1e-4)
        own = [span for text in predictor.texts for span in text.spans if span.type == one.span.type]
        assert sorted(vote.span for vote in one.votes if vote.text != NAME) == sorted(own)
        assert [vote.text for vote in one.votes].count(NAME) == 1
        assert [vote.vote for vote in one.votes] == sorted((vote.vote for vote in one.votes), reverse=True)


def test_the_scores_that_are_explained_are_those_that_decide(tagger):
    predictor = tagger.predictor_
    (row,) = tagger.explain(TEXTS[:1])
    (tagged,), _ = predictor.tagged(TEXTS[:1])
    for one in row:
        first = [start for start, _ in tagged.units].index(one.span.start)
        if tagged.units[first][1] == one.span.end:  # of a single word the chances are those of the word
            chances = np.exp(tagged.scores[first][1::2]) / np.exp(tagged.scores[first][1::2]).sum()
            scores = np.array([one.scores[name] for name in predictor.types])
            softmax = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
            np.testing.assert_allclose(chances, softmax, atol=1e-5)


def test_the_text_whose_tags_are_least_certain_comes_first(tagger):
    texts = ["rome.", TEXTS[0], "", "rome.", "a b c d e f g h i j"]
    order = tagger.which_next(texts, 4)
    assert sorted(one.place for one in order) == [0, 1, 2, 4] and order[-1].place == 2
    for one in order[:-1]:
        (tagged,), _ = tagger.predictor_.tagged([texts[one.place]])
        if len(tagged.units) > 6:
            continue
        paths = {}
        for path in itertools.product(range(5), repeat=len(tagged.units)):
            if all(tag == 0 or tag % 2 or (at and path[at - 1] in (tag, tag - 1)) for at, tag in enumerate(path)):
                paths[path] = float(np.exp(tagged.scores[range(len(path)), path].sum()))
        total, entropy = sum(paths.values()), 0.0
        for place in range(len(tagged.units)):
            for tag in range(5):
                share = sum(weight for path, weight in paths.items() if path[place] == tag) / total
                entropy -= share * np.log(share) if share else 0.0
        assert one.uncertainty == pytest.approx(entropy, abs=1e-6)
    with pytest.raises(ValueError, match="4 different texts"):
        tagger.which_next(texts, 5)


def test_a_type_is_added_without_tuning_the_model_again(tagger):
    before = tagger.predictor_
    other = mw.FewShotTagger(tagger.encoder)
    other._keep(FittedSpans(before))
    texts = ["it rained on may 3.", "on june 9 tom ray came."]
    other.add_type("day", texts, [[(13, 18)], [(3, 9, "day")]])
    after = other.predictor_
    assert other.types_ == ["city", "day", "person"] and after.types == ("city", "person", "day")
    assert all(torch.equal(leaf, after.fast["encoder"][name]) for name, leaf in before.fast["encoder"].items())
    assert len(after.texts) == len(before.texts) + 2 and before.types == ("city", "person")
    assert after.fast["types"].shape[0] == 3 and after.fast["present"].tolist() == [1] * 7
    (row,) = other.explain(["on june 9."])
    assert all(set(one.scores) == {"city", "person", "day"} for one in row)
    for arguments, message in (
        (("city", texts, [[(0, 2)], []]), "there is a type 'city' already"),
        (("month", texts, [[], []]), "none of the 2 texts has a span"),
        (("month", texts, [[(13, 16)], [(0, 2, "river")]]), "is no type here"),
        (("month", texts, None), "there are 2 texts and spans of 1"),
        (("month", texts, [[{"start": 13, "end": 16}], []]), "lacks a key"),
    ):
        with pytest.raises(ValueError, match=message):
            other.add_type(*arguments)


def test_a_report_is_of_texts_that_were_held_out(tagger, monkeypatch):
    seen = []
    fitted_to = type(tagger.predictor_).fitted_to

    def watched(self, texts):
        seen.append({text.text for text in texts})
        return fitted_to(self, texts)

    monkeypatch.setattr(type(tagger.predictor_), "fitted_to", watched)
    report = cross_validate(tagger.predictor_, folds=3)
    assert len(seen) == 3 and report.folds == 3 and report.texts == 5
    assert sorted(sum(text not in others for others in seen) for text in TEXTS) == [1] * 5
    predicted = [[span[:3] for span in spans] for spans in report.predicted]
    assert report.scores == entity_scores(SPANS, predicted)
    assert report.low <= report.scores.all.f1 <= report.high and report.too_few
    assert str(report).startswith("too few to tell: entity F1 ")
    assert all(tuple(span) in SPANS[place] for place, span, _ in report.doubtful)


def test_equal_texts_are_held_out_together(tagger, monkeypatch):
    predictor = tagger.predictor_
    twice = type(predictor)(**{**vars_of(predictor), "texts": predictor.texts * 2, "sources": ()})
    seen = []

    def watched(self, texts):
        seen.append([text.text for text in texts])
        return predictor

    monkeypatch.setattr(type(predictor), "fitted_to", watched)
    assert cross_validate(twice).texts == 10
    assert all(sorted(set(others) & set(TEXTS)) and all(others.count(one) == 2 for one in others) for others in seen)


def vars_of(predictor):
    return {field.name: getattr(predictor, field.name) for field in fields(predictor)}


def test_a_type_without_a_span_needs_names(tagger):
    with pytest.raises(ValueError, match="'river' has no span, and names of types are not used"):
        mw.FewShotTagger(tagger.encoder, names=False).fit(TEXTS, SPANS, types=["river"])


def test_a_single_text_is_too_few_to_report_on(tagger):
    with pytest.raises(ValueError, match="needs at least 2"):
        cross_validate(tagger.predictor_.fitted_to(tagger.predictor_.texts[:1]))
