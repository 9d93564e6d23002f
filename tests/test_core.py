"""The ground everything stands on: trees, keys, examples, losses, the inner loop, borrowed weights, norms."""

import dataclasses
import math
import weakref
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn import functional as F

from mapwise.core import functional, geometry, inner_loop, losses, random, tree
from mapwise.core.inner_loop import SGD, Adam, descend
from mapwise.core.map_tasks import map_tasks, task_at, tasks_in
from mapwise.core.task import Examples, Task, examples
from mapwise.nets import MLP
from mapwise.nets.norm import Norm


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def rows_of(x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor | None = None) -> Examples:
    return Examples(x, y, torch.ones(len(y), dtype=y.dtype) if weight is None else weight, torch.tensor(0))


def batch_of(tasks: int, rows: int = 3) -> Task:
    parts = [
        Examples(
            drawn(tasks, rows, 2, seed=seed),
            drawn(tasks, rows, 1, seed=seed + 1),
            torch.ones(tasks, rows, dtype=torch.float64),
            torch.arange(tasks),
        )
        for seed in (0, 5)
    ]
    return Task(*parts)


# tree ----------------------------------------------------------------------------------------------------


def test_unflatten_undoes_flatten():
    nested = {"a": torch.ones(2), "b": {"c.d": torch.zeros(1), "e": {"f": torch.ones(3)}}}
    flat = tree.flatten(nested)
    assert list(flat) == ["a", "b/c.d", "b/e/f"]
    again = tree.unflatten(flat)
    assert again.keys() == nested.keys() and again["b"]["e"]["f"] is nested["b"]["e"]["f"]


def test_dot_is_the_inner_product_of_all_leaves_wherever_they_stand():
    a = {"x": torch.tensor([1.0, 2.0]), "y": {"z": torch.tensor([[3.0]])}}
    b = {"y": {"z": torch.tensor([[10.0]])}, "x": torch.tensor([100.0, 1000.0])}
    assert float(tree.dot(a, b)) == 100 + 2000 + 30


# random --------------------------------------------------------------------------------------------------


def splitmix64(state: int, count: int) -> list[int]:
    """The generator as its authors publish it, on Python's own integers."""
    found = []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        found.append(z ^ (z >> 31))
    return found


def test_bits_are_splitmix64_started_at_the_mixed_key():
    # Published outputs: the oracle itself is checked first.
    assert splitmix64(0, 3) == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert splitmix64(1234567, 2) == [6457827717110365317, 3203168211198807973]
    for key in (0, 1, 1234567, -1, 2**63 - 1):
        (state,) = splitmix64(key % 2**64, 1)
        found = [number % 2**64 for number in random.bits(torch.tensor(key), (2, 3)).flatten().tolist()]
        assert found == splitmix64(state, 6)


@pytest.mark.parametrize("draw", [random.bits, random.uniform, random.normal], ids=lambda f: f.__name__)
def test_numbers_are_the_same_bits_under_vmap_in_chunks_and_in_a_loop(draw):
    keys = torch.arange(7)
    looped = torch.stack([draw(key, (3, 5)) for key in keys])
    assert torch.equal(torch.vmap(lambda key: draw(key, (3, 5)))(keys), looped)
    chunks = [torch.vmap(lambda key: draw(key, (3, 5)))(keys[i : i + 3]) for i in (0, 3, 6)]
    assert torch.equal(torch.cat(chunks), looped)
    assert len({tuple(row) for row in looped.flatten(1).tolist()}) == 7


def test_permutations_and_folded_keys_are_the_same_under_vmap():
    keys = torch.arange(5)
    folded = torch.vmap(lambda key: random.fold(key, 3))(keys)
    assert folded.tolist() == [int(random.fold(key, 3)) for key in keys]
    orders = torch.vmap(lambda key: random.permutation(key, 6))(keys)
    assert all(torch.equal(order, random.permutation(key, 6)) for key, order in zip(keys, orders, strict=True))
    assert all(sorted(order.tolist()) == list(range(6)) for order in orders)


def test_a_key_may_be_folded_with_a_number_in_a_tensor():
    key = torch.tensor(7)
    for number in (-1, 0, 3, 10**12):
        assert int(random.fold(key, torch.tensor(number))) == int(random.fold(key, number))


def test_keys_folded_for_different_purposes_never_meet():
    keys = {int(random.fold(torch.tensor(key), number)) for key in range(100) for number in range(-1, 100)}
    assert len(keys) == 100 * 101


def test_every_permutation_is_as_likely_as_any_other():
    orders = [tuple(random.permutation(torch.tensor(key), 3).tolist()) for key in range(6000)]
    counts = [orders.count(order) for order in sorted(set(orders))]
    assert len(counts) == 6 and stats.chisquare(counts).pvalue > 1e-3


def test_uniform_numbers_are_uniform_and_never_0_or_1():
    found = random.uniform(torch.tensor(3), (100_000,))
    assert found.dtype == torch.float32 and float(found.min()) > 0 and float(found.max()) < 1
    assert stats.kstest(found.double().numpy(), "uniform").pvalue > 1e-3


