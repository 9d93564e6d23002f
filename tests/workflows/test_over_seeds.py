"""Several seeds: each is a training of its own, and the interval is over seeds."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from findings import report as known_report
from mapwise.core import tree
from mapwise.engine.evaluate import evaluate
from mapwise.engine.seeds import OverSeeds, PairedSeeds
from mapwise.engine.train import train
from mapwise.learners.metric.protonet import ProtoNet
from mapwise.learners.optimization.maml import MAML
from mapwise.tasks.sinusoid import Sinusoid
from mapwise.workflows.over_seeds import train_seeds

SINE = Sinusoid(shots=3, queries=3, tasks=2)
TINY = {"steps": 2, "validation_episodes": 2, "how": "loop"}


def net():
    return nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))


def learner(network=net):
    return MAML(network, inner_steps=1, loss="squared_error")


def same(a, b):
    left, right = tree.flatten(a), tree.flatten(b)
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_each_seed_is_the_training_that_it_is_by_itself():
    over = train_seeds(learner(), SINE, seeds=3, episodes=6, **TINY)
    assert over.seeds == (0, 1, 2)
    for seed, trained, report in zip(over.seeds, over.trainings, over.reports, strict=True):
        alone = train(learner(), SINE.with_(seed=seed), seed=seed, **TINY)
        assert same(trained.params, alone.params)
        np.testing.assert_array_equal(
            report.values, evaluate(learner(), alone.params, SINE.split("test"), episodes=6).values
        )
    assert len({report.digest for report in over.reports}) == 1
    assert not same(over.trainings[0].params, over.trainings[1].params)


def test_the_interval_over_seeds_is_students_t_of_their_means():
    over = train_seeds(learner(), SINE, seeds=[3, 5, 7, 8], episodes=6, **TINY)
    means = [report.values.mean() for report in over.reports]
    half = stats.t.ppf(0.975, 3) * np.std(means, ddof=1) / 2
    assert over.estimate.mean == pytest.approx(np.mean(means))
    assert over.estimate.ci95 == pytest.approx(half)
    answer = over.to_json()
    assert (answer["interval"], answer["metric"], answer["episodes"]) == ("seeds", "mse", 6)
    assert answer["mse"] == over.estimate.mean and answer["ci95"] == over.estimate.ci95
    assert [one["seed"] for one in answer["seeds"]] == [3, 5, 7, 8]
    assert [one["mse"] for one in answer["seeds"]] == pytest.approx(means)


def test_what_is_finished_is_not_trained_again(tmp_path):
    steps = []
    first = train_seeds(learner(), SINE, seeds=2, episodes=4, out=tmp_path, progress=steps.append, **TINY)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["seed-0", "seed-1"] and len(steps) == 4
    again = train_seeds(learner(), SINE, seeds=3, episodes=4, out=str(tmp_path), progress=steps.append, **TINY)
    assert len(steps) == 6  # of the third alone
    for one, other in zip(first.trainings, again.trainings[:2], strict=True):
        assert same(one.params, other.params)


def test_a_built_module_starts_every_seed_and_one_warning_says_so():
    with pytest.warns(UserWarning, match="MAML's net is a built module") as warned:
        over = train_seeds(learner(net()), SINE, seeds=3, episodes=4, **{**TINY, "optimizer": "SGD lr=0.0"})
    assert len(warned) == 1 and warned[0].filename == __file__
    assert same(over.trainings[0].params, over.trainings[2].params)
    start = learner().init(4)
    over = train_seeds(learner(net()), SINE, params=start, episodes=4, **{**TINY, "optimizer": "SGD lr=0.0"})
    assert all(same(trained.params, start) for trained in over.trainings)


@pytest.mark.parametrize(
    ("seeds", "answer"), [(1, "2 or more"), ([4], "2 or more"), ([1, 1], "different"), ("3", "seeds"), ([0, -1], "-1")]
)
def test_seeds_that_make_no_interval_are_refused(seeds, answer):
    with pytest.raises(ValueError, match=answer):
        train_seeds(learner(), SINE, seeds=seeds, **TINY)


def over(*means, noise=0.01):
    """Reports of seeds with these means."""
    random = np.random.default_rng(0)
    values = [mean + noise * random.standard_normal(50) for mean in means]
    reports = tuple(
        replace(known_report(), values=one - one.mean() + mean) for one, mean in zip(values, means, strict=True)
    )
    return OverSeeds(tuple(range(len(means))), reports)


def test_a_difference_is_paired_by_seed_and_its_interval_is_over_seeds():
    pair = PairedSeeds.of(over(0.9, 0.7, 0.8), over(0.8, 0.61, 0.69))
    differences = [0.1, 0.09, 0.11]
    assert pair.difference.mean == pytest.approx(np.mean(differences))
    assert pair.difference.ci95 == pytest.approx(stats.t.ppf(0.975, 2) * np.std(differences, ddof=1) / np.sqrt(3))
    assert [one.difference.mean for one in pair.pairs] == pytest.approx(differences)
    assert pair.conclusive  # though the seeds differ by more than the learners do


def test_two_seeds_or_seeds_that_disagree_show_no_difference():
    assert not PairedSeeds.of(over(0.9, 0.9), over(0.8, 0.8)).conclusive
    assert not PairedSeeds.of(over(0.9, 0.9, 0.79), over(0.8, 0.8, 0.8)).conclusive
    assert PairedSeeds.of(over(0.9, 0.9, 0.9), over(0.8, 0.8, 0.8)).conclusive
    other = over(0.8, 0.8, 0.8)
    with pytest.raises(ValueError, match="the seeds differ \\(0, 1, 2 and 0, 1\\)"):
        PairedSeeds.of(other, over(0.8, 0.8))


def test_a_learner_that_warns_of_nothing_is_trained_with_classes_too(tmp_path):
    from mapwise.data.digits import digits
    from mapwise.tasks.episodes import Episodes

    source = Episodes(digits(), ways=3, queries=2, tasks=2)
    encoder = lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 4))  # noqa: E731
    answer = train_seeds(ProtoNet(encoder), source, seeds=2, episodes=5, **TINY).to_json()
    assert (answer["judged_classes"], answer["all_classes"], answer["split"]) == (3, 10, "test")
