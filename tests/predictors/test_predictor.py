"""A predictor's file: what goes in comes out elsewhere, and nothing else is believed."""

import json
import os
import struct
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image
from safetensors import safe_open

import mapwise as mw
from conftest import ROOT, rewrite
from mapwise.data.digests import digests, together
from mapwise.predictors.additions import with_names
from mapwise.predictors.classes import Predictor
from mapwise.predictors.examples import LabelledExamples

TEXTS = ["cancel my order", "cancel it please", "where is my refund", "refund my money", "good morning", "hello there"]
INTENTS = ["cancel", "cancel", "refund", "refund", "hello", "hello"]
FRAME = np.array([["red", 1.5], ["red", 2.5], ["blue", 1.0], [None, 7.0]], dtype=object)


def saved(tmp_path, X=TEXTS, y=INTENTS, **settings):
    model = mw.FewShotClassifier(**settings).fit(X, y)
    path = tmp_path / "few.safetensors"
    model.save(path)
    return model, path


@pytest.mark.parametrize("learner", ["nearest_mean", "ridge", "logistic"])
@pytest.mark.parametrize(
    ("X", "y"),
    [(TEXTS, INTENTS), (FRAME, ["b", "b", "a", "a"]), (np.eye(4) / 3, ["b", "b", "a", "a"])],
    ids=["texts", "words", "numbers"],
)
def test_what_was_saved_answers_the_same(tmp_path, X, y, learner):
    result, path = saved(tmp_path, X, y, learner=learner)
    again = mw.FewShotClassifier.load(path)
    np.testing.assert_array_equal(again.predict_proba(X), result.predict_proba(X))
    assert list(again.classes_) == list(result.classes_)
    assert again.get_params() == {**result.get_params(), "encoder": result.predictor_.encoder.name}
    again.add_class("new", ["what time is it"] if X is TEXTS else X[:1])
    assert list(again.predict(X[2:3])) == list(result.predict(X[2:3]))


def test_another_process_opens_it_after_it_was_moved(tmp_path):
    result, path = saved(tmp_path)
    elsewhere = tmp_path / "far" / "away.safetensors"
    elsewhere.parent.mkdir()
    path.rename(elsewhere)
    code = (
        "import sys, json, mapwise as mw\n"
        "found = mw.FewShotClassifier.load(sys.argv[1])\n"
        "print(json.dumps(found.predict_proba(['cancel, please']).tolist()))\n"
    )
    # No cache, no network, nothing but the file.
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "XDG_CACHE_HOME": str(tmp_path / "none")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(elsewhere)], capture_output=True, text=True, check=True, env=environment
    )
    np.testing.assert_allclose(json.loads(done.stdout), result.predict_proba(["cancel, please"]), atol=1e-12)


def test_a_table_keeps_the_names_of_its_columns(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"colour": ["red", "red", "blue"], "size": [1.0, 2.0, 9.0]})
    result, path = saved(tmp_path, frame, ["a", "a", "b"])
    again = mw.FewShotClassifier.load(path)
    np.testing.assert_array_equal(again.predict_proba(frame), result.predict_proba(frame))
    with pytest.raises(ValueError, match="feature names"):
        again.predict(frame.rename(columns={"size": "weight"}))


def test_the_file_says_what_it_holds(tmp_path):
    _, path = saved(tmp_path)
    with safe_open(str(path), framework="np") as file:
        card = json.loads(file.metadata()["mapwise"])["card"]
    assert "holds the embeddings of the examples" in card


def test_labels_that_a_file_would_make_strings_of_are_refused(tmp_path):
    with pytest.raises(ValueError, match="fit with strings"):
        saved(tmp_path, [[0.0], [1.0]], [1, 2])


def test_a_learner_without_a_name_is_refused(tmp_path):
    import torch

    with pytest.raises(ValueError, match=r"a custom learner \(ProtoNet\) can't be saved"):
        saved(tmp_path, learner=mw.ProtoNet(torch.nn.Flatten))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.99])
