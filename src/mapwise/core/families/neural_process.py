"""What neural processes have in common: rows are encoded and averaged, and a decoder reads the mean beside a query."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from mapwise.core import functional, random
from mapwise.core.families.embedding import EmbeddingLearner
from mapwise.core.functional import Net
from mapwise.core.geometry import class_means
from mapwise.core.losses import LOSSES, Loss
from mapwise.core.scores import Gaussian, Scores
from mapwise.core.task import Examples
from mapwise.core.tree import Params

_NETS = "hgq"
"""The order in which nets have their seeds."""


@dataclass(frozen=True)
class NeuralProcess(EmbeddingLearner):
    """An encoder of inputs, h of rows with targets, and g, which decodes what a support says of a query.

    A learner that extends this writes `nets`, `adapt` and `predict`, and names its numbers that are 1 or more.

    encoder:        [N, *input] -> [N, D], with its attribute `output_shape`; the features of x, in support and query.
    loss:           "gaussian" for targets, "cross_entropy" for classes.
    targets:        numbers in a row's y; without effect on classes.
    width:          units of every layer of h and g, and the length of r for targets.
    layers:         of h, which makes r of a support row's features and targets; without effect on classes.
    decoder_layers: of g, which reads a query's features and r, or a latent made of it.
    least_scale:    the smallest standard deviation it can predict, in the unit of y.
    """

    counts: ClassVar[tuple[str, ...]] = ("targets", "width", "layers", "decoder_layers")

    loss: Literal["cross_entropy", "gaussian"] = "cross_entropy"
    targets: int = 1
    width: int = 128
    layers: int = 4
    decoder_layers: int = 3
    least_scale: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        for what in self.counts:
            if getattr(self, what) < 1:
                raise ValueError(f"{what} is {getattr(self, what)}: give a number from 1 up")
        if not 0 < self.least_scale < 1:
            raise ValueError(f"least_scale is {self.least_scale}: give a standard deviation between 0 and 1")
        for net in self.nets().values():  # now, since none can be built inside vmap
            functional.blueprint(net)

    @property
    def of_targets(self) -> bool:
        """Whether the columns of y are targets, and no classes."""
        return self.loss == "gaussian"

    @property
    def keeps(self) -> frozenset[str]:
        """All but `relabel` with targets; unless the encoder normalises by the rows at hand."""
        return super().keeps - ({"relabel"} if self.of_targets else frozenset())

    @property
    def criterion(self) -> Loss:
        """Minus the log-likelihood."""
        return LOSSES[self.loss]

    @property
    def features(self) -> int:
        """D, the length of the encoder's output."""
        return math.prod(functional.output_shape(self.encoder))

    def nets(self) -> dict[str, Net]:
        """The nets beside the encoder, by name: g, for targets h, and others of the learner's."""
        raise NotImplementedError

    def init(self, seed: int) -> Params:
        """The weights of the encoder and of all nets."""
        # Of seeds of their own, so that they don't start from the same draws.
        seeds = {name: random.fold(random.key_of(seed), place) for place, name in enumerate(_NETS, start=1)}
        own = {name: functional.initial_weights(net, seeds[name]) for name, net in self.nets().items()}
        return {"encoder": functional.initial_weights(self.encoder, seed), **own}

    def mean_row(self, params: Params, z: Float[Tensor, "N D"], rows: Examples) -> Float[Tensor, "*W R"]:
        """r = the mean of h(z_i, y_i) over rows, [R]; for classes that of z_i over those of each class, [W, D]."""
        if not self.of_targets:
            return class_means(z, rows)
        if rows.y.shape[-1] != self.targets:
            raise ValueError(
                f"the task has {rows.y.shape[-1]} targets and this learner is made for {self.targets}: "
                f"give targets={rows.y.shape[-1]}"
            )
        r = self.apply_net("h", params, torch.cat([z, rows.y], -1))  # [N, R]
        return rows.weight @ r / rows.weight.sum().clamp(min=1e-12)

    def decode(self, params: Params, z: Float[Tensor, "Q D"], r: Float[Tensor, "*W R"]) -> Scores:
        """g(z, r): the mean and scale of every target, or the score of every class."""
        if self.of_targets:
            outputs = self.apply_net("g", params, torch.cat([z, r.expand(len(z), -1)], -1))
            mean, raw = outputs.chunk(2, -1)
            return Gaussian(mean, self.least_scale + (1 - self.least_scale) * F.softplus(raw))
        ways = len(r)
        pairs = torch.cat([z[:, None].expand(-1, ways, -1), r.expand(len(z), -1, -1)], -1)  # [Q, W, D + R]
        return self.apply_net("g", params, pairs.flatten(0, 1)).reshape(len(z), ways)

    def apply_net(self, name: str, params: Params, x: Tensor) -> Float[Tensor, "N R"]:
        """The output of one of the nets."""
        return functional.apply(self.nets()[name], params[name], x)
