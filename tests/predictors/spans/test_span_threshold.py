"""Spans below a threshold are none of the types; "auto" chooses it by held-out spans, and is judged by others."""

import random

import numpy as np
import pytest
from finders_of_known_answers import known_finder

import mapwise as mw
from mapwise.data.annotated.texts import AnnotatedText, Span
from mapwise.predictors.spans.evidence.threshold import best_threshold, chosen_threshold
from mapwise.predictors.spans.predictor import FoundSpan
from mapwise.predictors.spans.report import FittedSpans
from mapwise.problems.spans import entity_scores

pytest.importorskip("peft")
from tiny_models import tiny_model

WORDS = "aa bb cc dd ee ff"
PLACES = [(3 * word, 3 * word + 2) for word in range(6)]


def drawn(seed, count=30, digits=1):
    """Texts with spans, and what is predicted: right spans are surer than wrong ones, and probabilities often equal."""
    draw = random.Random(seed)
    texts, answers = [], []
    for number in range(count):
        chosen = sorted(draw.sample(PLACES, 3))
        texts.append((f"{WORDS} {number}", [(*place, "city") for place in chosen[:2]]))
        spans = [FoundSpan(*place, "city", round(draw.uniform(0.3, 1), digits)) for place in chosen[:2]]
        spans.append(FoundSpan(*chosen[2], "city", round(draw.uniform(0, 0.7), digits)))
        answers.append(sorted(span for span in spans if draw.random() < 0.9))
    return texts, answers


def f1_at(threshold, true, predicted):
    above = [[span[:3] for span in spans if span.probability >= threshold] for spans in predicted]
    return entity_scores(true, above).all.f1


def lowest_best(true, predicted):
    """By trying every threshold that makes a difference, from the lowest on."""
    candidates = sorted({0.0, *(span.probability for spans in predicted for span in spans)})
    values = [f1_at(threshold, true, predicted) for threshold in candidates]
    return candidates[int(np.argmax(values))]


@pytest.mark.parametrize("seed", range(12))
def test_the_best_threshold_is_the_lowest_of_those_with_the_best_f1(seed):
    texts, predicted = drawn(seed, count=seed % 5 + 1)
    annotated = [AnnotatedText(*text) for text in texts]
    assert best_threshold(annotated, predicted) == lowest_best([text.spans for text in annotated], predicted)


def test_without_a_wrong_span_or_any_span_the_threshold_is_zero():
    text = AnnotatedText("Rome", (Span(0, 4, "city"),))
    assert best_threshold([text], [[FoundSpan(0, 4, "city", 0.2)]]) == 0.0
    assert best_threshold([text], [[]]) == 0.0 == best_threshold([], [])
    assert best_threshold([text], [[FoundSpan(0, 4, "person", 0.9)]]) == 0.0  # nothing is better, nor worse


def test_auto_chooses_by_all_held_out_spans_and_is_judged_by_other_parts():
    texts, predicted = drawn(7, digits=3)
    fitted = FittedSpans(known_finder(texts, predicted)).with_threshold("auto").cross_validated(seconds=60)
    true = [spans for _, spans in texts]
    assert fitted.predictor.threshold == lowest_best(true, predicted) > 0
    folds = fitted.crossed.folds
    honest = []
    for place, fold in enumerate(folds):
        others = [other for other, part in enumerate(folds) if part != fold]
        limit = lowest_best([true[other] for other in others], [predicted[other] for other in others])
        honest.append([span for span in predicted[place] if span.probability >= limit])
    report = fitted.report
    assert [list(spans) for spans in report.predicted] == honest and report.auto
    assert report.scores == entity_scores(true, [[span[:3] for span in spans] for spans in honest])
    assert report.before == entity_scores(true, [[span[:3] for span in spans] for spans in predicted])
    assert report.before.all.precision < report.scores.all.precision
    assert f"left out: precision {100 * report.before.all.precision:.1f} % before" in str(report)


