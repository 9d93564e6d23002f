"""Matching Networks."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mapwise.core import functional, random
from mapwise.core.capabilities import VoteScale
from mapwise.core.families.embedding import EmbeddingLearner
from mapwise.core.geometry import cosines
from mapwise.core.scores import without_absent
from mapwise.core.task import Examples, present_classes
from mapwise.core.tree import Fast, Params
from mapwise.learners.row import encoder_row
from mapwise.nets.lstm import lstm_cell, lstm_weights

FullContext = Literal["sequence", "set"]


@dataclass(frozen=True)
class Matching(EmbeddingLearner):
    """A query attends to the support rows that look like it, and takes their labels in that proportion.

    Paper:   Vinyals, Blundell, Lillicrap, Kavukcuoglu, Wierstra 2016, arXiv:1606.04080, eq. 1, section 2.1 and, for
             full-context embeddings, appendix A.
    Fast:    {"rows": [S, D], "labels": [S, W], "present": [W]}; with norm "support" also {"statistics": ...}.
    Loss:    cross-entropy; scores are the log of the attention that a class receives.
    Differs: the cosines are multiplied by a learned temperature. The paper's are not, so that with 5 rows the
             largest attention is 0.65 when all others are opposite. One encoder embeds support and queries. The
             full context "set" is ours.

    encoder:       [N, *input] -> [N, D]; with full context, with its attribute `output_shape`.
    temperature:   what it starts at; learned as its logarithm, so it stays positive.
    full_context:  None embeds each row by itself. With the others, a query's embedding depends on the support rows,
                   which it reads by an LSTM with attention, and theirs on one another:
                   "sequence" by an LSTM over the rows in their order and one over them in reverse, as in the paper;
                   "set"      by the same reading as a query's, so that their order doesn't matter.
    context_steps: times that a row reads the support rows; 3 to 10 are usual, and the paper doesn't say.

    With full context "sequence" the order of the support rows matters, so it breaks `order`, and a
    row read twice is another sequence, so it breaks `weights`.
    A net with norm "batch" breaks `alone`, `padding` and `weights`; one with "frozen" does so until measured.

    Raises ValueError, with full context, for an encoder without `output_shape`.

    >>> fast = learner.adapt(params, support)
    >>> fast["rows"].shape
    torch.Size([5, 64])
    """

    votes_add_to: ClassVar[VoteScale] = "probabilities"

    temperature: float = 10.0
    full_context: FullContext | None = None
    context_steps: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0:
            raise ValueError(
                f"the temperature is {self.temperature} and must be positive: give a number above 0, such as 10"
            )
        if self.context_steps < 1:
            raise ValueError(f"context_steps is {self.context_steps}: give 1 or more")

    @property
    def keeps(self) -> frozenset[str]:
        """All, unless the encoder normalises by the rows at hand, or the support is read in order."""
        return super().keeps - ({"order", "weights"} if self.full_context == "sequence" else frozenset())

    def init(self, seed: int) -> Params:
        """The encoder's weights, the logarithm of the temperature, and with full context the LSTMs' weights."""
        encoder = functional.initial_weights(self.encoder, seed)
        params = {"encoder": encoder, "log_temperature": torch.tensor(math.log(self.temperature))}
        return {**params, "context": self._cells(seed)} if self.full_context else params

    def _cells(self, seed: int) -> Params:
        width = math.prod(functional.output_shape(self.encoder))
        keys = [random.fold(random.key_of(seed), number) for number in range(3)]
        cells = {"query": lstm_weights(keys[0], width, width, recurrent=2 * width)}
        if self.full_context == "set":
            return {**cells, "support": lstm_weights(keys[1], width, width, recurrent=2 * width)}
        return {
            **cells,
            "forward": lstm_weights(keys[1], width, width),
            "backward": lstm_weights(keys[2], width, width),
        }

    def adapt(self, params: Params, support: Examples) -> Fast:
        """Remember the embedded rows and their labels; a row of weight 0 has none."""
        z, seen = self.embed_support(params, support)
        labels = support.y * support.weight[:, None]
        rows = self._among_themselves(params, z, support.weight)
        return {"rows": rows, "labels": labels, "present": present_classes(support), **seen}

    def _among_themselves(self, params: Params, z: Tensor, weight: Tensor) -> Float[Tensor, "S D"]:
        """g(x_i, S) of every support row (A.2)."""
        if self.full_context is None:
            return z
        cells = params["context"]
        if self.full_context == "set":
            return _read_lstm(cells["support"], z, z, weight, self.context_steps)
        ahead = _run_lstm(cells["forward"], z, weight)
        back = _run_lstm(cells["backward"], z.flip(0), weight.flip(0)).flip(0)
        return ahead + back + z

    def predict(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "Q W"]:
        """log sum_i a(x, x_i) y_i, where a is the softmax over the support rows of temperature * cosine (eq. 1)."""
        received = self._attention(params, fast, x).logsumexp(1)
        # All labels of a row sum to 1, so the attention of all classes is that of all rows.
        return without_absent(torch.log_softmax(received, -1), fast["present"])

    def votes(self, params: Params, fast: Fast, support: Examples, x: Any) -> Float[Tensor, "Q S W"]:
        """Every support row votes for its own class, by the attention it receives, 0..1.

        Attention adds up to probabilities, whose logarithms are the scores. With full context an embedded row depends
        on the others too, and so does its vote.
        """
        each = self._attention(params, fast, x)
        return each.flatten(1).softmax(-1).reshape(each.shape)

    def _attention(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "Q S W"]:
        """The logarithm of each row's vote for each class, up to a number that is the same for all votes of a query."""
        alike = params["log_temperature"].exp() * cosines(self.embed(params, fast, x), fast["rows"])  # [Q, S]
        labels, least = fast["labels"], torch.finfo(alike.dtype).min / 2
        # The sums of a product, as logarithms: a distant row's attention would vanish in rounding, and its gradient.
        each = alike[:, :, None] + labels.clamp(min=1e-30).log()
        return torch.where(labels > 0, each, least)

    def embed(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "N D"]:
        """Rows in the learned space; with full context as queries: f(x, S)."""
        z = super().embed(params, fast, x)
        if self.full_context is None:
            return z
        # All labels of a row sum to its weight.
        return _read_lstm(params["context"]["query"], z, fast["rows"], fast["labels"].sum(1), self.context_steps)


