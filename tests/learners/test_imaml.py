"""Implicit MAML: its slope is that of a converged adaptation, whatever the number of steps and the way of mapping."""

import copy
import weakref
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mapwise.core import tree
from mapwise.core.map_tasks import task_at
from mapwise.core.solvers import conjugate_gradient
from mapwise.core.task import Examples, Task
from mapwise.engine.gradient import meta_gradient
from mapwise.learners.optimization.imaml import IMAML
from mapwise.nets import MLP, Conv4
from small_tasks import TASK, net, rows


def slope(learner, params, task):
    live = tree.map(lambda leaf: leaf.detach().clone().requires_grad_(), params)
    loss = learner.objective(live, task)
    return loss.detach(), dict(zip(live, torch.autograd.grad(loss, list(live.values())), strict=True))


# The solver ----------------------------------------------------------------------------------------------


def system(n: int, seed: int = 0, least: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    """A symmetric matrix whose eigenvalues begin at `least`, and a right hand side."""
    random = np.random.default_rng(seed)
    turned, _ = np.linalg.qr(random.normal(size=(n, n)))
    matrix = turned @ np.diag(least + random.uniform(0, 5, size=n) * (np.arange(n) > 0)) @ turned.T
    return torch.from_numpy((matrix + matrix.T) / 2), torch.from_numpy(random.normal(size=n))


def split(x: torch.Tensor) -> dict:
    return {"a": x[..., :2], "part": {"b": x[..., 2:]}}


def joined(x: dict) -> torch.Tensor:
    return torch.cat([x["a"], x["part"]["b"]], -1)


def solved(matrix: torch.Tensor, target: torch.Tensor, **settings) -> torch.Tensor:
    return joined(conjugate_gradient(lambda x: split(matrix @ joined(x)), split(target), **settings))


@pytest.mark.parametrize("damping", [0.0, 1.5])
@pytest.mark.parametrize("n", [3, 8, 20])
def test_conjugate_gradient_solves_a_positive_definite_system(n, damping):
    matrix, target = system(n)
    expected = torch.linalg.solve(matrix + damping * torch.eye(n).double(), target)
    torch.testing.assert_close(solved(matrix, target, steps=3 * n, damping=damping), expected, rtol=1e-8, atol=1e-9)


def test_every_step_of_conjugate_gradient_is_the_best_in_its_space():
    matrix, target = system(6)
    krylov = [target]
    for steps in range(1, 5):
        basis = torch.stack(krylov, 1)  # [6, steps]
        best = basis @ torch.linalg.solve(basis.T @ matrix @ basis, basis.T @ target)
        torch.testing.assert_close(solved(matrix, target, steps=steps), best, rtol=1e-7, atol=1e-9)
        krylov.append(matrix @ krylov[-1])


def test_a_solved_system_is_left_as_it_is_while_others_go_on():
    easy, hard = torch.eye(6).double() * 3, system(6, seed=1)[0]
    target = torch.stack([system(6)[1]] * 3)
    matrices = torch.stack([easy, hard, hard])
    target[2] = 0
    result = torch.vmap(partial(solved, steps=12))(matrices, target)
    torch.testing.assert_close(result[:2], torch.linalg.solve(matrices, target)[:2], rtol=1e-9, atol=1e-10)
    assert not bool(result[2].any())
    assert torch.equal(solved(easy, target[0], steps=50), solved(easy, target[0], steps=1))


def test_a_looser_tolerance_stops_earlier():
    matrix, target = system(8)
    loose = solved(matrix, target, steps=20, tolerance=0.3)
    stops = [torch.equal(loose, solved(matrix, target, steps=steps, tolerance=0)) for steps in range(1, 9)]
    (stop,) = [steps for steps, same in enumerate(stops, start=1) if same]
    assert float((matrix @ loose - target).norm()) <= 0.3 * float(target.norm())
    assert float((matrix @ solved(matrix, target, steps=stop - 1) - target).norm()) > 0.3 * float(target.norm())


def test_negative_curvature_ends_the_steps_and_never_turns_the_answer_round():
    for seed in range(20):
        matrix, target = system(6, seed=seed, least=-3.0)
        result = solved(matrix, target, steps=30)
        assert bool(result.isfinite().all()) and float(result @ target) > 0
    assert torch.equal(solved(-torch.eye(6).double(), target, steps=5), target)


def test_conjugate_gradient_is_differentiable():
    matrix, target = system(4)
    assert torch.autograd.gradcheck(lambda t: solved(matrix, t, steps=3), target.requires_grad_())


# The slope -----------------------------------------------------------------------------------------------


def test_on_a_quadratic_it_is_the_closed_form():
    random = np.random.default_rng(0)
    (x, y), (x_q, y_q) = ((random.normal(size=(n, 4)), random.normal(size=(n, 1))) for n in (6, 5))
    task = Task(*(Examples(*map(torch.from_numpy, part), torch.ones(len(part[0])), torch.tensor(0)) for part in
                  ((x, y), (x_q, y_q))))  # fmt: skip
    pull, theta = 0.7, random.normal(size=4)
    # L = |x w - y|^2 / N has the second derivative 2 x'x / N
    h, g_0 = 2 * x.T @ x / 6, 2 * x.T @ y[:, 0] / 6
    phi = np.linalg.solve(h + pull * np.eye(4), g_0 + pull * theta)
    g = 2 * x_q.T @ (x_q @ phi - y_q[:, 0]) / 5
    expected = np.linalg.solve(np.eye(4) + h / pull, g)

    learner = IMAML(
        nn.Linear(4, 1, bias=False).double(),
        pull=pull, inner_steps=500, inner_lr=0.2, cg_steps=20, loss="squared_error",
    )  # fmt: skip
    params = {"weight": torch.from_numpy(theta[None])}
    np.testing.assert_allclose(learner.adapt(params, task.support)["weight"][0], phi, rtol=1e-10)
    loss, gradient = slope(learner, params, task)
    np.testing.assert_allclose(gradient["weight"][0], expected, rtol=1e-8)
    np.testing.assert_allclose(loss, np.mean((x_q @ phi - y_q[:, 0]) ** 2), rtol=1e-10)


@pytest.mark.parametrize(("norm", "pull"), [(None, 0.5), ("support", 2.0), ("batch", 2.0)])
def test_it_is_the_gradient_through_all_steps_of_a_converged_adaptation(norm, pull):
    rate, task = 0.25, Task(rows(12), rows(9, seed=1))
    torch.manual_seed(0)
    module = MLP((4,), 3, hidden=(6,), norm=norm, activation="tanh").double()
    learner = IMAML(module, pull=pull, inner_steps=400, inner_lr=rate, cg_steps=200)
    params = learner.init(0)

    def scores(weights: dict, part: Examples, statistics: torch.Tensor | None = None) -> torch.Tensor:
        """The net written out."""
        hidden = part.x @ weights["body.1.weight"].T + weights["body.1.bias"]
        if norm is not None:
            mean, variance = (hidden.mean(0), hidden.var(0, correction=0)) if statistics is None else statistics
            hidden = (hidden - mean) / torch.sqrt(variance + 1e-5) * weights["body.2.weight"] + weights["body.2.bias"]
        return torch.tanh(hidden) @ weights["head.weight"].T + weights["head.bias"]

    def support_loss(weights: dict) -> torch.Tensor:
        return F.cross_entropy(scores(weights, task.support), task.support.y.argmax(1))

    live = {name: leaf.clone().requires_grad_() for name, leaf in params.items()}
    phi = live
    for _ in range(400):
        pulled = support_loss(phi) + pull / 2 * sum(((phi[name] - live[name]) ** 2).sum() for name in live)
        slopes = torch.autograd.grad(pulled, list(phi.values()), create_graph=True)
        phi = {name: phi[name] - rate * s for name, s in zip(phi, slopes, strict=True)}
    assert max(float(s.detach().abs().max()) for s in slopes) < 1e-8  # converged
    statistics = None
    if norm == "support":
        hidden = task.support.x @ phi["body.1.weight"].T + phi["body.1.bias"]
        statistics = (hidden.mean(0), hidden.var(0, correction=0))
    loss = F.cross_entropy(scores(phi, task.query, statistics), task.query.y.argmax(1))
    expected = torch.autograd.grad(loss, list(live.values()), retain_graph=True)

    # The pull outweighs the most negative curvature.
    end = {name: leaf.detach() for name, leaf in phi.items()}
    matrix = torch.func.jacrev(torch.func.grad(support_loss))(end)
    full = torch.cat([torch.cat([matrix[a][b].reshape(end[a].numel(), -1) for b in end], 1) for a in end])
    assert float(torch.linalg.eigvalsh(full)[0]) > -pull

    found_loss, gradient = slope(learner, params, task)
    torch.testing.assert_close(found_loss, loss.detach(), rtol=1e-8, atol=0)
    for name, through in zip(live, expected, strict=True):
        torch.testing.assert_close(gradient[name], through, rtol=1e-4, atol=1e-12)
    # What first-order MAML would say is another thing.
    (of_head,) = torch.autograd.grad(loss, [phi["head.weight"]])
    assert not torch.allclose(gradient["head.weight"], of_head, rtol=0.05)


@pytest.mark.parametrize("norm", ["support", "batch"])
@pytest.mark.parametrize("down", ["pool", "stride"])
def test_convolutions_have_the_same_slope_however_tasks_are_mapped(down, norm):
    module = Conv4((1, 16, 16), 3, filters=4, down=down, norm=norm).double()
    learner = IMAML(module, inner_steps=3, cg_steps=3)
    params = learner.init(0)
    random = np.random.default_rng(0)

    def images(count: int) -> Examples:
        y = F.one_hot(torch.arange(count) % 3, 3).double().expand(3, -1, -1)
        x = torch.from_numpy(random.normal(size=(3, count, 1, 16, 16)))
        return Examples(x, y, torch.ones(3, count).double(), torch.arange(3))

    tasks = Task(images(3), images(6))
    one_by_one = [slope(learner, params, task_at(tasks, t))[1] for t in range(3)]
    for how in ("vmap", "loop", 2):
        gradient, _ = meta_gradient(learner, params, tasks, how=how)
        for name in params:
            expected = torch.stack([each[name] for each in one_by_one]).mean(0)
            torch.testing.assert_close(gradient[name], expected, rtol=1e-10, atol=1e-10 * float(expected.abs().max()))


def test_memory_does_not_grow_with_the_inner_steps():
    class Saved:
        def __init__(self, tensor: torch.Tensor) -> None:
            self.tensor = tensor

    def peak(steps: int) -> int:
        alive: weakref.WeakSet[Saved] = weakref.WeakSet()
        most = 0

        def pack(tensor: torch.Tensor) -> Saved:
            nonlocal most
            saved = Saved(tensor)
            alive.add(saved)
            most = max(most, sum(each.tensor.numel() for each in alive))
            return saved

        learner = IMAML(net(), inner_steps=steps, cg_steps=2)
        live = {name: leaf.requires_grad_() for name, leaf in learner.init(0).items()}
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved.tensor):
            loss = learner.objective(live, TASK)
        assert loss.requires_grad and most > 0
        return most

    assert peak(50) == peak(1)


