"""On labels that mean nothing every score is chance within its interval, and more examples promise nothing."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from mapwise.catalog.heads import HEADS, heads_behind
from mapwise.predictors.choose import choose
from mapwise.predictors.classes import Predictor
from mapwise.predictors.diagnostics.cross_validation import report


@dataclass(frozen=True)
class Plain:
    """An encoder of arrays that gives them as they are."""

    name = "plain"
    reads = "table"
    version = "1"
    usual = None
    state = {}  # noqa: RUF012

    def with_state(self, state):
        return self

    def fitted(self, rows, weight):
        return self

    def __call__(self, rows):
        return np.asarray(rows)


@dataclass(frozen=True, eq=False)
class Memorising(Plain):
    """A tunable encoder that moves the rows it was tuned on far toward their class."""

    seen: np.ndarray = field(default_factory=lambda: np.zeros((0, 1)))
    columns: np.ndarray = field(default_factory=lambda: np.zeros(0, int))

    def tuned(self, rows, columns, weight):
        return replace(self, seen=np.asarray(rows), columns=columns)

    def tuning_seconds(self, rows):
        return 0.0

    def __call__(self, rows):
        rows = np.asarray(rows)
        if not len(self.seen):
            return rows
        near = np.exp(-((rows[:, None] - self.seen[None]) ** 2).sum(-1))  # [N, S]
        return np.concatenate([rows, 5 * near @ np.eye(self.columns.max() + 1)[self.columns]], 1)


def noise(ways, shots, seed, width=8):
    random = np.random.default_rng(seed)
    return random.normal(size=(ways * shots, width)), np.repeat(np.arange(ways), shots)


def predictor_of(encoder, head, X, y, names):
    return Predictor.of(encoder, Predictor.head_of(head), X, y, np.ones(len(y)), names)


def report_on_noise(head, ways, shots, seed):
    X, y = noise(ways, shots, seed)
    names = [str(place) for place in range(ways)]
    if head == "auto":
        predictor, tried = choose(predictor_of(Memorising(), "nearest_mean", X, y, names), X)
        return next(one.found for one in tried if one.chosen).corrected(predictor.optimism)
    encoder = Memorising() if HEADS[head].tunes else Plain()
    return report(predictor_of(encoder, head, X, y, names).with_head(head, X, 20.0))


def covers(expected, chance):
    return expected.low <= chance <= expected.high


def check(head, ways, shots, draws):
    chance = 1 / ways
    reports = [report_on_noise(head, ways, shots, seed) for seed in range(draws)]
    assert all(report.chance == pytest.approx(chance) for report in reports)
    assert np.mean([covers(report, chance) for report in reports]) >= 0.9
    scores = np.array([report.accuracy for report in reports])
    assert abs(scores.mean() - chance) < 0.01 + 2.6 * scores.std(ddof=1) / np.sqrt(draws)
    assert "no better than guessing" in str(min(reports, key=lambda report: abs(report.accuracy - chance)))
    for more in (1, 5, 20):
        expected = [report.more[more] for report in reports if report.more]
        if expected:
            assert np.mean([covers(one, chance) for one in expected]) >= 0.9
            assert np.mean([one.accuracy for one in expected]) < chance + 0.08


def test_every_head_is_asked():
    assert heads_behind(Memorising()) == list(HEADS)


FEW = {"nearest_mean": 30, "ridge": 30, "logistic": 6, "lora": 40, "auto": 6}


@pytest.mark.parametrize("head", [*HEADS, "auto"])
def test_on_noise_a_score_is_chance_within_its_interval(head):
    check(head, 5, 4, FEW[head])


@pytest.mark.slow
@pytest.mark.parametrize(("ways", "shots"), [(2, 8), (5, 5), (10, 5)])
@pytest.mark.parametrize("head", [*HEADS, "auto"])
def test_on_noise_of_other_sizes_too(head, ways, shots):
    check(head, ways, shots, 5 * FEW[head])


def test_on_noise_no_example_is_called_doubtful():
    assert not any(report_on_noise("nearest_mean", 5, 5, seed).doubtful for seed in range(5))
