"""Meta-gradients and training: every way of mapping tasks agrees, and a run does what its settings say."""

import json
import math
import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree

from mapwise.core import tree
from mapwise.core.learner import Learner
from mapwise.core.map_tasks import task_at, tasks_in
from mapwise.core.source import About
from mapwise.core.spec import Spec
from mapwise.core.task import Examples, Task
from mapwise.data.digits import digits
from mapwise.data.rows import LabelledRows
from mapwise.engine import checkpoint
from mapwise.engine import compiled as compiling
from mapwise.engine.aggregate import aggregate_named
from mapwise.engine.evaluate import episode_values
from mapwise.engine.folder import BEST, LAST, METRICS
from mapwise.engine.gradient import fastest, meta_gradient
from mapwise.engine.optimizer import optimizer_of, parse, schedule_of
from mapwise.engine.train import train
from mapwise.learners.metric import protonet as protonets
from mapwise.learners.metric.protonet import ProtoNet
from mapwise.learners.optimization.maml import MAML
from mapwise.learners.optimization.maml_pp import MAMLPlusPlus
from mapwise.nets import MLP, Conv4, norm
from mapwise.problems.regression import Regression
from mapwise.tasks.episodes import Episodes
from mapwise.tasks.sinusoid import Sinusoid

TASKS = 7


def sine_net():
    return MLP((1,), 1, hidden=(6, 6), activation="tanh")


def digit_net():
    return MLP((1, 8, 8), None, hidden=(12,), norm="batch", activation="tanh")


def double(tree_: Any) -> Any:
    return pytree.tree_map(lambda leaf: leaf.double() if leaf.is_floating_point() else leaf, tree_)


def maml():
    learner = MAML(net=sine_net, inner_steps=2, inner_lr=0.05, loss="squared_error")
    return learner, double(learner.init(0)), double(Sinusoid(shots=4, queries=5, tasks=TASKS)(0))


def protonet():
    learner = ProtoNet(encoder=digit_net)
    return learner, double(learner.init(0)), double(Episodes(digits(), ways=3, shots=2, queries=3, tasks=TASKS)(0))


LEARNERS = {"maml": maml, "protonet": protonet}


def hardest(losses):
    """Nearly all weight on the largest loss."""
    return torch.softmax(5 * losses, 0)


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


def single(tree_: Any) -> Any:
    return pytree.tree_map(lambda leaf: leaf.float() if leaf.is_floating_point() else leaf, tree_)


