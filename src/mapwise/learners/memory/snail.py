"""The simple neural attentive learner."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from mapwise.core import functional, random, tree
from mapwise.core.families.embedding import EmbeddingLearner
from mapwise.core.scores import without_absent
from mapwise.core.task import Examples, present_classes
from mapwise.core.tree import Fast, Params
from mapwise.learners.row import OF_CLASSES, LearnerRow
from mapwise.nets.initial import linear_weights


@dataclass(frozen=True)
class SNAIL(EmbeddingLearner):
    """Support rows with their labels are a sequence, which causal convolutions and attention read up to the query.

    Paper:   Mishra, Rohaninejad, Chen, Abbeel 2018, A Simple Neural Attentive Meta-Learner (arXiv:1707.03141),
             section 3 and figure 2.
    Fast:    of each attention {"keys": [S, K], "values": [S, V]}; of each convolution by its dilation d, {d: [C]}, what
             it reads d rows before the query; {"counts": [S], "present": [W]}; with norm "support" also "statistics".
    Loss:    cross-entropy of the queries.
    Differs: dilations begin at 1; the paper's list begins at 2, which never reads the row just before. The queries of a
             task share its support, and so its order and its states, which are computed once. The encoder's features
             are read as they are, without a further layer. An attention's queries and keys start as the same map, and
             labels with as much effect as all features: otherwise thousands of tasks pass before anything is learned.

    encoder:  [N, *input] -> [N, D], with its attribute `output_shape`.
    keys:     K, length of the keys of each attention; a block of convolutions stands between two.
    values:   V, length of what each attention reads, as many as `keys`.
    filters:  channels of every convolution.
    reach:    rows that a block of convolutions reads, the last of them the row itself: its dilations are 1, 2, 4, ...,
              below this. Attention reads all rows.
    max_ways: the most classes of a task: columns of the label that is read and of the scores.

    Params: {"encoder", "attention": {"0": {"queries", "keys", "values"}, ...}, "convolution": {"0": {"1": {"here",
    "before", "bias"}, "2": ..., ...}, ...}, "out"}.

    The rows are read in an order that is drawn from the task's key and each row's own bits and label, so that the order
    in which they are given doesn't matter. Rows of weight 0 come first and are zero in every layer, as is what stands
    before a sequence: they change nothing. A row of weight 2 is read once, which breaks `weights`; each column of a
    label has weights of its own, which breaks `relabel`; and rows that are embedded once have other bits and another
    order, which breaks `embeds`.
    A net with norm "batch" also breaks `alone` and `padding`, and "frozen" does until measured.

    Raises ValueError for a task of more than `max_ways` classes, other numbers of keys than of values, sizes below 1,
    and an encoder without `output_shape`.

    >>> fast = learner.adapt(params, support)
    >>> fast["attention"]["0"]["keys"].shape
    torch.Size([5, 64])
    """

    keys: tuple[int, ...] = (64, 256, 512)
    values: tuple[int, ...] = (32, 128, 256)
    filters: int = 128
    reach: int = 32
    max_ways: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, sizes in (("keys", self.keys), ("values", self.values)):
            if not sizes or min(sizes) < 1:
                raise ValueError(f"{name} is {sizes}: give one number of 1 or more for each attention, such as 64")
        if len(self.keys) != len(self.values):
            raise ValueError(
                f"{len(self.keys)} keys and {len(self.values)} values are given: give each attention a length of both"
            )
        for name in ("filters", "reach", "max_ways"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: give 1 or more")

    @property
    def keeps(self) -> frozenset[str]:
        """`order`, `padding` and `alone`, unless the encoder normalises by the rows at hand."""
        return super().keeps - {"relabel", "weights", "embeds"}

    @property
    def dilations(self) -> tuple[int, ...]:
        """How far back each convolution of a block reads: 1, 2, 4, ..., below `reach`."""
        return tuple(2**place for place in range((self.reach - 1).bit_length()))

    def init(self, seed: int) -> Params:
        """The weights of the encoder, of each attention and convolution, and of the scores."""
        key = random.fold(random.key_of(seed), 1)
        features = math.prod(functional.output_shape(self.encoder))
        width = features + self.max_ways
        attention: Params = {}
        convolution: Params = {}
        for place, (k, v) in enumerate(zip(self.keys, self.values, strict=True)):
            drawn = random.fold(key, place)
            # Rows that look alike read one another from the start, since queries and keys are the same maps there.
            alike = linear_weights(random.fold(drawn, 0), width, k)
            alike["weight"] *= 3**0.5  # variance 1 / width
            values = linear_weights(random.fold(drawn, 1), width, v)
            values["weight"][:, features : features + self.max_ways] *= (
                features**0.5
            )  # as much as all features together
            attention[str(place)] = {"queries": alike, "keys": tree.map(torch.clone, alike), "values": values}
            width += v
            if place + 1 == len(self.keys):
                break
            block: Params = {}
            for dilation in self.dilations:
                both = linear_weights(random.fold(drawn, 1 + dilation), 2 * width, 2 * self.filters)
                here, before = (half.clone() for half in both["weight"].chunk(2, 1))
                for half in (here, before):
                    half[:, features : features + self.max_ways] *= features**0.5
                block[str(dilation)] = {"here": here, "before": before, "bias": both["bias"]}
                width += self.filters
            convolution[str(place)] = block
        return {
            "encoder": functional.initial_weights(self.encoder, seed),
            "attention": attention,
            "convolution": convolution,
            "out": linear_weights(random.fold(key, len(self.keys)), width, self.max_ways),
        }

    def adapt(self, params: Params, support: Examples) -> Fast:
        """The states of the support rows that the step after them reads."""
        z, statistics = self.embed_support(params, support)
        _, states = self._read(params, z, support)
        return {**states, "present": present_classes(support), **statistics}

    def predict(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "Q W"]:
        """Scores of every query as the last step of a sequence of its own, its label zero."""
        z = self.embed(params, fast, x)
        h = torch.cat([z, z.new_zeros(len(z), self.max_ways)], 1)  # [Q, C]
        seen = (fast["counts"] > 0).expand(len(z), -1)  # [Q, S]
        for place, attention, convolutions in _blocks(params):
            h = attend(attention, h, fast["attention"][place], seen)
            for dilation, weights in convolutions.items():
                h = convolve(weights, h, fast["convolution"][place][dilation][None])
        scores = h @ params["out"]["weight"].T + params["out"]["bias"]
        return without_absent(scores[:, : len(fast["present"])], fast["present"])

    def _read(self, params: Params, z: Float[Tensor, "S D"], support: Examples) -> tuple[Float[Tensor, "S C"], Params]:
        """What the last layer makes of every row from those up to it, in the order drawn; and the states it leaves."""
        ways = support.y.shape[1]
        if ways > self.max_ways:
            raise ValueError(
                f"the task has {ways} classes and the learner was built for {self.max_ways}: train with max_ways "
                f"{ways} (--max-ways {ways}), or take a learner of any ways, such as ProtoNet"
            )
        order = drawn_order(support)
        labels = torch.nn.functional.pad(support.y, (0, self.max_ways - ways))
        counts = (support.weight > 0).to(z)[order]  # [S]
        h = torch.cat([z, labels.to(z)], 1)[order] * counts[:, None]  # [S, C]
        seen = earlier(len(z), z.device) & (counts > 0)  # [S, S]
        states: Params = {"counts": counts, "attention": {}, "convolution": {}}
        for place, attention, convolutions in _blocks(params):
            memory = {name: _linear(attention[name], h) for name in ("keys", "values")}
            states["attention"][place] = memory
            h = attend(attention, h, memory, seen) * counts[:, None]
            for dilation, weights in convolutions.items():
                padded = torch.cat([h.new_zeros(int(dilation), h.shape[1]), h])  # [d + S, C]
                # The next step reads what stands d rows before it.
                states["convolution"].setdefault(place, {})[dilation] = padded[len(h)]
                h = convolve(weights, h, padded[: len(h)]) * counts[:, None]
        return h, states


def attend(
    weights: Params, h: Float[Tensor, "N C"], memory: Params, seen: Bool[Tensor, "N S"]
) -> Float[Tensor, "N C+V"]:
    """Each row beside what it reads, by the softmax of key times query / sqrt(K), of the memory's rows and of itself.

    memory: {"keys": [S, K], "values": [S, V]}.
    seen:   which rows of the memory a row may read.
    """
    queries, keys, values = (_linear(weights[name], h) for name in ("queries", "keys", "values"))
    alike = queries @ memory["keys"].T  # [N, S]
    alike = torch.where(seen, alike, torch.finfo(h.dtype).min / 2)
    alike = torch.cat([alike, (queries * keys).sum(1, keepdim=True)], 1) / keys.shape[1] ** 0.5  # [N, S + 1]
    shares = alike.softmax(1)
    read = shares[:, :-1] @ memory["values"] + shares[:, -1:] * values
    return torch.cat([h, read], 1)


def convolve(weights: Params, h: Float[Tensor, "N C"], before: Float[Tensor, "N C"]) -> Float[Tensor, "N C+F"]:
    """Each row beside tanh(a) sigmoid(b), where a and b are a convolution of the row and of one before it.

    before: what stood the layer's dilation earlier, one for all rows or one for each.
    """
    a, b = (h @ weights["here"].T + before @ weights["before"].T + weights["bias"]).chunk(2, 1)  # [N, F] each
    return torch.cat([h, a.tanh() * b.sigmoid()], 1)


def earlier(rows: int, device: torch.device | str = "cpu") -> Bool[Tensor, "S S"]:
    """For each row, which rows are before it."""
    return torch.ones(rows, rows, dtype=torch.bool, device=device).tril(-1)


def drawn_order(support: Examples) -> Int64[Tensor, "S"]:
    """The places of the rows in random order, rows of weight 0 first.

    Drawn from the task's key and from each row's bits and label, and not from its place.
    """
    number = random.digest({"x": support.x, "label": support.y.argmax(1)[:, None]})  # [S]
    chance = random.fold(support.key, number) >> 1 & (1 << 62) - 1  # not negative
    return torch.where(support.weight > 0, chance, -1).argsort(stable=True)


def _blocks(params: Params) -> list[tuple[str, Params, Params]]:
    """Each attention with its place, and the convolutions after it by their dilations, from the smallest on."""
    # By number, since a file doesn't keep the order of names.
    places = sorted(params["attention"], key=int)
    blocks = {place: params.get("convolution", {}).get(place, {}) for place in places}
    return [
        (
            place,
            params["attention"][place],
            {dilation: blocks[place][dilation] for dilation in sorted(blocks[place], key=int)},
        )
        for place in places
    ]


def _linear(weights: Params, h: Float[Tensor, "N C"]) -> Float[Tensor, "N O"]:
    out: Tensor = h @ weights["weight"].T + weights["bias"]
    return out


ROWS = {
    "snail": LearnerRow(
        SNAIL,
        "Mishra 2018",
        "causal convolutions and attention over the support rows and then the query",
        nets={"conv4": {"norm": "frozen"}, "resnet12": {"norm": "frozen"}},
        columns=OF_CLASSES,
    ),
}
