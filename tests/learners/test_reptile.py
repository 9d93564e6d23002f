"""Reptile: its slope is the way to the adapted weights, and its mini-batches are passes over the support."""

import copy
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from law_cases import TINY, blobs
from mapwise.core import tree
from mapwise.core.map_tasks import task_at
from mapwise.core.mini_batch import mini_batch
from mapwise.core.task import Examples
from mapwise.engine.gradient import meta_gradient
from mapwise.engine.train import train
from mapwise.laws.check import check
from mapwise.learners.optimization.reptile import Reptile
from mapwise.nets import MLP
from mapwise.tasks.sinusoid import Sinusoid
from small_tasks import TASK, net, rows


def reptile(**settings) -> Reptile:
    return Reptile(net(), **{"inner_steps": 5, "inner_batch": 4, "inner_lr": 0.05, **settings})


def slope(learner, params, task):
    live = tree.map(lambda leaf: leaf.detach().clone().requires_grad_(), params)
    loss = learner.objective(live, task)
    return loss.detach(), dict(zip(live, torch.autograd.grad(loss, list(live.values())), strict=True))


# The rule ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [None, 1, 4, 10])
def test_the_slope_is_params_minus_the_adapted_weights(batch):
    learner = reptile(inner_batch=batch)
    params = learner.init(0)
    fast = learner.adapt(params, TASK.support)
    _, gradient = slope(learner, params, TASK)
    point = tree.map(lambda leaf: leaf.clone().requires_grad_(), params)
    surrogate = torch.autograd.grad(learner.surrogate(params, TASK)(point), list(point.values()))
    for name, of_surrogate in zip(params, surrogate, strict=True):
        assert torch.equal(gradient[name], params[name] - fast[name])
        assert torch.equal(of_surrogate, params[name] - fast[name])
        assert bool(gradient[name].any())


def test_the_value_is_the_query_loss_and_the_query_is_not_learned_from():
    learner = reptile()
    params = learner.init(0)
    loss, gradient = slope(learner, params, TASK)
    module = copy.deepcopy(learner.net)
    module.load_state_dict({name: learner.adapt(params, TASK.support)[name] for name in params})
    torch.testing.assert_close(loss, F.cross_entropy(module(TASK.query.x), TASK.query.y.argmax(1)).detach())
    other_loss, same = slope(learner, params, TASK._replace(query=rows(9, seed=2)))
    assert float(other_loss) != float(loss)
    assert all(torch.equal(gradient[name], same[name]) for name in params)


def test_adapting_takes_the_steps_of_torchs_adam_on_the_mini_batches():
    learner = reptile(inner_steps=7)
    fast = learner.adapt(learner.init(0), TASK.support)
    module = copy.deepcopy(learner.net)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05, betas=(0.0, 0.999), eps=1e-8)
    for step in range(7):
        batch = mini_batch(TASK.support, step, 4)
        optimizer.zero_grad()
        F.cross_entropy(module(batch.x), batch.y.argmax(1)).backward()
        optimizer.step()
    for name, leaf in module.named_parameters():
        torch.testing.assert_close(fast[name], leaf.detach(), rtol=1e-10, atol=1e-12)


def test_an_outer_step_of_rate_one_lands_on_the_mean_of_the_adapted_weights():
    build = partial(MLP, (1,), 1, hidden=(6,), activation="tanh")
    learner = Reptile(build, train_steps=3, train_batch=4, inner_lr=0.01, loss="squared_error")
    source, start = Sinusoid(shots=8, queries=5, tasks=4), learner.init(0)
    trained = train(learner, source, steps=1, params=start, optimizer="SGD lr=1", select="last", how="vmap")
    now = learner.at(0.0)
    ends = [now.adapt(start, task_at(source(0), t).support) for t in range(4)]
    for name, leaf in trained.params.items():
        torch.testing.assert_close(leaf, torch.stack([end[name] for end in ends]).mean(0))