def long_ways(a, b):
    """The distance of two gradients, relative to the length of the second."""
    a, b = tree.flatten(a), tree.flatten(b)
    far = sum(float((a[path] - leaf).square().sum()) for path, leaf in b.items())
    return math.sqrt(far / sum(float(leaf.square().sum()) for leaf in b.values()))


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
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "how", "weigh", "remat"),
    [("maml", "vmap", hardest, False), ("maml", 4, "mean", True), ("protonet", "loop", "mean", False)],
)
def test_a_compiled_meta_gradient_is_the_same_and_compiled_once(name, how, weigh, remat, monkeypatch):
    learner, params, tasks = LEARNERS[name]()
    if name == "maml":
        learner = replace(learner, inner_steps=1)  # the compiler takes its time for every step
    by_name = {"how": how, "aggregate": weigh, "remat": remat}
    meta_gradient(learner, params, tasks, compile=True, **by_name)
    monkeypatch.setattr(torch, "compile", lambda *_, **__: pytest.fail("compiled again"))
    other = pytree.tree_map(lambda leaf: leaf.flip(0), tasks)
    gradient, loss = meta_gradient(learner, params, other, compile=True, **by_name)
    expected, value = meta_gradient(learner, params, other, **by_name)
    torch.testing.assert_close(loss, value, rtol=1e-12, atol=0)
    for path, leaf in tree.flatten(expected).items():
        torch.testing.assert_close(tree.flatten(gradient)[path], leaf, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_a_compiled_step_of_one_task_is_as_long_as_an_uncompiled_one():
    source = Episodes(digits(), ways=2, shots=1, queries=3, tasks=2)
    learner = MAML(net=lambda: MLP((1, 8, 8), 2, hidden=()), inner_steps=1)
    params, tasks = learner.init(0), source(0)
    compiled = meta_gradient(learner, params, tasks, how="loop", compile=True)
    assert long_ways(compiled[0], meta_gradient(learner, params, tasks, how="loop")[0]) < 1e-5


def test_a_compiled_gradient_that_differs_is_not_used(monkeypatch):
    def wrong(listed, inputs):
        return lambda *tensors: [1.01 * leaf for leaf in listed(*tensors)]

    monkeypatch.setattr("torch._inductor.compile", wrong)
    monkeypatch.setattr(compiling, "_programs", [])
    learner, params, tasks = maml()
    message = (
        r"^the compiled meta-gradient differs from the uncompiled one by 0\.014 of its norm, so it runs uncompiled$"
    )
    with pytest.warns(RuntimeWarning, match=message):
        gradient, _ = meta_gradient(learner, params, tasks, how="loop", compile=True)
    assert long_ways(gradient, meta_gradient(learner, params, tasks, how="loop")[0]) < 1e-12


@pytest.mark.parametrize("precision", ["full", "bfloat16"])
def test_a_compiled_gradient_may_round_as_much_as_the_uncompiled_one(precision, monkeypatch):
    def rounded(listed, inputs):
        return lambda *tensors: [leaf.double().bfloat16().to(leaf.dtype) for leaf in listed(*tensors)]

    monkeypatch.setattr("torch._inductor.compile", rounded)
    monkeypatch.setattr(compiling, "_programs", [])
    learner, params, tasks = maml()
    by_name = {"how": "loop", "compile": True, "precision": precision}
    if precision == "bfloat16":
        meta_gradient(learner, single(params), single(tasks), **by_name)
    else:
        with pytest.warns(RuntimeWarning, match="differs from the uncompiled one by 0.00"):
            meta_gradient(learner, single(params), single(tasks), **by_name)


def test_what_cannot_be_compiled_runs_uncompiled_with_one_line():
    @dataclass(frozen=True)
    class LooksAtANumber(ProtoNet):
        def objective(self, params, task):
            loss = super().objective(params, task)
            return loss if float(loss.detach()) > 0 else 2 * loss

    _, params, tasks = protonet()
    learner = LooksAtANumber(encoder=digit_net)
    for _ in range(2):
        with pytest.warns(RuntimeWarning, match=r"can't be compiled here \(.*\), so it runs uncompiled$"):
            gradient, _ = meta_gradient(learner, params, tasks, how="loop", compile=True)
    for path, leaf in tree.flatten(meta_gradient(learner, params, tasks, how="loop")[0]).items():
        torch.testing.assert_close(tree.flatten(gradient)[path], leaf)


def test_a_learner_that_changes_all_the_time_is_not_compiled_all_the_time(monkeypatch):
    results = []
    monkeypatch.setattr(
        compiling,
        "_compile",
        lambda function, inputs, tensors: results.append(1) or (lambda tensors: function(*inputs)),
    )
    monkeypatch.setattr(compiling, "_programs", [])
    learner, params, tasks = maml()
    for i in range(compiling.MOST):
        meta_gradient(replace(learner, inner_lr=0.01 * i), params, tasks, how="vmap", compile=True)
        meta_gradient(replace(learner, inner_lr=0.01 * i), params, tasks, how="vmap", compile=True)
    assert len(results) == compiling.MOST
    with pytest.warns(RuntimeWarning, match="the learner has changed 8 times"):
        meta_gradient(replace(learner, inner_lr=1.0), params, tasks, how="vmap", compile=True)


def test_a_compiled_gradient_takes_params_and_tasks_of_other_strides():
    learner, params, tasks = maml()
    turned = tree.map(lambda leaf: leaf.mT.contiguous().mT if leaf.ndim == 2 else leaf, params)
    gradients = [meta_gradient(learner, p, tasks, how="vmap", compile=True)[0] for p in (params, turned, params)]
    for gradient in gradients:
        assert long_ways(gradient, meta_gradient(learner, params, tasks, how="vmap")[0]) < 1e-12


def test_compiled_programs_and_refusals_are_not_kept_without_end(monkeypatch):
    monkeypatch.setattr(compiling, "_compile", lambda function, inputs, tensors: lambda tensors: function(*inputs))
    monkeypatch.setattr(compiling, "_programs", [])
    learner, params, tasks = maml()
    with pytest.warns(RuntimeWarning, match="the learner has changed 8 times"):
        for i in range(compiling.MOST + 5):
            meta_gradient(replace(learner, inner_lr=0.01 * i), params, tasks, how="vmap", compile=True)
    assert len(compiling._programs) == compiling.MOST
    for rows in range(1, 70):
        fewer = pytree.tree_map(lambda leaf, rows=rows: leaf[:1].expand(rows, *leaf.shape[1:]), tasks)
        meta_gradient(learner, params, fewer, how="vmap", compile=True)
    assert len(compiling._programs) == compiling.CAPACITY


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


# Training, on tasks whose every number is known beforehand.


def constants(tasks: int, target: float = 3.0) -> Task:
    ones = torch.ones(tasks, 1)
    rows = Examples(ones[..., None], target * ones[..., None], ones, torch.zeros(tasks, dtype=torch.int64))
    return Task(rows, rows)


@dataclass(frozen=True)
class Constant:
    """Every task asks for the number 3; the test split may not be opened."""

    tasks: int = 2
    part: str = "train"
    opened: list[str] = field(default_factory=list)

    problem = Regression()
    inputs = Spec((1,))
    outputs = 1

    @property
    def about(self):
        return About("constant", self.part, "", "1", 1, 0)

    def __call__(self, step):
        return constants(self.tasks)

    def split(self, name):
        self.opened.append(name)
        if name == "test":
            raise AssertionError("the test split was opened")
        return replace(self, part=name)

    def names(self, step):
        return [[] for _ in range(self.tasks)]


@dataclass(frozen=True)
class Walk(Learner):
    """Answers its one weight, which training raises by the learning rate at every step."""

    power: float = 1.0
    moments: list[float] = field(default_factory=list)

    def init(self, seed):
        return {"w": torch.zeros(())}

    def at(self, progress):
        self.moments.append(progress)
        return self

    def adapt(self, params, support):
        return {"w": params["w"]}

    def predict(self, params, fast, x):
        return fast["w"] * x

    def objective(self, params, task):
        return -self.power * params["w"]

    def measure(self, params, source):
        return {**params, "measured": {"from": torch.tensor(float(len(source.part)))}}


def walk(steps=6, **settings):
    return train(
        Walk(),
        Constant(),
        steps=steps,
        **{"optimizer": "SGD lr=1.0", "validate_every": 1, "how": "loop", "validation_episodes": 3, **settings},
    )


def test_the_best_validation_is_returned_though_the_run_went_on(tmp_path):
    for out in (None, tmp_path):
        trained = walk(out=out)
        assert (trained.step, trained.validation, float(trained.params["w"])) == (3, 0.0, 3.0)
    tensors, about = checkpoint.load(tmp_path / BEST)
    assert (float(tensors["params"]["w"]), about["step"], about["validation"]) == (3.0, 3, 0.0)


def test_the_last_is_returned_when_asked_for(tmp_path):
    trained = walk(out=tmp_path, select="last")
    assert (trained.step, trained.validation, float(trained.params["w"])) == (6, 9.0, 6.0)
    assert float(checkpoint.load(tmp_path / BEST)[0]["params"]["w"]) == 6.0


def test_patience_ends_a_run_that_gets_no_better():
    trained = walk(steps=50, patience=2)
    assert [record["step"] for record in trained.history] == [1, 2, 3, 4, 5]
    assert trained.step == 3


def test_a_validation_that_is_not_a_number_is_never_the_best():
    @dataclass(frozen=True)
    class Lost(Walk):
        def predict(self, params, fast, x):
            return torch.where(fast["w"] == 2, fast["w"] * x, torch.nan)

    trained = train(Lost(), Constant(), steps=4, optimizer="SGD lr=1.0", validate_every=1, how="loop")
    assert (trained.step, trained.validation) == (2, 1.0)


def test_records_hold_the_step_the_mean_loss_the_rate_and_the_validation(tmp_path):
    trained = walk(steps=4, validate_every=2, out=tmp_path, schedule="linear")
    rates = [1.0, 0.75, 0.5, 0.25]
    reached = [0.0, 1.0, 1.75, 2.25, 2.5]
    records = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert records == trained.history
    assert [record["step"] for record in records] == [1, 2, 3, 4]
    assert [record["lr"] for record in records] == pytest.approx(rates)
    assert [record["loss"] for record in records] == pytest.approx([-w for w in reached[:4]])
    assert [record.get("validation") for record in records] == [None, (3 - 1.75) ** 2, None, (3 - 2.5) ** 2]


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        (None, [1, 1, 1, 1]),
        ("cosine", [1, 0.8535533906, 0.5, 0.1464466094]),
        ("StepLR step_size=2 gamma=0.5", [1, 1, 0.5, 0.5]),
        ("MultiStepLR milestones=[1,3] gamma=0.1", [1, 0.1, 0.1, 0.01]),
    ],
)
def test_a_schedule_moves_once_a_step(schedule, rates):
    assert [record["lr"] for record in walk(steps=4, schedule=schedule).history] == pytest.approx(rates)


