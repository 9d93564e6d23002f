"""The inner loop takes the steps of torch's optimizers, and is differentiable in its start, its rates and its rows."""

import dataclasses
import weakref
from dataclasses import dataclass
from functools import partial

import pytest
import torch

from mapwise.core import context, inner_loop, tree
from mapwise.core.inner_loop import SGD, Adam, descend
from small_tasks import drawn

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
        with context.within(recomputes=recomputes):
            each = partial(end, start, rate)
            total = torch.vmap(each)(shapes).sum() if mapped else torch.stack([each(one) for one in shapes]).sum()
        result = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
        return [total.detach(), *result]

    remainder, recomputed = gradients(False), gradients(True)
    assert float(remainder[-1].abs().max()) > 0
    for a, b in zip(remainder, recomputed, strict=True):
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
        with context.within(recomputes=recomputes), hooks:
            end = descend(lambda p, t: torch.cosh(torch.sin(p["w"]) * 2).sum(), {"w": w}, SGD(0.1), steps)
        assert end["w"].requires_grad
        return sum(saved.tensor.numel() for saved in alive)

    assert graph(True, 8) <= 8 * 50 < graph(False, 8)


def test_a_tensor_that_an_inner_loss_closes_over_is_named_when_steps_are_recomputed():
    rows = drawn(3)
    named = pytest.raises(ValueError, match="closes over 'rows', whose gradient would be")
    with context.within(recomputes=True), named:
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
    result = torch.vmap(end)(w[None])[0] if mapped else end(w)
    torch.testing.assert_close(result, point["w"], rtol=1e-12, atol=0)
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
    for result, expected in zip(again(start, rule), inner_loop.trajectory(bowl, start, rule, 4), strict=True):
        assert all(torch.equal(result[name], leaf) for name, leaf in expected.items())
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
    result = inner_loop.curvature(bent, point, vector, given=(shape,))
    matrix = torch.func.jacrev(torch.func.grad(bent))(point, shape)
    for name in point:
        expected = sum(matrix[name][other] @ vector[other] for other in point)
        torch.testing.assert_close(result[name], expected, rtol=1e-12, atol=1e-14)


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

    result = torch.vmap(product, in_dims=mapped)(*given)
    for t in range(4):
        alone = product(
            *(
                part if axis is None else tree.map(lambda leaf, t=t: leaf[t], part)
                for axis, part in zip(mapped, given, strict=True)
            )
        )
        for name, leaf in alone.items():
            torch.testing.assert_close(result[name][t], leaf, rtol=1e-12, atol=1e-14)


def test_where_a_loss_does_not_curve_the_curvature_is_zero():
    point, vector = {"w": drawn(3), "b": drawn(2)}, {"w": drawn(3, seed=1), "b": drawn(2, seed=1)}
    for flat in (lambda p: p["w"].sum(), lambda p: torch.ones(())):
        assert not any(bool(leaf.any()) for leaf in inner_loop.curvature(flat, point, vector).values())
    mixed = inner_loop.curvature(lambda p: p["b"].sum() + (p["w"] ** 3).sum() / 6, point, vector)
    assert not bool(mixed["b"].any()) and torch.allclose(mixed["w"], point["w"] * vector["w"])


def test_curvature_is_a_constant_and_builds_no_graph():
    point = {"w": drawn(3).requires_grad_(), "b": drawn(2).requires_grad_()}
    shape = drawn(3, seed=1).requires_grad_()
    result = inner_loop.curvature(bent, point, point, given=(shape,))
    assert not any(leaf.requires_grad for leaf in result.values())


def test_nothing_of_the_inner_loop_is_kept_where_no_gradient_is_wanted():
    start = {name: leaf.requires_grad_() for name, leaf in bowl_start().items()}
    with torch.no_grad():
        end = descend(bowl, start, SGD(0.3), 3)
    assert not any(leaf.requires_grad for leaf in end.values())
    assert torch.equal(end["w"], descend(bowl, start, SGD(0.3), 3)["w"])