@pytest.mark.parametrize("how", ["vmap", "loop", 2])
def test_no_graph_of_the_inner_steps_is_built_and_every_mapping_agrees(how):
    build = partial(MLP, (1,), 1, hidden=(6,), activation="tanh")
    learner = Reptile(build, inner_steps=3, inner_batch=2, inner_lr=0.01, loss="squared_error")
    params, tasks = learner.init(0), Sinusoid(shots=5, queries=5, tasks=3)(0)
    gradient, _ = meta_gradient(learner, params, tasks, how=how)
    for name, leaf in params.items():
        ends = torch.stack([learner.adapt(params, task_at(tasks, t).support)[name] for t in range(3)])
        torch.testing.assert_close(gradient[name], (leaf - ends).mean(0), rtol=1e-4, atol=1e-7)
    live = tree.map(lambda leaf: leaf.clone().requires_grad_(), params)
    seen, waiting = set(), [learner.objective(live, task_at(tasks, 0)).grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None:
            seen.add(type(node).__name__)
            waiting.extend(after for after, _ in node.next_functions)
    assert not any("Tanh" in name or "Addmm" in name for name in seen)


def test_training_takes_its_own_steps_and_batches():
    learner = reptile(train_steps=2, train_batch=6)
    now = learner.at(0.3)
    assert (now.inner_steps, now.inner_batch) == (2, 6) and now.at(0.5) == now
    plain = reptile(train_steps=None, train_batch=None).at(0.3)
    assert (plain.inner_steps, plain.inner_batch) == (5, 4)


# Mini-batches --------------------------------------------------------------------------------------------


def numbered(weight: list[float], key: int = 0) -> Examples:
    """Rows whose x is their place among those that count, and -1 for the others."""
    counts = torch.tensor(weight)
    x = torch.where(counts > 0, counts.gt(0).cumsum(0) - 1, -1).double()
    return Examples(x[:, None], torch.ones(len(weight), 1), counts, torch.tensor(key))


def stream(support: Examples, size: int, steps: int) -> list[list[int]]:
    return [mini_batch(support, step, size).x[:, 0].long().tolist() for step in range(steps)]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 12])
def test_every_row_comes_once_before_any_comes_again(size):
    batches = stream(numbered([1.0] * 7), size, steps=28)
    assert {len(batch) for batch in batches} == {size}
    flat = [place for batch in batches for place in batch]
    passes = [tuple(flat[i : i + 7]) for i in range(0, len(flat), 7)]
    assert all(sorted(each) == list(range(7)) for each in passes)
    assert len(passes) == 4 * size and len(set(passes)) > 1


def test_padding_rows_are_in_no_mini_batch_and_change_none():
    plain = stream(numbered([1.0] * 5), 3, steps=10)
    assert stream(numbered([0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0]), 3, steps=10) == plain


def test_other_tasks_have_other_orders_and_under_vmap_each_has_its_own():
    supports = [numbered([1.0] * 6, key) for key in range(4)] + [numbered([1.0, 0.0, 1.0, 1.0, 0.0, 1.0], 9)]
    batch = Examples(*(torch.stack(leaves) for leaves in zip(*supports, strict=True)))
    for step in (0, 1, 5):
        mapped = torch.vmap(lambda support, step=step: mini_batch(support, step, 4).x[:, 0])(batch)
        assert mapped.tolist() == [mini_batch(support, step, 4).x[:, 0].tolist() for support in supports]
    assert len({str(stream(support, 4, 3)) for support in supports}) == 5


def test_a_support_without_any_row_moves_nothing():
    learner = reptile()
    params = learner.init(0)
    fast = learner.adapt(params, TASK.support._replace(weight=torch.zeros(6).double()))
    assert all(torch.equal(fast[name], params[name]) for name in params)


# Particular tasks ----------------------------------------------------------------------------------------


def test_one_shot_unequal_shots_and_absent_classes_are_taken():
    learner = reptile()
    params = learner.init(0)
    assert bool(torch.isfinite(learner.predict(params, learner.adapt(params, rows(3)), TASK.query.x)).all())
    support = rows(7)
    support = support._replace(weight=support.weight * (support.y[:, 1] == 0))
    scores = learner.predict(params, learner.adapt(params, support), TASK.query.x)
    assert bool((scores.argmax(1) != 1).all()) and bool(torch.isfinite(scores).all())


def test_a_head_takes_tasks_of_fewer_classes_and_refuses_more():
    learner = reptile()
    params = learner.init(0)
    fast = learner.adapt(params, rows(4, ways=2))
    assert learner.predict(params, fast, TASK.query.x).shape == (9, 2)
    with pytest.raises(ValueError, match="the head has 3 columns and the task has 4 classes"):
        learner.adapt(params, rows(4, ways=4))


@pytest.mark.parametrize("field", ["inner_batch", "train_batch"])
def test_an_empty_mini_batch_is_refused(field):
    with pytest.raises(ValueError, match=f"{field} is 0: give at least one row"):
        reptile(**{field: 0})


def test_with_all_rows_in_every_step_the_order_of_the_rows_changes_nothing():
    settings = {"inner_steps": 3, "inner_batch": None, "train_steps": None, "train_batch": None, "inner_lr": 0.02}
    learner = Reptile(partial(MLP, (8,), 3, **TINY), **settings)
    assert "order" in learner.keeps
    check(learner, blobs()).raise_if_broken()
