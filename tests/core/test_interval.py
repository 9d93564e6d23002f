"""Quantiles of Student's t are SciPy's."""

import numpy as np
import pytest
from scipy import stats

from mapwise.core.interval import half_width, student_quantile

TAILS = [0.5, 0.49, 0.4, 0.2, 0.05, 0.025, 0.01, 1e-3, 1e-4, 1e-6, 1e-9]


@pytest.mark.parametrize("freedom", [1, 1.5, 2, 3, 4.7, 9, 10, 30, 100, 1234.5, 1e4, 1e5, 1e6, 1e7])
def test_the_quantile_of_students_t_is_that_of_scipy(freedom):
    quantiles = [student_quantile(freedom, tail) for tail in TAILS]
    np.testing.assert_allclose(quantiles, stats.t.isf(TAILS, freedom), rtol=1e-11, atol=1e-14)
    below = [student_quantile(freedom, 1 - tail) for tail in TAILS]
    np.testing.assert_allclose(below, stats.t.isf(1 - np.array(TAILS), freedom), rtol=1e-11, atol=1e-14)


def test_an_interval_is_the_mean_plus_and_minus_half_its_width():
    values = np.random.default_rng(0).normal(size=7)
    low, high = stats.t.interval(0.95, 6, values.mean(), stats.sem(values))
    np.testing.assert_allclose(half_width(values), (high - low) / 2)
    assert np.isnan(half_width(values[:1]))
