"""Scores: what a predictor says of a row."""

import math
from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor


class Gaussian(NamedTuple):
    """A predictive distribution: one normal per row and target."""

    mean: Float[Tensor, "N *L W"]
    scale: Float[Tensor, "N *L W"]


Scores: TypeAlias = Tensor | Gaussian


def means(scores: Scores) -> Float[Tensor, "N *L W"]:
    """The scores, or the means of predictive distributions."""
    return scores.mean if isinstance(scores, Gaussian) else scores


def without_absent(scores: Float[Tensor, "N *L W"], present: Float[Tensor, "W"]) -> Float[Tensor, "N *L W"]:
    """Scores in which a class that is absent from the support can't be chosen.

    finfo.min / 2 and not -inf: a one-hot zero times -inf would be NaN.
    """
    return torch.where(present > 0, scores, torch.finfo(scores.dtype).min / 2)


def mix(scores: Float[Tensor, "L N W"]) -> Float[Tensor, "N W"]:
    """The log of the mean probability over L draws of the scores."""
    return torch.log_softmax(scores, dim=-1).logsumexp(0) - math.log(len(scores))