def test_a_file_that_was_cut_short_is_refused(tmp_path, share):
    _, path = saved(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(
        ValueError, match=r"few.safetensors is no whole predictor \(.*\): restore it, or make it with mapwise fit"
    ):
        Predictor.load(path)


def rewritten(path, *, about=None, **arrays):
    def change(words, known):
        words.update(about or {})
        known.update(arrays)
        for name in [name for name, part in arrays.items() if part is None]:
            del known[name]

    rewrite(path, change)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"about": {"version": 3}}, "is of format 3 and this mapwise reads up to 2: upgrade"),
        ({"about": {"version": "x"}}, "its format is 'x'"),
        ({"about": {"version": -1}}, "its format is -1"),
        ({"about": {"head": "odd"}}, "no learner 'odd'"),
        ({"about": {"head": ["ridge"]}}, "learner's settings are damaged"),
        ({"about": {"classes": ["a", "a", "b"]}}, "names a class twice"),
        ({"about": {"classes": "abc"}}, "no list of names"),
        ({"about": {"classes": ["a"]}}, "a class that isn't there"),
        ({"about": {"reads": 3}}, "note is no text"),
        ({"about": {"sources": "abcdef"}}, "came from is no list of texts"),
        ({"about": {"sources": [1] * 6}}, "came from is no list of texts"),
        ({"about": {"sources": ["a.png"]}}, "6 rows, and 1 places they came from"),
        ({"about": {"encoder": {"name": "odd", "version": "1", "state": {}}}}, "encoder 'odd', which this mapwise"),
        ({"about": {"encoder": {"name": "text-hash", "version": "0", "state": {}}}}, "another version of the encoder"),
        ({"about": {"encoder": 3}}, "no whole predictor"),
        ({"about": {"encoder": {"name": "table", "version": "1", "state": {"a": 3}}}}, "column 'a' is damaged"),
        ({"rows": None}, "no whole predictor"),
        ({"rows": np.full((6, 4096), np.nan, np.float32)}, "or hold NaN"),
        ({"rows": np.zeros(6, np.float32)}, r"shape \(6,\)"),
        ({"rows": np.zeros((0, 4096), np.float32)}, "no positive number for each row"),
        ({"rows": np.zeros((6, 4096), np.int64)}, "rows are int64"),
        ({"columns": np.zeros(5, np.int64)}, "6 rows, and classes of shape"),
        ({"columns": np.zeros(6, np.float64)}, "6 rows, and classes of shape"),
        ({"columns": np.full(6, -1)}, "a class that isn't there"),
        ({"weight": np.zeros(6)}, "no positive number"),
        ({"weight": np.ones(7)}, "no positive number"),
        ({"digests": np.ones(6)}, "6 rows, and digests float64"),
        ({"digests": np.ones(7, np.int64)}, r"digests int64 of shape \(7,\)"),
    ],
)
def test_a_file_of_the_future_or_of_an_enemy_is_refused(tmp_path, changes, words):
    _, path = saved(tmp_path)
    rewritten(path, **changes)
    with pytest.raises(ValueError, match=words) as refused:
        Predictor.load(path)
    assert "few.safetensors" in str(refused.value)


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", 2**62) + b"{}",  # a header that is said to be larger than all disks
        struct.pack("<Q", 10) + b'{"a":[[[[[',
        struct.pack("<Q", 100_000) + b"[" * 100_000,
        b"PK\x03\x04 a zip",
        safetensors.numpy.save({"rows": np.zeros((1, 1))}, {"mapwise": "[" * 50_000}),
        safetensors.numpy.save({"rows": np.zeros((1, 1))}, {"mapwise": '{"version": 1}'}),
        safetensors.numpy.save({"rows": np.zeros((1, 1))}),
    ],
    ids=["oversized", "cut header", "deep header", "zip", "deep settings", "no settings", "no header"],
)
def test_what_is_no_predictor_is_refused(tmp_path, content):
    path = tmp_path / "odd.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"odd.safetensors is no whole predictor"):
        Predictor.load(path)


