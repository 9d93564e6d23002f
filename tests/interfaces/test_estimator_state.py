"""What an estimator knows is one value: a change swaps it whole, and a prediction is by one of them."""

from tempfile import TemporaryDirectory

import numpy as np
import pytest
import scipy.special
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import mapwise as mw
from mapwise.encoders.text_hash import TextHash

TEXTS = ["cancel my order", "cancel it please", "where is my refund", "refund my money", "good morning", "hello there"]
INTENTS = ["cancel", "cancel", "refund", "refund", "hello", "hello"]
CHANGES = {
    "remove_class": lambda few: few.remove_class("hello"),
    "add_class": lambda few: few.add_class("a time", ["what time is it"]),
    "fit": lambda few: few.fit(TEXTS[:4], INTENTS[:4]),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("question", ["predict_proba", "explain"])
def test_a_change_in_the_middle_of_an_answer_is_no_part_of_it(monkeypatch, change, question):
    few = mw.FewShotClassifier(learner="ridge").fit(TEXTS, INTENTS)
    before = getattr(few, question)(TEXTS)
    encode = TextHash.__call__

    def encode_and_change(self, rows):
        monkeypatch.undo()
        encoded = encode(self, rows)
        CHANGES[change](few)  # as another thread would, while this one computes
        return encoded

    monkeypatch.setattr(TextHash, "__call__", encode_and_change)
    after = getattr(few, question)(TEXTS)
    if question == "explain":
        before, after = ([one.votes for one in result] for result in (before, after))
    np.testing.assert_array_equal(after, before)


NAMES = list("abcde")
QUERIES = np.array([[x, y] for x in (-4.0, 0.5, 3.0) for y in (-2.0, 1.0)])
ROWS = st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=1, max_size=2)


class NearestMeans(RuleBasedStateMachine):
    """An estimator beside a plain model of it: class -> rows, and the scale of the rows that were fitted first."""

    def __init__(self):
        super().__init__()
        self.few = mw.FewShotClassifier(encoder="table", learner="nearest_mean")
        self.rows: dict[str, list[tuple[int, int]]] = {}
        self.mean = self.spread = np.empty(0)

    def scaled_by(self, rows):
        spread = np.std(rows, axis=0)
        self.mean, self.spread = np.mean(rows, axis=0), np.where(spread > 0, spread, 1.0)

    def labelled(self, rows):
        """The rows of a dict as matrix and labels."""
        return np.array([row for name in rows for row in rows[name]], float), [n for n in rows for _ in rows[n]]

    @rule(rows=st.dictionaries(st.sampled_from(NAMES), ROWS, min_size=1, max_size=4))
    def fit(self, rows):
        X, y = self.labelled(rows)
        if len(rows) < 2:
            with pytest.raises(ValueError, match="one class"):
                self.few.fit(X, y)
            return
        self.few.fit(X, y)
        self.rows = {name: list(rows[name]) for name in rows}
        self.scaled_by(X)

    @rule(rows=st.dictionaries(st.sampled_from(NAMES), ROWS, min_size=1, max_size=2))
    def partial_fit(self, rows):
        X, y = self.labelled(rows)
        self.few.partial_fit(X, y)
        if not self.rows:
            self.scaled_by(X)
        for name in rows:
            self.rows.setdefault(name, []).extend(rows[name])

    @precondition(lambda self: self.rows)
    @rule(name=st.sampled_from(NAMES), rows=ROWS)
    def add_class(self, name, rows):
        if name in self.rows:
            with pytest.raises(ValueError, match="already"):
                self.few.add_class(name, np.array(rows, float))
            return
        self.few.add_class(name, np.array(rows, float))
        self.rows[name] = list(rows)

    @precondition(lambda self: self.rows)
    @rule(name=st.sampled_from(NAMES))
    def remove_class(self, name):
        if name not in self.rows or len(self.rows) < 3:
            with pytest.raises(ValueError, match=r"there is no class|one class left"):
                self.few.remove_class(name)
            return
        self.few.remove_class(name)
        del self.rows[name]

    @precondition(lambda self: self.rows)
    @rule(old=st.sampled_from(NAMES), new=st.sampled_from(NAMES))
    def rename_class(self, old, new):
        if old not in self.rows or (new in self.rows and new != old):
            with pytest.raises(ValueError, match=r"there is (no|a) class"):
                self.few.rename_class(old, new)
            return
        self.few.rename_class(old, new)
        self.rows = {new if name == old else name: rows for name, rows in self.rows.items()}

    @precondition(lambda self: self.rows)
    @rule()
    def save_and_load(self):
        with TemporaryDirectory() as folder:
            self.few.save(f"{folder}/few.safetensors")
            self.few = mw.FewShotClassifier.load(f"{folder}/few.safetensors")

    @invariant()
    def answers_as_the_model(self):
        if not self.rows:
            assert not hasattr(self.few, "classes_") and not hasattr(self.few, "n_features_in_")
            return
        names = sorted(self.rows)
        assert self.few.classes_.tolist() == names and self.few.n_features_in_ == 2
        assert len(self.few.predictor_.rows) == sum(map(len, self.rows.values()))
        means = np.array([(np.mean(self.rows[name], axis=0) - self.mean) / self.spread for name in names])
        apart = (((QUERIES - self.mean) / self.spread)[:, None] - means[None]) ** 2
        expected = scipy.special.softmax(-apart.sum(2) / self.few.predictor_.temperature, axis=1)
        np.testing.assert_allclose(self.few.predict_proba(QUERIES), expected, atol=1e-6)


TestInAnyOrderOfChangesItAnswersAsNearestMeans = NearestMeans.TestCase
TestInAnyOrderOfChangesItAnswersAsNearestMeans.settings = settings(max_examples=25, stateful_step_count=12)
