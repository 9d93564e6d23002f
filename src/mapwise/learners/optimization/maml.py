"""Model-Agnostic Meta-Learning."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

from torch import Tensor

from mapwise.core import functional
from mapwise.core.families.fixed_head import FixedHeadLearner
from mapwise.core.inner_loop import SGD, descend
from mapwise.core.task import Examples, Task
from mapwise.core.tree import Fast, Params
from mapwise.learners.row import gradient_row


@dataclass(frozen=True)
class MAML(FixedHeadLearner):
    """A few gradient steps on the support loss, from a start that makes them count.

    Paper:   Finn, Abbeel, Levine 2017, arXiv:1703.03400, eq. 1 and algorithm 2.
    Fast:    the moved weights by name; with norm "support" also {"statistics": ...}; with the
             cross-entropy also {"present": [W]}.
    Loss:    the query loss after the steps, differentiated through them.
    Differs: the support loss is a mean over rows, so a rate for the published code's sum over
             classes is `ways` times as large here. The scale and shift of norm layers move in the inner loop as all
             weights do; the published code keeps its batch norm's shift out of the steps.

    net:         [N, *input] -> [N, W]; its head is fixed in ways.
    inner_steps: K, gradient steps of an adaptation.
    inner_lr:    their rate.
    train_steps: steps while training; None: as many as `inner_steps`.
    first_order: leave out second derivatives (FOMAML).
    moves:       glob patterns of the parameters that move; "head" is the last layer (ANIL), "body"
                 the others (BOIL).
    loss:        "cross_entropy", "squared_error", another loss's name, or a function (scores, rows) -> scalar.

    Breaks `relabel`: each column of a learned head has its own start. A net whose norm uses the rows
    at hand also breaks `alone`, `padding` and `weights` (unless its rows are the support's).

    Raises ValueError for a task with more classes than the head has columns.
    """

    inner_steps: int = 5
    inner_lr: float = 0.4
    train_steps: int | None = None
    first_order: bool = False
    moves: tuple[str, ...] = ("*",)

    def at(self, progress: float) -> Self:
        """Training takes `train_steps`."""
        return self if self.train_steps is None else replace(self, inner_steps=self.train_steps)

    def adapt(self, params: Params, support: Examples) -> Fast:
        """theta' = theta - inner_lr * grad L_support(theta), K times (eq. 1)."""
        moved, held = functional.split_weights(self.net, params, self.moves)
        present = self.present_in(support)

        def support_loss(weights: Params, step: int, held: Params, support: Examples, present: Params) -> Tensor:
            return self.loss_of({**held, **weights}, support, present)

        rule, given = SGD(self.inner_lr), (held, support, present)
        fast = descend(support_loss, moved, rule, self.inner_steps, given=given, first_order=self.first_order)
        return self.fast_of(fast, support, held=held)

    def surrogate(self, params: Params, task: Task) -> Callable[[Params], Tensor]:
        """The objective; in first order, the query loss with the sum of the steps held constant (section 5.2)."""
        if not self.first_order:
            return super().surrogate(params, task)
        fast = self.adapt(params, task.support)
        start, _ = functional.split_weights(self.net, params, self.moves)
        steps = {name: (fast[name] - leaf).detach() for name, leaf in start.items()}

        def shifted(point: Params) -> Tensor:
            moved, held = functional.split_weights(self.net, point, self.moves)
            moved = {name: leaf + steps[name] for name, leaf in moved.items()}
            again = self.fast_of(moved, task.support, held=held)
            return self.criterion(self.predict(point, again, task.query.x), task.query)

        return shifted


ROWS = {
    "maml": gradient_row(MAML, "Finn 2017", "a few gradient steps from a start learned for it"),
    "fomaml": gradient_row(partial(MAML, first_order=True), "Finn 2017", "maml without second derivatives"),
    "anil": gradient_row(partial(MAML, moves=("head",)), "Raghu 2020", "maml that moves only the head"),
    "boil": gradient_row(partial(MAML, moves=("body",)), "Oh 2021", "maml that moves all but the head"),
}
