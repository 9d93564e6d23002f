"""The learned optimizer against plain loops, its meta-gradient against finite differences, and truncation."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

import mapwise as mw
from law_cases import BY_NAME, TINY, blobs
from mapwise.core import tree
from mapwise.core.inner_loop import Carry, descend, walk
from mapwise.core.map_tasks import task_at
from mapwise.core.mini_batch import mini_batch
from mapwise.engine.aggregate import mean
from mapwise.engine.optimizer_state import OptimizerState
from mapwise.engine.unrolled import UnrolledState, check_unrolled, unrolled_update, window_gradient
from mapwise.laws.case import Case
from mapwise.learners.optimization.learned_optimizer import LearnedOptimizer
from mapwise.nets import MLP
from mapwise.nets.linear import Linear
from mapwise.tasks.quadratics import Quadratics

SOURCE = Quadratics(tasks=3, dimension=4)


def quadratic(**fields):
    given = {"inner_steps": 6, "unroll": 2, "hidden": 5, "loss": "squared_error", **fields}
    return LearnedOptimizer(partial(Linear, (4,), 1), **given)


def doubled(value):
    return pytree.tree_map(lambda leaf: leaf.double() if leaf.is_floating_point() else leaf, value)


def problem(seed=0):
    learner = quadratic()
    return learner, doubled(learner.init(seed)), doubled(task_at(SOURCE(seed), 0))


def numbers(params):
    return {path: leaf.detach().numpy() for path, leaf in tree.flatten(params).items()}


# In numpy, from the paper.


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def cell(x, h, c, weights):
    i, f, g, o = np.split(weights["input"] @ x + weights["recurrent"] @ h + weights["bias"], 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def read(gradient, p=10):
    if abs(gradient) >= np.exp(-p):
        return np.array([np.log(abs(gradient)) / p, np.sign(gradient)])
    return np.array([-1.0, np.exp(p) * gradient])


def plain_descent(params, w, y, theta, steps, hidden, scale=0.1, gradients=None, state=None, preprocess=read):
    """The points after every step, coordinate by coordinate; gradients: given instead of those at the points."""
    flat = numbers(params)
    layers = [
        {name: flat[f"{layer}/{name}"] for name in ("input", "recurrent", "bias")} for layer in ("first", "second")
    ]
    out, bias = flat["output/weight"], flat["output/bias"]
    state = state or [[np.zeros(hidden) for _ in range(4)] for _ in theta]
    points, seen = [theta], []
    for t in range(steps):
        gradient = 2 * w.T @ (w @ theta - y) / len(y) if gradients is None else gradients[t]
        seen.append(gradient)
        theta = theta.copy()
        for i, g in enumerate(gradient):
            h1, c1, h2, c2 = state[i]
            h1, c1 = cell(preprocess(g), h1, c1, layers[0])
            h2, c2 = cell(h1, h2, c2, layers[1])
            theta[i] += scale * (out @ h2 + bias)
            state[i] = [h1, c1, h2, c2]
        points.append(theta)
    return points, seen, state


def in_numpy(task):
    return task.support.x.numpy(), task.support.y[:, 0].numpy()


@dataclass(frozen=True)
class ReadsTheGradientAsItIs(LearnedOptimizer):
    def rule(self, params):
        rule = super().rule(params)
        return _Plain(rule.first, rule.second, rule.output, rule.scale)


class _Plain(type(quadratic().rule(quadratic().init(0)))):
    def step(self, point, gradient, state, t, value):
        return super().step(point, tree.map(lambda leaf: 3 * leaf, gradient), state, t, value)


pytree.register_pytree_node(
    _Plain, lambda rule: ([rule.first, rule.second, rule.output, rule.scale], None), lambda parts, _: _Plain(*parts)
)


@pytest.mark.parametrize(("kind", "right"), [(LearnedOptimizer, True), (ReadsTheGradientAsItIs, False)])
def test_the_steps_are_those_of_a_plain_loop(kind, right):
    _, params, task = problem()
    learner = kind(partial(Linear, (4,), 1), inner_steps=6, hidden=5, loss="squared_error")
    start = learner.start(params, task.support)["head.weight"][0].numpy()
    points, *_ = plain_descent(params, *in_numpy(task), start, 6, 5)
    moved = learner.adapt(params, task.support)["head.weight"][0].numpy()
    assert np.allclose(moved, points[-1], rtol=1e-10, atol=1e-12) == right
    assert not np.allclose(points[-1], start)


def test_a_small_gradient_is_read_as_it_is_and_a_large_one_by_its_logarithm():
    _, params, task = problem()
    start = np.zeros(4)
    w, y = np.eye(4), np.array([1e-7, 1e-3, 1.0, 1e4])
    points, *_ = plain_descent(params, w, y, start, 4, 5)
    rows = task.support._replace(x=torch.from_numpy(w), y=torch.from_numpy(y)[:, None])
    learner = quadratic(inner_steps=4, initial_scale=0.0)
    moved = learner.adapt(params, rows)["head.weight"][0].numpy()
    np.testing.assert_allclose(moved, points[-1], rtol=1e-10)


def test_an_output_of_zero_leaves_the_weights_in_place():
    learner, params, task = problem()
    params["output"] = tree.zeros_like(params["output"])
    moved, start = learner.adapt(params, task.support), learner.start(params, task.support)
    assert torch.equal(moved["head.weight"], start["head.weight"])


def window_value(flat, learner, task, gradients, start, hidden=5):
    """The sum of the losses after each step, in numpy, with the gradients held as constants."""
    w, y = in_numpy(task)
    points, *_ = plain_descent(tree.unflatten(flat), w, y, start, len(gradients), hidden, gradients=gradients)
    return sum(((w @ theta - y) ** 2).mean() for theta in points[1:])


def test_the_gradient_of_an_unroll_equals_finite_differences_with_the_gradients_as_constants():
    learner, params, task = problem()
    w, y = in_numpy(task)
    start = learner.start(params, task.support)["head.weight"][0].numpy()
    _, gradients, _ = plain_descent(params, w, y, start, 4, 5)
    batch = pytree.tree_map(lambda leaf: leaf[None], task)
    learner = quadratic(inner_steps=4, unroll=4)
    gradient, loss, _ = window_gradient(learner, params, batch, {}, 0, how="loop", aggregate=mean)
    flat = {path: leaf.clone() for path, leaf in tree.flatten(params).items()}
    assert loss.item() == pytest.approx(window_value(flat, learner, task, gradients, start), rel=1e-10)
    for path, leaf in tree.flatten(gradient).items():
        place = tuple(size // 2 for size in leaf.shape)
        ends = []
        for sign in (1, -1):
            moved = {**flat, path: flat[path].clone()}
            moved[path][place] += sign * 1e-6
            ends.append(window_value(moved, learner, task, gradients, start))
        assert leaf[place].item() == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=2e-5, abs=1e-9), path


def plain_window(learner, params, task, carry, first):
    """The backward pass through one window alone, by autograd."""
    leaves = {path: leaf.detach().clone().requires_grad_() for path, leaf in tree.flatten(params).items()}
    rule = learner.rule(tree.unflatten(leaves))
    present = learner.present_in(task.support)
    total = 0.0
    for t in range(first, first + learner.unroll):
        point = {name: leaf.detach().requires_grad_() for name, leaf in carry.point.items()}
        loss = learner.loss_of(point, task.support, present)
        slope = dict(zip(point, torch.autograd.grad(loss, list(point.values())), strict=True))
        carry = Carry(*rule.step(carry.point, slope, carry.state, t, loss.detach()))
        total = total + learner.loss_of(carry.point, task.support, present)
    return torch.autograd.grad(total, list(leaves.values())), carry


@pytest.mark.parametrize("how", ["vmap", "loop", 2])
@pytest.mark.parametrize("remat", [False, True])
def test_the_gradient_of_a_window_is_that_of_the_backward_pass_through_it_alone(how, remat):
    learner, params, _ = problem()
    batch = doubled(SOURCE(0))
    carry, gradients = {}, []
    for first in (0, 2, 4):
        gradient, _, carry = window_gradient(learner, params, batch, carry, first, how=how, aggregate=mean, remat=remat)
        gradients.append(gradient)
    assert not any(leaf.requires_grad for leaf in pytree.tree_leaves(carry))
    wanted = [[] for _ in gradients]
    for i in range(3):
        task = task_at(batch, i)
        at = learner.begin(params, task)
        for place, first in enumerate((0, 2, 4)):
            parts, at = plain_window(learner, params, task, pytree.tree_map(torch.Tensor.detach, at), first)
            wanted[place].append(parts)
    for gradient, parts in zip(gradients, wanted, strict=True):
        for leaf, *of_tasks in zip(tree.flatten(gradient).values(), *parts, strict=True):
            torch.testing.assert_close(leaf, torch.stack(of_tasks).mean(0), rtol=1e-9, atol=1e-12)


def test_a_window_differs_from_the_same_steps_of_a_longer_one():
    learner, params, _ = problem()
    batch = doubled(SOURCE(0))
    whole, *_ = window_gradient(quadratic(unroll=6), params, batch, {}, 0, how="vmap", aggregate=mean)
    carry, summed = {}, None
    for first in (0, 2, 4):
        gradient, _, carry = window_gradient(learner, params, batch, carry, first, how="vmap", aggregate=mean)
        summed = gradient if summed is None else tree.map(torch.add, summed, gradient)
    path = "first/input"
    assert not torch.allclose(tree.flatten(whole)[path], tree.flatten(summed)[path], rtol=1e-3)


def test_waived_laws_are_broken():
    net = partial(MLP, (8,), 3, **TINY)
    whole, batches = (LearnedOptimizer(net, inner_steps=4, hidden=4, inner_batch=size) for size in (None, 2))
    assert batches.keeps == whole.keeps - {"order", "weights"} and "relabel" not in whole.keeps
    for law, learner in (("relabel", whole), ("order", batches), ("weights", batches)):
        assert BY_NAME[law].judge(Case(learner, blobs(), steps=3))[0] is False, law


def test_every_step_of_a_window_sees_its_own_mini_batch():
    net = partial(MLP, (8,), 3, **TINY)
    learner = LearnedOptimizer(net, inner_steps=4, unroll=2, hidden=4, inner_batch=2)
    params, task = learner.init(0), task_at(blobs()(0), 0)
    at = learner.begin(params, task)
    loss, _ = learner.window(params, task, at, 0, 2)
    present, total = learner.present_in(task.support), 0.0
    for t, one in enumerate(
        walk(learner.batch_loss, at, learner.rule(params), range(2), given=(task.support, present))
    ):
        total += float(learner.loss_of(one.point, mini_batch(task.support, t + 1, 2), present))
    assert loss.item() == pytest.approx(total, rel=1e-5)


def test_once_learned_it_descends_any_loss_as_a_rule():
    learner, params, _ = problem()

    def loss(point, step):
        return sum((leaf**2).sum() for leaf in point.values())

    point = {"a": torch.ones(2, 3).double(), "b": torch.ones(4).double()}
    moved = descend(loss, point, learner.rule(params), 3, first_order=True)
    assert {name: leaf.shape for name, leaf in moved.items()} == {"a": (2, 3), "b": (4,)}
    # Coordinates with the same gradients step alike, wherever they stand.
    assert torch.allclose(moved["a"].flatten()[:4], moved["b"])


# The engine.


def trained(tmp_path=None, resume=False, stop=None, **settings):
    def progress(at):
        if at.step == stop:
            raise KeyboardInterrupt

    given = {"steps": 7, "optimizer": "Adam lr=0.01", "validate_every": 4, "validation_episodes": 6, "how": "vmap"}
    return mw.train(
        quadratic(), SOURCE, **{**given, **settings}, out=tmp_path, resume=resume, progress=progress if stop else None
    )


def test_training_is_a_plain_loop_over_windows():
    learner = quadratic()
    state = OptimizerState.of(learner.init(0), "Adam lr=0.01", steps=7)
    for step in range(7):
        batch, first = SOURCE(step // 3), 2 * (step % 3)
        carry = {} if first == 0 else carry
        gradient, _, carry = window_gradient(learner, state.params, batch, carry, first, how="vmap", aggregate=mean)
        state = state.updated(gradient, step)
    outcome = trained(select="last")
    for path, leaf in tree.flatten(outcome.params).items():
        assert torch.equal(leaf, tree.flatten(state.params)[path])


@pytest.mark.parametrize("stop", [1, 2, 3, 5])
def test_a_training_that_is_stopped_inside_a_problem_resumes_to_the_same_bits(tmp_path, stop):
    whole = trained(select="last")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, stop=stop, select="last")
    again = trained(tmp_path, resume=True, select="last")
    assert all(torch.equal(leaf, tree.flatten(again.params)[path]) for path, leaf in tree.flatten(whole.params).items())


def test_the_recorded_loss_is_the_mean_over_the_steps_of_a_window():
    learner = quadratic()
    update = unrolled_update(SOURCE, lambda step: learner, how="vmap", aggregate=mean)
    state = UnrolledState(OptimizerState.of(learner.init(0), "SGD lr=0.0"), {})
    _, loss, _ = window_gradient(learner, learner.init(0), SOURCE(0), {}, 0, how="vmap", aggregate=mean)
    assert update(state, 0)[1] == pytest.approx(loss.item() / 2)


def test_without_windows_a_training_descends_the_query_loss_as_any_other():
    learner = quadratic(unroll=None)
    batch = SOURCE(0)
    gradient, _ = mw.meta_gradient(learner, learner.init(0), batch, how="loop")
    state = OptimizerState.of(learner.init(0), "Adam lr=0.01", steps=1).updated(gradient, 0)
    outcome = mw.train(learner, SOURCE, steps=1, optimizer="Adam lr=0.01", how="loop", validation_episodes=2)
    for path, leaf in tree.flatten(outcome.params).items():
        assert torch.equal(leaf, tree.flatten(state.params)[path])


def test_training_helps_on_problems_that_were_not_seen():
    learner = LearnedOptimizer(partial(Linear, (4,), 1), inner_steps=20, unroll=10, loss="squared_error")
    source = Quadratics(tasks=16, dimension=4)
    params = learner.init(0)
    after = mw.train(learner, source, steps=120, optimizer="Adam lr=0.01", how="vmap", validation_episodes=32).params
    test = source.split("test")
    before, now = (mw.evaluate(learner, each, test, episodes=64).estimate.mean for each in (params, after))
    still = float(np.mean([(SOURCE.split("test")(0).support.y ** 2).mean()]))
    assert now < 0.75 * before and now < still


REFUSED = [
    (lambda: quadratic(unroll=0), "unroll is 0: give a window of at least one step, or none"),
    (lambda: quadratic(inner_batch=0), "inner_batch is 0: give at least one row, or none"),
    (lambda: trained(compile=True), "compile is True and truncated unrolls aren't compiled"),
    (
        lambda: check_unrolled(False, mw.Ranks(0, 2)),
        "2 processes train together and truncated unrolls are trained by one",
    ),
    (
        lambda: mw.train(quadratic(inner_steps=0), SOURCE, steps=1, how="vmap"),
        "inner_steps is 0 and unrolls have steps",
    ),
    (lambda: Quadratics(part="x"), "quadratics have no split 'x'"),
    (lambda: Quadratics(dimension=0), "dimension is 0: give a number from 1 up"),
]


@pytest.mark.parametrize(("call", "sentence"), REFUSED)
def test_what_cannot_be_is_refused_in_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence) as refused:
        call()
    assert "\n" not in str(refused.value)


# The sources.


def test_a_quadratic_is_the_squared_distance_of_w_theta_from_y_by_its_dimension():
    source = Quadratics(tasks=5)
    task = task_at(source(3), 2)
    net = Linear((10,), 1)
    theta = torch.linspace(-1, 1, 10)
    with torch.no_grad():
        net.head.weight[:] = theta
    loss = nn.functional.mse_loss(net(task.support.x), task.support.y)
    w, y = task.support.x.double(), task.support.y[:, 0].double()
    assert loss.item() == pytest.approx(((w @ theta.double() - y) ** 2).sum().item() / 10, rel=1e-5)
    assert torch.equal(source(3).support.x, Quadratics(tasks=5)(3).query.x)
    parts = [source.split(part)(3).support.x for part in ("train", "val", "test")]
    assert not torch.equal(parts[0], parts[1]) and not torch.equal(parts[1], parts[2])
    many = torch.cat([source(step).support.x for step in range(60)])
    assert many.mean().item() == pytest.approx(0, abs=0.03) and many.std().item() == pytest.approx(1, abs=0.03)


def test_a_digit_set_has_all_digits_in_every_split_and_no_drawing_in_two():
    from mapwise.data.digits import digit_sets, digits

    rows = digit_sets()
    assert sum(len(rows.classes_of(part)) for part in ("train", "val", "test")) == 30
    sizes = np.diff(rows.starts)
    assert sizes.sum() == 1797
    for part, least in (("train", 85), ("val", 43), ("test", 43)):
        chosen = rows.classes_of(part)
        assert sorted(rows.names[c] for c in chosen) == [f"{digit} of {part}" for digit in range(10)]
        assert min(sizes[c] for c in chosen) >= least
    assert np.diff(digits().starts).sum() == 1797
