"""A finder of spans behind a tiny model: offsets, probabilities, and its file."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

import mapwise as mw
from mapwise.core.tags import spans_of
from mapwise.predictors.spans.predictor import TaggedText

pytest.importorskip("peft")
from tiny_models import tiny_model

TEXTS = ["Ada Byron met Ann Lee in Rome.", "Rome and Oslo are far apart.", "In Oslo lives Tom Ray.", "Nobody is here."]
MARKS = [
    ["Ada Byron/person", "Ann Lee/person", "Rome/city"],
    ["Rome/city", "Oslo/city"],
    ["Oslo/city", "Tom Ray/person"],
    [],
]


def spans_in(text, marks):
    pairs = [mark.split("/") for mark in marks]
    return [(text.index(words), text.index(words) + len(words), kind) for words, kind in pairs]


SPANS = [spans_in(text, marks) for text, marks in zip(TEXTS, MARKS, strict=True)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def tagger(folder):
    return mw.FewShotTagger(f"hf:{folder}").fit(TEXTS, SPANS)


def test_it_learns_its_examples(tagger):
    assert tagger.score(TEXTS, SPANS) > 0.4
    assert tagger.types_ == ["city", "person"]


HOSTILE = [
    "",
    " ",
    "\t\n",
    "a\u200bb \u200dc",
    "👩‍👩‍👧 met 🇳🇴 in Oslo 🎉🎉",
    "日本の東京で会った",
    "سافر أحمد إلى روما",
    "ไปโรมกับแอน",
    "e\u0301cole na\u0308ive",
    "\u202eRome\u202c and Oslo",
    "x" * 3000,
    "Rome " * 2000,
    "\ud83d half",
    "tab\tOslo\ttab",
    "((((((((((",
    "\x00 null Rome",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_spans_of_any_text_lie_in_it_and_apart(tagger, text):
    (spans,) = tagger.predict([text])
    last = 0
    for span in spans:
        assert last <= span.start < span.end <= len(text)
        assert text[span.start : span.end].strip() == text[span.start : span.end] != ""
        assert 0 <= span.probability <= 1 and span.type in tagger.types_
        last = span.end


def test_a_text_is_answered_alone_as_among_others(tagger):
    together = tagger.predict([*HOSTILE, *TEXTS])
    for text, spans in zip([*HOSTILE, *TEXTS], together, strict=True):
        (alone,) = tagger.predict([text])
        assert [span[:3] for span in alone] == [span[:3] for span in spans]
        np.testing.assert_allclose([s.probability for s in alone], [s.probability for s in spans], atol=1e-4)


def test_a_probability_is_the_share_of_paths_that_hold_the_span(tagger):
    random = np.random.default_rng(0)
    predictor = tagger.predictor_
    scores = 2 * random.normal(size=(4, 5))
    tagged = TaggedText([(2 * unit, 2 * unit + 1) for unit in range(4)], scores)
    weights: dict[tuple[int, int, str], float] = {}
    total = 0.0
    for path in itertools.product(range(5), repeat=4):
        allowed = all(
            not (tag and tag % 2 == 0) or (place and path[place - 1] in (tag, tag - 1))
            for place, tag in enumerate(path)
        )
        if allowed:
            weight = float(np.exp(scores[range(4), path].sum()))
            total += weight
            for first, end, kind in spans_of(path):
                key = (2 * first, 2 * end - 1, predictor.types[kind])
                weights[key] = weights.get(key, 0.0) + weight
    spans = predictor.spans_in(tagged)
    assert spans
    for span in spans:
        assert span.probability == pytest.approx(weights[span[:3]] / total, abs=1e-12)


def test_spans_below_the_threshold_are_none_of_the_types(tagger):
    predictor = tagger.predictor_
    every = [span for row in predictor.every_span(TEXTS) for span in row]
    middle = sorted(span.probability for span in every)[len(every) // 2]
    above = [span for row in replace(predictor, threshold=middle).predict(TEXTS) for span in row]
    assert above == [span for span in every if span.probability >= middle] and len(above) < len(every)


def test_a_type_without_examples_is_looked_for_by_its_name(folder):
    tagger = mw.FewShotTagger(f"hf:{folder}").fit(TEXTS, SPANS, types=["river"], describe={"river": "a long water"})
    assert tagger.types_ == ["city", "person", "river"]
    assert tagger.predictor_.fast["present"].tolist() == [1] * 7


def test_a_file_gives_the_same_answers(tagger, tmp_path):
    path = tmp_path / "finder.safetensors"
    tagger.save(path)
    again = mw.FewShotTagger.load(path)
    assert again.predict(TEXTS) == tagger.predict(TEXTS)
    assert again.predictor_.texts == tagger.predictor_.texts
    with pytest.raises(ValueError, match="open it with FewShotTagger"):
        mw.FewShotClassifier.load(path)
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with pytest.raises(ValueError, match="no whole predictor"):
        mw.FewShotTagger.load(path)
    path.write_bytes(content.replace(b"Byron", b"Bacon"))
    with pytest.raises(ValueError, match="digest"):
        mw.FewShotTagger.load(path)


def test_another_kind_of_file_is_named(tmp_path):
    classifier = mw.FewShotClassifier("text-hash", "nearest_mean").fit(["a b", "c d"], ["x", "y"])
    classifier.save(tmp_path / "c.safetensors")
    with pytest.raises(ValueError, match="holds no finder of spans"):
        mw.FewShotTagger.load(tmp_path / "c.safetensors")


def test_a_fit_is_repeated_bit_by_bit(tagger, folder):
    again = mw.FewShotTagger(f"hf:{folder}").fit(TEXTS, SPANS)
    for name, leaf in tagger.predictor_.fast["finder"].items():
        assert torch.equal(leaf, again.predictor_.fast["finder"][name])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["a"], [[(0, 5, "x")]]), "lies outside the text"),
        ((["abc"], [[(0, 2, "x"), (1, 3, "y")]]), "overlap"),
        ((["abc"], [[(0, 3, "x"), (1, 2, "y")]]), "overlap"),
        ((["abc"], [[], []]), "there are 1 texts and spans of 2"),
        (("abc", [[]]), "texts is"),
        ((["abc"], None), "there are no spans"),
        ((["abc"], [[(0, 3, "")]]), "the type of a span"),
        (([], []), "none of the 0 texts has a span"),
        ((["abc"], [[]]), "none of the 1 texts has a span"),
    ],
)
def test_what_is_no_annotation_is_one_sentence(folder, arguments, message):
    with pytest.raises(ValueError, match=message):
        mw.FewShotTagger(f"hf:{folder}").fit(*arguments)


@pytest.mark.parametrize("texts", ["one", None, [1], [None], {"a": 1}])
def test_what_are_no_texts_is_one_sentence(tagger, texts):
    with pytest.raises(ValueError, match="give a"):
        tagger.predict(texts)


def test_a_model_that_is_not_there_is_one_sentence():
    with pytest.raises(ValueError, match="no model reads texts piece by piece"):
        mw.FewShotTagger("words").fit(TEXTS, SPANS)
    with pytest.raises(ValueError, match="there is no folder"):
        mw.FewShotTagger("hf:/nowhere/at/all").fit(TEXTS, SPANS)


def test_it_must_be_fitted_first():
    with pytest.raises(Exception, match="not fitted yet"):
        mw.FewShotTagger().predict(["a"])