def test_normal_numbers_are_normal_finite_and_independent_of_neighbouring_keys():
    found = random.normal(torch.tensor(3), (100_000,))
    assert bool(found.isfinite().all()) and stats.kstest(found.double().numpy(), "norm").pvalue > 1e-3
    beside = random.normal(torch.tensor(4), (100_000,))
    assert abs(float(torch.corrcoef(torch.stack([found, beside]))[0, 1])) < 0.015
    across = torch.stack([random.normal(torch.tensor(key), (1,))[0] for key in range(3000)])
    assert stats.kstest(across.double().numpy(), "norm").pvalue > 1e-3


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
def test_equal_rows_have_equal_numbers_wherever_they_stand(dtype):
    x = (10 * drawn(6, 2, 5)).to(dtype)
    x[4] = x[1]
    found = random.digest(x)
    assert found.dtype == torch.int64 and found[4] == found[1]
    order = torch.tensor([5, 4, 0, 1, 3, 2])
    assert torch.equal(random.digest(x[order]), found[order])
    assert torch.equal(torch.vmap(random.digest)(x[:, None])[:, 0], found)
    assert len(set(found.tolist())) == 5 or dtype is torch.bool


def test_a_rows_number_knows_each_of_its_bits_and_their_places():
    row = torch.arange(1.0, 9.0)
    others = [row.roll(1), row.flip(0), torch.nextafter(row, row + 1)]
    others += [torch.where(torch.arange(8) == place, -row, row) for place in range(8)]
    assert len(set(random.digest(torch.stack([row, *others])).tolist())) == 1 + len(others)
    assert int(random.digest(torch.tensor([[0.0]]))) == int(random.digest(torch.tensor([[-0.0]])))


def test_the_parts_of_a_row_each_have_a_say_in_its_number():
    a, b = drawn(4, 3), drawn(4, 2, 2, seed=1)
    whole = random.digest({"a": a, "b": b})
    assert not torch.equal(whole, random.digest({"a": a, "b": -b}))
    assert not torch.equal(random.digest({"a": a, "b": a.flip(0)}), random.digest({"a": a.flip(0), "b": a}))
    assert torch.equal(random.digest({"a": a.flip(0), "b": b.flip(0)}), whole.flip(0))


def test_random_numbers_leave_torchs_global_generator_alone():
    before = torch.random.get_rng_state()
    random.normal(random.fold(torch.tensor(0), 1), (4,))
    random.permutation(torch.tensor(0), 4)
    functional.initial_weights(lambda: nn.Linear(2, 2), seed=1)
    assert torch.equal(before, torch.random.get_rng_state())


# examples ------------------------------------------------------------------------------------------------


def test_examples_are_made_from_lists_arrays_and_tensors():
    rows, names = examples(np.array([[0, 255], [51, 0]], dtype=np.uint8), ["dog", "cat"])
    assert names == ["cat", "dog"] and rows.y.tolist() == [[0, 1], [1, 0]]
    assert torch.allclose(rows.x, torch.tensor([[0, 1], [0.2, 0]])) and rows.weight.tolist() == [1, 1]
    assert rows.key.dtype == torch.int64 and int(rows.key) == 0
    assert examples(torch.zeros(3, 2), torch.tensor([10, 2, 2]))[1] == ["2", "10"]
    query, _ = examples([[1.0]], ["b"], classes=["b", "a", "c"])
    assert query.y.tolist() == [[1, 0, 0]]


def test_floating_point_labels_are_regression_targets():
    rows, names = examples([[1.0], [2.0]], [0.5, 1.5])
    assert names == [] and rows.y.tolist() == [[0.5], [1.5]]
    assert examples([[1.0], [2.0]], np.ones((2, 3)))[0].y.shape == (2, 3)


@pytest.mark.parametrize(
    ("x", "labels", "classes", "said"),
    [
        ([[1.0], [2.0]], ["a"], None, "X has 2 rows and there are 1 labels"),
        ([[1.0]], "a", None, "there are no labels"),
        ([[1.0], [math.nan]], ["a", "b"], None, "NaN or infinity, first in row 1"),
        ([[1.0], [2.0]], [1.0, math.inf], None, "targets hold NaN or infinity"),
        ([[1.0]], ["c"], ["a", "b"], "label 'c' is not one of the classes"),
        ([[1.0]], [["a", "b"]], None, "one label for each row"),
        (3.0, ["a"], None, "a single number"),
    ],
)
def test_arrays_that_make_no_examples_are_refused_in_a_sentence(x, labels, classes, said):
    with pytest.raises(ValueError, match=said) as refused:
        examples(x, labels, classes)
    assert "\n" not in str(refused.value)


# losses --------------------------------------------------------------------------------------------------