def test_the_slope_of_its_surrogate_is_its_own():
    learner = IMAML(net(), inner_steps=3)
    params = learner.init(0)
    _, gradient = slope(learner, params, TASK)
    point = tree.map(lambda leaf: leaf.clone().requires_grad_(), params)
    again = torch.autograd.grad(learner.surrogate(params, TASK)(point), list(point.values()))
    assert all(torch.equal(gradient[name], leaf) for name, leaf in zip(params, again, strict=True))


def test_one_step_and_much_damping_leave_the_direction_of_first_order():
    learner = IMAML(net(), damping=1e6, cg_steps=1)
    params = learner.init(0)
    fast = learner.adapt(params, TASK.support)
    at_phi = {name: fast[name].clone().requires_grad_() for name in params}
    loss = F.cross_entropy(torch.func.functional_call(learner.net, at_phi, (TASK.query.x,)), TASK.query.y.argmax(1))
    _, gradient = slope(learner, params, TASK)
    for name, g in zip(at_phi, torch.autograd.grad(loss, list(at_phi.values())), strict=True):
        torch.testing.assert_close(gradient[name] * 1e6, g, rtol=1e-4, atol=1e-6)


# The adaptation ------------------------------------------------------------------------------------------


def test_adapting_takes_the_steps_of_torchs_sgd_under_the_pull():
    learner = IMAML(net(), pull=1.5, inner_steps=4, inner_lr=0.2)
    fast = learner.adapt(learner.init(0), TASK.support)
    module, start = copy.deepcopy(learner.net), dict(learner.net.named_parameters())
    optimizer = torch.optim.SGD(module.parameters(), lr=0.2)
    for _ in range(4):
        optimizer.zero_grad()
        pull = sum(((p - start[name].detach()) ** 2).sum() for name, p in module.named_parameters())
        (F.cross_entropy(module(TASK.support.x), TASK.support.y.argmax(1)) + 0.75 * pull).backward()
        optimizer.step()
    for name, leaf in module.named_parameters():
        torch.testing.assert_close(fast[name], leaf.detach(), rtol=1e-12, atol=1e-14)


