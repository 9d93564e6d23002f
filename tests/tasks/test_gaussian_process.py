"""The Gaussian process source: functions of the kernel asked for, and their exact posterior."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from mapwise.core.losses import gaussian
from mapwise.core.map_tasks import task_at
from mapwise.core.source import TaskSource
from mapwise.runs.settings import RunSettings
from mapwise.tasks.gaussian_process import JITTER, KERNELS, GaussianProcess


def kernel_of(name, r, length):
    """Written apart from the source, in numpy."""
    return {
        "rbf": np.exp(-(r**2) / (2 * length**2)),
        "periodic": np.exp(-2 * np.sin(np.pi * r) ** 2 / length**2),
        "matern52": (1 + np.sqrt(5) * r / length + 5 * r**2 / (3 * length**2)) * np.exp(-np.sqrt(5) * r / length),
    }[name]


def test_a_task_has_as_many_points_as_were_drawn_and_the_rest_is_padding():
    source: TaskSource = GaussianProcess(shots=(3, 10), queries=7, tasks=300)
    task = source(0)
    assert task.support.x.shape == task.support.y.shape == (300, 10, 1)
    assert task.query.x.shape == (300, 7, 1) and task.query.y.dtype == torch.float32
    assert sorted(set(task.support.weight.sum(1).tolist())) == list(range(3, 11))
    assert bool((task.support.weight.diff(dim=1) <= 0).all())  # padding comes last
    assert bool((GaussianProcess(shots=4)(0).support.weight == 1).all())
    assert (source.problem.name, source.inputs.shape, source.outputs, source.names(0)[0]) == ("regression", (1,), 1, [])


def test_a_step_is_always_the_same_batch_and_another_step_seed_or_part_another():
    source = GaussianProcess(tasks=2, seed=1)
    first = source(3).query.y
    assert torch.equal(first, GaussianProcess(tasks=2, seed=1)(3).query.y)
    for other in (source(4), GaussianProcess(tasks=2, seed=2)(3), source.split("val")(3), source.split("test")(3)):
        assert not torch.isin(first, other.query.y).any()


def test_more_shots_leave_the_queries_and_the_first_support_rows_as_they_were():
    few, many = GaussianProcess(shots=2), GaussianProcess(shots=50)
    assert torch.equal(few(1).query.x, many(1).query.x) and torch.equal(few(1).support.x, many(1).support.x[:, :2])
    torch.testing.assert_close(few(1).query.y, many(1).query.y)
    torch.testing.assert_close(few(1).support.y, many(1).support.y[:, :2])


def test_support_and_query_share_no_point():
    task = GaussianProcess(tasks=50)(0)
    assert not torch.isin(task.support.x, task.query.x).any()


@pytest.mark.parametrize("kernel", KERNELS)
def test_pairs_of_values_vary_together_as_the_kernel_says(kernel):
    task = GaussianProcess(shots=1, queries=1, tasks=4000, kernel=kernel, length=1.0)(0)
    r = (task.support.x - task.query.x).abs().flatten().double().numpy()
    product = (task.support.y * task.query.y).flatten().double().numpy()
    for part in (r < 0.5, (r > 0.5) & (r < 1.5)):
        error = (product - kernel_of(kernel, r, 1.0))[part]
        assert abs(error.mean()) < 5 * error.std() / np.sqrt(part.sum())


@pytest.mark.parametrize("kernel", KERNELS)
def test_functions_are_of_unit_variance_and_noise_adds_its_own_and_changes_nothing_else(kernel):
    clean, noisy = (GaussianProcess(queries=1, tasks=4000, kernel=kernel, noise=noise)(0) for noise in (0.0, 0.5))
    assert float(clean.query.y.var()) == pytest.approx(1, abs=0.12)  # five standard errors
    assert float((noisy.query.y - clean.query.y).std()) == pytest.approx(0.5, rel=0.06)
    assert torch.equal(clean.query.x, noisy.query.x) and torch.equal(clean.support.weight, noisy.support.weight)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_posterior_is_the_joint_normal_conditioned_on_the_support(kernel):
    source = GaussianProcess(shots=(3, 6), queries=4, tasks=3, kernel=kernel, noise=0.1)
    support, query = task_at(source(0), 0)
    result = source.posterior(support, query.x)
    remainder = support.weight.numpy() > 0
    assert 3 <= remainder.sum() < 6
    x = np.concatenate([support.x.numpy()[remainder, 0], query.x.numpy()[:, 0]]).astype(float)
    joint = kernel_of(kernel, np.abs(x[:, None] - x), 0.4) + (0.01 + JITTER) * np.eye(len(x))
    s = int(remainder.sum())
    gain = joint[s:, :s] @ np.linalg.inv(joint[:s, :s])
    np.testing.assert_allclose(result.mean.numpy()[:, 0], gain @ support.y.numpy()[remainder, 0], atol=1e-8)
    spread = np.sqrt(np.diag(joint[s:, s:] - gain @ joint[:s, s:]))
    np.testing.assert_allclose(result.scale.numpy()[:, 0], spread, atol=1e-8)


def test_without_a_support_row_the_posterior_is_the_prior():
    source = GaussianProcess(shots=0, queries=5, tasks=1, noise=0.1)
    support, query = task_at(source(0), 0)
    assert support.x.shape == (0, 1)
    result = source.posterior(support, query.x)
    assert bool((result.mean == 0).all())
    torch.testing.assert_close(result.scale, torch.full((5, 1), (1.01 + JITTER) ** 0.5).double())


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_posterior_of_these_functions_is_calibrated_and_beats_that_of_another_length(kernel):
    source = GaussianProcess(shots=5, queries=10, tasks=100, kernel=kernel, noise=0.1)
    other = dataclasses.replace(source, length=0.8)
    tasks = source(0)
    z, ahead = [], []
    for number in range(100):
        support, query = task_at(tasks, number)
        mine, theirs = (one.posterior(support, query.x) for one in (source, other))
        z.append((query.y[0, 0] - mine.mean[0, 0]) / mine.scale[0, 0])  # one a task, so that they are independent
        ahead.append(gaussian(theirs, query) - gaussian(mine, query))
    assert float(torch.stack(z).square().mean()) == pytest.approx(1, abs=0.7)  # five standard errors
    gain = torch.stack(ahead)
    assert gain.mean() > 2 * gain.std() / 10


@pytest.mark.parametrize("kernel", KERNELS)
def test_hundreds_of_close_points_of_a_smooth_function_can_be_factored(kernel):
    source = GaussianProcess(shots=300, queries=200, tasks=1, kernel=kernel, length=2.0)
    support, query = task_at(source(0), 0)
    assert torch.isfinite(query.y).all()
    result = source.posterior(support, query.x)
    assert float((result.mean - query.y).abs().max()) < 0.1


@pytest.mark.parametrize(
    ("field", "value", "answer"),
    [
        ("kernel", "cubic", "give 'rbf', 'periodic' or 'matern52'"),
        ("part", "dev", "choose one of train, val, test"),
        ("shots", -1, "shots is -1"),
        ("shots", (4, 3), "shots is"),
        ("queries", 0, "queries is 0"),
        ("tasks", 0, "tasks is 0"),
        ("seed", -1, "seed is -1"),
        ("length", 0.0, "length is 0.0"),
        ("length", float("nan"), "length is nan"),
        ("noise", -1.0, "noise is -1.0"),
    ],
)
def test_a_setting_that_can_not_be_is_a_one_line_error(field, value, answer):
    with pytest.raises(ValueError, match=answer) as caught:
        GaussianProcess(**{field: value})
    assert "\n" not in str(caught.value)


def test_the_command_line_takes_a_kernel_and_as_many_points_as_the_source_asks_for(cli):
    words = ("train", "maml", "gp", "--net.hidden", "4", "--inner-steps", "1", "--tasks", "2", "--steps", "2")
    run = cli(*words, "--validation-episodes", "2", "--source.kernel", "periodic", "--json").answer["run"]
    settings = RunSettings.read(Path(run))
    assert (settings.shots, settings.source_options) == ("3-10", {"kernel": "periodic"})
    result = cli("eval", run, "--episodes", "10", "--json").answer
    assert (result["source"], result["shots"], result["queries"]) == ("gp periodic", "3-10", 30)
    page = cli("report", run, "--episodes", "4", "--curve-episodes", "2")
    assert page.code == 0, page.err
    assert "gp periodic test, 3-10 shots, 30 queries" in (Path(run) / "report.html").read_text()
    assert "'rbf', 'periodic' or 'matern52'" in cli(*words, "--source.kernel", "cubic").err
