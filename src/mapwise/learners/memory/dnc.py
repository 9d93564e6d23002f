"""The differentiable neural computer."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from mapwise.core import random
from mapwise.core.capabilities import Trace
from mapwise.core.families.memory_machine import MemoryMachine
from mapwise.core.tree import Fast, Params
from mapwise.learners.row import LearnerRow
from mapwise.nets import memory as slots
from mapwise.nets.lstm import lstm_cell


class ComputerState(NamedTuple):
    """The state of a computer between two rows."""

    h: Float[Tensor, "units"]
    c: Float[Tensor, "units"]
    seen: Float[Tensor, "R M"]
    reads: Float[Tensor, "R N"]
    write: Float[Tensor, "1 N"]
    usage: Float[Tensor, "N"]
    gates: Float[Tensor, "2"]
    """The allocation gate and the write gate."""
    precedence: Float[Tensor, "N"]
    links: Float[Tensor, "N N"]
    memory: Float[Tensor, "N M"]


SMALL = 7
"""The first parts of a state, all but what only writing changes."""


@dataclass(frozen=True)
class DNC(MemoryMachine):
    """A controller writes into slots that are free, and reads by content or in the order in which slots were written.

    Paper:   Graves, Wayne, Reynolds et al. 2016, Hybrid computing using a neural network with dynamic external memory,
             Nature 538:471-476, doi:10.1038/nature20101, Methods.
    Fast:    {"scores": [S, W], "number": [S]}: the scores of every row, and the number of the answer due there, or 0.
    Loss:    binary cross-entropy of the answers.
    Differs: one LSTM layer; the layers to the heads and to the scores have biases. The LSTM's cell and the scores are
             clipped at `bound`, as in the authors' code. Nothing learned depends on the number of slots, so a
             computer may be evaluated with more of them than it was trained with.

    inputs:  numbers of a row; the last is the number of the answer, which the machine doesn't read.
    outputs: bits of an answer.
    units:   of the controller, an LSTM.
    slots:   N, of the memory.
    width:   M, numbers of a slot.
    reads:   R, heads that read; one writes.
    bound:   the largest size of a number of the LSTM's cell, and of a score.
    loss:    a loss's name, or a function (scores, rows) -> scalar.

    The support is read once, in its order; a row of weight 0 is skipped. A query row names an answer by the number
    in its last column, and gets the scores of the support's silent row of that number, or zeros without such a row.

    Breaks `order` and `weights`: a sequence read in another order, or with a row twice, is another sequence.
    Breaks `relabel`: a bit has its own column.

    >>> learner.init(0)["heads"]["weight"].shape
    torch.Size([135, 64])
    """

    units: int = field(default=64, kw_only=True)
    slots: int = field(default=16, kw_only=True)
    width: int = field(default=16, kw_only=True)
    reads: int = field(default=4, kw_only=True)
    bound: float = field(default=20.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.bound > 0:
            raise ValueError(f"bound is {self.bound}: give a number above 0, such as 20")

    def init(self, seed: int) -> Params:
        """A controller as torch makes it; heads and output uniform up to 1 / sqrt(their inputs), without bias."""
        sizes = (self.inputs - 1, self.units, self.reads * self.width, sum(self._head_sizes), self.outputs)
        return slots.machine_weights(random.key_of(seed), *sizes)

    def scores(self, params: Params, outputs: Float[Tensor, "L K"]) -> Float[Tensor, "L W"]:
        """The scores of all rows, clipped."""
        return super().scores(params, outputs).clamp(-self.bound, self.bound)

    def parts_of(self, state: ComputerState) -> tuple[Tensor, ...]:
        """Where the heads are, what is in use, and the gates of writing."""
        return state.reads, state.write, state.usage, state.gates

    def trace_of(self, fast: Fast, parts: tuple[Tensor, ...], last: ComputerState) -> Trace:
        """Where the heads read and wrote, how slots were allocated, and what was written after what."""
        reads, writes, usage, gates = parts
        names = ("allocation gate", "write gate")
        return Trace(
            fast,
            fast["scores"],
            reads,
            writes,
            gates=dict(zip(names, gates.unbind(-1), strict=True)),
            slots={"usage": usage},
            links={"written after": last.links},
        )

    def first_state(self, like: Tensor) -> ComputerState:
        """Before the first row: nothing seen, no slot in use, heads nowhere."""
        units, slots = like.new_zeros(self.units), like.new_zeros(self.slots)
        return ComputerState(
            h=units,
            c=units,
            seen=like.new_zeros(self.reads, self.width),
            reads=like.new_zeros(self.reads, self.slots),
            write=slots[None],
            usage=slots,
            gates=like.new_zeros(2),
            precedence=slots,
            links=like.new_zeros(self.slots, self.slots),
            memory=like.new_zeros(self.slots, self.width),
        )

    def step(
        self, params: Params, state: ComputerState, x: Float[Tensor, "inputs-1"], live: Tensor | None
    ) -> ComputerState:
        """One row: the controller, then what is freed and written, and what is read from the memory after that.

        live: whether the row counts; None: it does. If not, the state stays as it was.
        """
        inputs = torch.cat([x, state.seen.flatten()])
        h, c = lstm_cell(inputs, (state.h, state.c), params["lstm"])
        c = c.clamp(-self.bound, self.bound)
        outputs = params["heads"]["weight"] @ h + params["heads"]["bias"]
        keys, strengths, key, strength, erase, add, free, gates, modes = outputs.split(self._head_sizes)
        gates = gates.sigmoid()

        usage = slots.usage_after(state.usage, state.write[0], state.reads, free.sigmoid())
        near = slots.content_weights(state.memory, key[None], 1 + softplus(strength))
        write = gates[1] * slots.interpolate(slots.allocation(usage)[None], near, gates[:1])  # [1, N]
        # By writing nowhere a row that doesn't count leaves the largest parts of the state as they are.
        there = write if live is None else write * live
        memory = slots.write(state.memory, there, add[None], erase.sigmoid()[None])
        links = slots.links_after(state.links, state.precedence, there[0])
        precedence = slots.precedence_after(state.precedence, there[0])

        backward, forward = slots.follow(links, state.reads)
        near = slots.content_weights(memory, keys.unflatten(0, (self.reads, -1)), 1 + softplus(strengths))
        ways = torch.stack([backward, near, forward], 1)  # [R, 3, N]
        reads = (modes.unflatten(0, (self.reads, 3)).softmax(-1)[..., None] * ways).sum(1)
        small = (h, c, slots.read(memory, reads), reads, write, usage, gates)
        if live is not None:
            pairs = zip(small, state[:SMALL], strict=True)
            small = tuple(torch.where(live, new, old) for new, old in pairs)  # type: ignore[assignment]
        return ComputerState(*small, precedence, links, memory)

    @property
    def _head_sizes(self) -> tuple[int, ...]:
        """How many numbers of each kind the controller outputs: keys and strengths to read, a key, a strength, what to
        erase and to add to write, free gates, the allocation gate and the write gate, and modes of reading.
        """
        reads, width = self.reads, self.width
        return reads * width, reads, width, 1, width, width, reads, 2, 3 * reads


ROWS = {
    "dnc": LearnerRow(
        DNC,
        "Graves 2016",
        "a controller that writes into free slots of a memory and follows what was written when; for sequences",
        recipe={"tasks": 32, "clip": 1.0},
        columns=("bits",),
    ),
}