def test_one_shot_unequal_shots_and_absent_classes_are_taken():
    learner = IMAML(net())
    params = learner.init(0)
    assert bool(torch.isfinite(learner.predict(params, learner.adapt(params, rows(3)), TASK.query.x)).all())
    support = rows(7)
    support = support._replace(weight=support.weight * (support.y[:, 1] == 0))
    scores = learner.predict(params, learner.adapt(params, support), TASK.query.x)
    assert bool((scores.argmax(1) != 1).all()) and bool(torch.isfinite(scores).all())
    query = TASK.query._replace(weight=TASK.query.weight * (TASK.query.y[:, 1] == 0))
    _, gradient = slope(learner, params, Task(support, query))
    assert all(bool(leaf.isfinite().all()) for leaf in gradient.values())


def test_a_head_takes_tasks_of_fewer_classes_and_refuses_more():
    learner = IMAML(net(outputs=3))
    params = learner.init(0)
    fast = learner.adapt(params, rows(4, ways=2))
    assert learner.predict(params, fast, TASK.query.x).shape == (9, 2)
    with pytest.raises(ValueError, match="the head has 3 columns and the task has 4 classes"):
        learner.adapt(params, rows(4, ways=4))


@pytest.mark.parametrize(
    ("field", "value", "answer"),
    [
        ("pull", 0.0, "pull is 0.0: give a positive number, or take maml"),
        ("pull", float("nan"), "pull is nan: give a number"),
        ("cg_steps", 0, "cg_steps is 0: give at least one step"),
        ("damping", -1.0, "damping is -1.0: give 0 for none"),
    ],
)
def test_settings_without_a_meaning_are_refused(field, value, answer):
    with pytest.raises(ValueError, match=answer):
        IMAML(net(), **{field: value})