def test_losses_equal_those_of_torch():
    scores, targets = drawn(6, 3), drawn(6, 3, seed=1)
    labels = torch.tensor([0, 2, 1, 1, 0, 2])
    y = F.one_hot(labels, 3).double()
    assert torch.allclose(losses.cross_entropy(scores, rows_of(scores, y)), F.cross_entropy(scores, labels))
    assert torch.allclose(losses.squared_error(scores, rows_of(scores, targets)), F.mse_loss(scores, targets))
    expected = F.binary_cross_entropy_with_logits(scores, y)
    assert torch.allclose(losses.binary_cross_entropy(scores, rows_of(scores, y)), expected)
    scale = targets.exp()
    density = torch.distributions.Normal(scores, scale).log_prob(targets)
    found = losses.gaussian(losses.Gaussian(scores, scale), rows_of(scores, targets))
    assert torch.allclose(found, -density.sum(-1).mean())


@pytest.mark.parametrize("name", ["cross_entropy", "squared_error", "binary_cross_entropy", "gaussian"])
def test_a_loss_is_the_mean_over_the_rows_that_count(name):
    loss = losses.LOSSES[name]
    scores, y = drawn(5, 3), F.one_hot(torch.tensor([0, 1, 2, 0, 1]), 3).double()
    weight = torch.tensor([1.0, 0, 1, 0, 1]).double()

    def at(s: torch.Tensor) -> losses.Scores:
        return losses.Gaussian(s, torch.ones_like(s)) if name == "gaussian" else s

    kept = weight > 0
    expected = loss(at(scores[kept]), rows_of(scores[kept], y[kept]))
    assert torch.allclose(loss(at(scores), rows_of(scores, y, weight)), expected)
    assert float(loss(at(scores), rows_of(scores, y, 0 * weight))) == 0


def test_an_absent_class_changes_no_loss_and_no_gradient():
    labels = torch.tensor([0, 2, 0])
    support = rows_of(drawn(3, 2), F.one_hot(labels, 3).double())
    present = losses.present_classes(support)
    assert present.tolist() == [1, 0, 1]
    assert losses.present_classes(support._replace(weight=torch.tensor([1.0, 0, 1]))).tolist() == [1, 0, 0]
    scores = drawn(3, 3).requires_grad_()
    loss = losses.cross_entropy(losses.without_absent(scores, present), support)
    narrow = scores.detach()[:, [0, 2]].requires_grad_()
    expected = F.cross_entropy(narrow, torch.tensor([0, 1, 0]))
    assert torch.allclose(loss, expected)
    (gradient,) = torch.autograd.grad(loss, scores)
    (wanted,) = torch.autograd.grad(expected, narrow)
    assert torch.allclose(gradient[:, [0, 2]], wanted) and torch.equal(gradient[:, 1], torch.zeros(3).double())


def test_an_unknown_loss_is_refused_and_a_function_is_itself():
    with pytest.raises(ValueError, match="there is no loss 'hinge': give one of cross_entropy"):
        losses.loss_named("hinge")
    assert losses.loss_named(F.mse_loss) is F.mse_loss


# geometry ------------------------------------------------------------------------------------------------


def test_class_means_weigh_their_rows_and_are_zero_without_any():
    z = drawn(4, 3)
    rows = rows_of(z, F.one_hot(torch.tensor([0, 0, 1, 1]), 3).double(), torch.tensor([1.0, 1, 1, 0]).double())
    expected = np.stack([z[:2].numpy().mean(0), z[2].numpy(), np.zeros(3)])
    assert np.allclose(geometry.class_means(z, rows).numpy(), expected)


def test_distances_and_cosines_equal_numpys():
    a, b = drawn(5, 4), drawn(3, 4, seed=1)
    x, c = a.numpy(), b.numpy()
    assert np.allclose(geometry.squared_distances(a, b), ((x[:, None] - c[None]) ** 2).sum(-1))
    expected = (x @ c.T) / np.linalg.norm(x, axis=1)[:, None] / np.linalg.norm(c, axis=1)
    assert np.allclose(geometry.cosines(a, b), expected)
    assert torch.equal(geometry.cosines(torch.zeros(1, 4).double(), b), torch.zeros(1, 3).double())


# inner loop ----------------------------------------------------------------------------------------------

PROBLEM = drawn(6, 3)


def bowl(point: tree.Tree, step: int = 0) -> torch.Tensor:
    return (torch.tanh(PROBLEM @ point["w"]) + point["b"]).pow(2).mean()


def bowl_start() -> tree.Tree:
    return {"w": drawn(3, seed=2), "b": drawn(1, seed=3)}


@pytest.mark.parametrize(
    ("rule", "optimizer"),
    [
        (SGD(0.3), lambda p: torch.optim.SGD(p, lr=0.3)),
        (SGD(0.3, momentum=0.9), lambda p: torch.optim.SGD(p, lr=0.3, momentum=0.9)),
        (Adam(0.1), lambda p: torch.optim.Adam(p, lr=0.1)),
        (Adam(0.1, 0.0, 0.9, 1e-5), lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.0, 0.9), eps=1e-5)),
    ],
)
def test_the_inner_loop_takes_the_steps_of_torchs_optimizers(rule, optimizer):
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in bowl_start().items()}
    stepper = optimizer(list(leaves.values()))
    points = list(inner_loop.trajectory(bowl, bowl_start(), rule, 5))
    assert len(points) == 5
    for point in points:
        stepper.zero_grad()
        bowl(leaves).backward()
        stepper.step()
        assert all(torch.allclose(point[name], leaf, rtol=1e-12) for name, leaf in leaves.items())
    last = descend(bowl, bowl_start(), rule, 5)
    assert all(torch.equal(last[name], leaf) for name, leaf in points[-1].items())


