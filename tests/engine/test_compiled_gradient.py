"""A compiled meta-gradient is the same one, or isn't used."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch.utils import _pytree as pytree

from mapwise.core import tree
from mapwise.data.digits import digits
from mapwise.engine import compiled as compiling
from mapwise.engine.gradient import meta_gradient
from mapwise.learners.generation.abml import ABML
from mapwise.learners.metric.protonet import ProtoNet
from mapwise.learners.optimization.maml import MAML
from mapwise.nets import MLP
from mapwise.tasks.episodes import Episodes
from toy_tasks import LEARNERS, digit_net, double, hardest, long_ways, maml, protonet, sine_net, single


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


def test_a_learner_whose_program_would_end_the_process_runs_uncompiled():
    _, _, tasks = maml()
    learner = ABML(sine_net, inner_steps=1, inner_lr=0.01, loss="squared_error")
    params = double(learner.init(0))
    with pytest.warns(RuntimeWarning, match=r"^ABML isn't compiled, since torch's compiler .*, so it runs uncompiled$"):
        gradient, _ = meta_gradient(learner, params, tasks, how="vmap", compile=True)
    for path, leaf in tree.flatten(meta_gradient(learner, params, tasks, how="vmap")[0]).items():
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
