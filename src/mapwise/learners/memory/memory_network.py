"""Key-value memory networks, and a memory of nearest neighbours that lasts."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

from mapwise.core import context, functional, random, tree
from mapwise.core.families.embedding import EmbeddingLearner
from mapwise.core.losses import Loss, cross_entropy, row_mean
from mapwise.core.scores import Scores, means, without_absent
from mapwise.core.task import Examples
from mapwise.core.tree import Fast, Params
from mapwise.learners.row import OF_CLASSES, LearnerRow

Update = Literal["append", "nearest"]


@dataclass(frozen=True)
class MemoryNetwork(EmbeddingLearner):
    """Embedded support rows are the keys of a memory and their labels its values, which a query reads by similarity.

    Paper:   Sukhbaatar, Szlam, Weston, Fergus 2015, End-To-End Memory Networks (arXiv:1503.08895), section 2; Miller,
             Fisch, Dodge, Karimi, Bordes, Weston 2016, Key-Value Memory Networks (arXiv:1606.03126), section 3.1;
             update "nearest": Kaiser, Nachum, Roy, Bengio 2017, Learning to Remember Rare Events (arXiv:1703.03129),
             section 2.
    Fast:    "append": {"keys": [S, E], "values": [S, E] with more than one hop, "labels": [S, W]}; "nearest": {"keys":
             [M, E], "classes": [M], "ages": [M], "rows": [W]}, M = min(slots, S), rows how many of each class came;
             with norm "support" also "statistics".
    Loss:    "append": cross-entropy of the queries. "nearest": how much closer the nearest key of another class is than
             the nearest key of the query's own, plus a margin, where that is positive. Of a stream, over every row
             before its label is seen, and in any case over rows whose class is in the memory.
    Differs: keys and queries are unit vectors in every hop, compared under a learned temperature. What the last hop
             reads are labels, so that any number of classes has the same weights. With "nearest" the gradient
             flows into the keys as well as into the query, the first of the oldest slots is the one overwritten, and a
             class's score is its nearest key's, where the paper has a softmax over many keys.

    encoder:     [N, *input] -> [N, D], with its attribute `output_shape`.
    update:      how a row enters the memory: "append" beside all others; "nearest" into a memory of bounded size, which
                 merges it with the nearest key if that has its label, and writes it over the oldest key otherwise.
    hops:        times that a query reads the memory; with "nearest", 1.
    width:       E, length of a key.
    slots:       most keys of a memory with update "nearest".
    temperature: what cosines are multiplied by; with "append" learned from there, as its logarithm.
    margin:      of the loss with update "nearest", in cosines.

    Params: {"encoder", "key": [E, D]}; with "append" also "log_temperature", and with more than one hop {"value":
    [E, D], "hops": {"0": [E, E], ...}}.

    With "nearest" rows are read in their order, and a row of weight 2 once, which breaks `order` and `weights`. Rows of
    weight 0 change nothing. A class without a key can't be chosen.
    A net with norm "batch" breaks `alone`, `padding` and `weights`; one with "frozen" does so until measured.

    Raises ValueError for an encoder without `output_shape`, sizes below 1, several hops with "nearest", and a
    temperature or margin that isn't positive.

    >>> fast = learner.adapt(params, support)
    >>> fast["keys"].shape
    torch.Size([5, 256])
    """

    update: Update = "append"
    hops: int = 2
    width: int = 256
    slots: int = 8192
    temperature: float = 10.0
    margin: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("hops", "width", "slots"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: give 1 or more")
        for name in ("temperature", "margin"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)} and must be positive: give a number above 0")
        if self.update == "nearest" and self.hops > 1:
            raise ValueError(f"hops is {self.hops}, and with update nearest a query reads once: give 1")

    @property
    def keeps(self) -> frozenset[str]:
        """All but `order` and `weights` with "nearest", unless the encoder normalises by the rows at hand."""
        return super().keeps - ({"order", "weights"} if self.update == "nearest" else frozenset())

    @property
    def criterion(self) -> Loss:
        """Cross-entropy, or with "nearest" the margin loss."""
        if self.update == "append":
            return known_cross_entropy
        return partial(margin_loss, margin=self.margin, temperature=self.temperature)

    def init(self, seed: int) -> Params:
        """The encoder's weights, and maps that hardly change a cosine."""
        shape = (self.width, math.prod(functional.output_shape(self.encoder)))
        key = random.normal(random.fold(random.key_of(seed), 1), shape) * self.width**-0.5
        params: Params = {"encoder": functional.initial_weights(self.encoder, seed), "key": key}
        if self.update == "nearest":
            return params
        params["log_temperature"] = torch.tensor(math.log(self.temperature))
        if self.hops > 1:
            hops = {str(hop): torch.eye(self.width) for hop in range(self.hops - 1)}
            params = {**params, "value": key.clone(), "hops": hops}
        return params

    def adapt(self, params: Params, support: Examples) -> Fast:
        """The memory after the last row."""
        z, statistics = self.embed_support(params, support)
        if self.update == "nearest":
            _, state = self._along(params, z, support)
            return {**state, **statistics}
        memory: Params = {"keys": unit(z @ params["key"].T), "labels": support.y * support.weight[:, None]}
        if self.hops > 1:
            memory["values"] = z @ params["value"].T
        return {**memory, **statistics}

    def predict(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "Q W"]:
        """The log of the attention that a class receives; with "nearest" the cosine of its nearest key, scaled."""
        queries = unit(self.embed(params, fast, x) @ params["key"].T)
        if self.update == "nearest":
            return nearest_of_class(self.temperature * queries @ fast["keys"].T, fast)
        weight = fast["labels"].sum(1)  # all labels of a row sum to its weight
        return self._attend(params, queries, fast, weight.expand(len(queries), -1))

    def causal(self, params: Params, rows: Examples) -> Float[Tensor, "N W"]:
        """Scores of every row before its label is seen, in one pass."""
        if self.update == "nearest":
            return self._along(params, self.embed_support(params, rows)[0], rows)[0]
        fast = self.adapt(params, rows)
        return self._attend(params, fast["keys"], fast, rows.weight.expand(len(rows.y), -1).tril(-1))

    def _attend(
        self, params: Params, queries: Float[Tensor, "N E"], memory: Params, weight: Float[Tensor, "N S"]
    ) -> Float[Tensor, "N W"]:
        """Read the memory `hops` times, q <- R(q + o) in between; weight says how often a query may read each row."""
        often = torch.where(weight > 0, weight.clamp(min=1e-30).log(), torch.finfo(queries.dtype).min / 2)
        shares = torch.zeros_like(weight)
        for hop in range(self.hops):
            if hop:
                queries = unit((queries + shares @ memory["values"]) @ params["hops"][str(hop - 1)].T)
            alike = params["log_temperature"].exp() * queries @ memory["keys"].T  # [N, S]
            # A query that may read nothing reads zeros.
            shares = (alike + often).softmax(1) * (weight > 0) if weight.shape[1] else shares
        received = shares @ (memory["labels"] > 0).to(shares)  # [N, W]
        tiny = torch.finfo(received.dtype).tiny
        return without_absent(received.clamp(min=tiny).log(), (weight > 0).to(weight) @ memory["labels"])

    def _along(self, params: Params, z: Float[Tensor, "N D"], rows: Examples) -> tuple[Float[Tensor, "N W"], Params]:
        """The scores of each row before its label is seen, and the memory after all of them."""
        queries = unit(z @ params["key"].T)
        size = min(self.slots, max(1, len(z)))
        state: Params = {
            "keys": z.new_zeros(size, self.width),
            "classes": torch.full((size,), -1, device=z.device),
            "ages": torch.zeros(size, dtype=torch.int64, device=z.device),
            "rows": rows.y.new_zeros(rows.y.shape[1]),
        }
        whole = context.current().all_rows_count
        scores = []
        for query, y, counts in zip(queries, rows.y, rows.weight > 0, strict=True):
            alike = state["keys"] @ query  # [M]
            scores.append(nearest_of_class(self.temperature * alike[None], state)[0])
            after = written(state, query, y, alike)
            state = (
                after if whole else tree.map(lambda new, old, here=counts: torch.where(here, new, old), after, state)
            )
        none = z.new_zeros(0, rows.y.shape[1])
        return torch.stack(scores) if scores else none, state