@pytest.mark.parametrize("rule", [SGD(0.3), SGD(0.3, momentum=0.9), Adam(0.1)], ids=repr)
def test_the_inner_loop_is_differentiable_in_its_start(rule):
    def end(w: torch.Tensor) -> torch.Tensor:
        return bowl(descend(bowl, {**bowl_start(), "w": w}, rule, 3))

    assert torch.autograd.gradcheck(end, (bowl_start()["w"].requires_grad_(),))


def test_in_first_order_the_end_moves_with_its_start_and_no_gradient_is_kept():
    w = bowl_start()["w"].requires_grad_()
    end = descend(bowl, {**bowl_start(), "w": w}, SGD(0.3), 3, first_order=True)
    exact = descend(bowl, {**bowl_start(), "w": w}, SGD(0.3), 3)
    assert torch.allclose(end["w"], exact["w"])
    (slope,) = torch.autograd.grad(end["w"].sum(), w)
    assert torch.equal(slope, torch.ones(3).double())
    assert not inner_loop.gradient(bowl, {**bowl_start(), "w": w}, first_order=True)["w"].requires_grad
    assert inner_loop.gradient(bowl, {**bowl_start(), "w": w})["w"].requires_grad


def test_rates_may_differ_by_parameter_and_by_step_and_can_be_learned():
    start = bowl_start()
    gradient = inner_loop.gradient(bowl, start)
    rates = {"w": torch.tensor([0.1, 0.2, -0.3]).double(), "b": torch.tensor(0.0).double()}
    moved = descend(bowl, start, SGD(rates), 1)
    assert torch.allclose(moved["w"], start["w"] - rates["w"] * gradient["w"]) and torch.equal(moved["b"], start["b"])
    by_step = descend(bowl, start, SGD(lambda t: [0.5, 0.25][t]), 2)
    expected = descend(bowl, descend(bowl, start, SGD(0.5), 1), SGD(0.25), 1)
    assert torch.allclose(by_step["w"], expected["w"])
    rate = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda r: bowl(descend(bowl, start, SGD(r), 2)), (rate,))


def test_the_loss_is_told_the_step_and_no_steps_change_nothing():
    seen = []
    descend(lambda point, step: (seen.append(step), bowl(point))[1], bowl_start(), SGD(0.1), 3)
    assert seen == [0, 1, 2]
    start = bowl_start()
    assert descend(bowl, start, SGD(0.1), 0) is start


def test_adam_stays_differentiable_where_a_coordinate_never_moves():
    def loss(point: tree.Tree, step: int) -> torch.Tensor:
        return (point["w"][:2] ** 2).sum()

    w = torch.tensor([1.0, -2.0, 3.0], requires_grad=True)
    end = descend(loss, {"w": w}, Adam(0.1), 3)["w"]
    (slope,) = torch.autograd.grad(end.sum(), w)
    assert bool(slope.isfinite().all()) and float(slope[2]) == 1 and float(end[2].detach()) == 3


@pytest.mark.parametrize("mapped", [False, True], ids=["alone", "vmapped"])
@pytest.mark.parametrize("steps", [1, 5, 32])
@pytest.mark.parametrize("kind", ["rate", "rates", "by step", "momentum", "adam"])
def test_recomputed_steps_have_the_gradients_of_kept_ones(kind, steps, mapped):
    rules = {
        "rate": lambda r: SGD(r["w"][0]),
        "rates": SGD,
        "by step": lambda r: SGD(lambda t: tree.map(lambda leaf: leaf / (1 + t), r)),
        "momentum": lambda r: SGD(0.05, momentum=0.5),
        "adam": lambda r: Adam(0.05),
    }

    def loss(point: tree.Tree, step: int, shape: torch.Tensor) -> torch.Tensor:
        bent = torch.tanh(point["w"])
        return (torch.cosh(bent * shape) + torch.sin(step + point["b"]) * bent).sum()

    def end(start: tree.Tree, rate: tree.Tree, shape: torch.Tensor) -> torch.Tensor:
        last = descend(loss, start, rules[kind](rate), steps, given=(shape,))
        return torch.sin(last["w"]).sum() + last["b"].sum()

    def gradients(recomputes: bool) -> list[torch.Tensor]:
        start, rate = tree.map(torch.neg, bowl_start()), tree.map(lambda leaf: 0.02 * torch.tanh(leaf), bowl_start())
        shapes = drawn(4, 3, seed=5)
        leaves = [leaf.requires_grad_() for leaf in (*start.values(), *rate.values(), shapes)]
        with inner_loop.recomputing(recomputes):
            each = partial(end, start, rate)
            total = torch.vmap(each)(shapes).sum() if mapped else torch.stack([each(one) for one in shapes]).sum()
        found = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
        return [total.detach(), *found]

    kept, recomputed = gradients(False), gradients(True)
    assert float(kept[-1].abs().max()) > 0
    for a, b in zip(kept, recomputed, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_recomputed_steps_keep_no_graph_of_their_own():
    class Saved:
        def __init__(self, tensor: torch.Tensor) -> None:
            self.tensor = tensor

    def graph(recomputes: bool, steps: int) -> int:
        alive: weakref.WeakSet[Saved] = weakref.WeakSet()

        def pack(tensor: torch.Tensor) -> Saved:
            saved = Saved(tensor)
            alive.add(saved)
            return saved

        hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved.tensor)
        w = drawn(50, seed=1).requires_grad_()
        with inner_loop.recomputing(recomputes), hooks:
            end = descend(lambda p, t: torch.cosh(torch.sin(p["w"]) * 2).sum(), {"w": w}, SGD(0.1), steps)
        assert end["w"].requires_grad
        return sum(saved.tensor.numel() for saved in alive)

    assert graph(True, 8) <= 8 * 50 < graph(False, 8)