FIVE = range(5)


@pytest.mark.parametrize(
    ("schedule", "after"),
    [
        (None, [1.0] * 5),
        ("cosine", [(1 + math.cos(math.pi * k / 5)) / 2 for k in FIVE]),
        ("linear", [1 - k / 5 for k in FIVE]),
        ("StepLR step_size=2 gamma=0.5", [1, 1, 0.5, 0.5, 0.25]),
        ("ExponentialLR gamma=0.9", [0.9**k for k in FIVE]),
        ("PolynomialLR total_iters=5 power=2.0", [(1 - k / 5) ** 2 for k in FIVE]),
    ],
)
def test_a_warm_up_rises_in_a_line_and_the_schedule_covers_the_rest(schedule, after, tmp_path):
    trained = walk(steps=8, warmup=3, schedule=schedule, select="last", out=tmp_path)
    rates = [1 / 3, 2 / 3, 1, *after]
    assert [record["lr"] for record in trained.history] == pytest.approx(rates)
    assert float(trained.params["w"]) == pytest.approx(sum(rates))  # the steps were taken at those rates
    if schedule in ("cosine", "linear"):
        groups = checkpoint.load(tmp_path / LAST)[1]["optimizer"]["groups"]
        assert groups[0]["lr"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    "schedule",
    [
        "OneCycleLR max_lr=2.0 total_steps=6 cycle_momentum=False",
        "CyclicLR base_lr=0.5 max_lr=2.0 step_size_up=2 cycle_momentum=False",
        "ConstantLR factor=0.25 total_iters=3",
        "CosineAnnealingWarmRestarts T_0=2",
        "MultiStepLR milestones=[1,3] gamma=0.1",
    ],
)
def test_a_warm_up_rises_to_whatever_rate_the_schedule_begins_with(schedule):
    alone = [record["lr"] for record in walk(steps=5, schedule=schedule).history]
    warmed = [record["lr"] for record in walk(steps=9, schedule=schedule, warmup=4).history]
    assert warmed == [alone[0] / 4, alone[0] / 2, alone[0] * 3 / 4, alone[0], *alone]


