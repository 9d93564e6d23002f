"""Averages of predictions and of weights against plain loops, and the barrier between members."""

import itertools
import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree

import mapwise as mw
from law_cases import SETTINGS, TINY, TRAINED, blobs
from mapwise.core import tree
from mapwise.core.map_tasks import task_at
from mapwise.core.problem import Metric
from mapwise.core.scores import Gaussian
from mapwise.engine.averaging import barriers, episode_losses, greedy_soup, mean_params
from mapwise.learners.generation import model_averaging
from mapwise.learners.generation.model_averaging import ModelAveraging, joined_params, member_params
from mapwise.learners.metric.protonet import ProtoNet
from mapwise.learners.optimization.maml import MAML
from mapwise.nets import MLP
from permuted_units import permuted

NET = partial(MLP, (8,), **TINY)


def members(*seeds, norm="layer"):
    learner = ProtoNet(partial(NET, norm=norm))
    return [learner] * len(seeds), [learner.measure(learner.init(seed), blobs()) for seed in seeds]


def scores_of(learner, params, task):
    return learner.predict(params, learner.adapt(params, task.support), task.query.x)


def one_task(absent=None):
    support, query = task_at(blobs()(0), 0)
    if absent is not None:
        support = support._replace(weight=support.weight * (support.y[:, absent] == 0))
    return mw.Task(support, query)


def mean_probabilities(scores):
    """In numpy, score by score."""
    shifted = [np.exp(one - one.max(1, keepdims=True)) for one in scores]
    return sum(each / each.sum(1, keepdims=True) for each in shifted) / len(shifted)


@dataclass(frozen=True)
class AveragesScores(ModelAveraging):
    def predict(self, params, fast, x):
        each = [one.predict(member_params(params, i), fast[str(i)], x) for i, one in enumerate(self.members)]
        return torch.stack(each).mean(0)


@pytest.mark.parametrize(("kind", "right"), [(ModelAveraging, True), (AveragesScores, False)])
def test_the_probabilities_are_the_mean_of_those_of_the_members(kind, right):
    learners, params = members(0, 1, 2)
    params = [tree.map(torch.Tensor.double, one) for one in params]
    task = pytree.tree_map(lambda leaf: leaf.double() if leaf.is_floating_point() else leaf, one_task())
    wanted = mean_probabilities([scores_of(learners[0], one, task).numpy() for one in params])
    scores = scores_of(kind(tuple(learners)), joined_params(params), task)
    assert np.allclose(torch.softmax(scores, -1).numpy(), wanted, rtol=1e-9, atol=1e-12) == right
    # As scores they are log-probabilities already.
    assert torch.allclose(scores.exp().sum(-1), torch.ones(len(scores)).double()) == right


def test_a_class_that_is_absent_cannot_be_chosen():
    learners, params = members(0, 1)
    scores = scores_of(ModelAveraging(tuple(learners)), joined_params(params), one_task(absent=1))
    assert (scores[:, 1] == torch.finfo(scores.dtype).min / 2).all()
    torch.testing.assert_close(scores[:, [0, 2]].exp().sum(1), torch.ones(len(scores)))


def test_bits_are_averaged_as_probabilities_of_each():
    scores = torch.tensor([[[-3.0, 40.0]], [[1.0, -90.0]]]).double()
    mean = model_averaging.averaged_bits(list(scores))
    wanted = (1 / (1 + np.exp(-scores.numpy()))).mean(0)
    np.testing.assert_allclose(1 / (1 + np.exp(-mean.numpy())), wanted, rtol=1e-12)


def test_values_are_averaged_and_gaussians_have_the_moments_of_their_mixture():
    plain = [torch.tensor([[1.0]]), torch.tensor([[3.0]])]
    assert model_averaging.averaged_values(plain).item() == 2.0
    mixed = [Gaussian(torch.tensor([[1.0]]).double(), torch.tensor([[0.5]]).double()), plain[1].double()]
    assert model_averaging.averaged_values(mixed).item() == 2.0
    means, scales = np.array([1.0, 3.0, -2.0]), np.array([0.5, 2.0, 1.0])
    gaussians = [Gaussian(torch.tensor([[m]]), torch.tensor([[s]])) for m, s in zip(means, scales, strict=True)]
    mixture = model_averaging.averaged_values(gaussians)
    draws = np.random.default_rng(0).normal(means, scales, (400_000, 3)).ravel()
    assert mixture.mean.item() == pytest.approx(means.mean())
    assert mixture.scale.item() == pytest.approx(math.sqrt((scales**2 + means**2).mean() - means.mean() ** 2))
    assert mixture.scale.item() == pytest.approx(draws.std(), rel=0.01)


