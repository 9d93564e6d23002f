"""Supervised pretraining: one classifier of all base classes, whose features then serve new classes."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from mapwise.core import functional
from mapwise.core.capabilities import OverEmbedded
from mapwise.core.families.embedding import kept_laws
from mapwise.core.functional import Net
from mapwise.core.geometry import class_means, cosines
from mapwise.core.learner import Learner
from mapwise.core.scores import without_absent
from mapwise.core.source import TaskSource
from mapwise.core.task import Examples, Task, counted_inputs, present_classes
from mapwise.core.tree import Fast, Params
from mapwise.learners.row import encoder_row

MEASURED_BATCHES = 40
FEW_CLASSES = 200
"""The most base classes at which the scale of a cosine head is that of few."""


@dataclass(frozen=True)
class Supervised(Learner):
    """Train one classifier on all base classes; for a new task, take the nearest class mean of its features.

    Paper:   Chen, Liu, Xu, Darrell, Wang 2021, arXiv:2003.04390 (Classifier-Baseline), eq. 1-2.
    Fast:    {"means": [W, D], "present": [W]}; with norm "support" also {"statistics": ...}.
    Loss:    cross-entropy over the base classes of a shuffled batch; the support is not used.
    Differs: nothing. With a cosine head, the first stage of Baseline++ (Chen 2019, arXiv:1904.04232, section 3.2).

    net:   [N, *input] -> [N, base classes]; what enters its last layer are the features.
    scale: what a cosine is multiplied by, so that scores are log-probabilities of some use; a cosine head is trained
           under it, too. None: 10, and for a cosine head of up to 200 base classes 2.
    head:  "linear", or "cosine": the last layer's bias is left out, and features and weights are scaled to length 1.

    Trains on the source `supervised`: one task of all base classes, with an empty support.
    Breaks `query_loss`: training asks for base classes. A net with norm "batch" breaks `alone` and `padding`.

    Raises ValueError for a cosine head whose last layer isn't linear.
    """

    net: Net
    scale: float | None = None
    head: Literal["linear", "cosine"] = "linear"

    @property
    def keeps(self) -> frozenset[str]:
        """All but `query_loss`, unless the net normalises by the rows at hand."""
        return kept_laws(self.net) - {"query_loss"} | {"weights"}

    def init(self, seed: int) -> Params:
        """The net's weights, head of the base classes included."""
        weights = functional.initial_weights(self.net, seed)
        if self.head == "linear":
            return weights
        head, body = functional.split_weights(self.net, weights, ("head",))
        cosine = {name: leaf for name, leaf in head.items() if not name.endswith("bias")}
        if [leaf.dim() for leaf in cosine.values()] != [2]:
            raise ValueError(
                f"the net ends in {', '.join(head)} and a cosine head needs one weight a class: end it in a "
                "torch.nn.Linear, or take head='linear'"
            )
        return {**body, **cosine}

    def objective(self, params: Params, task: Task) -> Float[Tensor, ""]:
        """Cross-entropy of the base classes."""
        rows = task.query
        if self.head == "linear":
            return self.criterion(functional.apply(self.net, params, rows.x, rows.weight), rows)
        body = functional.body_weights(self.net, params)
        z = functional.apply(functional.headless(self.net), body, rows.x, rows.weight).flatten(1)
        return self.criterion(self.cosine_scale(params) * cosines(z, self._base_head(params)), rows)

    def cosine_scale(self, params: Params) -> float:
        """What a cosine is multiplied by: in training as in every task."""
        if self.scale is not None:
            return self.scale
        few = self.head == "cosine" and len(self._base_head(params)) <= FEW_CLASSES
        return 2.0 if few else 10.0

    def _base_head(self, params: Params) -> Float[Tensor, "B D"]:
        """The weights of the base classes in the last layer."""
        head, _ = functional.split_weights(self.net, params, ("head",))
        weight: Tensor = next(leaf for leaf in head.values() if leaf.dim() > 1)
        return weight

    def adapt(self, params: Params, support: Examples) -> Fast:
        """The mean feature of every class."""
        z, seen = self.embed_support(params, support)
        return {"means": class_means(z, support), "present": present_classes(support), **seen}

    def predict(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "Q W"]:
        """`scale` times the cosine to every class mean."""
        scores = self.cosine_scale(params) * cosines(self.embed(params, fast, x), fast["means"])
        return without_absent(scores, fast["present"])

    def embed_support(self, params: Params, support: Examples) -> tuple[Float[Tensor, "S D"], Params]:
        """The support's features, and with norm "support" their statistics, otherwise {}."""
        body = functional.body_weights(self.net, params)
        z, seen = functional.observe(functional.headless(self.net), body, support.x, support.weight)
        return z.flatten(1), seen

    def embed(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "N D"]:
        """The features before the head."""
        statistics = {"statistics": fast["statistics"]} if "statistics" in fast else {}
        return self.encode({**params, **statistics}, x)

    def encode(self, params: Params, x: Any) -> Float[Tensor, "N D"]:
        """The features before the head, of each row by itself."""
        return functional.apply(functional.headless(self.net), functional.body_weights(self.net, params), x).flatten(1)

    def over_embedded(self, params: Params) -> OverEmbedded[Learner] | None:
        """The same learner over rows that `encode` made; None where the features of a row depend on other rows."""
        if functional.statistics_kept(self.net) - {"measured"}:
            return None
        head, weights = functional.head_alone(self.net, params)
        measured = {"measured": params["measured"]} if "measured" in params else {}
        return OverEmbedded(partial(self.encode, params), replace(self, net=head), {**weights, **measured})

    def measure(self, params: Params, source: TaskSource) -> Params:
        """Population statistics of a frozen norm, from the first training batches."""
        batches = (counted_inputs(source(step).query) for step in range(MEASURED_BATCHES))
        measured = functional.population(self.net, params, batches)
        return {**params, "measured": measured} if measured else params


ROWS = {
    "supervised": encoder_row(
        Supervised, "Chen 2021", "a classifier of all base classes, then nearest mean", pretraining=True
    ),
}