def test_clipping_bounds_the_norm_of_the_meta_gradient():
    assert float(walk(steps=4, clip=0.25, select="last").params["w"]) == pytest.approx(1.0, rel=1e-4)
    assert float(walk(steps=4, clip=9.0, select="last").params["w"]) == 4.0


def test_the_learner_is_asked_for_its_form_at_every_step_from_0_to_below_1():
    learner = Walk()
    train(learner, Constant(), steps=4, optimizer="SGD lr=1.0", how="loop")
    assert learner.moments == [0.0, 0.25, 0.5, 0.75]


def test_schedules_of_the_learner_change_what_is_descended():
    @dataclass(frozen=True)
    class Fading(Walk):
        def at(self, progress):
            return replace(self, power=1 - progress)

    trained = train(Fading(), Constant(), steps=4, optimizer="SGD lr=1.0", how="loop", select="last")
    assert float(trained.params["w"]) == pytest.approx(1 + 0.75 + 0.5 + 0.25)


def test_validation_opens_the_val_split_and_nothing_opens_the_test_split():
    source = Constant()
    train(Walk(), source, steps=3, how="auto", validate_every=1)
    assert set(source.opened) == {"val"}
    other, source = Constant(part="val"), Constant()
    train(Walk(), source, steps=3, how="auto", validation=other)
    assert source.opened == []


