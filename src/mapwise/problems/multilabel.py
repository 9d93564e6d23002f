"""Multilabel: every row has W bits, each judged by itself."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mapwise.core.format import plain
from mapwise.core.losses import binary_cross_entropy_of_rows
from mapwise.core.problem import Answers, Metric, Problem, Summary, finite
from mapwise.core.scores import Scores, means
from mapwise.core.task import Examples


@dataclass(frozen=True)
class Multilabel(Problem):
    """Scores are the logits of W bits."""

    name: ClassVar[str] = "multilabel"
    metric: ClassVar[Metric] = Metric("wrong_bits", "share of wrong bits", "wrong bits", lower_is_better=True)
    columns: ClassVar = "bits"
    loss: ClassVar[str | None] = "binary_cross_entropy"
    task: ClassVar[str] = "length {shots}"
    asks: ClassVar[str] = "length {shots}, at most {queries} answers"
    figures_read: ClassVar[tuple[str, ...]] = ("nll", "bits", "chance")
    legends: ClassVar[Mapping[str, str]] = {"bits a bit": "Bits a bit is the binary cross-entropy; a coin toss has 1. "}

    def values(self, scores: Scores, y: Float[Tensor, "*T N W"]) -> Float[Tensor, "*T N"]:
        """The share of wrong bits."""
        scores = means(scores)
        return ((scores > 0) != (y > 0.5)).to(scores.dtype).mean(-1)

    def nll(self, scores: Scores, y: Float[Tensor, "*T N W"]) -> Float[Tensor, "*T N"]:
        """The binary cross-entropy, summed over bits."""
        return binary_cross_entropy_of_rows(means(scores).double(), y).sum(-1)

    def guess(self, support: Examples, query: Examples) -> Float[Tensor, "T"]:
        """A coin's."""
        return torch.full((len(query.weight),), 0.5, dtype=torch.float64)

    def tally(self, answers: Answers, temperature: float | None) -> tuple[Float[np.ndarray, "T"], int]:
        """The likelihood of each task, and its number of bits."""
        return self.mean_nll(answers), answers.y.shape[-1]

    def figures(self, tallies: Sequence[tuple[Float[np.ndarray, "T"], int]]) -> dict[str, Any]:
        """The likelihood of a row, in nats, and the same in bits for each of its bits."""
        nll = float(np.concatenate([of_tasks for of_tasks, _ in tallies]).mean())
        return {"nll": finite(nll), "bits": nll / (tallies[0][1] * math.log(2)), "chance": 0.5}

    def cells(self, figures: Mapping[str, Any], values: Float[np.ndarray, "E"]) -> dict[str, str]:
        """The binary cross-entropy."""
        return {"bits a bit": plain(figures.get("bits"), 4)}

    def opening(self, result: Summary) -> str:
        """The length of the sequence, and how much of the answer is wrong."""
        return (
            f"Having read a sequence of length {result.shots} {result.seen}, {result.learner} gets {result.headline} "
            f"of the bits of its answer wrong, at {plain(result.figures.get('bits'), 4)} bits for each of them"
        )
