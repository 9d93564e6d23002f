"""Meta Networks."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear, relu

from mapwise.core import functional, random, tree
from mapwise.core.families.embedding import EmbeddingLearner
from mapwise.core.geometry import cosines
from mapwise.core.scores import without_absent
from mapwise.core.task import Examples, Task, present_classes
from mapwise.core.tree import Fast, Params
from mapwise.learners.row import encoder_row
from mapwise.nets.initial import linear_weights
from mapwise.nets.log_and_sign import log_and_sign
from mapwise.nets.lstm import lstm_cell, lstm_weights

P = 7.0
"""Gradients below exp(-P) in size are read as they are, not by their logarithm."""


@dataclass(frozen=True)
class MetaNetworks(EmbeddingLearner):
    """Each support row's loss gradient becomes fast weights in a memory, and a query reads a mixture of its own.

    Paper:   Munkhdalai, Yu 2017, arXiv:1703.00837, algorithm 1 and section 3.
    Fast:    {"keys": [S, E], "memory": {"dense": [S, E, D], "head": [S, W, E]}, "dense": [E, D] (those of the keys),
             "weight": [S], "present": [W]}; with norm "support" also {"statistics": ...}.
    Loss:    cross-entropy of the queries, with the gradients of the support losses as constants.
    Differs: one encoder stands before both learners; the paper has two. Only the layers after it have fast weights; the
             paper's convolutions have them, too. The cosines are multiplied by a learned strength, as attention to five
             rows could reach no more than 0.65 otherwise. The keys' layer is made
             of gradients of a cross-entropy at any number of shots, where the paper takes a contrastive loss above one.
             `key/head` serves that loss alone, whose gradients are constants: it gets none and stays as it was drawn.

    encoder:   [N, *input] -> [N, D], with its attribute `output_shape`.
    units:     E, of the layer between the encoder and the head, and of a key.
    hidden:    units of the LSTM and of the layers that turn gradients into fast weights.
    chunks:    parts of the support, in its order, whose gradients the LSTM reads one after another.
    most_ways: classes of a task at most: each has a row of its own in the slow heads.
    strength:  what the cosines are multiplied by at the start; learned as its logarithm.

    Params: {"encoder", "base" and "key": {"dense": [E, D], "head": [most_ways, E]}, "rows": three layers,
    "chunks": {"lstm": see `lstm_cell`, "weight": [hidden], "bias": []}, "log_strength": []}.

    Breaks `relabel`, since each class has a slow row of its own, and `order` and `weights`, since the chunks are
    read in order, cut by the number of rows.
    A net with norm "batch" breaks `alone`, `padding` and `weights`; one with "frozen" does so until measured.

    Raises ValueError for a task of more classes than `most_ways`, and for an encoder without `output_shape`.

    >>> learner.adapt(params, support)["memory"]["head"].shape
    torch.Size([5, 5, 64])
    """

    units: int = 64
    hidden: int = 20
    chunks: int = 5
    most_ways: int = 20
    strength: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.strength > 0:
            raise ValueError(f"the strength is {self.strength} and must be positive: give a number above 0, such as 10")
        if self.chunks < 1:
            raise ValueError(f"chunks is {self.chunks}: give 1 or more")

    @property
    def keeps(self) -> frozenset[str]:
        """All but `relabel`, `order` and `weights`, unless the encoder normalises by the rows at hand."""
        return super().keeps - {"relabel", "order", "weights"}

    def init(self, seed: int) -> Params:
        """The encoder's weights; layers and an LSTM as torch makes them, without biases where weights are made fast."""
        width = math.prod(functional.output_shape(self.encoder))
        key = random.key_of(seed)
        sizes = (2, self.hidden, self.hidden, 1)
        return {
            "encoder": functional.initial_weights(self.encoder, seed),
            "base": self._slow(random.fold(key, 0), width),
            "key": self._slow(random.fold(key, 1), width),
            "rows": {
                f"layer{place}": linear_weights(random.fold(random.fold(key, 2), place), before, after)
                for place, (before, after) in enumerate(itertools.pairwise(sizes))
            },
            "chunks": {
                "lstm": lstm_weights(random.fold(key, 3), 2, self.hidden),
                "weight": linear_weights(random.fold(key, 4), self.hidden, 1)["weight"][0],
                "bias": torch.zeros(()),
            },
            "log_strength": torch.tensor(math.log(self.strength)),
        }

    def _slow(self, key: Tensor, width: int) -> Params:
        return {
            "dense": linear_weights(random.fold(key, 0), width, self.units)["weight"],
            "head": linear_weights(random.fold(key, 1), self.units, self.most_ways)["weight"],
        }

    def adapt(self, params: Params, support: Examples) -> Fast:
        """Gradients of the support, and from them the memory and the keys (algorithm 1, lines 1-15)."""
        z, seen = self.embed_support(params, support)
        return {**self._written(params, z, support, self._gradients(params, z, support)), **seen}

    def _gradients(self, params: Params, z: Float[Tensor, "S D"], support: Examples) -> Params:
        """The gradient of a loss in the slow weights: by chunk for the keys, by row for the memory; constants."""
        ways = support.y.shape[1]
        if ways > self.most_ways:
            raise ValueError(
                f"the slow heads have rows for {self.most_ways} classes and the task has {ways}: set most_ways to "
                f"{ways} before training, or take a learner without rows of its own for them, such as protonet"
            )
        base, key = (_of_ways(tree.detach(params[name]), ways) for name in ("base", "key"))
        z, present = z.detach(), present_classes(support)

        def loss(layers: Params, weight: Tensor) -> Tensor:
            scores = without_absent(linear(relu(linear(z, layers["dense"])), layers["head"]), present)
            return -(weight * (support.y * scores.log_softmax(1)).sum(1)).sum()

        each = torch.vmap(torch.func.grad(loss), in_dims=(None, 0))
        inside = _chunks(support.weight, self.chunks)  # [chunks, S]
        by_chunk = each(key, inside / inside.sum(1, keepdim=True).clamp(min=1e-12))
        by_row = each(base, torch.eye(len(z), dtype=z.dtype, device=z.device))
        return tree.detach({"rows": by_row, "chunks": by_chunk["dense"], "any": inside.sum(1) > 0})

    def _written(self, params: Params, z: Float[Tensor, "S D"], support: Examples, gradients: Params) -> Fast:
        """Fast weights from gradients, and the keys of the support."""
        dense = self._dense_of_task(params["chunks"], gradients)  # Q*
        memory = tree.map(lambda gradient: _from_each(params["rows"], gradient), gradients["rows"])
        keys = _key(params, dense, z)
        return {
            "keys": keys,
            "memory": memory,
            "dense": dense,
            "weight": support.weight,
            "present": present_classes(support),
        }

    def _dense_of_task(self, writer: Params, gradients: Params) -> Float[Tensor, "E D"]:
        """Q* = d(gradients of the chunks): an LSTM for every coordinate, all with the same weights (section 3.1)."""
        chunks = gradients["chunks"]
        h = c = chunks.new_zeros(chunks[0].numel(), self.hidden)  # [E D, hidden]
        for gradient, any_rows in zip(chunks, gradients["any"], strict=True):
            new_h, new_c = lstm_cell(log_and_sign(gradient.flatten(), P), (h, c), writer["lstm"])
            h, c = torch.where(any_rows, new_h, h), torch.where(any_rows, new_c, c)
        dense: Tensor = h @ writer["weight"] + writer["bias"]
        return dense.reshape(chunks[0].shape)

    def predict(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "Q W"]:
        """b(W, W*, x), where W* is the memory read with the query's attention (algorithm 1, lines 17-20)."""
        z = self.embed(params, fast, x)  # [Q, D]
        alike = params["log_strength"].exp() * cosines(_key(params, fast["dense"], z), fast["keys"])  # [Q, S]
        alike = alike + fast["weight"].clamp(min=1e-30).log()  # a row of weight 2 is read as the row twice
        attention = torch.where(fast["weight"] > 0, alike, torch.finfo(z.dtype).min / 2).softmax(1)
        slow, memory = _of_ways(params["base"], len(fast["present"])), fast["memory"]
        # Layer augmentation (section 3.3), without a rectifier after the last layer.
        g = relu(linear(z, slow["dense"])) + relu(_read(attention, memory["dense"], z))
        return without_absent(linear(g, slow["head"]) + _read(attention, memory["head"], g), fast["present"])

    def surrogate(self, params: Params, task: Task) -> Callable[[Params], Tensor]:
        """The query loss with the gradients of the support losses held constant."""
        support, query = task
        gradients = self._gradients(params, self.embed_support(params, support)[0], support)

        def with_constants(point: Params) -> Tensor:
            z, seen = self.embed_support(point, support)
            fast = {**self._written(point, z, support, gradients), **seen}
            return self.criterion(self.predict(point, fast, query.x), query)

        return with_constants


