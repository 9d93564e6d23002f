"""The kinds of task: what each is judged by, and in which words. Whatever depends on a kind reads its row here."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mapwise.core.losses import binary_cross_entropy_of_rows
from mapwise.core.task import Kind


@dataclass(frozen=True)
class KindRow:
    """One kind of task; of its headline metric, the name, the direction, the form, and how a row is judged."""

    metric: str
    """In JSON, and wherever there is little room."""
    title: str
    """In a sentence."""
    least: bool
    """Less is better."""
    share: bool
    """Between 0 and 1, and shown in per cent."""
    judge: Callable[[Tensor, Tensor], Tensor]
    """(scores or means [..., N, W], y [..., N, W]) -> the metric of each row, [..., N]; an episode's is their mean."""
    nll: Callable[[Tensor, Tensor], Tensor] | None
    """The same for the negative log-likelihood of a row in nats; None: plain scores state no probability."""
    loss: str
    """What a learner with a choice of losses takes by default."""
    task: str
    """What a task asks, in a few words, of ways and shots."""
    asks: str
    """The same for a protocol's line, with the number of queries."""
    short: str
    """The metric where there is room for two short words."""

    def shown(self, value: float) -> str:
        """A single value of the metric, without an interval."""
        return f"{100 * value:.1f} %" if self.share else f"{value:.4g}"


def _right(scores: Tensor, y: Tensor) -> Tensor:
    return (scores.argmax(-1) == y.argmax(-1)).to(scores.dtype)


def _squared_error(scores: Tensor, y: Tensor) -> Tensor:
    return ((scores - y) ** 2).mean(-1)


def _wrong_bits(scores: Tensor, y: Tensor) -> Tensor:
    return ((scores > 0) != (y > 0.5)).to(scores.dtype).mean(-1)


def _class_nll(scores: Tensor, y: Tensor) -> Tensor:
    likely = torch.log_softmax(scores.double(), -1)
    # A class that can't be chosen has no likelihood, and the size of its score says nothing.
    barred = torch.where(scores > torch.finfo(scores.dtype).min / 4, 0.0, torch.inf)
    return torch.where(y > 0, barred - y * likely, 0.0).sum(-1)


def _bits_nll(scores: Tensor, y: Tensor) -> Tensor:
    return binary_cross_entropy_of_rows(scores.double(), y).sum(-1)


KINDS: dict[Kind, KindRow] = {
    "classification": KindRow(
        "accuracy",
        "accuracy",
        least=False,
        share=True,
        judge=_right,
        nll=_class_nll,
        loss="cross_entropy",
        task="{ways}-way {shots}-shot",
        asks="{ways}-way {shots}-shot, {queries} queries a class",
        short="acc",
    ),
    "regression": KindRow(
        "mse",
        "mean squared error",
        least=True,
        share=False,
        judge=_squared_error,
        nll=None,
        loss="squared_error",
        task="{shots}-shot",
        asks="{shots} shots, {queries} queries",
        short="mse",
    ),
    "multilabel": KindRow(
        "wrong_bits",
        "share of wrong bits",
        least=True,
        share=True,
        judge=_wrong_bits,
        nll=_bits_nll,
        loss="binary_cross_entropy",
        task="length {shots}",
        asks="length {shots}, at most {queries} answers",
        short="wrong bits",
    ),
}
"""Every kind, with its row."""

METRICS: dict[str, KindRow] = {row.metric: row for row in KINDS.values()}
"""The same by the name of the metric."""


def bits_of_a_bit(nll: float, columns: int) -> float:
    """The negative log-likelihood of a row of so many bits, in nats, as bits for each of them; a coin has 1."""
    return nll / (columns * math.log(2))
