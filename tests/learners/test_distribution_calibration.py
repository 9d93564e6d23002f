"""Distribution calibration: drawn rows have the paper's moments, whatever the rank; without them it is a probe."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mapwise.core.task import Examples
from mapwise.data.rows import LabelledRows
from mapwise.learners.generation import distribution_calibration as calibration
from mapwise.learners.generation.distribution_calibration import DistributionCalibration, class_statistics
from mapwise.learners.pretraining.linear_probe import LinearProbe
from mapwise.tasks.episodes import Episodes
from mapwise.tasks.supervised import SupervisedSource

WIDTH, ROWS = 6, 3  # three rows of a class: covariances of rank 2
ALPHA = 0.3
RANDOM = np.random.default_rng(0)
LABELS = np.repeat([0, 1, 2, 4, 5], [ROWS, ROWS, 2, 1, ROWS])  # none of class 3, and one row of class 4
BASE = RANDOM.gamma(2.0, size=(len(LABELS), WIDTH)) + 2 * (LABELS % 3)[:, None]


def net() -> nn.Module:
    """What enters the last layer are the rows themselves."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(WIDTH, 7)).double()


def rows(labels: list[int], ways: int, seed: int = 1) -> Examples:
    x = torch.from_numpy(np.random.default_rng(seed).gamma(2.0, size=(len(labels), WIDTH)))
    return Examples(x, F.one_hot(torch.tensor(labels), ways).double(), torch.ones(len(x)).double(), torch.tensor(3))


SUPPORT = rows([0, 1, 1, 0, 1], ways=2)
QUERY = rows([1, 0, 1], ways=2, seed=2)
LEARNER = DistributionCalibration(net(), samples=50_000, alpha=ALPHA, solver_steps=1)
MEANS, ROOTS = class_statistics(torch.from_numpy(BASE), torch.from_numpy(LABELS))
PARAMS = {**LEARNER.init(0), "measured": {"base_means": MEANS, "base_roots": ROOTS}}
CALIBRATE, HEAD = calibration.calibrate, calibration.logistic_head