def test_a_tensor_that_an_inner_loss_closes_over_is_named_when_steps_are_recomputed():
    rows = drawn(3)
    with inner_loop.recomputing(True), pytest.raises(ValueError, match="closes over 'rows', whose gradient would be"):
        descend(lambda p, t: (p["w"] * rows).sum(), bowl_start(), SGD(0.1), 2)


def test_the_slope_along_a_leaf_does_not_pass_through_another_that_was_made_from_it():
    def slopes(body: torch.Tensor) -> torch.Tensor:
        point = {"body": body, "head": 3 * body}
        return torch.stack(list(inner_loop.gradient(lambda p: p["body"] * p["head"], point).values()))

    body = torch.tensor(2.0).double().requires_grad_()
    assert slopes(body).tolist() == torch.vmap(slopes)(body[None])[0].tolist() == [6, 2]
    # And the graph that made the one from the other is still there for the second derivative.
    assert torch.autograd.grad(slopes(body).sum(), body)[0] == 4


def test_the_slope_of_a_parameter_that_takes_no_part_is_zero():
    point = {name: leaf.requires_grad_() for name, leaf in bowl_start().items()}
    assert torch.equal(inner_loop.gradient(lambda p: p["w"].sum(), point)["b"], torch.zeros(1).double())
    assert torch.equal(inner_loop.gradient(lambda p: torch.ones(()), point)["w"], torch.zeros(3).double())


def test_a_leaf_made_from_another_one_is_a_place_of_its_own():
    body = drawn(3, seed=2).requires_grad_()
    point = {"body": body, "head": 2 * body}
    slope = inner_loop.gradient(lambda p: (p["head"] * p["body"]).sum(), point)
    assert torch.equal(slope["body"], point["head"]) and torch.equal(slope["head"], body)
    (through,) = torch.autograd.grad(slope["body"].sum(), body)
    assert torch.equal(through, torch.full((3,), 2.0).double())


@pytest.mark.parametrize("mapped", [False, True], ids=["alone", "vmapped"])
@pytest.mark.parametrize("first_order", [False, True])
def test_a_rule_is_told_the_loss_whose_slope_it_is_given(first_order, mapped):
    @dataclass(frozen=True)
    class Polyak(SGD):
        """Steps of the length loss / |slope|^2, which needs the loss."""

        def step(self, point, slope, state, t, value):
            return tree.map(lambda p, g: p - value / tree.dot(slope, slope) * g, point, slope), state

    def end(w: torch.Tensor) -> torch.Tensor:
        return descend(bowl, {**bowl_start(), "w": w}, Polyak(0.0), 2, first_order=first_order)["w"]

    point = bowl_start()
    for _ in range(2):
        gradient = inner_loop.gradient(bowl, point)
        length = bowl(point) / sum((leaf**2).sum() for leaf in gradient.values())
        point = tree.map(lambda p, g, by=length: p - by * g, point, gradient)
    w = bowl_start()["w"]
    found = torch.vmap(end)(w[None])[0] if mapped else end(w)
    torch.testing.assert_close(found, point["w"], rtol=1e-12, atol=0)
    live = w.clone().requires_grad_()
    (slope,) = torch.autograd.grad((torch.vmap(end)(live[None])[0] if mapped else end(live)).sum(), live)
    if first_order:  # the loss enters as a constant too
        assert torch.equal(slope, torch.ones(3).double())
    else:
        assert torch.autograd.gradcheck(end, (live,))


