"""What a task asks for: how its rows are judged, how they are guessed without learning, and how reports describe it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils import _pytree as pytree

from mapwise.core.scores import Gaussian, Scores
from mapwise.core.task import Examples


@dataclass(frozen=True)
class Metric:
    """The headline number of a problem."""

    name: str
    """In JSON, and where space is short."""
    title: str
    """In a sentence."""
    short: str
    """Where there is room for two short words."""
    lower_is_better: bool = False
    percent: bool = True
    """Between 0 and 1, and shown in per cent."""

    def format(self, value: float) -> str:
        """A single value, without an interval."""
        return f"{100 * value:.1f} %" if self.percent else f"{value:.4g}"

    def improves(self, value: float, best: float | None) -> bool:
        """Whether a value is better than the best so far; NaN is worse than any number."""
        if best is None or math.isnan(value) or math.isnan(best):
            return best is None or not math.isnan(value)
        return value < best if self.lower_is_better else value > best


class Answers(NamedTuple):
    """What was predicted for the rows that judge a batch of tasks, and what was true; on the CPU.

    Where every token has a label, a token is a row: Q counts the tokens of all query rows.
    """

    scores: Scores
    """[T, Q, W]"""
    y: Float[Tensor, "T Q W"]
    weight: Float[Tensor, "T Q"]
    names: list[list[str]]
    """The W class names of each task; empty lists without classes."""
    stream: bool
    """Whether the rows are those of a stream, each predicted from the rows before it."""
    tokens: int = 1
    """L, the tokens of a row: so many rows here come from one; 1 where a row has one label."""

    @classmethod
    def of(cls, scores: Scores, rows: Examples, names: list[list[str]], stream: bool = False) -> "Answers":
        """The answers to the rows of a batch of tasks.

        scores: [T, Q, W], or [T, Q, L, W] for tokens.

        Raises ValueError for scores of another shape than the labels.
        """
        for leaf in pytree.tree_leaves(scores):
            if leaf.shape[:-1] != rows.weight.shape:
                raise ValueError(
                    f"the scores of a task are {list(leaf.shape[1:])} and its labels {list(rows.y.shape[1:])}: predict "
                    "scores for every label"
                )
        flat = pytree.tree_map(lambda leaf: leaf.flatten(1, -2).cpu(), scores)
        tokens = rows.weight.shape[2] if rows.weight.dim() > 2 else 1
        return cls(flat, rows.y.flatten(1, -2).cpu(), rows.weight.flatten(1).cpu(), names, stream, tokens)

    def first(self, count: int) -> "Answers":
        """Those of the first so many tasks."""
        scores = self.scores
        cut = Gaussian(scores.mean[:count], scores.scale[:count]) if isinstance(scores, Gaussian) else scores[:count]
        return Answers(cut, self.y[:count], self.weight[:count], self.names[:count], self.stream, self.tokens)


class Summary(NamedTuple):
    """What the first sentence of a report is about."""

    learner: str
    ways: str
    shots: str
    seen: str
    """Whether the learner was trained on such classes, as the end of a relative clause."""
    headline: str
    """The metric with its interval."""
    figures: Mapping[str, Any]
    values: Float[np.ndarray, "E"]
    """The metric of every episode."""


def task_mean(values: Float[Tensor, "T *N"], weight: Float[Tensor, "T *N"]) -> Float[np.ndarray, "T"]:
    """The weighted mean over the rows (and tokens) of each task."""
    counts = weight.flatten(1)
    mean: np.ndarray = ((values.to(counts.dtype) * weight).flatten(1).sum(-1) / counts.sum(-1)).double().numpy()
    return mean


@dataclass(frozen=True)
class Problem:
    """One problem, such as classification: a value without fields that holds all that depends on the problem."""

    name: ClassVar[str]
    """In files and in the catalog."""
    metric: ClassVar[Metric]
    columns: ClassVar[Literal["classes", "targets", "bits", "tags"]]
    """What a column of y and of the scores is. Classes may be permuted, absent, and named."""
    loss: ClassVar[str | None]
    """The default loss of learners that have a choice; None: the learner's own default."""
    task: ClassVar[str]
    """What a task asks, in a few words, a template of ways and shots."""
    asks: ClassVar[str]
    """The same for a protocol's line, with the number of queries."""
    figures_read: ClassVar[tuple[str, ...]] = ()
    """Figures that are single numbers, or dicts of them, and so come back from JSON as they are."""
    legends: ClassVar[Mapping[str, str]] = {}
    """A sentence that explains a column of a table, for the columns that need one."""

    def values(self, scores: Scores, y: Float[Tensor, "*T N W"]) -> Float[Tensor, "*T N"]:
        """The metric of each row, or of each token of a sequence, where an episode's is their weighted mean."""
        raise NotImplementedError

    def episode_values(self, answers: Answers) -> Float[np.ndarray, "T"]:
        """The metric of each episode: by default the weighted mean of `values`.

        A metric that is no mean over rows, such as an F1 of counts, is computed here instead.
        """
        return task_mean(self.values(answers.scores, answers.y), answers.weight)

    def nll(self, scores: Scores, y: Float[Tensor, "*T N W"]) -> Float[Tensor, "*T N"] | None:
        """The negative log-likelihood of each row, in nats; None where the scores give no probability."""
        raise NotImplementedError

    def guess(self, support: Examples, query: Examples) -> Float[Tensor, "T"]:
        """The metric, for each task, of a guess that ignores the inputs: what a learner must beat.

        Of tokens, the labels come `by_token`.
        """
        raise NotImplementedError

    def tally(self, answers: Answers, temperature: float | None) -> Any:
        """What `figures` needs to know of one batch of tasks.

        temperature: class scores are divided by it, for figures after calibration; None: no calibration.
        """
        return self.mean_nll(answers)

    def figures(self, tallies: Sequence[Any]) -> dict[str, Any]:
        """The figures of a report beside its headline, by name.

        tallies: of every batch, in order.
        """
        raise NotImplementedError

    def to_json(self, figures: Mapping[str, Any], values: Float[np.ndarray, "E"]) -> dict[str, Any]:
        """The figures that are numbers, JSON-ready, and those that follow from the metric of every episode."""
        return {name: figures.get(name) for name in self.figures_read}

    def of_json(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """The figures of a report that was written as JSON."""
        return {name: report[name] for name in self.figures_read if report.get(name) is not None}

    def cells(self, figures: Mapping[str, Any], values: Float[np.ndarray, "E"]) -> dict[str, str]:
        """The cells beside the headline in a table, by column.

        values: the metric of every episode.
        """
        raise NotImplementedError

    def opening(self, result: Summary) -> str:
        """The first sentence of a report, without its full stop."""
        raise NotImplementedError

    def mean_nll(self, answers: Answers) -> Float[np.ndarray, "T"]:
        """The mean negative log-likelihood of each task's rows that count; NaN where there is none."""
        weight = answers.weight.double()
        each = self.nll(answers.scores, answers.y.double())
        if each is None:
            return np.full(len(weight), np.nan)
        return task_mean(torch.where(weight > 0, each, 0.0), weight)


def finite(value: float) -> float | None:
    """The number; None when it is NaN or infinite."""
    return float(value) if math.isfinite(value) else None
