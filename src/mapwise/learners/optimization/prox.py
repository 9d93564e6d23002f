"""Meta-MinibatchProx."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils import _pytree as pytree

from mapwise.core import tree
from mapwise.core.families.fixed_head import FixedHeadLearner
from mapwise.core.inner_loop import SGD
from mapwise.core.task import Examples, Task
from mapwise.core.tree import Fast, Params
from mapwise.learners.row import gradient_row


@dataclass(frozen=True)
class Prox(FixedHeadLearner):
    """Learn a start from which every task is learned best under a proximal pull back to it.

    Paper:   Zhou, Yuan, Xu, Yan, Feng 2019, Efficient Meta Learning via Minibatch Proximal Update, NeurIPS.
    Fast:    the moved weights by name; with norm "support" also {"statistics": ...}; with the
             cross-entropy also {"present": [W]}.
    Loss:    value of the query loss at weights that have learned from the query too; gradient of the smallest
             sum of the loss of all rows and the pull.
    Differs: inner steps are plain gradient descent, which converges to the minimum; the published code has Adam.

    net:         [N, *input] -> [N, W]; its head is fixed in ways.
    pull:        lambda, the weight of |phi - params|^2 / 2 beside the loss; 0.1 is the published code's for 5 ways.
    inner_steps: K, mini-batches of an adaptation, in training and after it.
    inner_batch: rows in each, as in Reptile; None: all of them. With all, the start is good for memorising the rows,
                 and generalises little.
    inner_lr:    their rate.
    loss:        "cross_entropy", "squared_error", another loss's name, or a function (scores, rows) -> scalar.

    The outer step is plain: train with the optimizer "SGD lr=10" (1 / pull) and the schedule "linear".

    Breaks `relabel`: each column of a learned head has its own start; and with an `inner_batch` also `order` and
    `weights`, since the places of the rows say which of them share a mini-batch. A net whose norm uses the rows at
    hand also breaks `alone`, `padding` and `weights` (unless its rows are the support's).

    Breaks `query_loss`: the value is that of weights that have learned from the queries too.

    Raises ValueError for a task with more classes than the head has columns, a pull that isn't positive, and an empty
    mini-batch.
    """

    pull: float = 0.1
    inner_steps: int = 8
    inner_batch: int | None = 10
    inner_lr: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.pull > 0:
            raise ValueError(f"pull is {self.pull}: give a positive number, or take reptile, which has none")
        if self.inner_batch is not None and self.inner_batch < 1:
            raise ValueError(f"inner_batch is {self.inner_batch}: give at least one row, or none for all of them")

    @property
    def keeps(self) -> frozenset[str]:
        """As MAML but `query_loss`, and `order` and `weights` only when every step sees all rows."""
        return super().keeps - (frozenset() if self.inner_batch is None else {"order", "weights"}) - {"query_loss"}

    def adapt(self, params: Params, support: Examples) -> Fast:
        """phi = argmin L(phi) + pull / 2 |phi - params|^2, by K gradient steps, each on the next mini-batch."""
        rule = SGD(self.inner_lr)
        return self.near(params, support, pull=self.pull, rule=rule, steps=self.inner_steps, batch=self.inner_batch)

    def objective(self, params: Params, task: Task) -> Float[Tensor, ""]:
        """In value the query loss, in gradient pull (params - phi), for phi adapted to all rows."""
        constant = tree.detach(params)
        fast = self.adapt(constant, all_rows(task))
        loss = self.criterion(self.predict(constant, fast, task.query.x), task.query).detach()
        tension = self._tension(params, fast)
        return loss + (tension - tension.detach())

    def surrogate(self, params: Params, task: Task) -> Callable[[Params], Tensor]:
        """pull / 2 |params - phi|^2: where phi is the minimum, the sum moves with params only through this."""
        fast = self.adapt(tree.detach(params), all_rows(task))
        return lambda point: self._tension(point, fast)

    def _tension(self, params: Params, fast: Fast) -> Tensor:
        start = self.weights_of(params)
        return self.pull / 2 * tree.squared_distance(start, {name: fast[name] for name in start})


def all_rows(task: Task) -> Examples:
    """Support and query rows as one set."""
    support, query = task
    x = pytree.tree_map(lambda *parts: torch.cat(parts), support.x, query.x)
    return Examples(x, torch.cat([support.y, query.y]), torch.cat([support.weight, query.weight]), support.key)


ROWS = {
    "prox": gradient_row(
        Prox,
        "Zhou 2019",
        "the start from which all rows of a task are learned near by",
        # As Reptile's: towards where each task led, all the way at first: the gradient is pull times the distance.
        recipe={"optimizer": "SGD lr=10.0", "schedule": "linear", "tasks": 5},
        tuned={"inner_lr": (0.1, 0.3)},
    ),
}