def test_what_is_measured_is_saved_with_the_best_and_never_trained(tmp_path):
    given = {"w": torch.zeros(()), "measured": {"from": torch.tensor(-1.0)}}
    trained = walk(out=tmp_path, params=given)
    # Of the training source, whose part has five letters.
    assert float(trained.params["measured"]["from"]) == 5.0
    assert float(checkpoint.load(tmp_path / BEST)[0]["params"]["measured"]["from"]) == 5.0
    assert set(checkpoint.load(tmp_path / LAST)[0]["params"]) == {"w"}
    assert float(given["measured"]["from"]) == -1.0


def test_the_given_params_are_left_as_they_were():
    given = {"w": torch.zeros(())}
    trained = walk(params=given)
    assert float(given["w"]) == 0.0
    assert float(trained.params["w"]) == 3.0


def test_no_steps_write_a_best_of_the_given_params(tmp_path):
    trained = walk(steps=0, out=tmp_path, params={"w": torch.tensor(7.0)})
    assert (trained.step, trained.validation, trained.history) == (0, None, [])
    tensors, about = checkpoint.load(tmp_path / BEST)
    assert (float(tensors["params"]["w"]), float(tensors["params"]["measured"]["from"])) == (7.0, 5.0)
    assert about["step"] == 0
    again = walk(steps=0, out=tmp_path, params={"w": torch.tensor(7.0)}, resume=True)
    assert float(again.params["w"]) == 7.0


def test_no_steps_keep_what_was_measured_before():
    @dataclass(frozen=True)
    class Unmeasuring(Walk):
        def measure(self, params, source):
            return params

    given = {"w": torch.tensor(1.0), "measured": {"from": torch.tensor(2.0)}}
    training = train(Unmeasuring(), Constant(), steps=0, params=given, how="loop")
    assert float(training.params["measured"]["from"]) == 2.0


def test_a_learner_with_nothing_to_train_goes_through_the_motions(tmp_path):
    source = Episodes(digits(), ways=3, shots=1, queries=2, tasks=2)
    learner = ProtoNet(encoder=torch.nn.Flatten)
    trained = train(learner, source, steps=2, out=tmp_path, validation_episodes=4)
    assert trained.params == {}
    assert trained.validation == episode_values(learner, {}, source.split("val"), 4).mean()
    assert train(learner, source, steps=2, out=tmp_path, validation_episodes=4, resume=True).history == trained.history


@pytest.mark.parametrize(
    ("settings", "episodes"),
    [
        ({}, 20),
        ({"validate_every": 10}, 40),
        ({"validate_every": 99}, 40),
        ({"tasks": 90, "validate_every": 10}, 200),
        ({"validation_episodes": 3}, 3),
    ],
)
def test_validation_costs_less_than_the_training(settings, episodes, monkeypatch):
    counts = []

    def counted(learner, params, source, count, *rest):
        counts.append(count)
        return torch.zeros(1, dtype=torch.float64)

    monkeypatch.setattr("mapwise.engine.train.episode_values", counted)
    settings = {"tasks": 8, **settings}
    source = Episodes(digits(), ways=3, shots=1, queries=2, tasks=settings.pop("tasks"))
    train(ProtoNet(encoder=torch.nn.Flatten), source, steps=10, how="vmap", **settings)
    assert set(counts) == {episodes}


