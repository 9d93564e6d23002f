"""Many classes of few rows: nearest class means are learned a few classes at a time, and other heads say no."""

import numpy as np
import pytest

import mapwise as mw
from mapwise.catalog.heads import HEADS
from mapwise.data.inputs import columns
from mapwise.predictors import classes
from measured import MEGABYTES, measured

FIT = """
import sys
import numpy as np
import mapwise as mw
from mapwise.catalog.heads import HEADS
from mapwise.data.inputs import columns
from mapwise.predictors import classes
from mapwise.predictors.classes import Predictor
from mapwise.predictors.diagnostics import cross_validation

count = int(sys.argv[1])
random = np.random.default_rng(0)
centres = random.normal(size=(count, 64)).astype(np.float32)
X = np.repeat(centres, 5, axis=0) + 0.1 * random.normal(size=(5 * count, 64)).astype(np.float32)
y = np.repeat([f"class {place}" for place in range(count)], 5)
fitted = mw.FewShotClassifier(learner="nearest_mean").fit(X, y)
print((fitted.predict(centres) == y[::5]).mean())
fitted.save("many.safetensors")
again = mw.FewShotClassifier.load("many.safetensors")
print((again.predict_proba(X[:100]) == fitted.predict_proba(X[:100])).all())
print(fitted.report_)
"""


@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_thousands_of_classes_take_less_than_a_gigabyte(count, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    many = measured(FIT, count, limit=200)
    assert many.code == 0 and many.out.splitlines()[:2] == ["1.0", "True"], many
    assert many.peak < MEGABYTES


def test_a_small_file_of_many_classes_is_opened_in_little_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    few = mw.FewShotClassifier(learner="nearest_mean").fit([[0.0], [1.0], [2.0]], ["a", "b", "b"]).predictor_
    wide = few.with_classes([*few.classes, *(f"other {place}" for place in range(19_998))], np.arange(2))
    wide.save("wide.safetensors")
    opened = measured(
        "import mapwise as mw\nprint(mw.FewShotClassifier.load('wide.safetensors').predict([[0.1], [1.9]]))"
    )
    assert opened.out == "['a' 'b']\n" and opened.peak < 0.6 * MEGABYTES, opened


def rows_of(count, classes_):
    """Rows, labels and queries of so many classes."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(classes_, 5))
    y = np.asarray([f"c{place % classes_}" for place in range(count)])
    return centres[np.arange(count) % classes_] + 0.2 * random.normal(size=(count, 5)), y, random.normal(size=(50, 5))


@pytest.mark.parametrize("head", [name for name, row in HEADS.items() if row.by_class])
@pytest.mark.parametrize("most", [1, 40, 200])
def test_classes_that_are_learned_a_few_at_a_time_answer_as_all_at_once(head, most, monkeypatch):
    X, y, queries = rows_of(60, 12)
    whole = mw.FewShotClassifier(learner=head).fit(X, y, sample_weight=np.arange(1, 61))
    scores, answers = whole.predictor_.scores(columns(queries)), whole.predict(queries)
    monkeypatch.setattr(classes, "MOST", 1)
    monkeypatch.setattr(classes, "_TOGETHER", most)
    parts = mw.FewShotClassifier(learner=head).fit(X, y, sample_weight=np.arange(1, 61))
    assert parts.predictor_.large and len(list(parts.predictor_._blocks())) > 1
    np.testing.assert_allclose(parts.predictor_.scores(columns(queries)), scores, rtol=1e-9)
    assert (parts.predict(queries) == answers).all()
    parts.partial_fit(X[:2] + 9, ["new", "new"])
    assert parts.predict(X[1:2] + 9)[0] == "new"


@pytest.mark.parametrize("head", [name for name, row in HEADS.items() if not (row.by_class or row.tunes)])
def test_other_heads_refuse_many_classes_in_one_sentence(head, monkeypatch):
    X, y, _ = rows_of(60, 12)
    monkeypatch.setattr(classes, "MOST", 700)
    with pytest.raises(ValueError, match=f"60 examples of 12 classes.*700.*{head}: take nearest_mean") as refused:
        mw.FewShotClassifier(learner=head).fit(X, y)
    assert "\n" not in str(refused.value)


def test_auto_takes_class_means_for_many_classes_and_says_what_is_not_known(monkeypatch):
    X, y, queries = rows_of(60, 12)
    monkeypatch.setattr(classes, "MOST", 700)
    fitted = mw.FewShotClassifier().fit(X, y)
    assert fitted.predictor_.head.name == "nearest_mean"
    assert fitted.report_.accuracy is None and "too many to tell" in str(fitted.report_)
    for question in (lambda: fitted.predict(queries, unknown=True), lambda: fitted.explain(queries)):
        with pytest.raises(ValueError, match="60 examples of 12 classes"):
            question()
    assert len(fitted.which_next(queries, 3)) == 3