@pytest.mark.parametrize("rule", [SGD(0.3), SGD(0.3, momentum=0.9), Adam(0.1)], ids=repr)
def test_steps_that_are_taken_again_are_those_of_first_order_as_a_function_of_start_and_rates(rule):
    start = bowl_start()
    again = inner_loop.replay(bowl, start, rule, 4)
    for found, expected in zip(again(start, rule), inner_loop.trajectory(bowl, start, rule, 4), strict=True):
        assert all(torch.equal(found[name], leaf) for name, leaf in expected.items())
    # From elsewhere and at another rate, the gradients stay where they were.
    shifted = [*again({name: leaf + 1 for name, leaf in start.items()}, dataclasses.replace(rule, rate=0.0))][-1]
    assert all(torch.equal(shifted[name], leaf + 1) for name, leaf in start.items())
    rate = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    learned = dataclasses.replace(rule, rate=rate)
    by_definition = [*inner_loop.replay(bowl, start, learned, 4)(start, learned)][-1]["w"].sum()
    end = descend(bowl, start, learned, 4, first_order=True)["w"].sum()
    assert torch.autograd.grad(by_definition, rate) == torch.autograd.grad(end, rate)


def bent(point: tree.Tree, shape: torch.Tensor) -> torch.Tensor:
    mixed = torch.tanh(point["w"] * shape) @ point["w"].cumsum(0)
    return torch.cosh(mixed) + torch.sin(point["b"].sum() * point["w"][0])


def test_curvature_along_a_vector_is_the_second_derivatives_product_with_it():
    point = {"w": drawn(3), "b": drawn(2, seed=1)}
    vector = {"b": drawn(2, seed=2), "w": drawn(3, seed=3)}
    shape = drawn(3, seed=4)
    found = inner_loop.curvature(bent, point, vector, given=(shape,))
    matrix = torch.func.jacrev(torch.func.grad(bent))(point, shape)
    for name in point:
        expected = sum(matrix[name][other] @ vector[other] for other in point)
        torch.testing.assert_close(found[name], expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("mapped", [(0, None, 0), (0, 0, 0), (None, 0, None), (None, None, 0)])
def test_curvature_is_the_same_for_mapped_tasks(mapped):
    parts = [
        {"w": drawn(4, 3), "b": drawn(4, 2, seed=1)},
        {"b": drawn(4, 2, seed=2), "w": drawn(4, 3, seed=3)},
        {"w": drawn(4, 3, seed=4)},
    ]
    at = [partial(tree.map, lambda leaf: leaf[0]) if axis is None else (lambda part: part) for axis in mapped]
    given = [take(part) for take, part in zip(at, parts, strict=True)]

    def product(point: tree.Tree, vector: tree.Tree, shape: tree.Tree) -> tree.Tree:
        return inner_loop.curvature(lambda p, shape: bent(p, shape["w"]), point, vector, given=(shape,))

    found = torch.vmap(product, in_dims=mapped)(*given)
    for t in range(4):
        alone = product(
            *(
                part if axis is None else tree.map(lambda leaf, t=t: leaf[t], part)
                for axis, part in zip(mapped, given, strict=True)
            )
        )
        for name, leaf in alone.items():
            torch.testing.assert_close(found[name][t], leaf, rtol=1e-12, atol=1e-14)


def test_where_a_loss_does_not_curve_the_curvature_is_zero():
    point, vector = {"w": drawn(3), "b": drawn(2)}, {"w": drawn(3, seed=1), "b": drawn(2, seed=1)}
    for flat in (lambda p: p["w"].sum(), lambda p: torch.ones(())):
        assert not any(bool(leaf.any()) for leaf in inner_loop.curvature(flat, point, vector).values())
    mixed = inner_loop.curvature(lambda p: p["b"].sum() + (p["w"] ** 3).sum() / 6, point, vector)
    assert not bool(mixed["b"].any()) and torch.allclose(mixed["w"], point["w"] * vector["w"])


def test_curvature_is_a_constant_and_builds_no_graph():
    point = {"w": drawn(3).requires_grad_(), "b": drawn(2).requires_grad_()}
    shape = drawn(3, seed=1).requires_grad_()
    found = inner_loop.curvature(bent, point, point, given=(shape,))
    assert not any(leaf.requires_grad for leaf in found.values())


def test_nothing_of_the_inner_loop_is_kept_where_no_gradient_is_wanted():
    start = {name: leaf.requires_grad_() for name, leaf in bowl_start().items()}
    with torch.no_grad():
        end = descend(bowl, start, SGD(0.3), 3)
    assert not any(leaf.requires_grad for leaf in end.values())
    assert torch.equal(end["w"], descend(bowl, start, SGD(0.3), 3)["w"])


# map_tasks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["vmap", "loop", 1, 2, 3, 5, 9])
def test_tasks_are_mapped_alike_however_they_are_mapped(how):
    batch = batch_of(5)

    def function(task: Task) -> dict[str, torch.Tensor]:
        return {"mean": task.support.x.mean(0), "loss": (task.query.x.sum(-1) * task.query.weight).sum()}

    found = map_tasks(function, batch, how)
    assert found["mean"].shape == (5, 2) and found["loss"].shape == (5,)
    for i in range(5):
        alone = function(task_at(batch, i))
        assert all(torch.allclose(found[name][i], alone[name]) for name in alone)
    assert tasks_in(batch) == 5


@pytest.mark.parametrize("how", ["fast", 0, -1, 1.5])
def test_an_unknown_way_of_mapping_is_refused(how):
    with pytest.raises(ValueError, match="give 'vmap', 'loop', or the number of tasks"):
        map_tasks(lambda task: task.query.y.sum(), batch_of(2), how)


# functional ----------------------------------------------------------------------------------------------


def test_a_built_module_keeps_its_weights_and_its_params_are_a_copy():
    module = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    params = functional.initial_weights(module, seed=5)
    assert list(params) == [name for name, _ in module.named_parameters()]
    assert all(torch.equal(params[name], p) for name, p in module.named_parameters())
    before = module[0].weight.detach().clone()
    params["0.weight"].add_(1)
    assert torch.equal(module[0].weight, before)
    x = torch.ones(4, 2)
    doubled = {name: 2 * leaf for name, leaf in functional.initial_weights(module, 0).items()}
    hidden = torch.tanh(x @ doubled["0.weight"].T + doubled["0.bias"])
    assert torch.allclose(functional.apply(module, doubled, x), hidden @ doubled["2.weight"].T + doubled["2.bias"])


def test_a_callable_is_built_under_the_seed():
    def build() -> nn.Module:
        return nn.Linear(3, 2)

    one, again, other = (functional.initial_weights(build, seed) for seed in (1, 1, 2))
    assert torch.equal(one["weight"], again["weight"]) and not torch.equal(one["weight"], other["weight"])


def test_frozen_weights_stay_in_the_module():
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    module[0].requires_grad_(False)
    params = functional.initial_weights(module, 0)
    assert set(params) == {"1.weight", "1.bias"}
    x = torch.ones(1, 2)
    assert torch.allclose(functional.apply(module, params, x), module(x))


def test_modules_that_change_or_draw_while_they_run_are_refused():
    with pytest.raises(ValueError, match=r"layer '1' \(BatchNorm1d\) updates running statistics"):
        functional.blueprint(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    with pytest.raises(ValueError, match=r"layer '0' \(Dropout\) draws random numbers"):
        functional.blueprint(nn.Sequential(nn.Dropout(0.5)))
    functional.blueprint(nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.5)).eval())
    functional.blueprint(nn.BatchNorm1d(2, track_running_stats=False))


