"""The LSTM meta-learner."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from jaxtyping import Float
from torch import Tensor

from mapwise.core import functional, random, tree
from mapwise.core.families.fixed_head import FixedHeadLearner
from mapwise.core.inner_loop import descend, replay
from mapwise.core.task import Examples, Task
from mapwise.core.tree import Fast, Params
from mapwise.learners.row import MOVING, LearnerRow
from mapwise.nets.log_and_sign import log_and_sign
from mapwise.nets.lstm import lstm_cell, lstm_weights

FORGET_BIAS, INPUT_BIAS = (4.0, 5.0), (-5.0, -4.0)
"""Where the biases of the gates start: nearly all is kept and little enters."""
SMALL = 0.01
"""The largest weight of a gate at the start."""


@dataclass(frozen=True)
class MetaLSTM(FixedHeadLearner):
    """Weights are the cell state of an LSTM that reads their gradients; its gates set how much to keep and to step.

    Paper:   Ravi, Larochelle 2017, Optimization as a Model for Few-Shot Learning, ICLR, section 3 and algorithm 1.
    Fast:    the moved weights by name; with norm "support" also {"statistics": ...}; with the
             cross-entropy also {"present": [W]}.
    Loss:    the query loss after the steps, differentiated through them with gradients and losses as constants,
             for the start and the LSTM.
    Differs: no mini-batches: every step sees the whole support, as the published settings do at 1 and at 5 shots of 5
             ways, with batches of 5 and of 25 rows. Before the first step f = 1 and i = 0; the paper doesn't say.

    net:         [N, *input] -> [N, W]; its head is fixed in ways. The paper normalises a test task's queries by
                 statistics gathered over its steps; norm "support" takes those of the support under the last weights,
                 and norm "batch" those of the rows at hand, in test tasks too.
    inner_steps: steps of an adaptation, in training and after; the LSTM may take others than it was trained for.
    hidden:      units of the LSTM.
    loss:        "cross_entropy", "squared_error", another loss's name, or a function (scores, rows) -> scalar.

    Params: {"net": the start, "lstm": see `lstm_cell`, "forget" and "input": {"weight": [hidden + 2], "bias": []}}.
    One LSTM serves all weights of the net, each with a state of its own.

    Breaks `relabel`: each column of a learned head has its own start. A net whose norm uses the rows
    at hand also breaks `alone`, `padding` and `weights` (unless its rows are the support's).

    Raises ValueError for a task with more classes than the head has columns.

    >>> learner.init(0)["lstm"]["recurrent"].shape
    torch.Size([80, 20])
    """

    net_part: ClassVar[str] = "net"

    inner_steps: int = 12
    hidden: int = 20

    def init(self, seed: int) -> Params:
        """The start; an LSTM as torch makes it; gates that begin near gradient descent with a small rate."""
        gates = {
            "lstm": lstm_weights(random.fold(random.key_of(seed), 2), 4, self.hidden),
            "forget": _gate(random.fold(random.key_of(seed), 0), self.hidden, FORGET_BIAS),
            "input": _gate(random.fold(random.key_of(seed), 1), self.hidden, INPUT_BIAS),
        }
        return {"net": functional.initial_weights(self.net, seed), **gates}

    def adapt(self, params: Params, support: Examples) -> Fast:
        """theta_t = f_t * theta_t-1 - i_t * grad L_support(theta_t-1), from the learned theta_0 (section 3.1)."""
        rule, given = Gates.of(params), (support, self.present_in(support))
        moved = descend(self._support_loss, params["net"], rule, self.inner_steps, given=given, first_order=True)
        return self.fast_of(moved, support)

    def surrogate(self, params: Params, task: Task) -> Callable[[Params], Tensor]:
        """The query loss as a function of start and LSTM, with the steps' gradients and losses held constant."""
        given, start = (task.support, self.present_in(task.support)), params["net"]
        again = replay(self._support_loss, start, Gates.of(params), self.inner_steps, given=given)

        def through(point: Params) -> Tensor:
            *_, moved = [point["net"], *again(point["net"], Gates.of(point))]
            scores = self.predict(point, self.fast_of(moved, task.support), task.query.x)
            return self.criterion(scores, task.query)

        return through

    def _support_loss(self, weights: Params, step: int, support: Examples, present: Params) -> Tensor:
        return self.loss_of(weights, support, present)


@tree.register_dataclass  # so that a step sees the weights it is a function of
@dataclass(frozen=True)
class Gates:
    """The rule of an inner loop: every coordinate of the weights is a row of one batch, C rows in all."""

    deep: ClassVar[bool] = True
    lstm: Params
    forget: Params
    input: Params

    @classmethod
    def of(cls, params: Params) -> Self:
        """The gates of a learner's params."""
        return cls(params["lstm"], params["forget"], params["input"])

    def at(self, t: int) -> Self:
        """The same in every step."""
        return self

    def start(self, point: Params) -> Params:
        """The LSTM's state before the first step, with f = 1 and i = 0."""
        flat = tree.to_vector(point)
        empty = flat.new_zeros(len(flat), self.lstm["recurrent"].shape[1])  # [C, hidden]
        return {"h": empty, "c": empty, "f": torch.ones_like(flat), "i": torch.zeros_like(flat)}

    def step(self, point: Params, gradient: Params, state: Params, t: int, value: Tensor) -> tuple[Params, Params]:
        """f and i of every coordinate from the LSTM's reading of gradient and loss, theta, and the last f and i."""
        theta, g = tree.to_vector(point), tree.to_vector(gradient)  # each [C]
        seen = torch.cat([log_and_sign(g), log_and_sign(value).expand(len(g), 2)], 1)  # [C, 4]
        h, c = lstm_cell(seen, (state["h"], state["c"]), self.lstm)
        f = _gate_of(self.forget, h, theta, state["f"])
        i = _gate_of(self.input, h, theta, state["i"])
        return tree.of_vector(f * theta - i * g, point), {"h": h, "c": c, "f": f, "i": i}


def _gate_of(gate: Params, h: Tensor, theta: Tensor, last: Tensor) -> Float[Tensor, "C"]:
    """sigmoid(W [h, theta, last] + b)."""
    rows = torch.cat([h, theta[:, None], last[:, None]], 1)  # [C, hidden + 2]
    return torch.sigmoid(rows @ gate["weight"] + gate["bias"])


def _gate(key: Tensor, hidden: int, bias: tuple[float, float]) -> Params:
    *weight, level = random.uniform(key, (hidden + 3,))
    return {"weight": SMALL * (2 * torch.stack(weight) - 1), "bias": bias[0] + (bias[1] - bias[0]) * level}


ROWS = {
    "meta_lstm": LearnerRow(
        MetaLSTM,
        "Ravi 2017",
        "an LSTM that reads each weight's gradients and says how it steps",
        nets=MOVING,
        recipe={"clip": 0.25},
    ),
}
