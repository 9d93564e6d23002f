"""SimpleShot against numpy and nearest mean, the mean it measures, and the weights it takes from a supervised run."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mapwise.catalog.learners import LEARNERS
from mapwise.core.task import Examples
from mapwise.data.rows import LabelledRows
from mapwise.interfaces.cli import main
from mapwise.learners.metric.simpleshot import SimpleShot
from mapwise.learners.pretraining.supervised import Supervised
from mapwise.nets import MLP
from mapwise.runs.run import load_params
from mapwise.tasks.episodes import Episodes
from mapwise.tasks.supervised import SupervisedSource


def net() -> nn.Module:
    """A classifier of 7 base classes."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 7)).double()


def rows(labels: list[int], ways: int, seed: int = 0) -> Examples:
    x = torch.from_numpy(np.random.default_rng(seed).normal(size=(len(labels), 4)))
    return Examples(x, F.one_hot(torch.tensor(labels), ways).double(), torch.ones(len(x)).double(), torch.tensor(0))


def base_classes() -> SupervisedSource:
    x = np.random.default_rng(0).normal(2, 3, size=(60, 4)).astype(np.float32)
    episodes = Episodes(LabelledRows.of(x, np.repeat(np.arange(12), 5)), ways=2, shots=1, queries=1, tasks=2)
    return SupervisedSource(episodes, batch=40)


SUPPORT = rows([0, 1, 2, 0, 1, 0], ways=3)  # unequal shots
QUERY = rows([2, 1, 0, 1], ways=3, seed=1)
MEAN = torch.tensor([0.3, -0.2, 0.1, 0.0, 0.4, -0.1]).double()


def test_scores_equal_numpys():
    learner = SimpleShot(net(), scale=4.0)
    params = {**learner.init(0), "measured": {"feature_mean": MEAN}}
    z, q = (learner.net[:2](part.x).detach().numpy() - MEAN.numpy() for part in (SUPPORT, QUERY))
    z, q = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (z, q))
    labels = SUPPORT.y.argmax(1).numpy()
    means = np.stack([z[labels == c].mean(0) for c in range(3)])
    expected = -4 * ((q[:, None] - means[None]) ** 2).sum(-1)
    fast = learner.adapt(params, SUPPORT)
    assert np.allclose(learner.predict(params, fast, QUERY.x).numpy(), expected, rtol=1e-10)
    assert np.allclose(learner.embed(params, fast, QUERY.x).numpy(), q, rtol=1e-10)


def test_with_a_mean_of_0_and_unit_rows_it_equals_nearest_mean():
    support, query = (part._replace(x=F.normalize(part.x, dim=1)) for part in (SUPPORT, QUERY))
    learner = SimpleShot(nn.Sequential(nn.Flatten(), nn.Linear(4, 7).double()), scale=1.0)
    other = LEARNERS["nearest_mean"].build()
    expected = other.predict({}, other.adapt({}, support), query.x)
    # Not measured, the mean is 0 too.
    for measured in ({"measured": {"feature_mean": torch.zeros(4).double()}}, {}):
        params = {**learner.init(0), **measured}
        assert torch.allclose(learner.predict(params, learner.adapt(params, support), query.x), expected, rtol=1e-12)


def test_what_all_features_share_changes_nothing_once_it_is_measured():
    learner = SimpleShot(nn.Sequential(nn.Flatten(), nn.Linear(4, 7).double()))
    results = []
    for shift in (0.0, 100.0):
        params = {**learner.init(0), "measured": {"feature_mean": torch.full((4,), shift).double()}}
        fast = learner.adapt(params, SUPPORT._replace(x=SUPPORT.x + shift))
        results.append(learner.predict(params, fast, QUERY.x + shift))
    assert torch.allclose(*results, rtol=1e-10)


@pytest.mark.parametrize("norm", [None, "frozen"])
def test_the_mean_is_measured_on_the_training_batches_after_the_statistics(norm):
    source = base_classes()
    learner = SimpleShot(MLP((4,), source.outputs, hidden=(6,), norm=norm))
    start = learner.init(0)
    params = learner.measure(start, source)
    training = torch.cat([source(step).query.x[0] for step in range(40)])
    plain = Supervised(learner.net)
    expected = plain.embed(plain.measure(start, source), {}, training).mean(0)
    assert torch.allclose(params["measured"]["feature_mean"], expected, atol=1e-6)
    assert params["measured"]["feature_mean"].dtype == torch.float32
    assert ("body.2" in params["measured"]) is (norm == "frozen")
    # Measured again, it is the same: what was measured before plays no part.
    again = learner.measure(params, source)
    assert torch.equal(again["measured"]["feature_mean"], params["measured"]["feature_mean"])


def test_a_weight_of_0_leaves_a_row_out_and_an_absent_class_cannot_be_chosen():
    learner = SimpleShot(net())
    params = {**learner.init(0), "measured": {"feature_mean": MEAN}}
    without_third = SUPPORT._replace(weight=torch.tensor([1.0, 1, 0, 1, 1, 1]).double())
    results = [0, 1, 3, 4, 5]
    removed = Examples(SUPPORT.x[results], SUPPORT.y[results, :2], SUPPORT.weight[results], SUPPORT.key)
    wide, narrow = (
        learner.predict(params, learner.adapt(params, support), QUERY.x) for support in (without_third, removed)
    )
    assert torch.allclose(wide[:, :2], narrow, rtol=1e-12)
    assert bool((wide[:, 2] == torch.finfo(torch.float64).min / 2).all())


def test_one_shot_and_any_number_of_ways_share_the_same_params():
    learner = SimpleShot(net())
    params = learner.init(0)
    for ways in (2, 9):  # the head has 7 columns
        support = rows(list(range(ways)), ways)
        assert learner.predict(params, learner.adapt(params, support), QUERY.x).shape == (4, ways)


def test_it_takes_the_weights_of_a_supervised_run_and_measures_the_mean(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    few = ("--validation-episodes", "8", "--net.norm", "frozen")
    for words in (
        ("train", "supervised", "digits", "--steps", "4", "--out", "base", *few),
        ("train", "simpleshot", "digits", "--init", "base", "--steps", "0", "--out", "simple", *few),
        ("eval", "simple", "--episodes", "4", "--no-baselines"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        assert ended.value.code == 0, capsys.readouterr().err
    base, simple = (load_params(tmp_path / run)[0] for run in ("base", "simple"))
    mean = simple["measured"].pop("feature_mean")
    assert mean.shape == (64,) and bool((mean != 0).any())
    assert simple.keys() == base.keys()
    assert all(torch.equal(simple[name], leaf) for name, leaf in base.items() if name != "measured")
    assert all(torch.equal(simple["measured"][name], leaf) for name, leaf in base["measured"].items())
