"""Model-Agnostic Meta-Learning."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

from torch import Tensor

from mapwise.core import functional
from mapwise.core.functional import Net
from mapwise.core.inner_loop import SGD, descend
from mapwise.core.learner import WAIVABLE, Learner
from mapwise.core.losses import Loss, cross_entropy, loss_named, present_classes, without_absent
from mapwise.core.task import Examples, Task
from mapwise.core.tree import Fast, Params


@dataclass(frozen=True)
class MAML(Learner):
    """A few gradient steps on the support loss, from a start that makes them count.

    Paper:   Finn, Abbeel, Levine 2017, arXiv:1703.03400, eq. 1 and algorithm 2.
    Fast:    the moved weights by name; with norm "support" also {"statistics": ...}; with the
             cross-entropy also {"present": [W]}.
    Loss:    the query loss after the steps, differentiated through them.
    Differs: the support loss is a mean over rows, so a rate for the published code's sum over
             classes is `ways` times as large here.

    net:         [N, *input] -> [N, W]; its head is fixed in ways.
    inner_steps: K, gradient steps of an adaptation.
    inner_lr:    their rate.
    train_steps: steps while training; None: as many as `inner_steps`.
    first_order: leave out second derivatives (FOMAML).
    moves:       glob patterns of the parameters that move; "head" is the last layer (ANIL), "body"
                 the others (BOIL).
    loss:        "cross_entropy", "squared_error", another loss's name, or a function (scores, rows) -> scalar.

    Breaks `relabel`: each column of a learned head has its own start. A net whose norm uses the rows
    at hand also breaks `alone` and `padding` (unless its rows are the support's).

    Raises ValueError for a task with more classes than the head has columns.
    """

    net: Net
    inner_steps: int = 5
    inner_lr: float = 0.4
    train_steps: int | None = None
    first_order: bool = False
    moves: tuple[str, ...] = ("*",)
    loss: str | Loss = "cross_entropy"

    @property
    def keeps(self) -> frozenset[str]:
        """All but `relabel`; with statistics of the rows at hand, not `alone` and `padding` either."""
        by_rows = functional.statistics_kept(self.net) - {"statistics"}
        return WAIVABLE - {"relabel"} - ({"alone", "padding"} if by_rows else frozenset())

    @property
    def criterion(self) -> Loss:
        """The loss of support and query."""
        return loss_named(self.loss)

    def init(self, seed: int) -> Params:
        """The net's weights."""
        return functional.initial_weights(self.net, seed)

    def at(self, progress: float) -> Self:
        """Training takes `train_steps`."""
        return self if self.train_steps is None else replace(self, inner_steps=self.train_steps)

    def adapt(self, params: Params, support: Examples) -> Fast:
        """theta' = theta - inner_lr * grad L_support(theta), K times (eq. 1)."""
        moved, held = functional.choose(self.net, params, self.moves)
        # Only the cross-entropy is known to read columns as classes; another loss sees them all.
        present = {"present": present_classes(support)} if self.criterion is cross_entropy else {}

        def support_loss(weights: Params, step: int, held: Params, support: Examples, present: Params) -> Tensor:
            scores = functional.apply(self.net, {**held, **weights}, support.x, support.weight)
            return self.criterion(_columns(scores, present, support.y.shape[-1]), support)

        rule, given = SGD(self.inner_lr), (held, support, present)
        fast = descend(support_loss, moved, rule, self.inner_steps, given=given, first_order=self.first_order)
        return {**self._with_statistics(held, fast, support), **present}

    def _with_statistics(self, held: Params, moved: Params, support: Examples) -> Fast:
        if "statistics" not in functional.statistics_kept(self.net):
            return moved
        _, seen = functional.observe(self.net, {**held, **moved}, support.x, support.weight)
        return {**moved, **seen}

    def predict(self, params: Params, fast: Fast, x: Any) -> Tensor:
        """The net's output with the adapted weights, [Q, W]."""
        present = {"present": fast["present"]} if "present" in fast else {}
        weights = {**params, **{name: leaf for name, leaf in fast.items() if name != "present"}}
        scores = functional.apply(self.net, weights, x)
        return _columns(scores, present, present["present"].shape[0] if present else scores.shape[-1])

    def surrogate(self, params: Params, task: Task) -> Callable[[Params], Tensor]:
        """The objective; in first order, the query loss with the sum of the steps held constant (section 5.2)."""
        if not self.first_order:
            return super().surrogate(params, task)
        fast = self.adapt(params, task.support)
        start, _ = functional.choose(self.net, params, self.moves)
        steps = {name: (fast[name] - leaf).detach() for name, leaf in start.items()}

        def shifted(point: Params) -> Tensor:
            moved, held = functional.choose(self.net, point, self.moves)
            moved = {name: leaf + steps[name] for name, leaf in moved.items()}
            again = {**fast, **self._with_statistics(held, moved, task.support)}
            return self.criterion(self.predict(point, again, task.query.x), task.query)

        return shifted


def _columns(scores: Tensor, present: dict[str, Tensor], ways: int) -> Tensor:
    """The head's columns of a task with this many classes, absent classes out of reach."""
    if scores.shape[-1] < ways:
        raise ValueError(
            f"the head has {scores.shape[-1]} columns and the task has {ways} classes: build the net for {ways} ways, "
            "or take a learner without a fixed head, such as protonet"
        )
    return without_absent(scores[..., :ways], present["present"]) if present else scores
