"""The meta-gradient is that of every task alone, weighted, however tasks are mapped."""

import time
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree

from mapwise.core import tree
from mapwise.core.learner import Learner
from mapwise.core.map_tasks import task_at, tasks_in
from mapwise.data.digits import digits
from mapwise.data.rows import LabelledRows
from mapwise.engine.aggregate import aggregate_named
from mapwise.engine.evaluate import episode_values
from mapwise.engine.gradient import fastest, meta_gradient
from mapwise.engine.train import train
from mapwise.learners.metric import protonet as protonets
from mapwise.learners.metric.protonet import ProtoNet
from mapwise.learners.optimization.maml import MAML
from mapwise.learners.optimization.maml_pp import MAMLPlusPlus
from mapwise.nets import Conv4, norm
from mapwise.tasks.episodes import Episodes
from toy_tasks import LEARNERS, TASKS, constants, digit_net, hardest, long_ways, maml, protonet, sine_net, single


def by_hand(learner, params, tasks, weigh):
    """sum_t w_t grad L_t, one task at a time, the weights as constants."""
    leaves = {path: leaf.clone().requires_grad_() for path, leaf in tree.flatten(params).items()}
    losses = [learner.objective(tree.unflatten(leaves), task_at(tasks, t)) for t in range(tasks_in(tasks))]
    weights = [float(w) for w in weigh(torch.stack(losses).detach())]
    total = {path: torch.zeros_like(leaf) for path, leaf in leaves.items()}
    for weight, loss in zip(weights, losses, strict=True):
        for path, gradient in zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True):
            total[path] += weight * gradient
    return total, sum(w * float(loss.detach()) for w, loss in zip(weights, losses, strict=True))


@pytest.mark.parametrize("weigh", ["mean", hardest])
@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("how", ["vmap", "loop", 1, 2, 3, 4, TASKS, 100])
def test_the_meta_gradient_is_the_weighted_sum_of_the_tasks_gradients(name, how, weigh):
    learner, params, tasks = LEARNERS[name]()
    gradient, loss = meta_gradient(learner, params, tasks, how=how, aggregate=weigh)
    expected, value = by_hand(learner, params, tasks, aggregate_named(weigh))
    assert abs(float(loss) - value) < 1e-10
    result = tree.flatten(gradient)
    assert result.keys() == expected.keys()
    for path, leaf in result.items():
        torch.testing.assert_close(leaf, expected[path], rtol=1e-10, atol=1e-10)
        assert not leaf.requires_grad


