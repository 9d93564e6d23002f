"""The neural Turing machine."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from mapwise.core import random
from mapwise.core.capabilities import Trace
from mapwise.core.families.memory_machine import MemoryMachine
from mapwise.core.renamed import renamed
from mapwise.core.tree import Fast, Params
from mapwise.learners.row import LearnerRow
from mapwise.nets import memory as slots
from mapwise.nets.lstm import lstm_cell


class MachineState(NamedTuple):
    """The state of a machine between two rows."""

    h: Float[Tensor, "units"]
    c: Float[Tensor, "units"]
    seen: Float[Tensor, "R M"]
    weights: Float[Tensor, "R+H N"]
    memory: Float[Tensor, "N M"]


@renamed
@dataclass(frozen=True)
class NTM(MemoryMachine):
    """A recurrent controller reads and writes slots of an external memory through differentiable heads.

    Paper:   Graves, Wayne, Danihelka 2014, arXiv:1410.5401, sections 3.1-3.3.
    Fast:    {"scores": [S, W], "number": [S]}: the scores of every row, and the number of the answer due there, or 0.
    Loss:    binary cross-entropy of the answers.
    Differs: what the paper leaves open. A head reads the memory before the row's writes. Every head starts at slot 0
             and every number of the memory at 1e-6, so nothing learned depends on the number of slots, and a machine
             may be evaluated with more of them than it was trained with.

    inputs:  numbers of a row; the last is the number of the answer, which the machine doesn't read.
    outputs: bits of an answer.
    units:   of the controller, an LSTM.
    slots:   of the memory.
    width:   numbers of a slot.
    reads:   heads that read.
    writes:  heads that write.
    reach:   how far a head may move in a row, in slots.
    loss:    a loss's name, or a function (scores, rows) -> scalar.

    The support is read once, in its order; a row of weight 0 is skipped. A query row names an answer by the number
    in its last column, and gets the scores of the support's silent row of that number, or zeros without such a row.

    Breaks `order` and `weights`: a sequence read in another order, or with a row twice, is another sequence.
    Breaks `relabel`: a bit has its own column.

    >>> learner.init(0)["heads"]["weight"].shape
    torch.Size([92, 100])
    """

    writes: int = field(default=1, kw_only=True)
    reach: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("writes", 1), ("reach", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}: give a number from {least} up")
        if 2 * self.reach + 1 > self.slots:
            raise ValueError(f"reach is {self.reach} and a ring of {self.slots} slots is shorter: lower reach")

    def init(self, seed: int) -> Params:
        """A controller as torch makes it; heads and output uniform up to 1 / sqrt(their inputs), without bias."""
        sizes = (self.inputs - 1, self.units, self.reads * self.width, sum(self._head_sizes), self.outputs)
        return slots.machine_weights(random.key_of(seed), *sizes)

    def parts_of(self, state: MachineState) -> tuple[Tensor, ...]:
        """Where the heads are."""
        return (state.weights,)

    def trace_of(self, fast: Fast, parts: tuple[Tensor, ...], last: MachineState) -> Trace:
        """Where the heads read and wrote."""
        (weights,) = parts  # [L, R + H, N]
        return Trace(fast, fast["scores"], weights[:, : self.reads], weights[:, self.reads :])

    def first_state(self, like: Tensor) -> MachineState:
        """Before the first row: nothing seen, all heads at slot 0, an empty memory."""
        zeros = like.new_zeros(self.units)
        weights = like.new_zeros(self.reads + self.writes, self.slots)
        weights[:, 0] = 1
        memory = like.new_full((self.slots, self.width), slots.EMPTY)
        return MachineState(zeros, zeros, like.new_zeros(self.reads, self.width), weights, memory)

    def step(
        self, params: Params, state: MachineState, x: Float[Tensor, "inputs-1"], live: Tensor | None
    ) -> MachineState:
        """One row: the controller, then where its heads go, what they read, and what they write.

        live: whether the row counts; None: it does. If not, the state stays as it was.
        """
        inputs = torch.cat([x, state.seen.flatten()])
        h, c = lstm_cell(inputs, (state.h, state.c), params["lstm"])
        outputs = params["heads"]["weight"] @ h + params["heads"]["bias"]
        heads, reads, width = self.reads + self.writes, self.reads, self.width
        keys, strengths, gates, shifts, powers, erase, add = outputs.split(self._head_sizes)

        near = slots.content_weights(state.memory, keys.tanh().unflatten(0, (heads, width)), softplus(strengths))
        there = slots.interpolate(near, state.weights, gates.sigmoid())
        shifted = slots.circular_shift(there, shifts.unflatten(0, (heads, -1)).softmax(-1))
        weights = slots.sharpen(shifted, 1 + softplus(powers))

        seen = slots.read(state.memory, weights[:reads])
        add, erase = add.tanh(), erase.sigmoid()
        if live is not None:
            # By masking what is written, not by choosing between two memories, the largest part of the state.
            add, erase = add * live, erase * live
            small = zip((h, c, seen, weights), state[:4], strict=True)
            h, c, seen, weights = (torch.where(live, new, old) for new, old in small)
        shape = (self.writes, width)
        memory = slots.write(state.memory, weights[reads:], add.unflatten(0, shape), erase.unflatten(0, shape))
        return MachineState(h, c, seen, weights, memory)

    @property
    def _head_sizes(self) -> tuple[int, ...]:
        """How many numbers of each kind the controller outputs for the heads: keys, strengths, ..., erase, add."""
        heads = self.reads + self.writes
        each = self.writes * self.width
        return heads * self.width, heads, heads, heads * (2 * self.reach + 1), heads, each, each


ROWS = {
    "ntm": LearnerRow(
        NTM,
        "Graves 2014",
        "a controller that reads and writes an external memory; for sequences",
        # The paper clips at 10, each number of the gradient of a sum over all bits; ours is of their mean.
        recipe={"tasks": 32, "clip": 1.0},
        columns=("bits",),
    ),
}
