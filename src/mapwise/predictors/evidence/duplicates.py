"""Copies among labelled rows: a row that is there twice counts as one of the weight of both."""

import numpy as np
import torch
from jaxtyping import Float, Int64

from mapwise.core.task import Examples


def distinct(support: Examples, digests: Int64[np.ndarray, "S"] | None = None) -> tuple[Examples, np.ndarray]:
    """The rows that count, copies of one class but once, with the weight of all; and their places.

    digests: of each row's content, 0 where it isn't known: equal ones are copies, whatever the encoder made of them.

    A copy would answer for its row when that is left out. The rows stand in an order of their own, so that one
    support is judged alike however it is given.
    """
    counted = np.flatnonzero(support.weight.numpy() > 0)
    if not len(counted):
        return support, counted
    x, y = support.x.flatten(1).numpy()[counted], support.y.argmax(1).numpy()[counted]
    direction = np.random.Generator(np.random.Philox(0)).normal(size=x.shape[1])
    along, near = x @ direction, _near(x)
    order = np.lexsort((along, y))  # near copies are neighbours along any direction
    # Only those near along it can be near (Cauchy-Schwarz; twice, for rounding), and wide rows take long to subtract.
    far = 2 * np.sqrt(near) * np.linalg.norm(direction)
    places = np.flatnonzero((np.diff(along[order]) <= far) & (np.diff(y[order]) == 0))
    pair = np.stack([order[places + 1], order[places]])
    pairs = [pair[:, ((x[pair[0]] - x[pair[1]]) ** 2).sum(1) <= near]]
    if digests is not None and len(digests):
        known = digests[counted]
        by = np.lexsort((known, y))
        same = (known[by[1:]] == known[by[:-1]]) & (known[by[1:]] != 0) & (y[by[1:]] == y[by[:-1]])
        pairs.append(np.stack([by[1:], by[:-1]])[:, same])
    group = _components(np.concatenate(pairs, axis=1), len(counted))
    first = np.unique(group, return_index=True)[1]
    first = first[np.argsort(np.argsort(order)[first])]
    weight = np.bincount(group, support.weight.numpy()[counted])[group[first]]
    places = counted[first]
    rows = torch.as_tensor(places)
    return support._replace(x=support.x[rows], y=support.y[rows], weight=torch.as_tensor(weight)), places


def _near(x: Float[np.ndarray, "S D"]) -> float:
    """The squared distance within which rows are copies: what rounding in another batch moves a row by."""
    spread = ((x - x.mean(0)) ** 2).sum(1).mean()
    return float(1e-10 * spread + 1e-16 * (x**2).sum(1).mean())


def _components(pairs: Int64[np.ndarray, "2 P"], rows: int) -> Int64[np.ndarray, "S"]:
    """The group of each row, where rows of a pair are in one: the first of its rows."""
    group = np.arange(rows)
    while (apart := group[pairs[0]] != group[pairs[1]]).any():
        pairs = pairs[:, apart]
        low, high = np.sort(group[pairs], axis=0)
        np.minimum.at(group, high, low)
        # Rows follow their first row to its own first row, twice as far each time.
        while (first := group[group]).sum() < group.sum():
            group = first
    return group