def test_a_parameter_with_a_reserved_name_is_refused():
    module = nn.Module()
    module.measured = nn.Parameter(torch.ones(1))
    with pytest.raises(ValueError, match="'measured', a reserved name"):
        functional.initial_weights(module, 0)


def test_parameters_are_chosen_by_patterns_and_head_and_body_by_the_nets_order():
    net = nn.Sequential(*(nn.Linear(2, 2) for _ in range(11)))
    weights = functional.initial_weights(net, 0)
    # As a file hands them back: sorted by spelling, so that "9.weight" is last and not the head.
    weights = {name: weights[name] for name in sorted(weights)}
    head, body = functional.split_weights(net, weights, ("head",))
    assert set(head) == {"10.weight", "10.bias"} and set(head) | set(body) == set(weights)
    assert functional.split_weights(net, weights, ("body",))[0].keys() == body.keys()
    assert set(functional.split_weights(net, weights, ("1.*", "10.bias"))[0]) == {"1.weight", "1.bias", "10.bias"}
    assert functional.split_weights(net, weights, ("*",))[1] == {}
    with pytest.raises(ValueError, match=r"the pattern 'haed' matches none of the parameters"):
        functional.split_weights(net, weights, ("haed",))


def test_headless_gives_what_enters_the_head():
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    weights = functional.initial_weights(net, 0)
    x = torch.ones(2, 2)
    features = functional.apply(functional.headless(net), functional.body_weights(net, weights), x)
    assert torch.allclose(features, torch.tanh(net[0](x)))
    with pytest.raises(ValueError, match="a single layer"):
        functional.headless(nn.Linear(2, 2))


def test_who_normalises_by_what_can_be_asked():
    kinds = {None: set(), "batch": {"rows"}, "support": {"statistics"}, "frozen": {"measured"}, "group": set()}
    for norm, expected in kinds.items():
        assert functional.statistics_kept(MLP((2,), 2, norm=norm)) == expected
    assert functional.statistics_kept(nn.BatchNorm1d(2, track_running_stats=False)) == {"rows"}


# norm ----------------------------------------------------------------------------------------------------


def norm_of(kind: str, channels: int = 16) -> tuple[Norm, tree.Params]:
    layer = Norm(channels, kind).double()
    with torch.no_grad():
        layer.weight.copy_(drawn(channels, seed=7))
        layer.bias.copy_(drawn(channels, seed=8))
    return layer, functional.initial_weights(layer, 0)


IMAGES = 2 + 3 * drawn(5, 16, 4, 3)
VECTORS = 2 + 3 * drawn(5, 16)


