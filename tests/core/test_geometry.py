"""Means, distances and cosines against numpy."""

import numpy as np
import torch
from torch.nn import functional as F

from mapwise.core import geometry
from small_tasks import drawn, rows_of


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
