"""Estimators in any order of changes, and from several threads at once, beside plain models of them."""

import copy
import math
import pickle
import sys
import threading
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import scipy.special
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import mapwise as mw
from mapwise.encoders.text_hash import TextHash
from mapwise.predictors.evidence import calibration


@pytest.fixture(autouse=True)
def uncalibrated():
    """The plain models have no temperature."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "temperature", lambda scores, columns, weight: 1.0)
        yield


TEXTS = ["cancel my order", "cancel it please", "where is my refund", "refund my money", "good morning", "hello there"]
INTENTS = ["cancel", "cancel", "refund", "refund", "hello", "hello"]
FIRST = {
    "partial_fit": lambda few: few.partial_fit(["may I go back"], ["refund"]),
    "add_class": lambda few: few.add_class("a time", ["what time is it"]),
    "rename_class": lambda few: few.rename_class("refund", "money back"),
    "remove_class": lambda few: few.remove_class("cancel"),
}


@pytest.mark.parametrize("first", FIRST)
def test_of_two_changes_at_once_none_is_lost(monkeypatch, first):
    """The second begins while the first encodes rows, or writes its answer."""
    few = mw.FewShotClassifier("words", "nearest_mean").fit(TEXTS, INTENTS)
    second = threading.Thread(target=lambda: few.add_class("a place", ["where are you"]))
    keep, encode = type(few)._keep, TextHash.__call__

    def begin_second():
        monkeypatch.undo()
        second.start()
        second.join(0.5)

    def encode_meanwhile(self, rows):
        encoded = encode(self, rows)
        begin_second()
        return encoded

    def keep_later(self, state):
        begin_second()
        return keep(self, state)

    if first in ("partial_fit", "add_class"):
        monkeypatch.setattr(TextHash, "__call__", encode_meanwhile)
    else:
        monkeypatch.setattr(type(few), "_keep", keep_later)
    FIRST[first](few)
    second.join()
    alone = mw.FewShotClassifier("words", "nearest_mean").fit(TEXTS, INTENTS)
    FIRST[first](alone)
    alone.add_class("a place", ["where are you"])
    assert few.classes_.tolist() == alone.classes_.tolist()
    np.testing.assert_allclose(few.predict_proba(TEXTS), alone.predict_proba(TEXTS), atol=1e-12)


def test_of_two_rows_given_to_a_regressor_at_once_none_is_lost():
    few = mw.FewShotRegressor(encoder="table", learner="kernel_mean").fit(np.eye(3), np.arange(3.0))
    rows = np.random.default_rng(0).normal(size=(40, 3))
    threads = [threading.Thread(target=few.partial_fit, args=(rows[i : i + 1], [float(i)])) for i in range(40)]
    with often_switched():
        run(threads)
    assert len(few.predictor_.rows) == 43


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda few: pickle.loads(pickle.dumps(few))])
def test_a_copy_of_an_estimator_that_was_changed_answers_alike_and_changes_apart(duplicate):
    few = mw.FewShotClassifier(learner="nearest_mean").fit(TEXTS, INTENTS)
    few.add_class("a time", ["what time is it"])
    other = duplicate(few)
    np.testing.assert_array_equal(other.predict_proba(TEXTS), few.predict_proba(TEXTS))
    other.remove_class("a time")
    assert len(few.classes_) == len(other.classes_) + 1


class often_switched:
    """Threads take turns after every few instructions."""

    def __enter__(self):
        self.before = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)

    def __exit__(self, *_):
        sys.setswitchinterval(self.before)


def run(threads):
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


NAMES = st.sampled_from("abcd")
QUERIES = np.array([[x, y] for x in (-4.0, 0.5, 3.0) for y in (-2.0, 1.0)])
ROWS = st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=1, max_size=2)
CHANGES = st.one_of(
    st.tuples(st.just("fit"), st.dictionaries(NAMES, ROWS, min_size=2, max_size=3)),
    st.tuples(st.just("partial_fit"), st.dictionaries(NAMES, ROWS, min_size=1, max_size=2)),
    st.tuples(st.just("add_class"), NAMES, ROWS),
    st.tuples(st.just("remove_class"), NAMES),
    st.tuples(st.just("rename_class"), NAMES, NAMES),
    st.tuples(st.just("save and load")),
)


def labelled(rows):
    """The rows of a dict as matrix and labels."""
    return np.array([row for name in rows for row in rows[name]], float), [name for name in rows for _ in rows[name]]


class Plain:
    """Class -> rows, and the scale of those that were fitted: what an estimator with nearest means knows."""

    def __init__(self, rows, scale):
        self.rows, self.scale = rows, scale

    @classmethod
    def of(cls, rows):
        matrix, _ = labelled(rows)
        spread = np.std(matrix, axis=0)
        return cls(rows, (np.mean(matrix, axis=0), np.where(spread > 0, spread, 1.0)))

    def after(self, change):
        """The model after a change; the same where it must be refused."""
        name, *given = change
        rows = {name: list(self.rows[name]) for name in self.rows}
        if name == "fit":
            return Plain.of(given[0])
        if name == "partial_fit" or (name == "add_class" and given[0] not in rows):
            for label, new in (given[0] if name == "partial_fit" else {given[0]: given[1]}).items():
                rows.setdefault(label, []).extend(new)
        elif name == "remove_class" and given[0] in rows and len(rows) > 2:
            del rows[given[0]]
        elif name == "rename_class" and given[0] in rows and given[1] not in rows:
            rows = {given[1] if label == given[0] else label: rows[label] for label in rows}
        return Plain(rows, self.scale)

    def answers(self):
        mean, spread = self.scale
        means = np.array([(np.mean(self.rows[name], axis=0) - mean) / spread for name in sorted(self.rows)])
        apart = (((QUERIES - mean) / spread)[:, None] - means[None]) ** 2
        return scipy.special.softmax(-apart.sum(2), axis=1)

    def answers_as(self, probabilities):
        expected = self.answers()
        return expected.shape == probabilities.shape and np.allclose(expected, probabilities, atol=1e-6)


class ChangesAtOnce(RuleBasedStateMachine):
    """One or two threads change an estimator while a third asks it."""

    @initialize(rows=st.dictionaries(NAMES, ROWS, min_size=2, max_size=3))
    def begin(self, rows):
        self.few = mw.FewShotClassifier(encoder="table", learner="nearest_mean").fit(*labelled(rows))
        self.plain = Plain.of(rows)

    def change(self, change):
        name, *given = change
        try:
            if name == "save and load":
                with TemporaryDirectory() as folder:
                    self.few.save(f"{folder}/few.safetensors")
                    loaded = mw.FewShotClassifier.load(f"{folder}/few.safetensors")
                assert set(loaded.classes_) <= set("abcd") and len(loaded.predict(QUERIES)) == len(QUERIES)
            elif name in ("fit", "partial_fit"):
                getattr(self.few, name)(*labelled(given[0]))
            elif name == "add_class":
                self.few.add_class(given[0], np.array(given[1], float))
            else:
                getattr(self.few, name)(*given)
        except ValueError:
            pass  # refused, as the plain model must too

    @rule(change=CHANGES)
    def alone(self, change):
        self.change(change)
        self.plain = self.plain.after(change)

    @rule(a=CHANGES, b=CHANGES)
    def at_once(self, a, b):
        seen = []
        together = threading.Barrier(2)

        def change(one):
            together.wait()
            self.change(one)

        changing = [threading.Thread(target=change, args=(one,)) for one in (a, b)]

        def ask():
            while any(thread.is_alive() for thread in changing):
                seen.append(self.few.predict_proba(QUERIES))

        with often_switched():
            for thread in changing:
                thread.start()
            asking = threading.Thread(target=ask)
            run([asking])
            for thread in changing:
                thread.join()
        halves = [self.plain.after(a), self.plain.after(b)]
        ends = [halves[0].after(b), halves[1].after(a)]
        for probabilities in seen:
            assert any(state.answers_as(probabilities) for state in (self.plain, *halves, *ends))
        last = self.few.predict_proba(QUERIES)
        possible = [end for end in ends if end.answers_as(last) and sorted(end.rows) == self.few.classes_.tolist()]
        assert possible, (a, b)
        count = len(self.few.predictor_.rows)
        [*_, self.plain] = [end for end in possible if sum(map(len, end.rows.values())) == count]

    @invariant()
    def answers_as_the_plain_model(self):
        if hasattr(self, "few"):
            assert self.plain.answers_as(self.few.predict_proba(QUERIES))
            assert self.few.classes_.tolist() == sorted(self.plain.rows)


class KernelMeans(RuleBasedStateMachine):
    """A regressor beside its rows and the scale of those that were fitted first."""

    targets = st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5), st.integers(-9, 9)), min_size=2, max_size=4)

    def __init__(self):
        super().__init__()
        self.few, self.rows, self.scale = mw.FewShotRegressor(encoder="table", learner="kernel_mean"), [], ()

    @rule(rows=targets)
    def fit(self, rows):
        self.rows = []
        self.few = mw.FewShotRegressor(encoder="table", learner="kernel_mean")
        self.partial_fit(rows)

    @rule(rows=targets)
    def partial_fit(self, rows):
        table = np.array(rows, float)
        self.few.partial_fit(table[:, :2], table[:, 2])
        if not self.rows:
            spread = table[:, :2].std(0)
            self.scale = table[:, :2].mean(0), np.where(spread > 0, spread, 1.0)
        self.rows += rows

    @precondition(lambda self: self.rows)
    @rule()
    def save_and_load(self):
        with TemporaryDirectory() as folder:
            self.few.save(f"{folder}/few.safetensors")
            self.few = mw.FewShotRegressor.load(f"{folder}/few.safetensors")

    @invariant()
    def answers_as_the_model(self):
        if not self.rows:
            return
        table = np.array(self.rows, float)
        x, queries = ((part - self.scale[0]) / self.scale[1] for part in (table[:, :2], QUERIES))
        squared = (x**2).sum(1).mean()
        spread = ((x - x.mean(0)) ** 2).sum(1).mean()
        bandwidth = math.sqrt(0.1 * (spread if spread > 1e-12 * squared else squared))
        far = ((queries[:, None] - x[None]) ** 2).sum(2)
        if bandwidth > 1e-6:
            share = scipy.special.softmax(-far / (2 * bandwidth**2), axis=1)
            np.testing.assert_allclose(self.few.predict(QUERIES), share @ table[:, 2], atol=1e-5)


class TestChangesFromTwoThreadsAreOneAfterTheOther(ChangesAtOnce.TestCase):
    settings = settings(max_examples=10, stateful_step_count=8)


class TestARegressorAnswersAsKernelMeans(KernelMeans.TestCase):
    settings = settings(max_examples=15, stateful_step_count=8)


@pytest.mark.slow
class TestChangesFromTwoThreadsForLong(ChangesAtOnce.TestCase):
    settings = settings(max_examples=150, stateful_step_count=20)


@pytest.mark.slow
class TestARegressorForLong(KernelMeans.TestCase):
    settings = settings(max_examples=150, stateful_step_count=20)
