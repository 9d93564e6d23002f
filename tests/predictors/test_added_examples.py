"""Rows are added once, whoever adds them, and never under two classes."""

import numpy as np
import pytest

from mapwise.predictors.additions import add_examples
from mapwise.predictors.examples import LabelledExamples
from mapwise.predictors.fit import fit

TEXTS = ["cancel my order", "please cancel it", "where is it", "where is my parcel"]
NAMES = ["cancel", "cancel", "where", "where"]


def texts(rows, names, sources=()):
    return LabelledExamples(rows, "texts", np.asarray(names, dtype=object), sources=sources)


def table(sizes, names):
    return LabelledExamples({"size": np.asarray(sizes, dtype=float)}, "table", np.asarray(names, dtype=object))


@pytest.fixture
def predictor():
    return fit(texts(TEXTS, NAMES, [f"line {place}" for place in range(4)]), learner="ridge").predictor


def test_a_row_that_is_there_is_not_added_again(predictor):
    addition = add_examples(predictor, texts(["cancel my order", "stop it", "stop it"], ["cancel"] * 3))
    assert (addition.added, addition.duplicates, addition.classes) == (1, 2, ())
    assert addition.predictor.counts == {"cancel": 3, "where": 2} and predictor.counts["cancel"] == 2


def test_without_a_new_row_the_predictor_is_the_one_of_before(predictor):
    addition = add_examples(predictor, texts(TEXTS, NAMES))
    assert addition.predictor is predictor and (addition.added, addition.duplicates) == (0, 4)


def test_rows_in_parts_make_the_predictor_of_all_rows(predictor):
    whole = fit(texts([*TEXTS, "thank you", "many thanks"], [*NAMES, "you", "you"]), learner="ridge").predictor
    parts = add_examples(predictor, texts(["thank you"], ["you"])).predictor
    parts = add_examples(parts, texts(["thank you", "many thanks"], ["you", "you"])).predictor
    np.testing.assert_allclose(parts.scores(["thanks a lot"]), whole.scores(["thanks a lot"]), atol=1e-9)


def test_a_row_that_is_there_under_another_class_is_a_conflict_and_adds_nothing(predictor):
    with pytest.raises(ValueError, match=r"line 2 and new\.csv, line 2 are the same and of two classes, 'where' and"):
        add_examples(predictor, texts(["where is it", "stop"], ["cancel", "cancel"], ["new.csv, line 2", "new.csv, 3"]))


def test_equal_rows_of_a_table_are_added_and_counted():
    first = fit(table([1, 2, 8, 9], list("aabb")), learner="ridge").predictor
    addition = add_examples(first, table([1, 3], ["a", "a"]))
    assert (addition.added, addition.duplicates) == (2, 1) and addition.predictor.counts == {"a": 4, "b": 2}
    assert add_examples(first, table([1], ["b"])).duplicates == 0


def test_classes_that_are_new_are_named(predictor):
    addition = add_examples(predictor, texts(["hello", "stop it"], ["greet", "cancel"]))
    assert addition.classes == ("greet",) and addition.added == 2
