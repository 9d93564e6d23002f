"""Evaluation: its figures equal scikit-learn's, on exactly the episodes asked for."""

import math
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from scipy import stats

from mapwise.core.estimate import Estimate
from mapwise.core.learner import Learner
from mapwise.core.map_tasks import tasks_in
from mapwise.core.scores import Gaussian, without_absent
from mapwise.core.source import About
from mapwise.core.spec import Spec
from mapwise.core.task import Examples, Task, present_classes
from mapwise.data.digits import digits
from mapwise.engine.evaluate import episode_values, evaluate, fitted_temperature, predicts_alone
from mapwise.engine.results import Paired, Report
from mapwise.learners.metric.protonet import ProtoNet
from mapwise.learners.optimization.maml import MAML
from mapwise.nets import MLP
from mapwise.problems.classification import BINS, Classification
from mapwise.problems.regression import Regression
from mapwise.tasks.episodes import Episodes
from mapwise.tasks.gaussian_process import GaussianProcess
from mapwise.tasks.sinusoid import Sinusoid

POOL = [f"kind {i:02d}" for i in range(12)]


@dataclass(frozen=True)
class Logits:
    """Tasks whose query inputs are the scores to be judged, so that the right answers are known.

    Ways are drawn from `fewest` to `ways`; rows of weight 0 are certain and wrong, so that counting one shows.
    """

    tasks: int = 16
    ways: int = 5
    fewest: int = 5
    queries: int = 12
    unweighted: bool = False
    visited: list[int] = field(default_factory=list)

    problem = Classification()
    part = "test"

    @property
    def inputs(self):
        return Spec((self.ways,))

    @property
    def outputs(self):
        return self.ways

    @property
    def about(self):
        return About("logits", self.part, str(self.ways), "1", self.queries, 0)

    def split(self, name):
        return replace(self)

    def drawn(self, step):
        random = np.random.default_rng(step)
        ways = random.integers(self.fewest, self.ways + 1, self.tasks)
        truth = np.stack([random.permutation(np.resize(np.arange(w), self.queries)) for w in ways])
        # To one decimal: ranks then have ties.
        x = np.round(random.standard_normal((self.tasks, self.queries, self.ways)), 1).astype(np.float32)
        x += np.eye(self.ways, dtype=np.float32)[truth]
        weight = np.ones((self.tasks, self.queries), np.float32)
        if self.unweighted:
            weight[:, self.ways :] = random.integers(0, 2, (self.tasks, self.queries - self.ways))
            wrong = np.eye(self.ways, dtype=np.float32)[(truth + 1) % ways[:, None]]
            x = np.where(weight[..., None] > 0, x, 50 * wrong)
        names = [[*random.permutation(POOL)[:w], *[""] * (self.ways - w)] for w in ways]
        return ways, truth, x, weight, names

    def __call__(self, step):
        self.visited.append(step)
        ways, truth, x, weight, _ = self.drawn(step)
        eye = torch.eye(self.ways)
        present = (torch.arange(self.ways)[None] < torch.from_numpy(ways)[:, None]).float()
        keys = torch.zeros(self.tasks, dtype=torch.int64)
        support = Examples(torch.zeros(self.tasks, self.ways, self.ways), eye * present[:, :, None], present, keys)
        query = Examples(torch.from_numpy(x), eye[torch.from_numpy(truth)], torch.from_numpy(weight), keys)
        return Task(support, query)

    def names(self, step):
        return [[str(name) for name in task] for task in self.drawn(step)[4]]


@dataclass(frozen=True)
class Reader(Learner):
    """Reads its scores off the query."""

    masked: bool = True

    def adapt(self, params, support):
        return {"present": present_classes(support)}

    def predict(self, params, fast, x):
        return without_absent(x, fast["present"]) if self.masked else x


SOURCES = {
    "plain": Logits(),
    "two ways": Logits(ways=2, fewest=2),
    "drawn ways": Logits(fewest=2),
    "rows of weight 0": Logits(unweighted=True),
    "both": Logits(fewest=2, unweighted=True, queries=20),
}


