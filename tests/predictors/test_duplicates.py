"""Copies among rows: those that lie together along one direction and in space, and no others."""

import tracemalloc

import numpy as np
import pytest
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mapwise.core.task import Examples
from mapwise.predictors.evidence import duplicates
from mapwise.predictors.evidence.duplicates import distinct


def support(x, columns):
    y = torch.nn.functional.one_hot(torch.as_tensor(columns), 3).double()
    return Examples(torch.as_tensor(x), y, torch.ones(len(x), dtype=torch.float64), torch.zeros((), dtype=torch.int64))


@pytest.mark.parametrize("seed", range(20))
def test_rows_are_copies_where_every_pair_of_a_class_is_measured_too(seed):
    """Rows of very different lengths, and copies of some that were moved by more and by less than rounding."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(30, 50)) * 10.0 ** random.integers(-3, 3, (30, 1)) + 10.0 * (seed % 3)
    columns = random.integers(0, 3, 30)
    again, noise = random.permutation(30)[:15], random.normal(size=(15, 50))
    noise *= (
        random.choice([0.0, 0.1, 0.9, 1.1, 10.0], (15, 1))
        * np.sqrt(duplicates._near(x))
        / np.linalg.norm(noise, axis=1)[:, None]
    )
    x, columns = np.concatenate([x, x[again] + noise]), np.concatenate([columns, columns[again]])
    apart = ((x[:, None] - x[None]) ** 2).sum(2)  # [S, S]
    pairs = np.argwhere((apart <= duplicates._near(x)) & (columns[:, None] == columns[None]))
    result, places = distinct(support(x, columns))
    group = duplicates._components(pairs.T, len(x))
    assert sorted(group[places]) == sorted(set(group))
    assert np.array_equal(result.weight.numpy(), np.bincount(group)[group[places]])


@pytest.mark.parametrize("seed", range(50))
def test_groups_are_the_components_of_scipy(seed):
    random = np.random.default_rng(seed)
    rows = int(random.integers(1, 60))
    pairs = random.integers(0, rows, (2, random.integers(0, 80)))
    group = duplicates._components(pairs, rows)
    graph = coo_array((np.ones(pairs.shape[1]), (pairs[0], pairs[1])), shape=(rows, rows))
    expected = connected_components(graph, directed=False)[1]
    firsts = np.unique(expected, return_index=True)[1]
    assert np.array_equal(group, firsts[expected])


def test_a_long_row_of_pairs_is_one_group():
    row = np.random.default_rng(0).permutation(20_000)
    assert not duplicates._components(np.stack([row[1:], row[:-1]]), 20_000).any()


def test_rows_that_lie_apart_are_not_subtracted():
    """Of wide rows that would take longer than all else."""
    x, columns = np.random.default_rng(0).normal(size=(3000, 300)), np.repeat(np.arange(3), 1000)
    x[1], x[1500] = x[0], x[2999]  # a copy in its class, and one in another
    rows = support(x, columns)
    tracemalloc.start()
    places = distinct(rows)[1]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(places) == 2999 and peak < 3.5 * x.nbytes
