"""Reptile."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

from jaxtyping import Float
from torch import Tensor

from mapwise.core import tree
from mapwise.core.families.fixed_head import FixedHeadLearner
from mapwise.core.inner_loop import Adam, descend
from mapwise.core.mini_batch import mini_batch
from mapwise.core.task import Examples, Task
from mapwise.core.tree import Fast, Params
from mapwise.learners.row import MOVING, LearnerRow


@dataclass(frozen=True)
class Reptile(FixedHeadLearner):
    """Train on one task's support for a few mini-batches, then move the start towards where that led.

    Paper:   Nichol, Achiam, Schulman 2018, arXiv:1803.02999, algorithm 2.
    Fast:    the moved weights by name; with norm "support" also {"statistics": ...}; with the
             cross-entropy also {"present": [W]}.
    Loss:    value of the query loss; the gradient is that of half the squared distance to the adapted
             weights, which are a constant. The query is looked at and not learned from.
    Differs: the inner Adam's second moments start afresh for every task, and the published code carries them
             over from task to task. With norm "support" a query is normalised by the support alone, not
             by the support and itself.

    net:         [N, *input] -> [N, W]; its head is fixed in ways.
    inner_steps: K, mini-batches of an adaptation.
    inner_batch: support rows in each; None: all of them. Rows come in a random order, each once before any comes again.
    train_steps: mini-batches while training; None: as many as `inner_steps`.
    train_batch: rows in each while training; None: as many as `inner_batch`.
    inner_lr:    rate of the inner Adam, whose beta1 is 0.
    loss:        "cross_entropy", "squared_error", another loss's name, or a function (scores, rows) -> scalar.

    The outer step is plain: train with the optimizer "SGD lr=1" and the schedule "linear".

    Breaks `relabel`: each column of a learned head has its own start; and with an `inner_batch` also `order` and
    `weights`, since the places of the rows say which of them share a mini-batch. A net whose norm uses the rows at
    hand also breaks `alone`, `padding` and `weights` (unless its rows are the support's).

    Raises ValueError for a task with more classes than the head has columns, and for an empty mini-batch.
    """

    inner_steps: int = 50
    inner_batch: int | None = 5
    train_steps: int | None = 5
    train_batch: int | None = 10
    inner_lr: float = 0.001

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("inner_batch", "train_batch"):
            size = getattr(self, name)
            if size is not None and size < 1:
                raise ValueError(f"{name} is {size}: give at least one row, or none for all rows of the support")

    @property
    def keeps(self) -> frozenset[str]:
        """As MAML, and `order` and `weights` only when every step sees all rows."""
        return super().keeps - (frozenset() if self.inner_batch is None else {"order", "weights"})

    def at(self, progress: float) -> Self:
        """Training takes `train_steps` mini-batches of `train_batch` rows."""
        steps = self.inner_steps if self.train_steps is None else self.train_steps
        batch = self.inner_batch if self.train_batch is None else self.train_batch
        return replace(self, inner_steps=steps, inner_batch=batch)

    def adapt(self, params: Params, support: Examples) -> Fast:
        """phi = K steps of Adam from the params, each on the next mini-batch."""
        present = self.present_in(support)

        def batch_loss(weights: Params, step: int, support: Examples, present: Params) -> Tensor:
            rows = support if self.inner_batch is None else mini_batch(support, step, self.inner_batch)
            return self.loss_of(weights, rows, present)

        rule, given = Adam(self.inner_lr, beta1=0.0), (support, present)
        fast = descend(batch_loss, self.weights_of(params), rule, self.inner_steps, given=given, first_order=True)
        return self.fast_of(fast, support)

    def objective(self, params: Params, task: Task) -> Float[Tensor, ""]:
        """In value the query loss, in gradient params - phi."""
        fast = tree.detach(self.adapt(tree.detach(params), task.support))
        loss = self.criterion(self.predict(tree.detach(params), fast, task.query.x), task.query)
        pull = self._pull(params, fast)
        return loss.detach() + pull - pull.detach()

    def surrogate(self, params: Params, task: Task) -> Callable[[Params], Tensor]:
        """Half the squared distance to the adapted weights."""
        fast = tree.detach(self.adapt(tree.detach(params), task.support))
        return lambda point: self._pull(point, fast)

    def _pull(self, params: Params, fast: Fast) -> Tensor:
        return tree.squared_distance(self.weights_of(params), fast) / 2


ROWS = {
    "reptile": LearnerRow(
        Reptile,
        "Nichol 2018",
        "a start moved towards where training on each task leads",
        nets=MOVING,
        # Its outer step is plain: an Adam there would divide params - fast by its size.
        recipe={"optimizer": "SGD lr=1.0", "schedule": "linear", "tasks": 5},
        # It learns from the support alone, so more of a task's rows may stand there.
        tuned={"shots": ("1", "15"), "inner_lr": (0.003, 0.01)},
    ),
}
