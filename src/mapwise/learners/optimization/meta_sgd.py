"""Meta-SGD."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mapwise.core import functional, tree
from mapwise.core.families.fixed_head import FixedHeadLearner
from mapwise.core.inner_loop import SGD, descend
from mapwise.core.task import Examples
from mapwise.core.tree import Fast, Params
from mapwise.learners.row import gradient_row


@dataclass(frozen=True)
class MetaSGD(FixedHeadLearner):
    """One gradient step on the support loss, from a learned start and with a learned rate for every parameter.

    Paper:   Li, Zhou, Chen, Li 2017, arXiv:1707.09835, eq. 2 and algorithm 1.
    Fast:    the moved weights by name; with norm "support" also {"statistics": ...}; with the
             cross-entropy also {"present": [W]}.
    Loss:    the query loss after the step, differentiated through it, for the start and the rates.
    Differs: all rates start at `inner_lr`; the paper draws each from 0.005 to 0.1.

    net:         [N, *input] -> [N, W]; its head is fixed in ways.
    inner_lr:    what every rate starts at. A learned rate may turn negative: then its parameter climbs.
    inner_steps: gradient steps of an adaptation; the paper's is 1. All take the same rates.
    loss:        "cross_entropy", "squared_error", another loss's name, or a function (scores, rows) -> scalar.

    Params: {"net": weights by name, "rates": a rate for each number in them, by the same names}.

    Breaks `relabel`: each column of a learned head has its own start. A net whose norm uses the rows
    at hand also breaks `alone`, `padding` and `weights` (unless its rows are the support's).

    Raises ValueError for a task with more classes than the head has columns.

    >>> params = learner.init(0)
    >>> params["rates"]["head.weight"].shape == params["net"]["head.weight"].shape
    True
    """

    net_part: ClassVar[str] = "net"

    inner_lr: float = 0.4
    inner_steps: int = 1

    def init(self, seed: int) -> Params:
        """The net's weights, and as many rates."""
        net = functional.initial_weights(self.net, seed)
        return {"net": net, "rates": tree.map(lambda leaf: torch.full_like(leaf, self.inner_lr), net)}

    def adapt(self, params: Params, support: Examples) -> Fast:
        """theta' = theta - alpha * grad L_support(theta), alpha element by element (eq. 2)."""
        present = self.present_in(support)

        def support_loss(weights: Params, step: int, support: Examples, present: Params) -> Tensor:
            return self.loss_of(weights, support, present)

        rule, given = SGD(params["rates"]), (support, present)
        fast = descend(support_loss, params["net"], rule, self.inner_steps, given=given)
        return self.fast_of(fast, support)


ROWS = {
    "meta_sgd": gradient_row(MetaSGD, "Li 2017", "one step from a learned start, with a learned rate per parameter"),
}