def _read_lstm(cell: Params, z: Tensor, rows: Tensor, weight: Tensor, steps: int) -> Float[Tensor, "N D"]:
    """attLSTM(z, rows, steps): in every step, read the rows that are similar to the state, and update it (A.1)."""
    h, c = torch.zeros_like(z), torch.zeros_like(z)  # [N, D]
    for _ in range(steps):
        alike = h @ rows.T + weight.clamp(min=1e-30).log()  # [N, S]
        attention = torch.where(weight > 0, alike, torch.finfo(z.dtype).min / 2).softmax(-1)
        output, c = lstm_cell(z, (torch.cat([h, attention @ rows], -1), c), cell)
        h = output + z
    return h


def _run_lstm(cell: Params, z: Tensor, weight: Tensor) -> Float[Tensor, "S D"]:
    """The output of an LSTM at each row, from the first to the last; a row of weight 0 is skipped."""
    state = torch.zeros_like(z[0]), torch.zeros_like(z[0])
    outputs = []
    for row, counts in zip(z, weight > 0, strict=True):
        h, c = lstm_cell(row, state, cell)
        state = torch.where(counts, h, state[0]), torch.where(counts, c, state[1])
        outputs.append(state[0])
    return torch.stack(outputs)


ROWS = {
    "matching": encoder_row(Matching, "Vinyals 2016", "attention over the support rows by cosine"),
    "matching_fce": encoder_row(
        partial(Matching, full_context="sequence"),
        "Vinyals 2016",
        "matching with embeddings that depend on the whole support set",
    ),
}