def test_progress_tells_where_the_training_stands():
    seen = []
    walk(steps=4, validate_every=2, progress=seen.append)
    assert [p.step for p in seen] == [1, 2, 3, 4]
    assert {p.steps for p in seen} == {4}
    assert [p.loss for p in seen] == [0.0, -1.0, -2.0, -3.0]
    assert [p.validation for p in seen] == [None, 1.0, 1.0, 1.0]
    assert [p.best for p in seen] == [None, 1.0, 1.0, 1.0]
    assert all(p.tasks_per_second > 0 for p in seen)
    assert [p.seconds for p in seen] == sorted(p.seconds for p in seen)


def test_the_speed_of_a_resumed_run_is_its_own(tmp_path):
    def stop(progress):
        if progress.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        walk(out=tmp_path, progress=stop)
    lines = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    (tmp_path / METRICS).write_text("".join(json.dumps({**line, "seconds": 1e6}) + "\n" for line in lines))
    seen = []
    walk(out=tmp_path, resume=True, progress=seen.append)
    assert seen[0].step == 4
    assert seen[0].seconds >= 1e6
    assert seen[0].tasks_per_second > 0.01


def test_a_loss_that_stops_being_a_number_is_one_sentence():
    @dataclass(frozen=True)
    class Falling(Walk):
        def objective(self, params, task):
            return -torch.exp(params["w"])

    with pytest.raises(
        ValueError, match=r"the loss is -inf at step \d+: lower the learning rate, or set clip"
    ) as result:
        train(Falling(), Constant(), steps=99, optimizer="SGD lr=10.0", how="loop")
    assert "\n" not in str(result.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": -1}, "steps is -1: give 0 or more"),
        ({"validate_every": 0}, "validate_every is 0: give 1 or more"),
        ({"validation_episodes": 0}, "validation_episodes is 0"),
        ({"patience": 0}, "patience is 0"),
        ({"clip": 0.0}, "clip is 0.0: give a norm above 0"),
        ({"select": "first"}, "select is 'first': give 'best' or 'last'"),
        ({"how": "vamp"}, "how is 'vamp'"),
        ({"optimizer": "Adm lr=0.1"}, "torch has no optimizer 'Adm': did you mean 'Adam'"),
        ({"optimizer": "Adam lrr=0.1"}, "torch refuses 'Adam lrr=0.1'"),
        ({"optimizer": "Adam lr=-1"}, "torch refuses 'Adam lr=-1'"),
        ({"optimizer": "SGD lr"}, "the option 'lr' of 'SGD lr' has no value"),
        ({"optimizer": ""}, "the name is empty"),
        ({"optimizer": "LBFGS lr=1"}, "torch has no optimizer 'LBFGS'"),
        ({"warmup": -1}, "warmup is -1 and steps is 6: give a warm-up of 0 or more"),
        ({"warmup": 6}, "warmup is 6 and steps is 6: give a warm-up of 0 or more steps, below steps"),
        ({"warmup": 1, "steps": 0}, "warmup is 1 and steps is 0"),
        ({"schedule": "StepL step_size=2"}, "torch has no schedule 'StepL': did you mean 'StepLR'"),
        ({"schedule": "StepLR"}, "torch refuses 'StepLR'"),
        ({"schedule": "StepLR step_size=0"}, "torch refuses 'StepLR step_size=0'"),
        ({"schedule": "StepLR step_size=two"}, "torch refuses 'StepLR step_size=two'"),
        ({"schedule": "ReduceLROnPlateau"}, "torch has no schedule 'ReduceLROnPlateau'"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_sentence(settings, message):
    with pytest.raises(ValueError, match=message) as refused:
        walk(**settings)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"steps": 2.5}, "steps is 2.5: give a whole number"),
        ({"steps": math.nan}, "steps is nan: give a whole number"),
        ({"steps": True}, "steps is True: give a whole number"),
        ({"validate_every": 1.5}, "validate_every is 1.5: give a whole number"),
        ({"validation_episodes": "3"}, "validation_episodes is '3': give a whole number"),
        ({"patience": 1.5}, "patience is 1.5: give a whole number"),
        ({"seed": math.nan}, "seed is nan: give a whole number"),
        ({"warmup": 1.5}, "warmup is 1.5 and steps is 6"),
        ({"clip": "1"}, "clip is '1': give a norm above 0"),
        ({"compile": "no"}, "compile is 'no': give True or False"),
        ({"remat": 2}, "remat is 2: give True or False"),
        ({"precision": "junk"}, "precision is 'junk': give 'full' or 'bfloat16'"),
        ({"how": 2.5}, "how is 2.5: give 'auto', 'vmap', 'loop', or the number of tasks"),
        ({"how": "loops"}, "how is 'loops'"),
        ({"aggregate": "median"}, "there is no aggregate 'median'"),
    ],
)
def test_a_value_that_a_setting_cannot_have_is_refused_and_leaves_the_folder_as_it_was(settings, sentence, tmp_path):
    (tmp_path / LAST).write_bytes(b"of an earlier run")
    with pytest.raises(ValueError, match=sentence) as refused:
        walk(**settings, out=tmp_path)
    assert "\n" not in str(refused.value)
    assert (tmp_path / LAST).read_bytes() == b"of an earlier run"


