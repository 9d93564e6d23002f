"""The map that starts as the identity."""

import pytest
import torch

from mapwise.core import functional
from mapwise.nets import Residual


def test_it_starts_as_the_identity_and_is_linear_afterwards():
    net, x = Residual((2, 3)), torch.randn(5, 2, 3, generator=torch.manual_seed(0))
    weights = functional.initial_weights(net, 0)
    assert torch.equal(functional.apply(net, weights, x), x.flatten(1)) and net.output_shape == (6,)
    matrix = torch.randn(6, 6, generator=torch.manual_seed(1))
    moved = functional.apply(net, {"map.weight": matrix}, x)
    assert torch.allclose(moved, x.flatten(1) + x.flatten(1) @ matrix.T, atol=1e-6)


@pytest.mark.parametrize("width", [64, 128, 1024])
def test_a_step_of_adam_turns_rows_of_any_length_as_far(width):
    net = Residual((width,))
    x = torch.full((1, width), width**-0.5)  # of length 1
    optimizer = torch.optim.Adam(net.parameters(), lr=0.001)
    (-net(x).sum()).backward()
    optimizer.step()
    assert float((net(x) - x).norm().detach()) == pytest.approx(0.064, rel=1e-3)


def test_a_head_ends_it_where_outputs_are_given():
    assert Residual((4,), 3)(torch.zeros(2, 4)).shape == (2, 3) and Residual((4,), 3).output_shape == (3,)