def unit(z: Float[Tensor, "*N E"]) -> Float[Tensor, "*N E"]:
    """Rows of length 1."""
    return normalize(z, dim=-1)


def nearest_of_class(alike: Float[Tensor, "N M"], memory: Params) -> Float[Tensor, "N W"]:
    """The largest of a row's similarities to the keys of each class, and finfo.min / 2 for a class without a key."""
    ways, classes = len(memory["rows"]), memory["classes"]
    # A column more, for empty slots.
    places = torch.where(classes < 0, ways, classes).expand(len(alike), -1)
    least = torch.full_like(alike[:, :1], torch.finfo(alike.dtype).min / 2).expand(-1, ways + 1)
    return least.scatter_reduce(1, places, alike, "amax")[:, :ways]


def written(memory: Params, query: Float[Tensor, "E"], y: Float[Tensor, "W"], alike: Float[Tensor, "M"]) -> Params:
    """The memory after a row (Kaiser 2017, section 2): merged into the nearest key, or written over the oldest.

    alike: the keys' cosines to the query.
    """
    keys, classes, ages = memory["keys"], memory["classes"], memory["ages"]
    label = y.argmax()
    nearest = torch.where(classes < 0, -torch.inf, alike.detach()).argmax()[None]
    hit = classes.index_select(0, nearest)[0] == label
    key = torch.where(hit, merged(keys.index_select(0, nearest)[0], query), query)
    # An empty slot is older than any other, since all ages rise with each row; of equal ones the first is taken.
    slot = torch.arange(len(classes), device=classes.device) == torch.where(hit, nearest, ages.argmax())  # [M]
    return {
        "keys": torch.where(slot[:, None], key, keys),
        "classes": torch.where(slot, label, classes),
        "ages": aged(ages, slot),
        "rows": memory["rows"] + y,
    }