def test_one_member_predicts_as_itself_and_the_order_of_members_has_no_effect():
    learners, params = members(0, 1, 2, norm="frozen")
    task = one_task()
    alone = scores_of(ModelAveraging((learners[0],)), joined_params(params[:1]), task)
    torch.testing.assert_close(alone, torch.log_softmax(scores_of(learners[0], params[0], task), -1))
    average = ModelAveraging(tuple(learners))
    first = scores_of(average, joined_params(params), task)
    for order in itertools.permutations(range(3)):
        torch.testing.assert_close(scores_of(average, joined_params([params[i] for i in order]), task), first)


def test_an_average_keeps_the_laws():
    rows = {name: TRAINED[name] for name in ("protonet", "r2d2")}
    each = (row.build(partial(MLP, (8,), **TINY), SETTINGS.get(name)) for name, row in rows.items())
    verdicts = mw.check(ModelAveraging(tuple(each)), blobs())
    assert not verdicts.broken, str(verdicts)


def test_members_of_other_kinds_keep_what_all_of_them_keep():
    mixed = ModelAveraging((ProtoNet(NET), MAML(partial(MLP, (8,), 3, **TINY), inner_steps=1)))
    assert "relabel" not in mixed.keeps and "order" in mixed.keeps
    trained = mw.train(mixed, blobs(), steps=2, validation_episodes=4)
    assert mw.evaluate(mixed, trained.params, blobs().split("test"), episodes=8).estimate.mean > 0.2
    with pytest.raises(ValueError, match="members is empty: give one learner or more"):
        ModelAveraging(())


def test_statistics_of_the_members_stay_apart():
    learners, _ = members(0, 1, norm="frozen")
    average = ModelAveraging(tuple(learners))
    params = average.measure(average.init(3), blobs())
    for place, seed in ((0, 3), (1, 4)):
        alone = learners[0].measure(learners[0].init(seed), blobs())
        torch.testing.assert_close(tree.flatten(member_params(params, place)), tree.flatten(alone))


# Weights.


def test_the_mean_of_identical_members_is_that_member_and_no_order_changes_a_bit():
    _, params = members(0, 1, 2)
    same = tree.flatten(mean_params([params[0]] * 5))
    assert all(torch.equal(same[path], leaf) for path, leaf in tree.flatten(params[0]).items())
    leaves = [tree.flatten(mean_params([params[i] for i in order])) for order in itertools.permutations(range(3))]
    assert all(torch.equal(one[path], leaves[0][path]) for one in leaves for path in one)
    path = next(iter(leaves[0]))
    wanted = np.mean([tree.flatten(one)[path].double().numpy() for one in params], axis=0)
    np.testing.assert_allclose(leaves[0][path].numpy(), wanted, rtol=1e-6)


def test_what_was_measured_is_left_out_of_a_mean():
    _, params = members(0, 1, norm="frozen")
    assert "measured" in params[0] and "measured" not in mean_params(params)


EPISODES = np.array([0.5, 1.0, 1.5])
WELLS = {
    # the loss of w, and the excess of the highest point of the line between -1 and 1, with its place
    "two wells": (lambda w: (w**2 - 1) ** 2, 1.0, 0.5),
    "a tilted pair": (lambda w: (w**2 - 1) ** 2 + 3 * w, 1.0, 0.5),  # the line of the ends is taken off
    "one well": (lambda w: w**2, -0.36, 0.1),
}


