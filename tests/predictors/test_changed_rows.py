"""Rows that are handed over encoded, relabelled or removed, and where they lie."""

from dataclasses import replace

import numpy as np
import pytest

import mapwise as mw
from mapwise.data.digests import digests
from mapwise.data.inputs import columns_of_records
from mapwise.data.pictures import open_picture
from mapwise.predictors.additions import add_examples
from mapwise.predictors.diagnostics import novelty
from mapwise.predictors.diagnostics.explanation import explain, votes
from mapwise.predictors.diagnostics.plane import Plane
from mapwise.predictors.examples import LabelledExamples

TEXTS = ["cancel it", "stop my order", "please cancel", "my money back", "refund me", "a refund, please"]
LABELS = ["cancel"] * 3 + ["refund"] * 3


def predictor(learner="ridge"):
    return mw.FewShotClassifier(learner=learner, names=False).fit(TEXTS, LABELS).predictor_


def test_the_bytes_of_a_picture_are_read_as_its_file_is(tmp_path):
    from PIL import Image

    path = tmp_path / "a.png"
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(path)
    content = path.read_bytes()
    np.testing.assert_array_equal(np.asarray(open_picture(content, 0, 8)), np.asarray(open_picture(path, 0, 8)))
    assert digests("pictures", [content]) == digests("pictures", [path])
    with pytest.raises(ValueError, match="the picture of row 3 is not an image"):
        open_picture(b"no picture", 3, 8)


def test_digests_that_are_given_find_copies():
    known = predictor()
    labels = np.asarray(["cancel", "cancel"], dtype=object)
    contents = np.asarray([known.digests[0], 12345])
    addition = add_examples(known, LabelledExamples(["x", "y"], "texts", labels, contents=contents))
    assert (addition.added, addition.duplicates, addition.new.tolist()) == (1, 1, [1])
    assert addition.predictor.digests[-1] == 12345


def test_a_relabelled_row_answers_as_one_that_was_labelled_so():
    before = predictor()
    columns = before.columns.copy()
    columns[0] = 1
    labels = ["refund", *LABELS[1:]]
    other = mw.FewShotClassifier(learner="ridge", names=False).fit(TEXTS, labels).predictor_
    rows = before.encoded(["cancel the order"])
    np.testing.assert_allclose(before.with_columns(columns).scores_of(rows), other.scores_of(rows), atol=1e-9)


def test_all_rows_of_a_class_go_only_where_that_is_meant():
    before = predictor()
    with pytest.raises(ValueError, match="no example of 'cancel' would be left"):
        before.without_rows([0, 1, 2])
    assert before.without_rows([0, 1, 2], empty=True).counts == {"cancel": 0, "refund": 3}
    with pytest.raises(ValueError, match="one class left"):
        before.without_class("cancel")
    assert before.without_class("cancel", least=1).classes == ("refund",)


def test_rows_beyond_the_furthest_are_unknown():
    known = predictor()
    rows = known.encoded(["zebras graze at noon", "cancel my order"])
    far = novelty.novelties(known, rows) > novelty.furthest(known, 0.05)
    np.testing.assert_array_equal(far, novelty.unknown(known, rows, 0.05))


def test_votes_are_those_of_the_explanation():
    known = predictor()
    rows = known.encoded(["cancel the order"])
    explanation = explain(known, ["cancel the order"], leave_out=1)[0]
    vote = votes(known, rows)
    assert vote is not None
    for one in explanation.examples:
        assert vote[0, one.row] == pytest.approx(one.vote)
    assert votes(predictor("logistic"), rows) is None


def test_the_plane_holds_the_rows_where_they_are_farthest_apart():
    known = predictor()
    plane = Plane.of(known)
    at = plane.place(known, known.rows)
    rows = known.rows.astype(np.float64) - known.rows.mean(0)
    variances = np.linalg.svd(rows, compute_uv=False)[:2] ** 2
    np.testing.assert_allclose((at**2).sum(0), variances, rtol=1e-6)
    np.testing.assert_allclose(at.mean(0), 0, atol=1e-6)
    assert plane.shares[0] >= plane.shares[1] > 0
    alone = replace(known, rows=known.rows[:1], columns=known.columns[:1], weight=known.weight[:1])
    np.testing.assert_allclose(Plane.of(alone).place(alone, alone.rows), 0, atol=1e-9)


def test_records_are_columns_with_gaps():
    table = columns_of_records([{"a": 1, "b": "x"}, {"a": None}, {"b": 2}])
    np.testing.assert_array_equal(table["a"], [1, np.nan, np.nan])
    assert table["b"].tolist() == ["x", None, "2"]
    with pytest.raises(ValueError, match="row 0 has infinity in column 'a'"):
        columns_of_records([{"a": float("inf")}])
