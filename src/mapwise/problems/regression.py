"""Regression: numbers are predicted, and judged by their squared error."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mapwise.core.format import plain, share
from mapwise.core.problem import Answers, Metric, Problem, Summary, finite, task_mean
from mapwise.core.scores import Gaussian, Scores, means
from mapwise.core.task import Examples

LEVELS = ("50", "80", "95")
"""Central intervals of a predictive distribution whose coverage is measured, in per cent."""

DIVERGED = 100.0
"""An episode with a mean squared error above this (or NaN) counts as diverged."""

COVERAGE = f"% in {', '.join(LEVELS)} %"
"""The column with the coverage of the predictive intervals."""


class _Tally(NamedTuple):
    """Of one batch of tasks."""

    nll: Float[np.ndarray, "T"]
    coverage: Float[np.ndarray, "T 3"] | None


@dataclass(frozen=True)
class Regression(Problem):
    """Every row has W numbers; scores are their predictions, or a Gaussian over them."""

    name: ClassVar[str] = "regression"
    metric: ClassVar[Metric] = Metric("mse", "mean squared error", "mse", lower_is_better=True, percent=False)
    columns: ClassVar = "targets"
    loss: ClassVar[str | None] = "squared_error"
    task: ClassVar[str] = "{shots}-shot"
    asks: ClassVar[str] = "{shots} shots, {queries} queries"
    figures_read: ClassVar[tuple[str, ...]] = ("nll", "coverage")
    legends: ClassVar[Mapping[str, str]] = {
        "NLL": "NLL is in nats for a query row. ",
        COVERAGE: "The last is the share of targets within each predictive interval. ",
    }

    def values(self, scores: Scores, y: Float[Tensor, "*T N W"]) -> Float[Tensor, "*T N"]:
        """The squared error, averaged over targets."""
        return ((means(scores) - y) ** 2).mean(-1)

    def nll(self, scores: Scores, y: Float[Tensor, "*T N W"]) -> Float[Tensor, "*T N"] | None:
        """For a Gaussian, summed over targets; plain predictions have no density."""
        if not isinstance(scores, Gaussian):
            return None
        z = (y - scores.mean) / scores.scale
        return (0.5 * z**2 + torch.log(scores.scale.double()) + 0.5 * math.log(2 * math.pi)).sum(-1)

    def guess(self, support: Examples, query: Examples) -> Float[Tensor, "T"]:
        """The error of the mean of the support's targets."""
        portion = support.weight / support.weight.sum(1, keepdim=True).clamp(min=1e-12)
        mean = (support.y * portion[..., None]).sum(1, keepdim=True).double()
        return torch.from_numpy(task_mean(self.values(mean, query.y), query.weight))

    def tally(self, answers: Answers, temperature: float | None) -> _Tally:
        """The likelihood of each task, and the coverage of its predictive intervals."""
        covered = _coverage(answers.scores, answers) if isinstance(answers.scores, Gaussian) else None
        return _Tally(self.mean_nll(answers), covered)

    def figures(self, tallies: Sequence[_Tally]) -> dict[str, Any]:
        """For predictive distributions, likelihood and coverage."""
        covered = [tally.coverage for tally in tallies if tally.coverage is not None]
        shares = np.concatenate(covered).mean(0).tolist() if covered else []
        return {
            "nll": finite(np.concatenate([tally.nll for tally in tallies]).mean()),
            "coverage": dict(zip(LEVELS, shares, strict=True)) if covered else None,
        }

    def to_json(self, figures: Mapping[str, Any], values: Float[np.ndarray, "E"]) -> dict[str, Any]:
        """With the median task's error, and the share of tasks that diverged."""
        median, diverged = median_and_diverged(values)
        return {"median": median, "diverged": diverged} | super().to_json(figures, values)

    def cells(self, figures: Mapping[str, Any], values: Float[np.ndarray, "E"]) -> dict[str, str]:
        """Median and diverged tasks; the likelihood and coverage of predictive distributions."""
        median, diverged = median_and_diverged(values)
        cells = {"median": plain(median), "diverged": share(diverged, 2)}
        coverage = figures.get("coverage")
        if coverage is not None:
            inside = ", ".join(f"{100 * coverage[level]:.1f}" for level in LEVELS)
            cells |= {"NLL": plain(figures.get("nll")), COVERAGE: inside}
        return cells

    def opening(self, result: Summary) -> str:
        """How many points are given, and how far off the rest is."""
        examples = "one point" if result.shots == "1" else f"{result.shots} points"
        median, diverged = median_and_diverged(result.values)
        return (
            f"Given {examples} of a function {result.seen}, {result.learner} predicts the rest with a mean squared "
            f"error of {result.headline}; the median task has {plain(median)}"
            + (f", and {share(diverged, 2)} of the tasks diverged" if diverged else "")
        )


def median_and_diverged(values: Float[np.ndarray, "E"]) -> tuple[float, float]:
    """The median task's error, and the share of tasks that diverged (error above DIVERGED, or NaN)."""
    return float(np.median(values)), float(np.mean(~(values < DIVERGED)))


def _coverage(scores: Gaussian, answers: Answers) -> Float[np.ndarray, "T 3"]:
    """The share of each task's targets that lie in the central intervals of every level."""
    weight, y = answers.weight.double(), answers.y.double()
    distance = (y - scores.mean).abs() / scores.scale  # [T, Q, W]
    reach = torch.tensor([statistics.NormalDist().inv_cdf(0.5 + float(level) / 200) for level in LEVELS])
    within = (distance[..., None] <= reach).double().mean(-2)  # [T, Q, 3]
    return np.asarray((within * weight[..., None]).sum(1) / weight.sum(1, keepdim=True))