def _key(params: Params, fast: Float[Tensor, "E D"], z: Float[Tensor, "N D"]) -> Float[Tensor, "N E"]:
    """r = u(Q, Q*, x): the slow and the fast layer, summed; as in the published code, not rectified."""
    return linear(z, params["key"]["dense"] + fast)


def _read(attention: Float[Tensor, "Q S"], weights: Float[Tensor, "S M K"], x: Float[Tensor, "Q K"]) -> Tensor:
    """(sum_i a_i W_i) x for every query, [Q, M], without making its W: sum_i a_i (W_i x)."""
    slots, outputs, _ = weights.shape
    each = linear(x, weights.flatten(0, 1)).reshape(-1, slots, outputs)  # [Q, S, M]
    return (attention[:, :, None] * each).sum(1)


def _of_ways(layers: Params, ways: int) -> Params:
    return {**layers, "head": layers["head"][:ways]}


def _from_each(layers: Params, gradients: Tensor) -> Tensor:
    """m(gradient), number by number (section 3.2)."""
    x = log_and_sign(gradients, P)  # [..., 2]
    for layer in (layers["layer0"], layers["layer1"]):
        x = relu(linear(x, layer["weight"], layer["bias"]))
    weights: Tensor = linear(x, layers["layer2"]["weight"], layers["layer2"]["bias"])
    return weights[..., 0]


def _chunks(weight: Float[Tensor, "S"], chunks: int) -> Float[Tensor, "chunks S"]:
    """The weights of the rows of each chunk: of equal size as far as they go, by the rows that count."""
    before = weight.cumsum(0) - weight
    place = (before * chunks / weight.sum().clamp(min=1e-12)).floor()  # [S]
    return (place == torch.arange(chunks, device=weight.device)[:, None]) * weight


ROWS = {
    "meta_networks": encoder_row(
        MetaNetworks,
        "Munkhdalai 2017",
        "fast weights from each support row's gradient, read from a memory by every query",
        recipe={"clip": 10.0},
    ),
}