@pytest.mark.parametrize("weigh", ["mean", hardest])
@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("how", ["vmap", "loop", 2])
def test_recomputed_steps_give_the_same_meta_gradient(name, how, weigh):
    learner, params, tasks = LEARNERS[name]()
    gradient, loss = meta_gradient(learner, params, tasks, how=how, aggregate=weigh, remat=True)
    result, value = meta_gradient(learner, params, tasks, how=how, aggregate=weigh)
    torch.testing.assert_close(loss, value, rtol=1e-12, atol=0)
    for path, leaf in tree.flatten(result).items():
        torch.testing.assert_close(tree.flatten(gradient)[path], leaf, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize("weigh", ["mean", hardest])
@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("how", ["loop", 2])
def test_tasks_shared_out_over_threads_give_the_same_bits_every_time(name, how, weigh, remat):
    learner, params, tasks = LEARNERS[name]()
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = meta_gradient(learner, params, tasks, how=how, aggregate=weigh, remat=remat)
        torch.set_num_threads(3)
        shared = [meta_gradient(learner, params, tasks, how=how, aggregate=weigh, remat=remat) for _ in range(5)]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    for path, leaf in tree.flatten(alone[0]).items():
        torch.testing.assert_close(tree.flatten(shared[0][0])[path], leaf, rtol=1e-10, atol=1e-13)
        assert all(torch.equal(tree.flatten(again)[path], tree.flatten(shared[0][0])[path]) for again, _ in shared)


@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("how", ["vmap", "loop", 2])
def test_nets_in_bfloat16_give_the_gradient_to_its_eight_bits(name, how, remat):
    learner, params, tasks = LEARNERS[name]()
    exact = meta_gradient(learner, params, tasks, how=how)[0]
    params, tasks = single(params), single(tasks)
    full = meta_gradient(learner, params, tasks, how=how, remat=remat)[0]
    rounded = meta_gradient(learner, params, tasks, how=how, remat=remat, precision="bfloat16")[0]
    assert all(leaf.dtype == torch.float32 for leaf in tree.flatten(rounded).values())
    assert long_ways(full, exact) < 1e-5 < 1e-3 < long_ways(rounded, exact) < 0.05


@pytest.mark.parametrize("weighted", [False, True])
def test_only_what_a_net_computes_is_rounded_to_bfloat16(weighted, monkeypatch):
    net = Conv4((1, 16, 16), None, filters=4, norm="support")
    seen = {"statistics": set(), "convolutions": set(), "means": set()}

    def watched(name, function, place):
        def call(x, *others, **options):
            result = function(x, *others, **options)
            seen[name].add((result if isinstance(result, torch.Tensor) else result[0]).dtype)
            return result

        monkeypatch.setattr(place, call)

    watched("statistics", norm.row_statistics, "mapwise.nets.norm.row_statistics")
    watched("statistics", norm._weighted_statistics, "mapwise.nets.norm._weighted_statistics")
    watched("convolutions", torch.nn.functional.conv2d, "torch.nn.functional.conv2d")
    watched("means", protonets.class_means, "mapwise.learners.metric.protonet.class_means")
    learner = ProtoNet(encoder=net)
    rows = LabelledRows.of(np.random.default_rng(0).random((45, 1, 16, 16)), np.arange(45) % 9)
    tasks = Episodes(rows, ways=3, shots=2, queries=3, tasks=2)(0)
    if weighted:
        tasks.support.weight[0, 0] = 0
    meta_gradient(learner, learner.init(0), tasks, how="loop", precision="bfloat16")
    assert seen["convolutions"] == {torch.bfloat16}
    assert seen["statistics"] == seen["means"] == {torch.float32}


def test_a_run_in_bfloat16_learns_and_is_judged_in_full_precision():
    learner, _, _ = protonet()
    source = Episodes(digits(), ways=3, shots=2, queries=3, tasks=TASKS)
    by_name = {"steps": 30, "how": "vmap", "validation_episodes": 40, "validate_every": 30, "optimizer": "Adam lr=0.01"}
    rounded = train(learner, source, **by_name, precision="bfloat16")
    full = train(learner, source, **by_name)
    judged = episode_values(learner, rounded.params, source.split("val"), 40, "vmap").mean()
    assert rounded.validation == pytest.approx(float(judged), abs=1e-9)
    assert 1e-4 < long_ways(rounded.params, full.params) < 0.2
    losses = [record["loss"] for record in rounded.history]
    assert losses[-1] < losses[0] / 2
    assert losses[-1] == pytest.approx(full.history[-1]["loss"], rel=0.3)


def test_an_error_in_a_thread_is_raised_where_the_gradient_was_asked_for():
    learner, params, tasks = maml()
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with pytest.raises(ValueError, match="shapes cannot be multiplied"):
            meta_gradient(
                learner, params, tasks._replace(query=tasks.query._replace(x=tasks.query.x[..., :0])), how="loop"
            )
    finally:
        torch.set_num_threads(threads)


def test_after_an_error_in_a_thread_no_task_is_worked_on_and_torch_has_its_threads():
    finished = []

    @dataclass(frozen=True)
    class Failing(MAML):
        def objective(self, params, task):
            if not finished and task.query.y[0, 0] == tasks.query.y[0, 0, 0]:
                raise RuntimeError("a fault")
            time.sleep(0.2)
            finished.append(1)
            return super().objective(params, task)

    _, params, tasks = maml()
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with pytest.raises(RuntimeError, match="a fault"):
            meta_gradient(Failing(net=sine_net, loss="squared_error"), params, tasks, how="loop")
        count = len(finished)
        time.sleep(0.5)
        assert len(finished) == count < TASKS - 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_hard_tasks_weigh_more_and_another_weighing_is_another_gradient():
    learner, params, tasks = maml()
    plain, mean_loss = meta_gradient(learner, params, tasks, how="vmap")
    hard, hard_loss = meta_gradient(learner, params, tasks, how="vmap", aggregate=hardest)
    assert hard_loss > mean_loss
    assert any((plain[path] - hard[path]).abs().max() > 1e-3 for path in plain)


@pytest.mark.parametrize("how", ["vmap", "loop", 2])
def test_weights_are_asked_once_of_losses_without_a_graph(how):
    seen = []

    def weigh(losses):
        seen.append((tuple(losses.shape), losses.requires_grad))
        return torch.full_like(losses, 1 / len(losses))

    meta_gradient(*maml(), how=how, aggregate=weigh)
    assert seen == [((TASKS,), False)]


def test_params_that_take_no_part_get_zeros():
    _, params, tasks = protonet()
    params = {**params, "idle": torch.ones(3, dtype=torch.float64)}

    @dataclass(frozen=True)
    class Apart(ProtoNet):
        def init(self, seed):
            return {**super().init(seed), "idle": torch.ones(3)}

        def objective(self, params, task):
            return super().objective({name: leaf for name, leaf in params.items() if name != "idle"}, task)

    for how in ("vmap", "loop", 3):
        gradient, _ = meta_gradient(Apart(digit_net), params, tasks, how=how)
        assert gradient["idle"].tolist() == [0, 0, 0]
        assert gradient["body.1.weight"].abs().sum() > 0


def test_what_is_measured_is_used_and_not_differentiated():
    @dataclass(frozen=True)
    class Shifted(Learner):
        def objective(self, params, task):
            return ((params["w"] + params["measured"]["shift"]) ** 2 * task.query.weight).mean()

    params = {"w": torch.tensor(1.0), "measured": {"shift": torch.tensor(2.0, requires_grad=True)}}
    for how in ("vmap", "loop", 2):
        gradient, loss = meta_gradient(Shifted(), params, constants(3), how=how)
        assert gradient.keys() == {"w"}
        assert float(gradient["w"]) == pytest.approx(6.0)
        assert float(loss) == pytest.approx(9.0)
    assert params["measured"]["shift"].grad is None


@pytest.mark.parametrize("aggregate", ["median", 3, ["mean"]])
@pytest.mark.parametrize("how", ["auto", "vmap"])
def test_an_unknown_aggregate_is_refused(how, aggregate):
    with pytest.raises(ValueError, match=r"there is no aggregate \[?'?(median|3|mean).*: give one of mean"):
        meta_gradient(*maml(), how=how, aggregate=aggregate)


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="precision is 'junk': give 'full' or 'bfloat16'"):
        meta_gradient(*maml(), how="vmap", precision="junk")


