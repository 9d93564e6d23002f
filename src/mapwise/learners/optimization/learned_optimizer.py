"""The learned optimizer: a network that reads a gradient and says the step."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from jaxtyping import Float
from torch import Tensor

from mapwise.core import functional, random, tree
from mapwise.core.families.fixed_head import FixedHeadLearner
from mapwise.core.inner_loop import Carry, descend, replay, walk
from mapwise.core.mini_batch import mini_batch
from mapwise.core.task import Examples, Task
from mapwise.core.tree import Fast, Params
from mapwise.learners.row import LearnerRow
from mapwise.nets.log_and_sign import log_and_sign
from mapwise.nets.lstm import lstm_cell, lstm_weights


@dataclass(frozen=True)
class LearnedOptimizer(FixedHeadLearner):
    """A task is a problem to optimise: from a random start, an LSTM reads every weight's gradient and says its step.

    Paper:   Andrychowicz, Denil, Gomez, Hoffman, Pfau, Schaul, Shillingford, de Freitas 2016, arXiv:1606.04474, section
             2 and appendix A.
    Fast:    the weights after the steps, by name; with norm "support" also {"statistics": ...}; with the
             cross-entropy also {"present": [W]}.
    Loss:    in truncated unrolls the sum of the support losses after each step of a window (eq. 3, all weights 1);
             as an objective the query loss after the steps. Gradients are constants in both.
    Differs: nothing.

    net:           [N, *input] -> [N, W], the network that is optimised; its head is fixed in ways.
    inner_steps:   steps of an adaptation, in training and after; the optimizer may take others than it was trained for.
    inner_batch:   support rows that each step sees; None: all of them.
    unroll:        steps of a window: every update of a training is one window, and the last of an adaptation has the
                   rest of its steps. None: an update takes all steps, and descends the query loss after them.
    hidden:        units of each of the two layers.
    output_scale:  what their output is multiplied by.
    initial_scale: standard deviation of the weights that the steps start from, drawn from the task's key.
    loss:          "cross_entropy", "squared_error", another loss's name, or a function (scores, rows) -> scalar.

    Params: {"first", "second": see `lstm_cell`, "output": {"weight": [hidden], "bias": []}}: of the optimizer alone.
    One serves all weights of any net, each with a state of its own.

    Breaks `relabel`: each column of the head has its own random start; with an `inner_batch` also `order` and
    `weights`, since the places of the rows say which of them share a mini-batch. A net whose norm uses the rows at
    hand also breaks `alone`, `padding` and `weights` (unless its rows are the support's).

    Raises ValueError for a task with more classes than the head has columns, and for an empty mini-batch or window.

    >>> moved = descend(loss, point, learner.rule(params), steps=100, first_order=True)  # of any loss
    """

    net_part: ClassVar[str] = "net"

    inner_steps: int = 100
    inner_batch: int | None = None
    unroll: int | None = 20
    hidden: int = 20
    output_scale: float = 0.1
    initial_scale: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.inner_batch is not None and self.inner_batch < 1:
            raise ValueError(
                f"inner_batch is {self.inner_batch}: give at least one row, or none for all of the support"
            )
        if self.unroll is not None and self.unroll < 1:
            raise ValueError(f"unroll is {self.unroll}: give a window of at least one step, or none")

    @property
    def keeps(self) -> frozenset[str]:
        """All but `relabel`, and `order` and `weights` only when every step sees all rows."""
        return super().keeps - (frozenset() if self.inner_batch is None else {"order", "weights"})

    def init(self, seed: int) -> Params:
        """Both layers and the output as torch makes them."""
        key = random.key_of(seed)
        *weight, bias = (2 * random.uniform(random.fold(key, 2), (self.hidden + 1,)) - 1) * self.hidden**-0.5
        return {
            "first": lstm_weights(random.fold(key, 0), 2, self.hidden),
            "second": lstm_weights(random.fold(key, 1), self.hidden, self.hidden),
            "output": {"weight": torch.stack(weight), "bias": bias},
        }

    def rule(self, params: Params) -> "CoordinateLSTM":
        """The optimizer as the rule of an inner loop, for `descend`."""
        return CoordinateLSTM(params["first"], params["second"], params["output"], self.output_scale)

    def start(self, params: Params, support: Examples) -> Fast:
        """Where the steps start from, as `adapt` without any step returns it."""
        return self.fast_of(self._point(support), support)

    def adapt(self, params: Params, support: Examples) -> Fast:
        """theta_t+1 = theta_t + g_t, g_t = the optimizer's reading of the gradient (section 2, eq. 3)."""
        given = (support, self.present_in(support))
        rule, steps = self.rule(params), self.inner_steps
        moved = descend(self.batch_loss, self._point(support), rule, steps, given=given, first_order=True)
        return self.fast_of(moved, support)

    def predict(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "Q W"]:
        """The net's output with the weights after the steps."""
        return super().predict({self.net_part: {}}, fast, x)

    def surrogate(self, params: Params, task: Task) -> Callable[[Params], Tensor]:
        """The query loss as a function of the optimizer, with the steps' gradients held constant."""
        given, start = (task.support, self.present_in(task.support)), self._point(task.support)
        again = replay(self.batch_loss, start, self.rule(params), self.inner_steps, given=given)

        def through(point: Params) -> Tensor:
            *_, moved = [start, *again(start, self.rule(point))]
            return self.criterion(self.predict(point, self.fast_of(moved, task.support), task.query.x), task.query)

        return through

    def begin(self, params: Params, task: Task) -> Carry:
        """The start and the state of the optimizer before the first window."""
        point = self._point(task.support)
        return Carry(point, self.rule(params).start(point))

    def window(self, params: Params, task: Task, carry: Carry, first: int, steps: int) -> tuple[Tensor, Carry]:
        """The sum of the support losses after each of these steps, and where the last one leads.

        first: the step that the window begins with, counted from 0.
        """
        given, total = (task.support, self.present_in(task.support)), torch.zeros((), dtype=task.support.y.dtype)
        total = total.to(task.support.y.device)
        taken = walk(
            self.batch_loss, carry, self.rule(params), range(first, first + steps), given=given, first_order=True
        )
        for t, carry in enumerate(taken, start=first + 1):
            total = total + self.batch_loss(carry.point, t, *given)  # on the rows that the next step sees
        return total, carry

    def fast_after(self, params: Params, support: Examples, carry: Carry) -> Fast:
        """The weights where the adaptation stands."""
        return self.fast_of(carry.point, support)

    def _point(self, support: Examples) -> Params:
        """theta_0: Gaussian, from the task's key."""
        keys = random.fold(support.key, 1)
        shapes = {name: p.shape for name, p in functional.blueprint(self.net).named_parameters() if p.requires_grad}
        return {
            name: self.initial_scale * random.normal(random.fold(keys, place), tuple(shape)).to(support.y.dtype)
            for place, (name, shape) in enumerate(shapes.items())
        }

    def batch_loss(self, weights: Params, step: int, support: Examples, present: Params) -> Tensor:
        """The loss of the rows that a step sees."""
        rows = support if self.inner_batch is None else mini_batch(support, step, self.inner_batch)
        return self.loss_of(weights, rows, present)


@tree.register_dataclass  # so that a step sees the weights it is a function of
@dataclass(frozen=True)
class CoordinateLSTM:
    """The rule of an inner loop: every coordinate of the weights is a row of one batch, C rows in all."""

    deep: ClassVar[bool] = True
    first: Params
    second: Params
    output: Params
    scale: float

    def at(self, t: int) -> Self:
        """The same in every step."""
        return self

    def start(self, point: Params) -> Params:
        """Both layers' states before the first step."""
        flat = tree.to_vector(point)
        layers = {"first": self.first, "second": self.second}
        # Of zeros, by the layer's own weights: of their type, and where they are.
        empty = {name: flat.new_zeros(len(flat), cell["recurrent"].shape[1]) for name, cell in layers.items()}
        return {name: {"h": zeros, "c": zeros} for name, zeros in empty.items()}

    def step(self, point: Params, gradient: Params, state: Params, t: int, value: Tensor) -> tuple[Params, Params]:
        """theta + scale * output of two layers over (log|g|, sign g)."""
        seen = log_and_sign(tree.to_vector(gradient))  # [C, 2]
        h1, c1 = lstm_cell(seen, (state["first"]["h"], state["first"]["c"]), self.first)
        h2, c2 = lstm_cell(h1, (state["second"]["h"], state["second"]["c"]), self.second)
        proposed = self.scale * (h2 @ self.output["weight"] + self.output["bias"])  # [C]
        return tree.of_vector(tree.to_vector(point) + proposed, point), {
            "first": {"h": h1, "c": c1},
            "second": {"h": h2, "c": c2},
        }


ROWS = {
    "learned_optimizer": LearnerRow(
        LearnedOptimizer,
        "Andrychowicz 2016",
        "an LSTM that reads each weight's gradients and proposes its steps; tasks are problems to optimise",
        nets={"mlp": {"hidden": (20,), "activation": "sigmoid"}, "conv4": {"norm": "support", "down": "stride"}},
        recipe={"tasks": 8, "how": "vmap"},
    ),
}
