"""Memory-augmented neural networks."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from mapwise.core import context, functional, random, tree
from mapwise.core.families.embedding import EmbeddingLearner
from mapwise.core.task import Examples
from mapwise.core.tree import Fast, Params
from mapwise.learners.row import OF_CLASSES, LearnerRow
from mapwise.nets import memory
from mapwise.nets.initial import linear_weights
from mapwise.nets.lstm import lstm_gated, lstm_weights

STRENGTH = 10.0
"""Roughly what a similarity is multiplied by at the start."""
CLOSED = -2.0
"""Where the write gate starts, before its sigmoid: little goes to what was read last, most to the least used."""


@dataclass(frozen=True)
class MANN(EmbeddingLearner):
    """An LSTM reads rows in their order, each with the label of the one before, and keeps what it needs in a memory.

    Paper:   Santoro, Bartunov, Botvinick, Wierstra, Lillicrap 2016, Meta-Learning with Memory-Augmented Neural
             Networks, ICML (arXiv:1605.06065), sections 3.1 and 3.2.
    Fast:    what there is after the last row: {"h": [R], "c": [R], "seen": [H M], "memory": [N, M], "reads": [H, N],
             "usage": [N], "label": [W]}, the label the LSTM hasn't read yet; with norm "support" also "statistics".
    Loss:    cross-entropy of the queries; of a stream, of every row before its label is seen.
    Differs: a similarity is multiplied by a strength that the LSTM outputs, as in Neural Turing Machines, about 10 at
             the start; without it, a slot equal to the key gets 2 % of the weight of 128 slots. The LSTM outputs
             what is written apart from the key. Each head writes into its own slot, the first into the least used
             one, and these slots are zeroed before. An encoder embeds the rows; the paper reads pixels.

    encoder:  [N, *input] -> [N, D], with its attribute `output_shape`.
    units:    R, of the LSTM.
    slots:    N, of the memory.
    width:    M, numbers of a slot.
    heads:    H; each reads and writes once a row.
    decay:    what is left of a slot's usage after a row, 0 to 1.
    max_ways: the most classes of a task: columns of the label that is read and of the scores.

    Params: {"encoder", "lstm": see `lstm_cell`, "heads" and "out": {"weight", "bias"}}.

    The rows are read in their order, which breaks `order` and `weights`; each column of a label has weights of its own,
    which breaks `relabel`; and a class that has not been seen may come next, so it can be chosen, which breaks
    `padding`. Rows of weight 0 change nothing.
    A net with norm "batch" also breaks `alone`, and "frozen" does until measured.

    Raises ValueError for a task of more than `max_ways` classes, an encoder without `output_shape`, and fewer slots
    than heads.

    >>> fast = learner.adapt(params, support)
    >>> fast["memory"].shape
    torch.Size([128, 40])
    """

    units: int = 200
    slots: int = 128
    width: int = 40
    heads: int = 4
    decay: float = 0.95
    max_ways: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("units", "slots", "width", "heads", "max_ways"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: give 1 or more")
        if self.slots < self.heads:
            raise ValueError(f"{self.heads} heads write into {self.slots} slots: give as many slots as heads, or more")
        if not 0 <= self.decay <= 1:
            raise ValueError(f"decay is {self.decay}: give a number from 0 to 1, such as 0.95")

    @property
    def keeps(self) -> frozenset[str]:
        """`alone`, unless the encoder normalises by the rows at hand."""
        return super().keeps - {"order", "relabel", "padding", "weights"}

    def init(self, seed: int) -> Params:
        """The weights of the encoder, of the LSTM, and of the layers from its output to heads and scores."""
        keys = [random.fold(random.key_of(seed), number) for number in range(3)]
        features = math.prod(functional.output_shape(self.encoder))
        size = self.units + self.heads * self.width
        cell = lstm_weights(keys[0], features + self.max_ways, self.units, recurrent=size)
        # With torch's bounds, which depend on the units alone, rows would look alike and labels have little effect.
        cell["input"][:, :features] *= (3 * self.units / features) ** 0.5  # variance 1 / features
        cell["input"][:, features:] *= self.units**0.5  # up to 1
        heads = linear_weights(keys[1], self.units, self.heads * (2 * self.width + 2))
        heads["weight"] *= 3  # an LSTM's outputs are about a third in size
        heads["bias"].view(self.heads, -1)[:, -2:] = torch.tensor([CLOSED, STRENGTH])
        return {
            "encoder": functional.initial_weights(self.encoder, seed),
            "lstm": cell,
            "heads": heads,
            "out": linear_weights(keys[2], size, self.max_ways),
        }

    def adapt(self, params: Params, support: Examples) -> Fast:
        """The state after the last row."""
        _, fast = self._read(params, support)
        return fast

    def predict(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "Q W"]:
        """Scores of every query as if it were the next row, without the other queries."""
        label, state = fast["label"], {name: fast[name] for name in _STATE}
        gate_inputs = self._gate_inputs(params, self.embed(params, fast, x), label)  # [Q, 4 R]
        after = torch.vmap(partial(self._step, params, state))(gate_inputs)
        return _scores(params, after["h"], after["seen"], len(label))

    def causal(self, params: Params, rows: Examples) -> Float[Tensor, "N W"]:
        """Scores of every row before its label is seen, in one pass."""
        scores, _ = self._read(params, rows)
        return scores

    def _read(self, params: Params, rows: Examples) -> tuple[Float[Tensor, "N W"], Fast]:
        """One pass over all rows: scores for each of them, and the state after the last."""
        ways = rows.y.shape[1]
        if ways > self.max_ways:
            raise ValueError(
                f"the task has {ways} classes and the learner was built for {self.max_ways}: train with max_ways "
                f"{ways} (--max-ways {ways}), or take a learner of any ways, such as ProtoNet"
            )
        z, statistics = self.embed_support(params, rows)
        counts = rows.weight > 0
        labels = [rows.y.new_zeros(ways)]  # the last before each row, and after all
        for y, here in zip(rows.y, counts, strict=True):
            labels.append(torch.where(here, y, labels[-1]))
        # The rows' part of the gates for all steps at once: no step waits for it.
        gate_inputs = self._gate_inputs(params, z, torch.stack(labels)[:-1])  # [N, 4 R]
        # Undoing the step of a row of weight 0 copies the whole state, so it is left out where all rows count.
        whole = context.current().all_rows_count
        state, h, seen = self._start(z), [], []
        for gate_input, here in zip(gate_inputs, counts, strict=True):
            after = self._step(params, state, gate_input)
            h.append(after["h"])
            seen.append(after["seen"])
            state = after if whole else tree.map(lambda new, old, here=here: torch.where(here, new, old), after, state)
        scores = _scores(params, torch.stack(h), torch.stack(seen), ways) if h else z.new_zeros(0, ways)
        return scores, {**state, "label": labels[-1], **statistics}

    def _gate_inputs(self, params: Params, z: Tensor, label: Tensor) -> Float[Tensor, "N 4R"]:
        """What a row and the label before it add to the gates of the LSTM; its input is features and label."""
        weight = params["lstm"]["input"]
        of_rows, of_labels = weight[:, : z.shape[-1]], weight[:, z.shape[-1] : z.shape[-1] + label.shape[-1]]
        sums: Tensor = z @ of_rows.T + label @ of_labels.T + params["lstm"]["bias"]
        return sums

    def _start(self, like: Tensor) -> Params:
        """The state before the first row: nothing has been read, and all heads read the first slot."""
        first = torch.cat([like.new_ones(1), like.new_zeros(self.slots - 1)])
        return {
            "h": like.new_zeros(self.units),
            "c": like.new_zeros(self.units),
            "seen": like.new_zeros(self.heads * self.width),
            "memory": like.new_full((self.slots, self.width), memory.EMPTY),
            "reads": first.expand(self.heads, -1),
            "usage": first,
        }

    def _step(self, params: Params, state: Params, gate_input: Float[Tensor, "4R"]) -> Params:
        """One row: the LSTM reads it with what the heads read before, then writes, then reads."""
        gates = gate_input + torch.cat([state["h"], state["seen"]]) @ params["lstm"]["recurrent"].T
        h, c = lstm_gated(gates, state["c"])
        outputs = (h @ params["heads"]["weight"].T + params["heads"]["bias"]).reshape(self.heads, -1)  # [H, 2 M + 2]
        keys, adds = outputs[:, :-2].tanh().chunk(2, -1)
        gate, strengths = outputs[:, -2].sigmoid(), softplus(outputs[:, -1])
        least = memory.least_used(state["usage"], self.heads)
        writes = memory.interpolate(state["reads"], least, gate)
        slots = memory.write(memory.wipe(state["memory"], least), writes, adds)
        reads = memory.content_weights(slots, keys, strengths)
        return {
            "h": h,
            "c": c,
            "seen": memory.read(slots, reads).flatten(),
            "memory": slots,
            "reads": reads,
            "usage": memory.decay_usage(state["usage"], reads, writes, self.decay),
        }


_STATE = ("h", "c", "seen", "memory", "reads", "usage")


def _scores(params: Params, h: Tensor, seen: Tensor, ways: int) -> Float[Tensor, "N W"]:
    """Scores from the LSTM's output and from what the heads have just read."""
    weight, bias = params["out"]["weight"][:ways], params["out"]["bias"][:ways]
    scores: Tensor = torch.cat([h, seen], -1) @ weight.T + bias
    return scores


ROWS = {
    "mann": LearnerRow(
        MANN,
        "Santoro 2016",
        "an LSTM with a memory reads rows in their order; made for streams",
        # Of a quarter of the work of pooled maps: a stream has 50 rows.
        nets={"conv4": {"norm": "frozen", "down": "stride", "filters": 32}, "resnet12": {"norm": "frozen"}},
        recipe={"clip": 10.0},
        columns=OF_CLASSES,
    ),
}