@pytest.mark.parametrize("how", ["auto", "vmap", "loop"])
def test_params_of_other_names_than_the_learners_are_refused(how):
    learner, params, tasks = maml()
    first, *rest = params
    for _ in range(2):
        with pytest.raises(ValueError, match=f"params have no {first!r} and MAML"):
            meta_gradient(learner, {name: params[name] for name in rest}, tasks, how=how)
        with pytest.raises(ValueError, match="params have 'extra' and MAML"):
            meta_gradient(learner, {**params, "extra": params[first]}, tasks, how=how)


@pytest.mark.parametrize("how", ["vamp", 0, -1])
def test_an_unknown_way_of_mapping_is_refused(how):
    with pytest.raises(ValueError, match="'vmap', 'loop', or the number"):
        meta_gradient(*maml(), how=how)


class Clock:
    """Shows times at which each measured call has taken the next of these spans."""

    def __init__(self, spans):
        self.times = [t for i, span in enumerate(spans) for t in (100.0 * i, 100.0 * i + span)]

    def __call__(self):
        return self.times.pop(0)


@pytest.mark.parametrize(
    ("spans", "quickest"),
    [
        ((1, 1, 1, 2, 2, 2, 3, 3, 3), "loop"),
        ((2, 2, 2, 1, 1, 1, 3, 3, 3), "vmap"),
        ((3, 3, 3, 2, 2, 2, 1, 1, 1), 4),
        ((3, 3, 3, 1, 90, 1, 2, 2, 2), "vmap"),  # one slow call is an accident
    ],
)
def test_the_fastest_is_the_one_whose_median_is_least_by_the_clock(spans, quickest):
    assert fastest(*maml(), clock=Clock(spans)) == quickest