def merged(key: Float[Tensor, "E"], query: Float[Tensor, "E"]) -> Float[Tensor, "E"]:
    """A key halfway towards a query of its class, of length 1."""
    return unit(key + query)


def aged(ages: Int64[Tensor, "M"], slot: Tensor) -> Int64[Tensor, "M"]:
    """Ages after a row: 0 where it was written, and one more elsewhere."""
    return torch.where(slot, 0, ages + 1)


def margin_loss(scores: Scores, rows: Examples, *, margin: float, temperature: float) -> Float[Tensor, ""]:
    """The mean of max(0, the best other class's cosine - the true class's + margin), over rows of known classes."""
    rows, values = known(scores, rows), means(scores)
    least = torch.finfo(values.dtype).min / 2
    right = (values * rows.y).sum(-1)
    other = torch.where(rows.y > 0, least, values).amax(-1)
    # Where there is no loss both are replaced: the difference of huge numbers would have a gradient.
    both = (rows.weight > 0) & (other > least / 2)
    gap = torch.where(both, other, 0.0) - torch.where(both, right, 0.0)
    return row_mean(torch.where(both, (gap / temperature + margin).relu(), 0.0), rows.weight)


def known_cross_entropy(scores: Scores, rows: Examples) -> Float[Tensor, ""]:
    """Cross-entropy over rows of known classes."""
    return cross_entropy(means(scores), known(scores, rows))


def known(scores: Scores, rows: Examples) -> Examples:
    """The rows, those whose class can't be chosen with weight 0: nothing could have been remembered of them."""
    right = torch.where(rows.y > 0, means(scores), 0.0).sum(-1)
    return rows._replace(weight=torch.where(right > torch.finfo(right.dtype).min / 4, rows.weight, 0.0))


_NETS: dict[str, dict[str, Any]] = {"conv4": {"norm": "frozen", "halvings": 3}, "resnet12": {"norm": "frozen"}}

ROWS = {
    "memory_network": LearnerRow(
        MemoryNetwork,
        "Miller 2016",
        "a query reads the support rows in several hops, and takes the labels of those the last one reads",
        nets=_NETS,
        columns=OF_CLASSES,
    ),
    "memory_network_nearest": LearnerRow(
        partial(MemoryNetwork, update="nearest", hops=1, temperature=40.0),
        "Kaiser 2017",
        "a memory of bounded size, merged with the nearest key or written over the oldest; for long streams",
        nets=_NETS,
        columns=OF_CLASSES,
    ),
}
