"""What a finder says of its own texts while they are held out: in the file, within a budget, and counted right."""

from time import sleep

import pytest
from finders_of_known_answers import KnownFinder, known_finder

import mapwise as mw
from conftest import rewrite
from mapwise.predictors.spans.evidence.crossed import CrossedSpans, cross_fitted
from mapwise.predictors.spans.file import load_spans
from mapwise.predictors.spans.predictor import FoundSpan
from mapwise.predictors.spans.report import FittedSpans, report_of

pytest.importorskip("peft")
from tiny_models import tiny_model

TEXTS = [("rome is far", [(0, 4, "city")]), ("ann met tom", [(0, 3, "person"), (8, 11, "person")]), ("it rained", [])]
ANSWERS = [
    [FoundSpan(0, 4, "person", 0.9)],
    [FoundSpan(0, 3, "person", 0.8)],
    [FoundSpan(0, 2, "city", 0.3)],
]


def test_precision_recall_and_doubtful_annotations_are_those_of_the_known_answers():
    report = FittedSpans(known_finder(TEXTS, ANSWERS)).cross_validated(seconds=60).report
    # True are 3, found are 3, and "ann" alone is right.
    assert (report.scores.all.true, report.scores.all.predicted, report.scores.all.correct) == (3, 3, 1)
    assert report.scores.all.f1 == pytest.approx(1 / 3) and (report.texts, report.folds) == (3, 3)
    assert report.doubtful == [(0, (0, 4, "city"), ANSWERS[0][0]), (1, (8, 11, "person"), None)]
    numbers = FittedSpans(known_finder(TEXTS, ANSWERS)).cross_validated(seconds=60).to_json()
    assert numbers["entity_f1"] == pytest.approx(1 / 3) and numbers["too_few"] and numbers["why"] == ""
    assert numbers["types"]["person"]["recall"] == pytest.approx(0.5)


def test_without_time_nothing_is_held_out_and_the_reason_says_how_long_it_takes():
    crossed = cross_fitted(known_finder(TEXTS, ANSWERS), seconds=1, fitting=60)
    assert crossed.held_out == [] and crossed.parts == 0
    assert crossed.why == "too little time to tell: cross-validation takes about 2 min; give fit a longer budget"
    fitted = FittedSpans(known_finder(TEXTS, ANSWERS), crossed)
    assert fitted.report is None and fitted.to_json() == {
        "entity_f1": None,
        "low": None,
        "high": None,
        "why": crossed.why,
    }


def test_parts_for_which_no_time_is_left_are_not_judged(monkeypatch):
    finder = known_finder(TEXTS, ANSWERS)

    def slowly(self, texts):
        sleep(0.4)
        return self

    monkeypatch.setattr(KnownFinder, "fitted_to", slowly)
    crossed = cross_fitted(finder, seconds=0.6)
    assert crossed.parts == 1 and len(crossed.held_out) == 1
    (place,) = crossed.held_out
    report = report_of(finder, crossed)
    assert report.texts == 1 and report.scores.all.true == len(TEXTS[place][1])
    assert [list(spans) for spans in report.predicted] == [ANSWERS[n] if n == place else [] for n in range(3)]


@pytest.mark.parametrize("texts", [[], TEXTS[:1], TEXTS[:1] * 2])
def test_too_few_texts_are_a_reason_and_no_error(texts):
    finder = known_finder(texts, ANSWERS[:1] * len(texts))
    fitted = FittedSpans(finder).cross_validated(seconds=60)
    assert fitted.report is None and "needs at least 2" in fitted.why
    with pytest.raises(ValueError, match="needs at least 2"):
        report_of(finder, fitted.crossed)


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    folder = tiny_model(tmp_path_factory.mktemp("models") / "tiny")
    return mw.FewShotTagger(f"hf:{folder}", steps=2).fit(*zip(*TEXTS, strict=True))


def test_a_report_that_was_asked_for_is_in_the_file(tagger, tmp_path):
    tagger.save(path := tmp_path / "finder.safetensors")
    before = load_spans(path)
    assert before.crossed is None and before.why == "it was not cross-validated"
    report = tagger.report_
    assert tagger.report_ is report
    tagger.save(path)
    again = mw.FewShotTagger.load(path)
    assert load_spans(path).crossed == tagger._fitted.crossed and again.report_ == report
    again.add_type("day", ["on may 3"], [[(3, 8)]])
    assert again._fitted.crossed is None  # nothing is known of the new one


def damages():
    spans = [[[0, 4, "city", 0.5]], [], []]
    yield {"folds": [0, 1], "spans": spans, "why": ""}
    yield {"folds": [0, 1, 2], "spans": spans[:2], "why": ""}
    yield {"folds": [0, 1, -2], "spans": spans, "why": ""}
    yield {"folds": [0, 1, 0.5], "spans": spans, "why": ""}
    yield {"folds": [0, 1, 2], "spans": spans, "why": 3}
    yield {"folds": [0, 1, 2], "spans": spans, "why": "too few"}
    for span in ([0, 40, "city", 0.5], [-1, 4, "city", 0.5], [4, 0, "city", 0.5], [0, 4, "river", 0.5]):
        yield {"folds": [0, 1, 2], "spans": [[span], [], []], "why": ""}
    for span in ([0, 4, "city", 1.5], [0, 4, "city", None], [0, 4, "city"], [0.0, 4, "city", 0.5], "abcd"):
        yield {"folds": [0, 1, 2], "spans": [[span], [], []], "why": ""}
    yield {"folds": [], "spans": [], "why": ""}
    yield [1]
    yield {}


@pytest.mark.parametrize("damage", list(damages()))
def test_a_file_with_answers_that_cannot_be_is_no_whole_predictor(tagger, tmp_path, damage):
    tagger.save(path := tmp_path / "finder.safetensors")
    rewrite(path, lambda about, arrays: about.update(crossed=damage))
    with pytest.raises(ValueError, match="no whole predictor"):
        load_spans(path)
    rewrite(path, lambda about, arrays: about.pop("crossed"))  # as of an earlier version
    assert load_spans(path).crossed is None
    crossed = CrossedSpans((0, 1, -1), ((FoundSpan(0, 4, "city", 0.5),), (), ()))
    rewrite(path, lambda about, arrays: about.update(crossed=crossed.to_file()))
    assert load_spans(path).crossed == crossed