@pytest.fixture
def measurements(monkeypatch):
    """Which learners were measured, each time."""
    measured = []

    def watched(learner, *others, **options):
        measured.append(learner)
        return "loop"

    monkeypatch.setattr("mapwise.engine.gradient.fastest", watched)
    monkeypatch.setattr("mapwise.engine.remembered._ways", {})
    return measured


def test_the_fastest_way_is_measured_once_for_a_learner_and_its_inputs_form(measurements):
    learner, params, tasks = maml()
    moved = tree.map(lambda leaf: leaf + 1, params)
    for batch in (tasks, pytree.tree_map(lambda leaf: leaf.flip(0), tasks)):
        meta_gradient(learner, params, batch)
        meta_gradient(replace(learner), moved, batch)
    assert len(measurements) == 1
    fewer = pytree.tree_map(lambda leaf: leaf[:3], tasks)
    for _again in range(2):
        meta_gradient(learner, params, fewer)
        meta_gradient(learner, params, tasks, remat=True)
        meta_gradient(learner, params, tasks, precision="bfloat16")
        meta_gradient(learner, params, tasks, aggregate="max")
        meta_gradient(learner, single(params), single(tasks))
        assert len(measurements) == 6


def test_learners_that_compare_equal_are_measured_apart(measurements):
    @dataclass(frozen=True)
    class Hidden(MAML):
        repeats: int = field(default=1, compare=False)

    _, params, tasks = maml()
    one, other = (Hidden(net=sine_net, loss="squared_error", repeats=repeats) for repeats in (1, 2))
    assert one == other
    for learner in (one, other, one, other):
        meta_gradient(learner, params, tasks)
    assert measurements == [one, other]


def test_a_moment_of_training_is_not_another_learner(measurements):
    learner = MAMLPlusPlus(net=sine_net, train_steps=1, anneal=1.0, loss="squared_error")
    params, tasks = learner.init(0), single(maml()[2])
    for progress in (0.8, 0.9):
        meta_gradient(learner.at(progress), params, tasks)
    assert len(measurements) == 1


def test_a_learner_without_a_rule_under_vmap_is_looped_however_slow():
    @dataclass(frozen=True)
    class Stubborn(MAML):
        def objective(self, params, task):
            return super().objective(params, task) * task.query.weight[0].item()

    _, params, tasks = maml()
    stubborn = Stubborn(net=sine_net, inner_steps=1, loss="squared_error")
    assert fastest(stubborn, params, tasks, clock=Clock((9, 9, 9))) == "loop"
    gradient, _ = meta_gradient(stubborn, params, tasks, how="auto")
    assert gradient.keys() == params.keys()


def test_a_fault_of_the_learner_is_not_taken_for_a_missing_rule():
    @dataclass(frozen=True)
    class Broken(MAML):
        def objective(self, params, task):
            raise RuntimeError("a fault")

    _, params, tasks = maml()
    with pytest.raises(RuntimeError, match="a fault"):
        fastest(Broken(net=sine_net), params, tasks)