@pytest.mark.parametrize("x", [IMAGES, VECTORS], ids=["images", "vectors"])
@pytest.mark.parametrize("kind", ["batch", "support", "frozen"])
def test_statistics_of_the_rows_at_hand_are_torchs_batch_norm(kind, x):
    layer, weights = norm_of(kind)
    expected = F.batch_norm(x, None, None, layer.weight, layer.bias, training=True)
    assert torch.allclose(functional.apply(layer, weights, x), expected)
    assert torch.allclose(functional.apply(layer, weights, x, torch.ones(5).double()), expected)
    assert torch.allclose(functional.observe(layer, weights, x)[0], expected)


@pytest.mark.parametrize("x", [IMAGES, VECTORS], ids=["images", "vectors"])
def test_group_and_layer_are_torchs(x):
    layer, weights = norm_of("group")
    assert torch.allclose(functional.apply(layer, weights, x), F.group_norm(x, 2, layer.weight, layer.bias))
    layer, weights = norm_of("layer")
    assert torch.allclose(functional.apply(layer, weights, x), F.group_norm(x, 1, layer.weight, layer.bias))
    expected = F.layer_norm(VECTORS, (16,), layer.weight, layer.bias)
    assert torch.allclose(functional.apply(layer, weights, VECTORS), expected)


@pytest.mark.parametrize("x", [IMAGES, VECTORS], ids=["images", "vectors"])
@pytest.mark.parametrize("kind", ["batch", "support", "frozen", "group", "layer"])
def test_rows_of_weight_0_take_no_part_in_statistics(kind, x):
    layer, weights = norm_of(kind)
    padded = torch.cat([x, 100 * torch.ones_like(x[:2])])
    found = functional.apply(layer, weights, padded, torch.tensor([1.0] * 5 + [0] * 2).double())
    assert torch.allclose(found[:5], functional.apply(layer, weights, x))


def test_queries_are_normalised_by_the_support_when_its_statistics_are_kept():
    layer, weights = norm_of("support")
    _, seen = functional.observe(layer, weights, IMAGES)
    mean, variance = IMAGES.mean((0, 2, 3)), IMAGES.var((0, 2, 3), correction=0)
    assert torch.allclose(seen["statistics"][""], torch.stack([mean, variance]))
    query = drawn(2, 16, 4, 3, seed=5)
    expected = F.batch_norm(query, mean, variance, layer.weight, layer.bias)
    assert torch.allclose(functional.apply(layer, {**weights, **seen}, query), expected)
    alone = functional.apply(layer, {**weights, **seen}, query[:1])
    assert torch.allclose(alone, expected[:1])


@pytest.mark.parametrize("shape", [(16,), (16, 4, 3)], ids=["vectors", "images"])
def test_the_population_of_many_batches_is_numpys_mean_and_variance_of_all_rows(shape):
    layer, weights = norm_of("frozen")
    # Batches of different means: the variance between them must count.
    batches = [drawn(6, *shape, seed=seed) + 3 * seed for seed in range(4)]
    measured = functional.population(layer, weights, batches)
    everything = np.moveaxis(torch.cat(batches).numpy(), 1, -1).reshape(-1, 16)
    assert np.allclose(measured[""].numpy(), np.stack([everything.mean(0), everything.var(0)]))
    x = drawn(3, *shape, seed=9)
    expected = F.batch_norm(x, *measured[""], layer.weight, layer.bias)
    assert torch.allclose(functional.apply(layer, {**weights, "measured": measured}, x), expected)
    assert functional.population(norm_of("batch")[0], weights, batches) == {}


def test_a_single_row_can_be_normalised_by_itself():
    layer, weights = norm_of("batch")
    assert torch.allclose(functional.apply(layer, weights, VECTORS[:1]), layer.bias)


@pytest.mark.parametrize("x", [IMAGES, VECTORS], ids=["images", "vectors"])
def test_the_second_derivative_of_a_norm_is_the_same_under_vmap(x):
    layer, weights = norm_of("batch")
    point = {**weights, "in": drawn(16, seed=4).reshape(16, *(1,) * (x.ndim - 2))}

    def loss(point: tree.Tree, rows: torch.Tensor) -> torch.Tensor:
        own = {name: point[name] for name in weights}
        return torch.tanh(functional.apply(layer, own, rows * point["in"])).pow(2).mean()

    def after_a_step(point: tree.Tree, rows: torch.Tensor) -> torch.Tensor:
        moved = descend(lambda p, step: loss(p, rows), point, SGD(1.0), 1)
        return loss(moved, rows + 1)

    live = tree.map(lambda leaf: leaf.clone().requires_grad_(), point)
    batch = torch.stack([x, 2 * x - 1, x.flip(0) ** 2])
    mapped = torch.vmap(lambda rows: after_a_step(live, rows))(batch).sum()
    looped = sum(after_a_step(live, rows) for rows in batch)
    for a, b in zip(*(torch.autograd.grad(v, list(live.values())) for v in (mapped, looped)), strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-12)


def test_an_unknown_norm_is_refused():
    with pytest.raises(ValueError, match="there is no norm 'instance': give one of batch"):
        Norm(4, "instance")
