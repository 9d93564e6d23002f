"""A program with rows of its own fits, asks, widens and reports without a path, and nothing is printed."""

import json

import numpy as np
import pytest

import mapwise as mw
from mapwise.catalog.encoders import ENCODERS
from mapwise.encoders.text_hash import TextHash
from mapwise.predictors.diagnostics import novelty
from mapwise.predictors.examples import LabelledExamples
from mapwise.workflows.change import add_class, add_rows
from mapwise.workflows.fit import fit_examples
from mapwise.workflows.predict import predict_rows
from mapwise.workflows.predictor_report import report_predictor

TEXTS = ("cancel my order", "please cancel it", "cancel now", "where is it", "where is my parcel", "where are you")
NAMES = np.array(["cancel"] * 3 + ["where"] * 3, dtype=object)


@pytest.fixture(scope="module")
def fitted():
    return fit_examples(LabelledExamples(list(TEXTS), "texts", NAMES), encoder="text-hash", learner="ridge")


def test_answers_are_values_that_json_can_hold(fitted, capfd):
    answers = predict_rows(fitted.predictor, ["cancel this order", "where is the box"])
    assert [one.label for one in answers.predictions] == ["cancel", "where"]
    assert [one.input for one in answers.predictions] == ["0", "1"]
    about = json.loads(json.dumps([fitted.to_json(), answers.to_json()]))
    assert about[0]["classes"] == {"cancel": 3, "where": 3} and about[0]["learner"] == "ridge"
    assert about[0]["held_out"]["rows"] == 6 and about[0]["tried"] == about[0]["columns"] == []
    assert capfd.readouterr() == ("", "")


def test_what_is_rejected_is_estimated_once(fitted, monkeypatch):
    first = fitted.detection
    monkeypatch.setattr(novelty, "detection", lambda *given: pytest.fail("estimated again"))
    assert fitted.detection is first and fitted.to_json()["detection"] == first.to_json()


class Beginning(TextHash):
    """It reads the first 20 characters."""

    def cut(self, rows):
        return [place for place, row in enumerate(rows) if len(row) > 20]


def test_texts_whose_end_is_not_read_are_counted_and_named(fitted, monkeypatch):
    assert fitted.cut == () and fitted.to_json()["cut"] == []
    monkeypatch.setitem(ENCODERS, "text-hash", Beginning)
    for sources in ((), tuple(f"line {n}" for n in range(2, 8))):
        rows = [*TEXTS[:3], TEXTS[3] * 3, *TEXTS[4:]]
        examples = LabelledExamples(rows, "texts", NAMES, sources=sources)
        result = fit_examples(examples, encoder="text-hash", learner="ridge")
        assert result.cut == (("line 5",) if sources else ("3",))
    answers = predict_rows(result.predictor, ["cancel", "where is it " * 5, "cancel it"])
    assert answers.cut == 1
    assert [one["cut"] for one in answers.to_json()["predictions"]] == [False, True, False]
    # Of rows that are added the new ones count: the first is there already.
    rows = [TEXTS[0], "where is it " * 5, "where"]
    wider = add_rows(result.predictor, LabelledExamples(rows, "texts", np.array(["cancel", "where", "where"], object)))
    assert wider.addition.added == 2 and list(wider.cut) == wider.to_json()["cut"] == ["0"]


def test_another_share_than_0_to_1_is_refused(fitted):
    with pytest.raises(ValueError, match="refuse is 5 and a share from 0 to below 1 is needed"):
        predict_rows(fitted.predictor, ["cancel"], refuse=5)


def test_a_class_is_added_to_a_value_and_the_first_one_stays(fitted, capfd):
    wider = add_class(fitted.predictor, "thanks", ["thank you", "thanks a lot", "many thanks"])
    assert wider.predictor.classes == ("cancel", "where", "thanks")
    assert fitted.predictor.classes == ("cancel", "where") and wider.before == fitted.fitted.report
    assert json.loads(json.dumps(wider.to_json()))["classes"]["thanks"] == 3
    with pytest.raises(ValueError, match="there is a class 'where' already"):
        add_class(fitted.predictor, "where", ["where to"])
    assert capfd.readouterr() == ("", "")


def test_a_report_is_a_page_and_its_numbers(fitted):
    report = report_predictor(fitted.predictor, "intents", 1000)
    assert report.page.startswith("<!doctype html>") and "intents" in report.page
    assert report.to_json()["held_out"] == fitted.fitted.report.to_json() and report.summary


def test_an_estimator_warns_once_of_texts_whose_end_is_not_read(monkeypatch):
    monkeypatch.setitem(ENCODERS, "text-hash", Beginning)
    long = "where is it " * 5
    few = mw.FewShotClassifier(encoder="text-hash", learner="ridge")
    line = "1 of 6 texts is longer than the encoder reads, and truncated"
    with pytest.warns(UserWarning, match=line) as records:
        few.fit([*TEXTS[:5], long], NAMES)
    assert [one.filename for one in records] == [__file__]
    with pytest.warns(UserWarning, match="2 of 3 texts are longer") as records:
        few.predict([long, "cancel", long])
    assert [one.filename for one in records] == [__file__]
    few.predict(["cancel"])  # a warning would be an error
    with pytest.warns(UserWarning, match=line):
        mw.FewShotRegressor(encoder="text-hash", learner="ridge").fit([*TEXTS[:5], long], range(6))