def test_where_probabilities_say_nothing_the_report_of_a_chosen_threshold_is_not_flattered():
    """On the spans by which it was chosen a threshold looks better than none, whatever these are."""
    honest, flattered = [], []
    for seed in range(40):
        texts, predicted = drawn(seed, count=12)
        draw = random.Random(seed)
        predicted = [[span._replace(probability=draw.random()) for span in spans] for spans in predicted]
        fitted = FittedSpans(known_finder(texts, predicted)).with_threshold("auto").cross_validated(seconds=60)
        true, before = [spans for _, spans in texts], fitted.report.before.all.f1
        honest.append(fitted.report.scores.all.f1 - before)
        flattered.append(f1_at(fitted.predictor.threshold, true, predicted) - before)
    assert np.mean(flattered) > 0.002 and np.mean(honest) <= 0


def test_of_too_few_spans_none_is_chosen():
    texts, predicted = drawn(7, count=9)  # with 18 spans
    fitted = FittedSpans(known_finder(texts, predicted)).with_threshold("auto").cross_validated(seconds=60)
    assert fitted.predictor.threshold == 0.0 and fitted.report.scores == fitted.report.before
    assert str(fitted.report).endswith("; choosing a threshold takes 20 spans, so all spans are given")
    assert chosen_threshold(fitted.predictor.texts, fitted.crossed) == 0.0


def test_a_number_is_applied_as_it_is():
    texts, predicted = drawn(3)
    fitted = FittedSpans(known_finder(texts, predicted)).with_threshold(0.6).cross_validated(seconds=60)
    true = [spans for _, spans in texts]
    assert fitted.report.scores.all.f1 == f1_at(0.6, true, predicted) and fitted.report.threshold == 0.6
    numbers = fitted.to_json()
    assert (numbers["threshold"], numbers["auto_threshold"]) == (0.6, False)
    assert numbers["before"]["recall"] == fitted.report.before.all.recall > numbers["recall"]
    assert "threshold" not in str(fitted.with_threshold(0).report)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return f"hf:{tiny_model(tmp_path_factory.mktemp('models') / 'tiny')}"


def test_a_tagger_leaves_out_what_is_less_sure_and_its_file_knows(model, tmp_path):
    texts = [
        "Ada Byron met Ann Lee in Rome.",
        "Rome and Oslo are far apart.",
        "In Oslo lives Tom Ray.",
        "Nobody is here.",
    ]
    spans = [[(0, 9, "person"), (14, 21, "person"), (25, 29, "city")], [(0, 4, "city"), (9, 13, "city")]]
    spans += [[(3, 7, "city"), (14, 21, "person")], []]
    tagger = mw.FewShotTagger(model).fit(texts, spans)
    every = [span for row in tagger.predict(texts) for span in row]
    limit = sorted(span.probability for span in every)[len(every) // 2]
    assert [span for row in tagger.predict(texts, threshold=limit) for span in row] == [
        span for span in every if span.probability >= limit
    ]
    fixed = mw.FewShotTagger(model, threshold=limit).fit(texts, spans)
    assert fixed.predict(texts) == tagger.predict(texts, threshold=limit)
    assert fixed.predict(texts, threshold=0) == tagger.predict(texts)
    fixed.save(tmp_path / "finder.safetensors")
    again = mw.FewShotTagger.load(tmp_path / "finder.safetensors")
    assert again.threshold == limit and again.predict(texts) == fixed.predict(texts)
    auto = mw.FewShotTagger(model, steps=2, threshold="auto").fit(texts, spans)
    assert auto.report_.auto and auto.report_.threshold == auto.predictor_.threshold
    auto.save(tmp_path / "finder.safetensors")
    again = mw.FewShotTagger.load(tmp_path / "finder.safetensors")
    assert again.threshold == "auto" and again.report_ == auto.report_


@pytest.mark.parametrize("threshold", ["half", "", 1.5, -0.1, float("nan"), None, True, [0.5]])
def test_what_is_no_threshold_is_one_sentence(model, threshold):
    with pytest.raises(ValueError, match=r"the threshold is .*: give a probability from 0 to 1, or auto"):
        mw.FewShotTagger(model, steps=0, threshold=threshold).fit(["rome"], [[(0, 4, "city")]])
    if threshold is not None:
        tagger = mw.FewShotTagger(model, steps=0).fit(["rome"], [[(0, 4, "city")]])
        with pytest.raises(ValueError, match=r"the threshold is .*: give a probability from 0 to 1$"):
            tagger.predict(["rome"], threshold=threshold)