def counted_rows(source, episodes):
    """(probabilities [Q, w], truth [Q], names [w]) of every episode, padding left out."""
    results = []
    for step in range(-(-episodes // source.tasks)):
        for ways, truth, x, weight, names in zip(*source.drawn(step), strict=True):
            logits = x[weight > 0][:, :ways].astype(np.float64)
            shares = np.exp(logits - logits.max(1, keepdims=True))
            results.append((shares / shares.sum(1, keepdims=True), truth[weight > 0], [str(n) for n in names[:ways]]))
    return results[:episodes]


@pytest.fixture(scope="module", params=SOURCES)
def judged(request):
    source = SOURCES[request.param]
    return evaluate(Reader(), {}, source, episodes=40), counted_rows(source, 40)


def test_accuracy_is_scikit_learns(judged):
    from sklearn.metrics import accuracy_score

    report, rows = judged
    expected = [accuracy_score(truth, p.argmax(1)) for p, truth, _ in rows]
    np.testing.assert_allclose(report.values, expected, atol=1e-6)
    assert 0.3 < np.mean(expected) < 0.95


def test_log_loss_is_scikit_learns(judged):
    from sklearn.metrics import log_loss

    report, rows = judged
    expected = [log_loss(truth, p, labels=range(p.shape[1])) for p, truth, _ in rows]
    assert report.nll == pytest.approx(np.mean(expected), rel=1e-6)


def test_roc_auc_is_scikit_learns_one_class_against_the_rest_averaged_over_episodes(judged):
    from sklearn.metrics import roc_auc_score

    report, rows = judged
    expected = []
    for p, truth, _ in rows:
        each = [roc_auc_score(truth == c, p[:, c]) for c in range(p.shape[1]) if 0 < (truth == c).sum() < len(truth)]
        expected.append(np.mean(each))
    assert report.auc == pytest.approx(np.mean(expected), rel=1e-9)


def test_precision_recall_and_f1_of_real_classes_are_scikit_learns(judged):
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    report, rows = judged
    true = [names[c] for _, truth, names in rows for c in truth]
    results = [names[c] for p, _, names in rows for c in p.argmax(1)]
    figures = report.classes
    assert figures.names == sorted({name for _, _, names in rows for name in names})
    precision, recall, f1, support = precision_recall_fscore_support(
        true, results, labels=figures.names, zero_division=0
    )
    np.testing.assert_allclose(figures.precision, precision)
    np.testing.assert_allclose(figures.recall, recall)
    np.testing.assert_allclose(figures.f1, f1)
    np.testing.assert_array_equal(figures.rows, support)
    matrix = confusion_matrix(true, results, labels=figures.names)
    result = np.zeros_like(matrix)
    for (a, b), n in figures.confusions.items():
        result[figures.names.index(a), figures.names.index(b)] = n
    np.testing.assert_array_equal(result, matrix)


def test_the_calibration_error_is_that_of_fifteen_bins_of_equal_mass(judged):
    report, rows = judged
    pairs = sorted(
        ((float(row.max()), bool(row.argmax() == t)) for p, truth, _ in rows for row, t in zip(p, truth, strict=True)),
        key=lambda pair: pair[0],
    )
    # Bins may differ by one row; which of two equal confidences is in which bin is not said.
    sizes = [len(pairs) // BINS + (i < len(pairs) % BINS) for i in range(BINS)]
    error, start = 0.0, 0
    for size in sizes:
        part = pairs[start : start + size]
        start += size
        error += abs(sum(c for c, _ in part) - sum(right for _, right in part)) / len(pairs)
    assert report.ece == pytest.approx(error, abs=1e-9)
    assert report.reliability.shape == (BINS, 3)
    assert report.reliability[:, 2].sum() == pytest.approx(1)
    assert (np.diff(report.reliability[:, 0]) >= 0).all()


@dataclass(frozen=True)
class Divided(Learner):
    """Its scores are the query inputs, divided by a number."""

    by: float = 1.0

    def adapt(self, params, support):
        return {"present": present_classes(support)}

    def predict(self, params, fast, x):
        return without_absent(x / self.by, fast["present"])


def test_the_temperature_is_the_likeliest_one():
    source = Logits(fewest=3, unweighted=True)
    result = fitted_temperature(Divided(), {}, source, episodes=40)

    def nll(temperature):
        return evaluate(Divided(temperature), {}, source, episodes=40).nll

    # Not exactly the same: episodes of fewer rows that count weigh as much as others in a report's NLL.
    near = {factor: nll(result * factor) for factor in (0.7, 1.0, 1.4)}
    assert near[1.0] < near[0.7] and near[1.0] < near[1.4]
    assert fitted_temperature(Divided(by=4.0), {}, source, episodes=40) == pytest.approx(result / 4, rel=1e-5)


@pytest.mark.parametrize("share", [0.6, 0.9])
def test_the_temperature_of_two_classes_is_known_in_closed_form(share):
    """Scores of a lead of 3 that are right in a share q of the rows: q = sigmoid(3 / T)."""

    class Leads(Logits):
        def drawn(self, step):
            ways, truth, x, weight, names = super().drawn(step)
            right = np.arange(self.queries) < share * self.queries
            x = 3.0 * np.eye(2, dtype=np.float32)[np.where(right, truth, 1 - truth)]
            return ways, truth, x, weight, names

    source = Leads(ways=2, fewest=2, queries=10)
    result = fitted_temperature(Divided(), {}, source, episodes=20)
    assert result == pytest.approx(3 / math.log(share / (1 - share)), rel=1e-6)
    report = evaluate(Divided(), {}, source, episodes=20, temperature=result)
    entropy = -share * math.log(share) - (1 - share) * math.log(1 - share)
    assert report.calibrated.nll == pytest.approx(entropy, rel=1e-6) and report.nll > entropy + 0.01
    assert report.calibrated.ece < report.ece


def test_the_figures_after_a_temperature_are_those_of_the_divided_scores_and_the_others_stay():
    class Untied(Logits):
        def drawn(self, step):
            ways, truth, x, *rest = super().drawn(step)
            return ways, truth, x + np.random.default_rng(step).uniform(0, 0.05, x.shape).astype(np.float32), *rest

    source = Untied(fewest=3, unweighted=True)
    plain, warm = (evaluate(Divided(), {}, source, episodes=20, temperature=t) for t in (None, 2.5))
    divided = evaluate(Divided(by=2.5), {}, source, episodes=20)
    assert plain.calibrated is None and "calibrated" not in plain.to_json()
    assert (warm.nll, warm.ece) == (plain.nll, plain.ece)
    np.testing.assert_array_equal(warm.values, plain.values)
    np.testing.assert_allclose(warm.calibrated.reliability, divided.reliability, atol=1e-6)
    assert warm.calibrated.nll == pytest.approx(divided.nll, rel=1e-6)
    assert warm.calibrated.ece == pytest.approx(divided.ece, abs=1e-6)
    again = Report.from_json(warm.to_json(), warm.values)
    assert replace(warm.calibrated, reliability=None) == again.calibrated


def test_scores_that_are_not_finite_have_no_temperature():
    assert fitted_temperature(Divided(by=0.0), {}, Logits(), episodes=4) == 1.0


def test_chance_is_the_mean_of_one_over_the_ways(judged):
    report, rows = judged
    assert report.chance == pytest.approx(np.mean([1 / len(names) for _, _, names in rows]))


def test_calibration_of_known_confidences():
    """Always 90 % sure: right in 9 of 10 is calibrated, right in 6 of 10 is off by 0.3."""
    sure = math.log(0.9 / 0.1)

    @dataclass(frozen=True)
    class Sure(Reader):
        right: int = 9

        def predict(self, params, fast, x):
            message = torch.nn.functional.one_hot((torch.arange(10) >= self.right).long(), 2)
            return sure * message.to(torch.float32)

    @dataclass(frozen=True)
    class Zeros(Logits):
        def drawn(self, step):
            ways, truth, *rest = super().drawn(step)
            return (ways, np.zeros_like(truth), *rest)

    source = Zeros(ways=2, fewest=2, queries=10, tasks=15)
    # 15 episodes of 10 equal rows in 15 bins: each bin is one episode, as the sort is stable.
    assert evaluate(Sure(right=9), {}, source, episodes=15).ece == pytest.approx(0.0, abs=1e-6)
    assert evaluate(Sure(right=6), {}, source, episodes=15).ece == pytest.approx(0.3, abs=1e-6)
    # With queries of one class only there is no curve to take an area under.
    assert evaluate(Sure(), {}, source, episodes=15).auc is None


def test_the_interval_is_1_96_standard_errors_of_the_episodes():
    report = evaluate(Reader(), {}, Logits(), episodes=50)
    values = report.values
    spread = math.sqrt(((values - values.mean()) ** 2).sum() / 49)
    assert report.to_json()["ci95"] == pytest.approx(stats.t.ppf(0.975, 49) * spread / math.sqrt(50))
    assert report.to_json()["accuracy"] == pytest.approx(values.mean())


@pytest.mark.parametrize("episodes", [1, 15, 16, 17, 1000])
def test_exactly_as_many_episodes_are_judged_as_asked_for(episodes):
    source = Logits(queries=5)
    report = evaluate(Reader(), {}, source, episodes=episodes)
    assert len(report.values) == report.protocol.episodes == report.to_json()["episodes"] == episodes
    assert report.classes.rows.sum() == 5 * episodes
    assert max(source.visited) == (episodes - 1) // 16
    more = evaluate(Reader(), {}, source, episodes=episodes + 3)
    np.testing.assert_array_equal(more.values[:episodes], report.values)
    np.testing.assert_array_equal(episode_values(Reader(), {}, source, episodes), report.values)


def test_no_episodes_are_refused():
    with pytest.raises(ValueError, match="episodes is 0: give 1 or more"):
        evaluate(Reader(), {}, Logits(), episodes=0)


def test_two_learners_see_the_same_episodes_and_can_be_paired():
    first, second = Logits(), Logits()
    a = evaluate(Reader(), {}, first, episodes=20, name="a")
    b = evaluate(Reader(masked=False), {}, second, episodes=20, name="b")
    assert first.visited == second.visited
    np.testing.assert_array_equal(a.values, b.values)
    paired = Paired.of(a, b)
    assert (paired.first, paired.second, paired.difference.mean, paired.difference.episodes) == ("a", "b", 0.0, 20)


def test_reports_of_other_episodes_are_not_paired():
    @dataclass(frozen=True)
    class Other(Logits):
        def drawn(self, step):
            return super().drawn(step + 100)

    a, b = (evaluate(Reader(), {}, source, episodes=20) for source in (Logits(), Other()))
    assert a.protocol == b.protocol
    with pytest.raises(ValueError, match="their episodes differ: evaluate both on the same episodes"):
        Paired.of(a, b)
    again = Report.from_json(a.to_json(), a.values)
    assert Paired.of(a, again).difference.mean == 0
    old = Report.from_json({name: value for name, value in a.to_json().items() if name != "digest"}, a.values)
    with pytest.raises(ValueError, match="no digest"):
        Paired.of(a, old)
    assert Paired.of(a, old, without_digest=True).difference.mean == 0


@pytest.mark.parametrize("episodes", [2, 3, 5, 30, 1000])
def test_an_interval_is_by_students_t(episodes):
    values = np.random.default_rng(0).normal(size=episodes)
    low, high = stats.t.interval(0.95, episodes - 1, values.mean(), stats.sem(values))
    estimate = Estimate.of(values)
    np.testing.assert_allclose([estimate.mean - estimate.ci95, estimate.mean + estimate.ci95], [low, high])


def test_the_digest_is_that_of_the_episodes_that_were_used():
    whole, more = (evaluate(Reader(), {}, Logits(), episodes=episodes).digest for episodes in (20, 21))
    assert whole != more
    assert whole == evaluate(Reader(masked=False), {}, Logits(), episodes=20).digest


def test_a_prediction_of_an_absent_class_is_wrong_and_no_error():
    @dataclass(frozen=True)
    class Wild(Reader):
        def predict(self, params, fast, x):
            return 100.0 * torch.nn.functional.one_hot(torch.tensor([4] * x.shape[0]), 5).to(x.dtype)

    report = evaluate(Wild(), {}, Logits(fewest=2), episodes=32)
    ways = np.concatenate([Logits(fewest=2).drawn(step)[0] for step in range(2)])
    assert (report.values[ways < 5] == 0).all()
    assert (report.values[ways == 5] > 0).all()
    assert sum(report.classes.confusions.values()) == 12 * (ways == 5).sum()
    assert report.classes.rows.sum() == 12 * 32


def test_a_learner_without_a_rule_under_vmap_is_looped_and_vmap_is_tried_once():
    tries = []

    @dataclass(frozen=True)
    class Stubborn(Reader):
        def predict(self, params, fast, x):
            tries.append(1)
            return super().predict(params, fast, x) * (2.0 - float(x.shape[0] > 0)) + 0 * x.sum().item()

    source = Logits()
    report = evaluate(Stubborn(), {}, source, episodes=40)
    np.testing.assert_array_equal(report.values, evaluate(Reader(), {}, Logits(), episodes=40).values)
    tries.clear()
    episode_values(Stubborn(), {}, source, 48)
    assert len(tries) == 48 + 1


def test_a_fault_of_the_learner_is_raised():
    @dataclass(frozen=True)
    class Broken(Reader):
        def predict(self, params, fast, x):
            raise RuntimeError("a fault")

    with pytest.raises(RuntimeError, match="a fault"):
        evaluate(Broken(), {}, Logits(), episodes=4)


def digit_net(norm):
    def build():
        return MLP((1, 8, 8), None, hidden=(16,), norm=norm)

    return build


NETS = {norm: digit_net(norm) for norm in ("batch", "support", "frozen", "group", "layer", None)}


@pytest.mark.parametrize(
    ("norm", "measured", "transductive"),
    [
        ("batch", True, True),
        ("support", True, False),
        ("frozen", True, False),
        ("frozen", False, True),
        ("group", True, False),
        ("layer", True, False),
        (None, True, False),
    ],
)
@pytest.mark.parametrize("family", ["protonet", "maml"])
def test_transductive_is_measured(family, norm, measured, transductive):
    source = Episodes(digits(), ways=3, shots=2, queries=5, tasks=4)
    if family == "protonet":
        learner = ProtoNet(encoder=NETS[norm])
    else:
        learner = MAML(net=lambda: MLP((1, 8, 8), 3, hidden=(16,), norm=norm), inner_steps=2)
    params = learner.init(0)
    if measured:
        params = learner.measure(params, source)
    # MAML measures nothing, so that its frozen statistics stay those of the rows at hand.
    expected = transductive or (family == "maml" and norm == "frozen")
    report = evaluate(learner, params, source.split("test"), episodes=8)
    assert report.protocol.transductive is expected
    assert report.to_json()["transductive"] is expected
    assert ("transductive" if expected else "inductive") in report.protocol.line()


def test_rounding_is_not_taken_for_a_neighbours_influence():
    @dataclass(frozen=True)
    class Noisy(Reader):
        size: float = 1e-6

        def predict(self, params, fast, x):
            return x + self.size * x.mean()

    tasks = Logits()(0)
    assert predicts_alone(Noisy(), {}, tasks)
    assert not predicts_alone(Noisy(size=0.1), {}, tasks)


# Regression.


@dataclass(frozen=True)
class Line:
    """Every task asks for y = [1, 2] at each query, whose last row has weight 0."""

    tasks: int = 4

    problem = Regression()
    inputs = Spec((1,))
    outputs = 2
    about = About("line", "test", "", "1", 3, 7)

    def __call__(self, step):
        y = torch.tensor([1.0, 2.0]).expand(self.tasks, 3, 2)
        weight = torch.tensor([1.0, 1.0, 0.0]).expand(self.tasks, 3)
        # The tasks are told apart by their inputs: 0, 1, 2, ... over all steps.
        x = (step * self.tasks + torch.arange(self.tasks)).float()[:, None, None].expand(self.tasks, 3, 1)
        rows = Examples(x, y, weight, torch.zeros(self.tasks, dtype=torch.int64))
        return Task(rows, rows)

    def split(self, name):
        return self

    def names(self, step):
        return [[] for _ in range(self.tasks)]


@dataclass(frozen=True)
class Off(Learner):
    """Its error grows with the number of the task; the last row is always far off."""

    lost: float | None = None
    scale: float | None = None

    def adapt(self, params, support):
        return {}

    def predict(self, params, fast, x):
        wrong = x + torch.tensor([0.0, 0.0, 1e6])[: x.shape[0], None]
        mean = torch.tensor([1.0, 2.0]) + wrong
        if self.lost is not None:
            mean = torch.where(x == 5, self.lost, mean)
        return mean if self.scale is None else Gaussian(mean, torch.full_like(mean, self.scale))


def test_the_mean_squared_error_is_that_of_rows_that_count():
    report = evaluate(Off(), {}, Line(), episodes=6)
    np.testing.assert_allclose(report.values, np.arange(6.0) ** 2)
    data = report.to_json()
    assert data["mse"] == pytest.approx(np.mean(np.arange(6.0) ** 2))
    assert data["median"] == pytest.approx(6.5)
    assert data["diverged"] == 0.0
    assert (data["seed"], data["ways"], data["shots"]) == (7, "", "1")
    assert {"accuracy", "auc", "ece", "nll", "chance"}.isdisjoint(data)


@pytest.mark.parametrize("lost", [math.nan, math.inf, 1e4])
def test_a_task_that_diverged_is_counted_as_such(lost):
    data = evaluate(Off(lost=lost), {}, Line(), episodes=8).to_json()
    assert data["diverged"] == pytest.approx(1 / 8)
    if math.isfinite(lost):
        assert data["median"] == pytest.approx(np.median([0, 1, 4, 9, 16, 9998.5**2, 36, 49]), rel=1e-3)


def test_gaussian_predictions_are_judged_by_their_mean_and_their_density():
    from scipy.stats import norm

    report = evaluate(Off(scale=2.0), {}, Line(), episodes=6)
    np.testing.assert_allclose(report.values, np.arange(6.0) ** 2)
    expected = np.mean([-2 * norm.logpdf(error, scale=2.0) for error in range(6)])
    assert report.nll == pytest.approx(expected, rel=1e-6)


def test_the_coverage_of_a_distribution_is_the_share_of_targets_in_its_intervals():
    # The errors of the six tasks are 0, 1, .. 5 and the scale is 2: 1.35, 2.56 and 3.92 to either side.
    report = evaluate(Off(scale=2.0), {}, Line(), episodes=6)
    assert report.coverage == pytest.approx({"50": 2 / 6, "80": 3 / 6, "95": 4 / 6})
    again = Report.from_json(report.to_json(), report.values)
    assert (again.coverage, again.nll) == (report.coverage, report.nll)
    assert evaluate(Off(), {}, Line(), episodes=6).coverage is None


@pytest.mark.parametrize("share", [0.5, 1.0, 2.0])
def test_a_normal_error_is_covered_as_often_as_the_level_says(share):
    from scipy.stats import norm

    source = GaussianProcess(shots=0, queries=1, tasks=2000, noise=0.5)

    @dataclass(frozen=True)
    class Prior(Learner):
        def adapt(self, params, support):
            return {}

        def predict(self, params, fast, x):
            return Gaussian(torch.zeros_like(x), torch.full_like(x, share * 1.25**0.5))

    result = evaluate(Prior(), {}, source, episodes=2000).coverage
    for level, covered in result.items():
        z = norm.ppf(0.5 + float(level) / 200)
        expected = 2 * norm.cdf(z * share) - 1
        assert covered == pytest.approx(expected, abs=5 * (expected * (1 - expected) / 2000) ** 0.5)


def test_regression_targets_that_happen_to_be_0_or_1_have_no_log_loss():
    @dataclass(frozen=True)
    class Flat(Line):
        def __call__(self, step):
            task = super().__call__(step)
            return task._replace(query=task.query._replace(y=torch.zeros(self.tasks, 3, 2)))

    assert evaluate(Off(), {}, Flat(), episodes=4).nll is None


def test_real_sources_are_judged_and_timed():
    learner = MAML(net=lambda: MLP((1,), 1, hidden=(8,)), inner_steps=1, inner_lr=0.01, loss="squared_error")
    report = evaluate(learner, learner.init(0), Sinusoid(tasks=25).split("test"), episodes=30, command="again")
    assert (report.metric, report.protocol.source, report.protocol.split) == ("mse", "sinusoid", "test")
    assert report.protocol.command == "again"
    assert report.adapt_ms > 0
    assert len(report.values) == 30
    assert tasks_in(Sinusoid(tasks=25)(0)) == 25