def fitted(learner: DistributionCalibration, support: Examples, monkeypatch) -> list[np.ndarray]:
    """The rows, labels and weights that the head is fitted to."""
    given: list[np.ndarray] = []

    def head(z, y, weight, *rest):
        given[:] = z.numpy(), y.numpy(), weight.numpy()
        return HEAD(z, y, weight, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(calibration, "logistic_head", head)
        learner.adapt(PARAMS, support)
    return given


def drawn_rows_have_the_moments_of_the_paper(monkeypatch) -> None:
    support = SUPPORT._replace(x=SUPPORT.x[:1], y=SUPPORT.y[:1], weight=SUPPORT.weight[:1])
    z, _, _ = fitted(LEARNER, support, monkeypatch)
    row, drawn = z[0], z[1:]
    assert np.allclose(row, support.x[0].sqrt())
    base = [BASE[c == LABELS] for c in (0, 1, 2, 5)]
    nearest = np.argsort([((part.mean(0) - row) ** 2).sum() for part in base])[:2]
    mean = (sum(base[c].mean(0) for c in nearest) + row) / 3
    covariance = sum(np.cov(base[c].T) for c in nearest) / 2 + ALPHA
    deviation = np.sqrt(np.diag(covariance))
    assert (np.abs(drawn.mean(0) - mean) < 5 * deviation / np.sqrt(len(drawn))).all()
    # The standard error of an entry of a covariance is at most sqrt(2 / n) of the two deviations.
    error = np.abs(np.cov(drawn.T) - covariance) / np.outer(deviation, deviation)
    assert error.max() < 5 * np.sqrt(2 / len(drawn))


def test_drawn_rows_have_the_moments_of_the_paper(monkeypatch):
    drawn_rows_have_the_moments_of_the_paper(monkeypatch)


def on_the_diagonal(z, means, roots, nearest, alpha):
    mean, root = CALIBRATE(z, means, roots, nearest, 0.0)
    return mean, torch.cat([root, alpha**0.5 * torch.eye(WIDTH).double().expand(len(z), -1, -1)], 1)


def by_cholesky(z, means, roots, nearest, alpha):
    mean, root = CALIBRATE(z, means, roots, nearest, alpha)
    return mean, torch.linalg.cholesky(root.mT @ root).mT


WRONG = {
    "alpha on the diagonal alone": on_the_diagonal,
    "a Cholesky factor of a covariance without full rank": by_cholesky,
    "one base class": lambda z, means, roots, nearest, alpha: CALIBRATE(z, means, roots, 1, alpha),
    "the mean without the row": lambda z, means, roots, nearest, alpha: (
        (3 * CALIBRATE(z, means, roots, nearest, alpha)[0] - z) / 2,
        CALIBRATE(z, means, roots, nearest, alpha)[1],
    ),
    "the sum of the covariances": lambda z, means, roots, nearest, alpha: (
        CALIBRATE(z, means, roots, nearest, alpha)[0],
        CALIBRATE(z, means, 2**0.5 * roots, nearest, alpha)[1],
    ),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_formula_has_other_moments(fault, monkeypatch):
    monkeypatch.setattr(calibration, "calibrate", WRONG[fault])
    with pytest.raises((AssertionError, torch.linalg.LinAlgError)):
        drawn_rows_have_the_moments_of_the_paper(monkeypatch)


@pytest.mark.parametrize("width", [WIDTH, 2])  # rows fewer than columns, and more
def test_statistics_are_those_of_numpy_for_every_class_of_two_rows(width):
    means, roots = class_statistics(torch.from_numpy(BASE[:, :width]), torch.from_numpy(LABELS))
    assert roots.shape == (4, min(ROWS, width), width)
    for place, c in enumerate((0, 1, 2, 5)):
        part = BASE[c == LABELS, :width]
        assert np.allclose(means[place], part.mean(0), rtol=1e-12)
        assert np.allclose(roots[place].T @ roots[place], np.cov(part.T), rtol=1e-10, atol=1e-12)


def test_the_rows_drawn_for_a_class_weigh_as_many_as_samples_split_over_its_rows(monkeypatch):
    weight = torch.tensor([1, 1, 2, 3, 0]).double()
    learner = replace(LEARNER, samples=40)
    _, y, w = fitted(learner, SUPPORT._replace(weight=weight), monkeypatch)
    assert np.allclose(w[:5], weight)
    assert np.allclose(y[5:].T @ w[5:], 40)
    # Rows 0 and 3 share the class 1 to 3, rows 1 and 2 share theirs 1 to 2, and a row without weight has no share.
    assert np.allclose(w[5:].reshape(5, 40).sum(1), [10, 40 / 3, 80 / 3, 30, 0])
    assert np.array_equal(y[5:], np.repeat(SUPPORT.y.numpy(), 40, axis=0))


def test_rows_are_drawn_by_the_key_and_the_support_row_and_not_by_its_place(monkeypatch):
    learner, order = replace(LEARNER, samples=3), torch.tensor([4, 2, 0, 1, 3])
    drawn = [
        fitted(learner, support, monkeypatch)[0][5:].reshape(5, 3, WIDTH)
        for support in (
            SUPPORT,
            Examples(SUPPORT.x[order], SUPPORT.y[order], SUPPORT.weight[order], SUPPORT.key),
            SUPPORT._replace(key=torch.tensor(4)),
        )
    ]
    assert np.allclose(drawn[1], drawn[0][order.numpy()], rtol=1e-12)
    assert np.abs(drawn[2] - drawn[0]).min() > 0


def test_without_power_and_samples_it_is_a_linear_probe():
    probe = LinearProbe(net())
    learner = DistributionCalibration(net(), power=1.0, samples=0)
    expected = probe.predict(PARAMS, probe.adapt(PARAMS, SUPPORT), QUERY.x)
    assert torch.equal(learner.predict(PARAMS, learner.adapt(PARAMS, SUPPORT), QUERY.x), expected)


def test_the_power_transform_alone_is_a_linear_probe_of_the_roots_of_features():
    probe = LinearProbe(net())
    learner = DistributionCalibration(net(), samples=0)
    expected = probe.predict(PARAMS, probe.adapt(PARAMS, SUPPORT._replace(x=SUPPORT.x.sqrt())), QUERY.x.sqrt())
    assert torch.allclose(learner.predict(PARAMS, learner.adapt(PARAMS, SUPPORT), QUERY.x), expected, rtol=1e-12)
    # Before it is measured nothing is drawn.
    start = replace(learner, samples=9)
    assert torch.equal(start.predict(start.init(0), start.adapt(start.init(0), SUPPORT), QUERY.x), expected)
    assert torch.equal(learner.embed(PARAMS, {}, -QUERY.x), -learner.embed(PARAMS, {}, QUERY.x))


def test_statistics_are_measured_on_the_features_of_the_training_classes():
    random = np.random.default_rng(0)
    x, labels = random.gamma(2.0, size=(60, WIDTH)).astype(np.float32), np.repeat(np.arange(12), 5)
    source = SupervisedSource(Episodes(LabelledRows.of(x, labels), ways=2, shots=1, queries=1, tasks=2), batch=10)
    learner = DistributionCalibration(nn.Sequential(nn.Flatten(), nn.Linear(WIDTH, source.outputs)), base_rows=5)
    start = learner.init(0)
    params = learner.measure(start, source)
    count = source.class_counts[0]
    assert params["measured"]["base_means"].shape == (count, WIDTH)
    assert params["measured"]["base_roots"].shape == (count, 5, WIDTH)
    assert params["measured"]["base_means"].dtype == torch.float32
    batches = [source(step).query for step in range(count * 5 // 10)]  # one epoch
    z, columns = (
        np.concatenate([part.numpy() for part in parts])
        for parts in zip(*((q.x[0], q.y[0]) for q in batches), strict=True)
    )
    for place in range(count):
        part = z[columns.argmax(1) == place]
        root = params["measured"]["base_roots"][place].numpy()
        assert len(part) == 5
        assert np.allclose(params["measured"]["base_means"][place], part.mean(0), rtol=1e-5)
        assert np.allclose(root.T @ root, np.cov(part.T), rtol=1e-4, atol=1e-5)
    assert replace(learner, samples=0).measure(start, source) == start


def test_fewer_base_classes_than_it_takes_are_refused():
    with pytest.raises(ValueError, match="4 base classes have statistics and nearest is 5"):
        replace(LEARNER, nearest=5).adapt(PARAMS, SUPPORT)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"power": 0.0}, "power is 0"),
        ({"alpha": -0.1}, "alpha is -0.1"),
        ({"nearest": 0}, "nearest is 0"),
        ({"base_rows": 1}, "base_rows 1"),
        ({"strength": 0.0}, "must be positive"),
    ],
)
def test_unfit_settings_are_refused(setting, words):
    with pytest.raises(ValueError, match=words):
        DistributionCalibration(net(), **setting)