def test_a_support_of_another_width_is_refused_when_it_is_asked(tmp_path):
    _, path = saved(tmp_path, encoder="words", names=False)
    rewritten(path, rows=np.ones((6, 7), np.float32))
    with pytest.raises(ValueError, match=r"gives rows of shape \(2304,\) and the support holds \(7,\)"):
        mw.FewShotClassifier.load(path).predict(["hello"])


def test_a_folder_and_a_missing_file_are_refused(tmp_path):
    with pytest.raises(ValueError, match="there is no file"):
        Predictor.load(tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match="no whole predictor"):
        Predictor.load(tmp_path)


def test_a_failed_save_leaves_the_file_that_was_there(tmp_path, monkeypatch):
    result, path = saved(tmp_path)
    before = path.read_bytes()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("no room")))
    with pytest.raises(OSError, match="no room"):
        result.save(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_where_rows_came_from_follows_them(tmp_path):
    encoder = mw.FewShotClassifier().fit(TEXTS, INTENTS).predictor_.encoder
    columns = np.array([0, 0, 1, 1])
    known = Predictor.of(encoder, "nearest_mean", TEXTS[:4], columns, np.ones(4), ["a", "b"], sources=list("wxyz"))
    new = LabelledExamples(TEXTS[4:], "texts", np.array(["c", "c"], dtype=object), sources=["new", "new"])
    wider = with_names(known, new).with_rows(["another"], np.array([1]), np.ones(1))
    assert wider.sources == ("w", "x", "y", "z", "new", "new", "")
    assert wider.without_class("a").sources == ("y", "z", "new", "new", "")
    wider.save(tmp_path / "few.safetensors")
    assert Predictor.load(tmp_path / "few.safetensors").sources == wider.sources
    bare = Predictor.of(encoder, "nearest_mean", TEXTS[:4], columns, np.ones(4), ["a", "b"])
    unsourced = with_names(bare, replace(new, sources=()))
    assert unsourced.sources == () == unsourced.without_class("a").sources


def test_the_same_examples_have_the_same_digest_in_any_order_and_others_another(tmp_path):
    outcome, path = saved(tmp_path)
    result = Predictor.load(path).digests
    np.testing.assert_array_equal(result, outcome.predictor_.digests)
    assert len(set(result.tolist())) == len(TEXTS)
    turned = mw.FewShotClassifier().fit(TEXTS[::-1], INTENTS[::-1]).predictor_
    assert together(turned.digests) == together(result)
    later = mw.FewShotClassifier().fit(TEXTS[:4], INTENTS[:4]).partial_fit(TEXTS[4:], INTENTS[4:]).predictor_
    np.testing.assert_array_equal(later.digests, result)
    less = later.without_class("hello")
    np.testing.assert_array_equal(less.digests, result[:4])
    assert together(less.digests) != together(result)
    table = mw.FewShotClassifier().fit(FRAME, ["b", "b", "a", "a"]).predictor_
    assert len(set(table.digests.tolist())) == 4


def test_a_picture_is_known_by_its_pixels_and_a_file_by_its_bytes(tmp_path):
    pixels = np.random.Generator(np.random.Philox(0)).integers(0, 256, (9, 9), np.uint8)
    for name in ("a.png", "b.png"):
        Image.fromarray(pixels).save(tmp_path / name)
    same = digests("pictures", [tmp_path / "a.png", str(tmp_path / "b.png")])
    assert same[0] == same[1]
    array, image, other = digests("pictures", [pixels, Image.fromarray(pixels), pixels[::-1]])
    assert array == image != other
    with pytest.raises(ValueError, match=r"c\.png is not there"):
        digests("pictures", [tmp_path / "c.png"])
    matrix = digests("table", np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]))
    assert matrix[0] == matrix[1] != matrix[2]