@pytest.mark.parametrize("well", WELLS)
def test_the_barrier_is_the_highest_excess_over_the_line_of_the_ends(well):
    loss, height, at = WELLS[well]
    ends = [{"w": torch.tensor(-1.0).double()}, {"w": torch.tensor(1.0).double()}]
    heights = barriers(lambda params: loss(params["w"].item()) * EPISODES, ends)
    barrier = heights[0, 1]
    assert barrier.excess.mean == pytest.approx(height) and barrier.at == pytest.approx(at)
    assert barrier.excess.ci95 == pytest.approx(mw.Estimate.of(height * EPISODES).ci95)
    assert barrier.stops(0.02) == (height > barrier.excess.ci95 + 0.02)


def test_a_line_on_which_the_loss_is_no_number_stops_an_average():
    ends = [{"w": torch.tensor(-1.0)}, {"w": torch.tensor(1.0)}]
    heights = barriers(lambda params: EPISODES * (math.nan if abs(params["w"].item()) < 0.5 else 1.0), ends)
    assert heights[0, 1].excess.mean == math.inf and heights[0, 1].stops(1e9)


def test_a_copy_with_permuted_units_lies_behind_a_barrier_and_its_predictions_average():
    learner = ProtoNet(partial(MLP, (8,), outputs=8, hidden=(16, 16), activation="tanh"))
    params = mw.train(learner, blobs(), steps=80, optimizer="Adam lr=0.02", validation_episodes=8, how="vmap").params
    other = permuted(params, [name for name in learner.init(0) if name.endswith("weight")])
    task = one_task()
    torch.testing.assert_close(scores_of(learner, params, task), scores_of(learner, other, task))

    def losses(at):
        return episode_losses(learner, at, blobs().split("val"), 60)

    near = tree.map(lambda leaf: leaf * 1.001, params)
    heights = barriers(losses, [params, other, near])
    assert heights[0, 1].excess.mean > heights[0, 1].excess.ci95 and heights[0, 1].stops(0.02)
    assert not heights[0, 2].stops(0.02)
    torch.testing.assert_close(
        scores_of(ModelAveraging((learner, learner)), joined_params([params, other]), task),
        torch.log_softmax(scores_of(learner, params, task), -1),
    )


def test_the_loss_of_every_episode_is_that_of_a_plain_loop():
    (learner, *_), (params, *_) = members(0)
    source = blobs().split("val")
    wanted = [
        float(learner.criterion(scores_of(learner, params, task), task.query))
        for step in range(2)
        for task in (task_at(source(step), place) for place in range(8))
    ]
    np.testing.assert_allclose(episode_losses(learner, params, source, 11), wanted[:11], rtol=1e-5)


LOWER, HIGHER = Metric("mse", "error", "mse", lower_is_better=True), Metric("accuracy", "accuracy", "acc")


def plain_soup(judge, numbers, sign):
    order = sorted(range(len(numbers)), key=lambda i: -sign * judge(numbers[i]))
    soup = [order[0]]
    best = judge(numbers[order[0]])
    for i in order[1:]:
        mixed = sum(numbers[j] for j in [*soup, i]) / (len(soup) + 1)
        if sign * judge(mixed) >= sign * best:
            soup.append(i)
            best = judge(mixed)
    return soup


@pytest.mark.parametrize("metric", [LOWER, HIGHER])
def test_a_greedy_soup_takes_its_members_as_a_plain_loop_does(metric):
    sign = -1 if metric.lower_is_better else 1
    sizes = set()
    for seed in range(20):
        numbers = np.random.default_rng(seed).normal(0.5, 1.0, 6)

        def judge(w):
            return sign * -round((w - 0.3) ** 2, 1)  # rounded, so that a value may stay as it is

        params = [{"w": torch.tensor(number).double()} for number in numbers]
        soup = greedy_soup(lambda params: judge(params["w"].item()), params, metric)
        assert soup == plain_soup(judge, numbers, sign)
        sizes.add(len(soup))
    assert {1, 2, 4, 6} <= sizes


def test_a_member_that_diverged_comes_last_and_is_left_out():
    params = [{"w": torch.tensor(number)} for number in (math.nan, 1.0, 1.0)]
    assert greedy_soup(lambda params: params["w"].item(), params, HIGHER) == [1, 2]
