"""What stands behind an encoder, by name: learners over encoded rows, with nothing to train."""

import math

from torch import nn

from mapwise.catalog.rows import HeadRow
from mapwise.core.families.logistic_head import mean_square
from mapwise.core.learner import Learner
from mapwise.core.task import Examples
from mapwise.encoders.encoder import Encoder, Tunable
from mapwise.learners.metric.kernel_mean import KernelMean
from mapwise.learners.metric.protonet import ProtoNet
from mapwise.learners.optimization.r2d2 import R2D2
from mapwise.learners.pretraining.logistic import Logistic


def _square(support: Examples) -> float:
    return float(mean_square(support.x.flatten(1), support.weight))


def _spread(support: Examples) -> float:
    """The mean squared distance of the rows from their mean: what a shift of all of them leaves as it is."""
    share = (support.weight / support.weight.sum())[:, None]
    x = support.x.flatten(1)
    spread = float((share * (x - (share * x).sum(0)) ** 2).sum())
    # Rows that are all the same are apart by rounding alone.
    return spread if spread > 1e-12 * _square(support) else _square(support)


def _logistic(support: Examples) -> Learner:
    return Logistic(nn.Flatten, strength=0.03 * _square(support))


HEADS: dict[str, HeadRow] = {
    "nearest_mean": HeadRow(
        lambda support: ProtoNet(nn.Flatten), "nearest class mean of the encoded rows", by_class=True
    ),
    "ridge": HeadRow(
        lambda support: R2D2(nn.Flatten, ridge=0.3 * _square(support), errors="sum"),
        "ridge regression onto the classes, in closed form",
    ),
    "logistic": HeadRow(_logistic, "logistic regression"),
    "lora": HeadRow(_logistic, "logistic regression on an encoder tuned by low-rank adapters", tunes=True),
}
"""What can stand behind an encoder, made for a support set of classes."""

REGRESSION_HEADS: dict[str, HeadRow] = {
    "kernel_mean": HeadRow(
        lambda support: KernelMean(nn.Flatten, bandwidth=math.sqrt(0.1 * _spread(support))),
        "kernel-weighted mean of the targets",
    ),
    "ridge": HeadRow(
        lambda support: R2D2(
            nn.Flatten, ridge=0.3 * _spread(support), errors="sum", centred=True, scale=1.0, loss="squared_error"
        ),
        "ridge regression, in closed form",
    ),
}
"""The same for a support set of targets."""


def heads_behind(encoder: Encoder) -> list[str]:
    """The heads of classes that can stand behind an encoder: those that tune it only where it can be."""
    return [name for name, row in HEADS.items() if not row.tunes or isinstance(encoder, Tunable)]
