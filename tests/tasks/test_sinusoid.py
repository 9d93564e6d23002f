"""The sinusoid source: the family of the paper, a pure function of seed, part and step."""

import dataclasses

import numpy as np
import pytest
import torch

from mapwise.core.source import TaskSource
from mapwise.tasks.sinusoid import Sinusoid


def flat(task):
    return [tensor for rows in task for tensor in rows]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(flat(one), flat(other), strict=True))


def test_shapes_are_those_of_the_protocol():
    source: TaskSource = Sinusoid(shots=3, queries=7, tasks=4)
    task = source(0)
    assert task.support.x.shape == task.support.y.shape == (4, 3, 1)
    assert task.query.x.shape == task.query.y.shape == (4, 7, 1)
    assert task.query.weight.shape == (4, 7) and bool((task.query.weight == 1).all())
    assert task.support.x.dtype == task.support.y.dtype == task.support.weight.dtype == torch.float32
    assert task.support.key.shape == (4,) and task.support.key.dtype == torch.int64
    assert len(set(task.support.key.tolist())) == 4
    assert (source.problem.name, source.inputs.shape, source.outputs) == ("regression", (1,), 1)
    assert source.names(0) == [[], [], [], []]


def test_every_row_lies_on_the_curve_of_its_task():
    source = Sinusoid(tasks=8, seed=3)
    amplitude, phase = source.curves(5)
    for rows in source(5):
        x, y = rows.x[..., 0].double().numpy(), rows.y[..., 0].double().numpy()
        np.testing.assert_allclose(y, amplitude[:, None] * np.sin(x - phase[:, None]), atol=2e-6)


def test_amplitude_phase_and_x_fill_the_ranges_of_the_paper():
    source = Sinusoid(tasks=20_000, shots=1, queries=1)
    amplitude, phase = source.curves(0)
    drawn = ((amplitude, 0.1, 5.0), (phase, 0.0, np.pi), (source(0).support.x.flatten().numpy(), -5.0, 5.0))
    for values, low, high in drawn:
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
        # Uniform: mean in the middle within five standard errors, and its variance.
        assert abs(values.mean() - (low + high) / 2) < 5 * (high - low) / np.sqrt(12 * 20_000)
        assert values.var() == pytest.approx((high - low) ** 2 / 12, rel=0.03)
    assert abs(np.corrcoef(amplitude, phase)[0, 1]) < 5 / np.sqrt(20_000)


def test_a_step_is_always_the_same_batch_and_another_step_seed_or_part_another():
    source = Sinusoid(tasks=3, seed=1)
    first = source(7)
    source(8)
    assert same(first, source(7))
    assert same(first, dataclasses.replace(source)(7))
    for other in (source(8), dataclasses.replace(source, seed=2)(7), source.split("val")(7), source.split("test")(7)):
        assert not same(first, other)


def test_splits_steps_and_seeds_share_no_curve_and_no_point():
    batches, curves = [], []
    for seed in (0, 1):
        for part in ("train", "val", "test"):
            for step in range(20):
                source = Sinusoid(tasks=10, seed=seed, part=part)
                curves.append(source.curves(step)[0])
                batches.append(torch.cat([rows.x.flatten() for rows in source(step)]))
    assert len(np.unique(np.concatenate(curves))) == 2 * 3 * 20 * 10
    # float32 has few enough values for chance repeats, and a shared stream would repeat whole batches.
    assert len({tuple(batch.tolist()) for batch in batches}) == 2 * 3 * 20
    assert len(torch.cat(batches).unique()) > 0.99 * 2 * 3 * 20 * 200


def test_support_and_query_are_drawn_apart():
    task = Sinusoid(tasks=50)(0)
    assert not set(task.support.x.flatten().tolist()) & set(task.query.x.flatten().tolist())


def test_more_queries_leave_the_curves_and_the_support_as_they_were():
    few, many = Sinusoid(queries=5), Sinusoid(queries=100)
    assert all(torch.equal(a, b) for a, b in zip(few(2).support, many(2).support, strict=True))
    np.testing.assert_array_equal(few.curves(2), dataclasses.replace(few, shots=1).curves(2))


def test_noise_changes_y_by_its_standard_deviation_and_nothing_else():
    clean, noisy = Sinusoid(tasks=500)(1), Sinusoid(tasks=500, noise=0.3)(1)
    for plain, rows in zip(clean, noisy, strict=True):
        assert torch.equal(plain.x, rows.x) and torch.equal(plain.key, rows.key)
        assert float((rows.y - plain.y).std()) == pytest.approx(0.3, rel=0.05)


@pytest.mark.parametrize(
    ("field", "value", "answer"),
    [
        ("shots", 0, "shots is 0"),
        ("queries", 0, "queries is 0"),
        ("tasks", -1, "tasks is -1"),
        ("seed", -1, "seed is -1"),
        ("noise", -0.1, "noise is -0.1"),
        ("noise", float("nan"), "noise is nan"),
        ("part", "trainval", "choose one of train, val, test"),
    ],
)
def test_a_wrong_setting_is_a_one_line_error(field, value, answer):
    with pytest.raises(ValueError, match=answer) as caught:
        Sinusoid(**{field: value})
    assert "\n" not in str(caught.value)
