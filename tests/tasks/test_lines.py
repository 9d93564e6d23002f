"""The source of lines: what its slopes and intercepts are; what it shares with sinusoids is tested there."""

import dataclasses

import numpy as np
import pytest
import torch

from mapwise.core.source import TaskSource
from mapwise.tasks.lines import Lines
from mapwise.tasks.sinusoid import Sinusoid
from mapwise.workflows.listing import source_options


def test_every_row_lies_on_the_line_of_its_task():
    source: TaskSource = Lines(tasks=8, seed=3)
    slope, intercept = source.curves(5)
    for rows in source(5):
        x, y = rows.x[..., 0].double().numpy(), rows.y[..., 0].double().numpy()
        np.testing.assert_allclose(y, slope[:, None] * x + intercept[:, None], atol=2e-6)
    assert (source.problem.name, source.inputs.shape, source.outputs, source.about.source) == (
        "regression",
        (1,),
        1,
        "lines",
    )


def test_slope_and_intercept_fill_their_ranges_on_both_sides():
    source = Lines(tasks=20_000, shots=1, queries=1, slope=2.0, intercept=0.5)
    slope, intercept = source.curves(0)
    for values, largest in ((slope, 2.0), (intercept, 0.5)):
        assert -largest <= values.min() < -0.99 * largest and 0.99 * largest < values.max() <= largest
        assert abs(values.mean()) < 5 * 2 * largest / np.sqrt(12 * 20_000)
        assert values.var() == pytest.approx((2 * largest) ** 2 / 12, rel=0.03)
    assert abs(np.corrcoef(slope, intercept)[0, 1]) < 5 / np.sqrt(20_000)


def test_lines_without_slope_are_level():
    rows = Lines(slope=0.0)(0).support
    assert torch.equal(rows.y, rows.y[:, :1].expand_as(rows.y))


def test_steps_seeds_and_splits_have_other_lines():
    source = Lines(tasks=3)
    results = [source(0), source(1), dataclasses.replace(source, seed=1)(0), source.split("test")(0)]
    assert len({tuple(task.query.y.flatten().tolist()) for task in results}) == 4
    assert torch.equal(source(1).query.y, Lines(tasks=3)(1).query.y)


@pytest.mark.parametrize("result", [Sinusoid, Lines])
def test_noise_changes_y_and_nothing_else(result):
    for plain, rows in zip(result()(1), result(noise=0.3)(1), strict=True):
        assert torch.equal(plain.x, rows.x) and torch.equal(plain.key, rows.key)
        assert not torch.equal(plain.y, rows.y)


@pytest.mark.parametrize(
    ("field", "value", "answer"),
    [
        ("slope", -1.0, "slope is -1.0"),
        ("intercept", float("inf"), "intercept is inf"),
        ("noise", -0.1, "noise is -0.1"),
        ("part", "all", "lines has no split 'all'"),
    ],
)
def test_a_wrong_setting_is_a_one_line_error(field, value, answer):
    with pytest.raises(ValueError, match=answer) as caught:
        Lines(**{field: value})
    assert "\n" not in str(caught.value)


def test_its_own_settings_are_flags_with_a_meaning():
    assert {option["flag"] for option in source_options("lines")} == {
        "--source.noise",
        "--source.slope",
        "--source.intercept",
    }
    assert all(option["meaning"] for option in source_options("lines"))
