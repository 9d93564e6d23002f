"""Fitting follows one set of rules, whichever door it is asked through, and refuses mistakes before it works."""

import csv
import time
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

import mapwise as mw
from mapwise.catalog.encoders import ENCODERS
from mapwise.catalog.rows import EncoderRow
from mapwise.encoders.text_hash import TextHash
from mapwise.predictors.examples import check_encoded
from test_encoders import drawing

TEXTS = ["cancel my order", "cancel it please", "where is my refund", "refund my money"]
LABELS = ["cancel", "cancel", "refund", "refund"]
FIT = ["fit", "train.csv", "--text", "body", "--label", "intent", "-o", "few.safetensors"]


@dataclass(frozen=True)
class Spy(TextHash):
    """An encoder of texts that counts how often it is tuned."""

    name = "spy"
    tunings: ClassVar[list[int]] = []

    def tuned(self, rows, columns, weight):
        self.tunings.append(len(rows))
        return self

    def tuning_seconds(self, rows):
        return 0.0


@pytest.fixture
def tunings(monkeypatch):
    """How many rows the spy was tuned on, each time."""
    monkeypatch.setitem(ENCODERS, "spy", EncoderRow(Spy, ""))
    Spy.tunings.clear()
    return Spy.tunings


def written(path, texts, labels):
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("body", "intent"), *zip(texts, labels, strict=True)])


def refused(estimator, X, y):
    """The sentence with which the estimator refuses to be fitted."""
    with pytest.raises(ValueError) as refusal:
        estimator.fit(X, y)
    return str(refusal.value)


WRONG = {
    "a duplicate": (
        [*TEXTS, TEXTS[0]],
        [*LABELS, "refund"],
        "are the same and of two classes, 'cancel' and 'refund': keep the one that is right",
    ),
    "a duplicate for the encoder alone": (
        [*TEXTS, TEXTS[0].upper()],
        [*LABELS, "refund"],
        "are the same and of two classes, 'cancel' and 'refund': keep the one that is right",
    ),
    "a line break": (TEXTS, ["cancel", "cancel", "re\nfund", "re\nfund"], r"'re\nfund' is no name for a class"),
    "one class": (TEXTS, ["cancel"] * 4, "of one class, 'cancel'"),
    "an empty text": ([*TEXTS[:3], " "], LABELS, "the text of row 3 is empty"),
}


@pytest.mark.parametrize("mistake", ["a duplicate", "a duplicate for the encoder alone", "a line break"])
def test_the_estimator_and_the_command_refuse_a_mistake_in_the_same_words_before_they_tune(
    cli, tmp_path, tunings, mistake
):
    texts, labels, words = WRONG[mistake]
    written(tmp_path / "train.csv", texts, labels)
    done = cli(*FIT, "--encoder", "spy", "--learner", "lora")
    assert (done.code, done.out) == (1, "")
    assert words in done.err
    assert words in refused(mw.FewShotClassifier(encoder="spy", learner="lora"), texts, labels)
    assert tunings == []


def test_a_picture_of_two_classes_is_refused_by_both_doors(cli, tmp_path):
    for name, kind in {"a/1": "ring", "a/2": "bar", "b/1": "cross", "b/2": "ring"}.items():
        path = tmp_path / "photos" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        drawing(kind, 2).save(path)
    paths = sorted((tmp_path / "photos").glob("*/*.png"))
    words = "are the same and of two classes, 'a' and 'b': keep the one that is right"
    assert words in cli("fit", "photos", "-o", "few.safetensors").err
    assert words in refused(mw.FewShotClassifier(), paths, ["a", "a", "b", "b"])


def test_rows_that_come_later_follow_the_same_rules():
    few = mw.FewShotClassifier().fit(TEXTS, LABELS)
    with pytest.raises(ValueError, match="are the same and of two classes, 'cancel' and 'refund'"):
        few.partial_fit(TEXTS[:1], ["refund"])
    with pytest.raises(ValueError, match="are the same and of two classes, 'cancel' and 'stop'"):
        few.add_class("stop", [TEXTS[1]])
    with pytest.raises(ValueError, match="is no name for a class"):
        few.add_class("two\nlines", ["hello"])
    assert few.classes_.tolist() == ["cancel", "refund"] and len(few.predictor_.rows) == 4


def test_equal_rows_of_a_table_may_be_of_two_classes():
    few = mw.FewShotClassifier().fit(np.array([[0.0], [0.0], [1.0], [1.0]]), ["a", "b", "b", "b"])
    assert len(few.predictor_.rows) == 4


def test_many_copies_within_a_class_are_not_compared_with_each_other():
    predictor = mw.FewShotClassifier("text-hash", "nearest_mean").fit(TEXTS[1:3], ["a", "b"]).predictor_
    copies = np.repeat([0, 1], [20_000, 2])
    start = time.process_time()
    check_encoded(replace(predictor, rows=predictor.rows[copies][:, :64], columns=copies))
    assert time.process_time() - start < 5
    four = replace(predictor, rows=predictor.rows[[0, 0, 1, 0]], columns=np.array([0, 0, 1, 1]))
    with pytest.raises(ValueError, match="example 0 and example 3 are the same and of two classes, 'a' and 'b'"):
        check_encoded(four)
    with pytest.raises(ValueError, match="example 0 and example 3 are the same"):
        check_encoded(four, 3)
    check_encoded(four, 4)


def test_no_encoder_is_tuned_where_another_learner_makes_no_error(tunings):
    texts = [f"{word} {number}" for word in ("cancel", "refund", "hello") for number in "abcd"]
    few = mw.FewShotClassifier("spy").fit(texts, np.repeat(["cancel", "refund", "hello"], 4))
    by_name = {one.learner: one for one in few.tried_}
    assert tunings == [] and by_name["nearest_mean"].found.accuracy == 1
    assert by_name["lora"].why == "not tried: nearest_mean makes no error"
