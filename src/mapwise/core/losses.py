"""Losses as weighted means over rows, or over the tokens of all rows."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from mapwise.core.renamed import moved
from mapwise.core.scores import Gaussian
from mapwise.core.task import Examples

__getattr__ = moved(__name__)

Loss: TypeAlias = Callable[..., Tensor]
"""(scores, rows: Examples) -> a scalar"""


def row_mean(values: Float[Tensor, "N *L"], weight: Float[Tensor, "N *L"]) -> Float[Tensor, ""]:
    """The weighted mean over rows, or over all tokens of all rows; 0 when none counts."""
    return (values * weight).sum() / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)


def cross_entropy(scores: Float[Tensor, "N *L W"], rows: Examples) -> Float[Tensor, ""]:
    """Mean negative log-probability of the true class, in nats; scores are logits."""
    return row_mean(-(rows.y * torch.log_softmax(scores, dim=-1)).sum(-1), rows.weight)


def squared_error(scores: Float[Tensor, "N *L W"], rows: Examples) -> Float[Tensor, ""]:
    """Mean squared error over rows and targets, without a half."""
    _check_columns(scores, rows)
    return row_mean(((scores - rows.y) ** 2).mean(-1), rows.weight)


def binary_cross_entropy(scores: Float[Tensor, "N *L W"], rows: Examples) -> Float[Tensor, ""]:
    """Mean over rows and columns of the negative log-probability of yes or no, in nats; scores are logits."""
    _check_columns(scores, rows)
    return row_mean(binary_cross_entropy_of_rows(scores, rows.y).mean(-1), rows.weight)


def binary_cross_entropy_of_rows(scores: Float[Tensor, "*N W"], y: Float[Tensor, "*N W"]) -> Float[Tensor, "*N W"]:
    """The negative log-probability of every yes or no, in nats."""
    return torch.nn.functional.softplus(scores) - y * scores


def gaussian(scores: Gaussian, rows: Examples) -> Float[Tensor, ""]:
    """Mean negative log-density of the targets, in nats, summed over targets."""
    _check_columns(scores.mean, rows)
    z = (rows.y - scores.mean) / scores.scale
    each = 0.5 * z**2 + torch.log(scores.scale) + 0.9189385332046727  # log sqrt(2 pi)
    return row_mean(each.sum(-1), rows.weight)


def _check_columns(scores: Tensor, rows: Examples) -> None:
    """Raises ValueError for other numbers of columns, which torch would stretch to each other."""
    if scores.shape != rows.y.shape:
        raise ValueError(
            f"the scores have shape {tuple(scores.shape)} and the targets {tuple(rows.y.shape)}: build the net for "
            f"{rows.y.shape[-1]} target{'s' * (rows.y.shape[-1] != 1)}"
        )


LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "squared_error": squared_error,
    "binary_cross_entropy": binary_cross_entropy,
    "gaussian": gaussian,
}


def loss_named(loss: str | Loss) -> Loss:
    """The loss of this name, or the function itself; raises ValueError for an unknown name."""
    if callable(loss):
        return loss
    if loss not in LOSSES:
        raise ValueError(f"there is no loss {loss!r}: give one of {', '.join(LOSSES)}, or a function of (scores, rows)")
    return LOSSES[loss]