def test_a_meta_gradient_refuses_an_unknown_precision():
    with pytest.raises(ValueError, match="precision is 'junk': give 'full' or 'bfloat16'"):
        meta_gradient(*maml(), how="vmap", precision="junk")


def test_options_are_read_as_python_values():
    assert parse("Adam lr=0.1 betas=(0.9,0.99) amsgrad=True") == (
        "Adam",
        {"lr": 0.1, "betas": (0.9, 0.99), "amsgrad": True},
    )
    assert parse("OneCycleLR anneal_strategy=linear") == ("OneCycleLR", {"anneal_strategy": "linear"})


@pytest.mark.parametrize("name", ["Adadelta", "Adagrad", "Adam", "AdamW", "NAdam", "RAdam", "RMSprop", "Rprop", "SGD"])
def test_every_usual_optimizer_resumes_to_the_same_bits(name, tmp_path):
    def run(out, **settings):
        learner = MAML(net=sine_net, inner_steps=1, inner_lr=0.05, loss="squared_error")
        source = Sinusoid(shots=4, queries=4, tasks=2)
        return train(learner, source, steps=6, optimizer=f"{name} lr=0.01", how="loop", out=out, **settings)

    def stop(progress):
        if progress.step == 4:
            raise KeyboardInterrupt

    run(tmp_path / "alone", validation_episodes=2)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", validation_episodes=2, progress=stop)
    run(tmp_path / "stopped", validation_episodes=2, resume=True)
    assert (tmp_path / "alone" / LAST).read_bytes() == (tmp_path / "stopped" / LAST).read_bytes()


def test_no_leaves_need_no_optimizer_though_its_name_must_be_right():
    assert optimizer_of("SGD lr=0.1", []) is None
    assert schedule_of("cosine", None, 10) is None
    with pytest.raises(ValueError, match="did you mean"):
        optimizer_of("SDG lr=0.1", [])


def planted():
    """Classes that differ in two of twenty columns; the others are noise of the same size."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(60), 10)
    x = random.standard_normal((600, 20))
    x[:, :2] = 3 * random.standard_normal((60, 2))[labels] + 0.3 * x[:, :2]
    x[:, 2:] *= 3
    return LabelledRows.of(x, labels)


@pytest.mark.parametrize("learner", ["maml", "protonet"])
def test_training_on_toy_tasks_makes_unseen_tasks_easier(learner):
    if learner == "maml":
        source = Sinusoid(shots=10, queries=10, tasks=16)
        result = MAML(net=sine_net, inner_steps=1, inner_lr=0.05, loss="squared_error")
        trained = train(result, source, steps=60, optimizer="Adam lr=0.02", how="vmap", validation_episodes=48)
    else:
        source = Episodes(planted(), ways=5, shots=1, queries=5, tasks=8)
        result = ProtoNet(encoder=lambda: MLP((20,), None, hidden=(16,), norm="frozen"))
        trained = train(result, source, steps=60, optimizer="Adam lr=0.01", how="vmap", validation_episodes=48)
    before = episode_values(result, result.measure(result.init(0), source), source.split("test"), 96)
    after = episode_values(result, trained.params, source.split("test"), 96)
    gain = before - after if source.problem.metric.lower_is_better else after - before
    assert gain.mean() > 3 * gain.std(ddof=1) / 96**0.5
