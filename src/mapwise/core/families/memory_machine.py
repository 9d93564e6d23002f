"""A controller beside an external memory: it reads a sequence row by row, and answers in the silent rows behind it."""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mapwise.core import context
from mapwise.core.capabilities import Trace
from mapwise.core.learner import WAIVABLE, Learner
from mapwise.core.losses import Loss, loss_named
from mapwise.core.task import Examples
from mapwise.core.tree import Fast, Params


@dataclass(frozen=True)
class MemoryMachine(Learner):
    """A learner whose support is a sequence, read once and in its order; it writes `first_state` and `step`.

    A state is whatever a machine carries from row to row. A row of weight 0 leaves it as it was. A query row names an
    answer by the number in its last column, and gets the scores of the support's silent row of that number, or zeros
    without such a row. The machine itself doesn't read the number.

    Fast: {"scores": [S, W], "number": [S]}: the scores of every row, and the number of the answer due there, or 0.

    inputs:  numbers of a row; the last is the number of the answer.
    outputs: bits of an answer.
    units:   of the controller.
    slots:   of the memory.
    width:   numbers of a slot.
    reads:   heads that read.
    loss:    a loss's name, or a function (scores, rows) -> scalar.
    """

    inputs: int
    outputs: int
    units: int = field(default=100, kw_only=True)
    slots: int = field(default=128, kw_only=True)
    width: int = field(default=20, kw_only=True)
    reads: int = field(default=1, kw_only=True)
    loss: str | Loss = field(default="binary_cross_entropy", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("units", "slots", "width", "reads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: give a number from 1 up")

    @property
    def keeps(self) -> frozenset[str]:
        """All but `order`, `relabel` and `weights`."""
        return WAIVABLE - {"order", "relabel", "weights"}

    @property
    def criterion(self) -> Loss:
        """The loss of the answers."""
        return loss_named(self.loss)

    def first_state(self, like: Tensor) -> Any:
        """The state before the first row, of the type and on the device of this tensor."""
        raise NotImplementedError

    def step(self, params: Params, state: Any, x: Float[Tensor, "inputs-1"], live: Tensor | None) -> Any:
        """The state after one more row.

        live: whether the row counts; None: it does. If not, the state stays as it was.
        """
        raise NotImplementedError

    def output(self, state: Any) -> Float[Tensor, "K"]:
        """What the scores of a row are computed from."""
        return torch.cat([state.h, state.seen.flatten()])

    def scores(self, params: Params, outputs: Float[Tensor, "L K"]) -> Float[Tensor, "L W"]:
        """The scores of all rows from their outputs."""
        scores: Tensor = outputs @ params["out"]["weight"].T + params["out"]["bias"]
        return scores

    def parts_of(self, state: Any) -> tuple[Tensor, ...]:
        """The parts of a state that a trace shows."""
        raise NotImplementedError

    def trace_of(self, fast: Fast, parts: tuple[Tensor, ...], last: Any) -> Trace:
        """The trace, from the parts of every state, each with a leading axis of rows, and the last state."""
        raise NotImplementedError

    def adapt(self, params: Params, support: Examples) -> Fast:
        """Read the support, and keep the scores of every row."""
        return self.trace(params, support).fast

    def predict(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "Q W"]:
        """The scores of the silent row that has the query's number."""
        matches = (x[:, -1, None] == fast["number"]) & (fast["number"] > 0)  # [Q, S]
        scores: Tensor = matches.to(fast["scores"].dtype) @ fast["scores"]
        return scores

    def trace(self, params: Params, support: Examples) -> Trace:
        """What the machine does at every row of a support, in their order."""
        x = support.x[:, :-1]
        # Checked once and not at every row: when all count, there is nothing to skip.
        live = None if context.current().all_rows_count else support.weight > 0
        state = self.first_state(support.x)
        outputs, rows = [], []
        for row in range(len(x)):
            state = self.step(params, state, x[row], None if live is None else live[row])
            outputs.append(self.output(state))
            rows.append(self.parts_of(state))
        scores = self.scores(params, torch.stack(outputs))
        # No query may match padding, whatever its number.
        fast = {"scores": scores, "number": support.x[:, -1] * (support.weight > 0)}
        return self.trace_of(fast, tuple(torch.stack(part) for part in zip(*rows, strict=True)), state)
