"""Episodes of an evaluation: how many, which, and how learners are paired on them."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy import stats

from judged_scores import Logits, Reader
from mapwise.core.estimate import Estimate
from mapwise.core.map_tasks import tasks_in
from mapwise.data.digits import digits
from mapwise.engine.evaluate import episode_values, evaluate, predicts_alone
from mapwise.engine.results import Paired, Report
from mapwise.learners.metric.protonet import ProtoNet
from mapwise.learners.optimization.maml import MAML
from mapwise.nets import MLP
from mapwise.tasks.episodes import Episodes
from mapwise.tasks.sinusoid import Sinusoid


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


def test_real_sources_are_judged_and_timed():
    learner = MAML(net=lambda: MLP((1,), 1, hidden=(8,)), inner_steps=1, inner_lr=0.01, loss="squared_error")
    report = evaluate(learner, learner.init(0), Sinusoid(tasks=25).split("test"), episodes=30, command="again")
    assert (report.metric, report.protocol.source, report.protocol.split) == ("mse", "sinusoid", "test")
    assert report.protocol.command == "again"
    assert report.adapt_ms > 0
    assert len(report.values) == 30
    assert tasks_in(Sinusoid(tasks=25)(0)) == 25
