"""A network that writes the weights of another."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear, silu

from mapwise.core import functional, random
from mapwise.core.families.fixed_head import FixedHeadLearner
from mapwise.core.geometry import class_means
from mapwise.core.inner_loop import SGD, descend
from mapwise.core.losses import cross_entropy
from mapwise.core.task import Examples
from mapwise.core.tree import Fast, Params
from mapwise.learners.row import gradient_row


@dataclass(frozen=True)
class HyperNet(FixedHeadLearner):
    """A second network reads the support and writes what the first must change to fit it.

    Paper:   Ha, Dai, Le 2017, arXiv:1609.09106 (one network makes another's weights); Wang, Hebert 2016, Learning to
             Learn, ECCV (the map from a model to a better one).
    Fast:    the written weights by name, of a head for W classes [W, D] and [W]; with norm "support" also
             {"statistics": ...}; with the cross-entropy also {"present": [W]}.
    Loss:    the query loss with the written weights, differentiated through the fit if there is one.
    Differs: neither paper writes weights from a support set. Ha's network reads the layer's place; Wang and Hebert's
             reads a model of few samples and is to give the one of many. Here one network writes and is written to,
             and the query loss says what is right.

    net:         [N, *input] -> [N, W]. With the cross-entropy its head becomes one row for every class alike, the mean
                 of those it has, and any number of ways can be asked for.
    writes:      glob patterns of the parameters that are written; "head" is the last layer, "body" the others, "*" all.
    hidden:      units of each layer of the network that writes.
    passes:      times that it reads and writes; from the second on it mends what the net still gets wrong.
    inner_steps: gradient steps on the support loss, after the writing, of what was written.
    inner_lr:    their rate.
    loss:        "cross_entropy", "squared_error", another loss's name, or a function (scores, rows) -> scalar.

    Params: {"net": the start, "reads": two layers, "writes": two layers, with classes "class_writes": two layers}; a
    layer is {"weight": [], "bias": []}, and the second also sees what the first does. The last of each writer starts at
    zero: at first nothing is changed.

    With another loss than the cross-entropy, the columns of y are read as targets, each with its own start: that breaks
    `relabel`. A net whose norm uses the rows at hand also breaks `alone`, `padding` and `weights` (unless its rows are
    the support's).

    Raises ValueError for classes and patterns without the head, whose rows would be alike, and for less than one pass.

    >>> learner.adapt(params, support)["head.weight"].shape
    torch.Size([5, 64])
    """

    net_part: ClassVar[str] = "net"

    writes: tuple[str, ...] = ("head",)
    hidden: int = 128
    passes: int = 1
    inner_steps: int = 0
    inner_lr: float = 0.1

    takes_tokens: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.passes < 1:
            raise ValueError(f"passes is {self.passes}: give 1 or more, or take maml for a fit without writing")

    @property
    def keeps(self) -> frozenset[str]:
        """All, for classes; `relabel` is for them alone. Statistics of the rows at hand break `BY_ROWS`."""
        return super().keeps | ({"relabel"} if self._classes else frozenset())

    @property
    def _classes(self) -> bool:
        """Whether the columns of y are classes, each with a row of the head."""
        return self.criterion is cross_entropy

    def init(self, seed: int) -> Params:
        """The start, and a network that reads as torch makes it and writes nothing."""
        net = functional.initial_weights(self.net, seed)
        head, _ = functional.split_weights(self.net, net, ("head",))
        targets, width = next(iter(head.values())).flatten(1).shape
        if self._classes:
            net |= {name: rows.mean(0, keepdim=True) for name, rows in head.items()}
        of_class, of_net = self._written(net)
        key, units = random.key_of(seed), self.hidden
        params = {"net": net, "reads": _layers(random.fold(key, 0), width + (1 if self._classes else targets), units)}
        if of_net:
            params["writes"] = _layers(random.fold(key, 1), units, units, writes=_numbers(of_net))
        if of_class:
            params["class_writes"] = _layers(random.fold(key, 2), 2 * units, units, writes=_numbers(of_class))
        return params

    def adapt(self, params: Params, support: Examples) -> Fast:
        """theta' = theta + h(theta, support), `passes` times, and then `inner_steps` down the support loss."""
        theta, held = self._point(params, support)
        given = (held, support, self.present_in(support))
        theta = descend(self._support_loss, theta, SGD(self.inner_lr), self.inner_steps, given=given)
        return self.fast_of(theta, support, held=held)

    def start(self, params: Params, support: Examples) -> Fast:
        """What was written."""
        theta, held = self._point(params, support)
        return self.fast_of(theta, support, held=held)

    def _point(self, params: Params, support: Examples) -> tuple[Params, Params]:
        """The written weights, and those that are not written."""
        of_class, of_net = self._written(params["net"])
        held = {name: leaf for name, leaf in params["net"].items() if name not in {**of_class, **of_net}}
        ways = support.y.shape[1]
        theta = {**{name: row.expand(ways, *row.shape[1:]) for name, row in of_class.items()}, **of_net}
        for _ in range(self.passes):
            theta = self._rewritten(params, theta, held, support)
        return theta, held

    def _rewritten(self, params: Params, theta: Params, held: Params, support: Examples) -> Params:
        """theta + h(theta, support)."""
        weights = {**held, **theta}
        body, of_body = functional.headless(self.net), functional.body_weights(self.net, weights)
        features = functional.apply(body, of_body, support.x, support.weight).flatten(1)  # [S, D]
        read = _through(params["reads"], torch.cat([features, self._missed(weights, support)], 1))  # [S, hidden]
        share = support.weight / support.weight.sum().clamp(min=1e-12)
        whole = (share @ read)[None]  # [1, hidden]
        of_class, of_net = self._written(theta)
        written: Params = {}
        if of_net:
            written |= _added(of_net, _through(params["writes"], whole)[0])
        if of_class:
            each = class_means(read, support)  # [W, hidden]
            rows = _through(params["class_writes"], torch.cat([each, whole.expand_as(each)], 1))  # [W, numbers]
            written |= torch.vmap(_added)(of_class, rows)
        return written

    def _missed(self, weights: Params, support: Examples) -> Float[Tensor, "S K"]:
        """What the net still gets wrong of each row: of every target, or of the row's own class."""
        scores = self.scores_of(weights, support, self.present_in(support))
        if self._classes:
            return 1 - (support.y * scores.softmax(1)).sum(1, keepdim=True)
        return support.y - scores

    def _written(self, net: Params) -> tuple[Params, Params]:
        """What is written once for each class, and what is written once."""
        # By name: what is written is told apart by its place, and weights that come from a file come in any order.
        chosen, _ = functional.split_weights(self.net, {name: net[name] for name in sorted(net)}, self.writes)
        if not self._classes:
            return {}, chosen
        head, _ = functional.split_weights(self.net, net, ("head",))
        if not head.keys() <= chosen.keys():
            raise ValueError(
                f"writes is {', '.join(self.writes)}, without the head, whose rows are alike for all classes until "
                "they are written: add 'head'"
            )
        of_class = {name: leaf for name, leaf in chosen.items() if name in head}
        return of_class, {name: leaf for name, leaf in chosen.items() if name not in head}

    def _support_loss(self, weights: Params, step: int, held: Params, support: Examples, present: Params) -> Tensor:
        return self.loss_of({**held, **weights}, support, present)


def _numbers(leaves: Params) -> int:
    return sum(leaf.numel() for leaf in leaves.values())


def _added(start: Params, change: Float[Tensor, "numbers"]) -> Params:
    """The start with these numbers added, leaf after leaf."""
    pieces = torch.split(change, [leaf.numel() for leaf in start.values()])
    return {name: leaf + piece.reshape(leaf.shape) for (name, leaf), piece in zip(start.items(), pieces, strict=True)}


def _layers(key: Tensor, inputs: int, units: int, *, writes: int | None = None) -> Params:
    """Two layers, uniform up to 1 / sqrt(inputs) as torch's; the last is zero when it writes so many numbers."""

    def layer(key: Tensor, inputs: int) -> Params:
        drawn = (2 * random.uniform(key, (units, inputs + 1)) - 1) * inputs**-0.5
        return {"weight": drawn[:, 1:].contiguous(), "bias": drawn[:, 0].contiguous()}

    if writes is None:
        last = layer(random.fold(key, 1), units + inputs)
    else:
        last = {"weight": torch.zeros(writes, units + inputs), "bias": torch.zeros(writes)}
    return {"first": layer(random.fold(key, 0), inputs), "last": last}


def _through(layers: Params, x: Float[Tensor, "N D"]) -> Float[Tensor, "N outputs"]:
    first, last = layers["first"], layers["last"]
    hidden = silu(linear(x, first["weight"], first["bias"]))
    # Past the hidden units, too: a class's row as a linear map of its mean features is good already, and soon learned.
    return linear(torch.cat([hidden, x], 1), last["weight"], last["bias"])


ROWS = {
    "hypernet": gradient_row(
        HyperNet,
        "Ha 2017",
        "a network that reads the support and writes the head of another",
        # Whether a fit after the writing is worth its time.
        tuned={"optimizer.lr": (0.001, 0.003), "inner_steps": (0, 3), "inner_lr": (0.1,)},
    ),
}
