"""The minimum that logistic regression steps towards is where its gradient vanishes, whichever system is solved."""

import pytest
import torch

from mapwise.core import context, solvers

STRENGTH = 0.5


def problem(rows, width, ways=3):
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    y = torch.nn.functional.one_hot(torch.arange(rows) % ways, ways).double()
    weight = torch.rand(rows, generator=generator, dtype=torch.float64) + 0.5
    weight[1] = 0
    return x, y, weight


def loss(head, x, y, weight):
    return -(weight * (y * (x @ head).log_softmax(1)).sum(1)).sum() + STRENGTH / 2 * (head**2).sum()


@pytest.mark.parametrize(("rows", "width"), [(9, 20), (30, 4)])
def test_the_gradient_vanishes_at_the_end(rows, width):
    x, y, weight = problem(rows, width)
    head = solvers.logistic(x, y, weight, STRENGTH, steps=3000).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(head, x, y, weight), head)
    assert gradient.abs().max() < 1e-7


@pytest.mark.parametrize("products", [False, True])
def test_every_step_is_the_same_in_both_unknowns(products):
    x, y, weight = problem(9, 20)
    wide = torch.cat([x, torch.zeros(30, 20, dtype=torch.float64)])
    padding = torch.zeros(30, dtype=torch.float64)
    for steps in (1, 2, 7, 60):
        with context.within(in_products=products):
            few = solvers.logistic(x, y, weight, STRENGTH, steps=steps)
        many = solvers.logistic(
            wide, torch.cat([y, y[:1].expand(30, 3)]), torch.cat([weight, padding]), STRENGTH, steps=steps
        )
        torch.testing.assert_close(few, many, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("rows", "width"), [(5, 8), (8, 3)])
def test_the_solution_is_differentiated_through(rows, width):
    x, y, weight = problem(rows, width)

    def solved(x, weight):
        return solvers.logistic(x, y, weight, STRENGTH, steps=4)

    weight = weight + 0.5
    assert torch.autograd.gradcheck(solved, (x.requires_grad_(), weight.requires_grad_()))
