"""Conditional Neural Processes."""

import math
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from mapwise.core import functional, random
from mapwise.core.families.embedding import EmbeddingLearner
from mapwise.core.functional import Net
from mapwise.core.geometry import class_means
from mapwise.core.losses import LOSSES, Loss
from mapwise.core.scores import Gaussian, Scores, without_absent
from mapwise.core.task import Examples, present_classes
from mapwise.core.tree import Fast, Params
from mapwise.learners.row import FIXED, LearnerRow
from mapwise.nets.mlp import MLP


@dataclass(frozen=True)
class CNP(EmbeddingLearner):
    """The support rows are encoded and averaged, and a decoder predicts any query from the mean, with its uncertainty.

    Paper:   Garnelo, Rosenbaum, Maddison, Ramalho, Saxton, Shanahan, Teh, Rezende, Eslami 2018, arXiv:1807.01613,
             eq. 3-5 and section 4.
    Fast:    {"r": [R]} for targets; {"r": [W, D], "present": [W]} for classes; with norm "support" also
             {"statistics": ...}.
    Loss:    negative log-likelihood of the queries, a normal density or the cross-entropy.
    Differs: with classes, the decoder scores one class at a time, from that class's r. The paper's decoder reads all
             of them side by side, so its answer depends on their order and their number is fixed. Only queries
             are judged; the paper's targets include the support rows.

    encoder:        [N, *input] -> [N, D], with its attribute `output_shape`; the features of x, in support and query.
    loss:           "gaussian" for targets, "cross_entropy" for classes.
    targets:        numbers in a row's y; without effect on classes.
    width:          units of every layer of h and g, and the length of r for targets.
    layers:         of h, which makes r of a support row's features and targets; without effect on classes.
    decoder_layers: of g, which reads a query's features and r.
    least_scale:    the smallest standard deviation it can predict, in the unit of y.

    Without support rows r is 0, and the prediction is the prior learned from all tasks.

    With "gaussian", columns are targets with weights of their own and not classes, so `relabel` isn't kept. A net
    with norm "batch" breaks `alone`, `padding` and `weights`; one with "frozen" does so until measured.

    Raises ValueError for another loss, counts and scales that are too small, an encoder without `output_shape`, and
    tasks with another number of targets.

    >>> fast = learner.adapt(params, support)
    >>> mean, scale = learner.predict(params, fast, query.x)
    """

    loss: Literal["cross_entropy", "gaussian"] = "cross_entropy"
    targets: int = 1
    width: int = 128
    layers: int = 4
    decoder_layers: int = 3
    least_scale: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        for what in ("targets", "width", "layers", "decoder_layers"):
            if getattr(self, what) < 1:
                raise ValueError(f"{what} is {getattr(self, what)}: give a number from 1 up")
        if not 0 < self.least_scale < 1:
            raise ValueError(f"least_scale is {self.least_scale}: give a standard deviation between 0 and 1")
        for net in self.nets().values():  # now, since none can be built inside vmap
            functional.blueprint(net)

    @property
    def _of_targets(self) -> bool:
        return self.loss == "gaussian"

    @property
    def keeps(self) -> frozenset[str]:
        """All but `relabel` with targets; unless the encoder normalises by the rows at hand."""
        return super().keeps - ({"relabel"} if self._of_targets else frozenset())

    @property
    def criterion(self) -> Loss:
        """Minus the log-likelihood."""
        return LOSSES[self.loss]

    def nets(self) -> dict[str, Net]:
        """g, and for targets h, shaped for the encoder's features."""
        features = math.prod(functional.output_shape(self.encoder))
        if not self._of_targets:
            return {"g": _mlp(2 * features, self.decoder_layers, self.width, 1)}
        return {
            "h": _mlp(features + self.targets, self.layers, self.width, self.width),
            "g": _mlp(features + self.width, self.decoder_layers, self.width, 2 * self.targets),
        }

    def init(self, seed: int) -> Params:
        """The weights of the encoder, of g, and for targets of h."""
        # Of seeds of their own, so that they don't start from the same draws.
        seeds = {name: random.fold(random.key_of(seed), place) for place, name in enumerate("hg", start=1)}
        own = {name: functional.initial_weights(net, seeds[name]) for name, net in self.nets().items()}
        return {"encoder": functional.initial_weights(self.encoder, seed), **own}

    def adapt(self, params: Params, support: Examples) -> Fast:
        """r = the mean of r_i = h(x_i, y_i) over the support rows, or of x_i over those of each class (eq. 3-4)."""
        z, seen = self.embed_support(params, support)
        if not self._of_targets:
            return {"r": class_means(z, support), "present": present_classes(support), **seen}
        if support.y.shape[-1] != self.targets:
            raise ValueError(
                f"the task has {support.y.shape[-1]} targets and this learner is made for {self.targets}: "
                f"give targets={support.y.shape[-1]}"
            )
        r = self._apply("h", params, torch.cat([z, support.y], -1))  # [S, R]
        return {"r": support.weight @ r / support.weight.sum().clamp(min=1e-12), **seen}

    def predict(self, params: Params, fast: Fast, x: Any) -> Scores:
        """g(x, r): the mean and scale of every target, or the score of every class (eq. 5)."""
        z, r = self.embed(params, fast, x), fast["r"]  # [Q, D]
        if self._of_targets:
            outputs = self._apply("g", params, torch.cat([z, r.expand(len(z), -1)], -1))
            mean, raw = outputs.chunk(2, -1)
            return Gaussian(mean, self.least_scale + (1 - self.least_scale) * F.softplus(raw))
        ways = len(r)
        pairs = torch.cat([z[:, None].expand(-1, ways, -1), r.expand(len(z), -1, -1)], -1)  # [Q, W, 2 D]
        scores = self._apply("g", params, pairs.flatten(0, 1)).reshape(len(z), ways)
        return without_absent(scores, fast["present"])

    def _apply(self, name: str, params: Params, x: Tensor) -> Float[Tensor, "N R"]:
        return functional.apply(self.nets()[name], params[name], x)


@cache
def _mlp(inputs: int, layers: int, width: int, outputs: int) -> Net:
    return partial(MLP, (inputs,), outputs, hidden=(width,) * (layers - 1))


ROWS = {
    "cnp": LearnerRow(
        CNP,
        "Garnelo 2018",
        "the mean of encoded support rows tells a decoder what to say of a query, and how surely",
        nets=FIXED,
        of_columns={"targets": {"loss": "gaussian"}},
        columns=("classes", "targets"),
    ),
}
