"""Zero-shot prototypes: classes by what describes them."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from mapwise.core import functional
from mapwise.core.families.embedding import MEASURED_BATCHES, EmbeddingLearner, kept_laws
from mapwise.core.functional import Net
from mapwise.core.geometry import class_means, squared_distances
from mapwise.core.scores import without_absent
from mapwise.core.source import TaskSource
from mapwise.core.task import Examples, counted_inputs, present_classes
from mapwise.core.tree import Fast, Params
from mapwise.learners.row import encoder_row

_DESCRIPTIONS = "descriptions"
"""The part of params of the second encoder, and what the names of its measured layers begin with."""


@dataclass(frozen=True)
class ZeroShot(EmbeddingLearner):
    """A class is where its description is embedded; a query goes to the nearest.

    Paper:   Snell, Swersky, Zemel 2017, arXiv:1703.05175, section 2.7.
    Fast:    {"prototypes": [W, D], "present": [W]}; with norm "support" also {"statistics": ...}.
    Loss:    cross-entropy of minus the squared distance times a learned scale.
    Differs: several descriptions of a class count as the direction of their mean, where the paper has one. Queries have
             length 1 too, and the scale is learned. Both encoders start from the same weights where they are of one
             kind, so that a description and a query that are alike are near before any training.

    encoder:     of queries, [N, *input] -> [N, D].
    description_encoder: of the support rows, which describe classes, [N, *description] -> [N, D]; None: a second one
                 like `encoder`, with weights of its own.
    shared:      whether one encoder embeds queries and descriptions, where both are of one kind.
    scale:       what squared distances are multiplied by at first; learned as its logarithm, so it stays positive. Of
                 rows of length 1 that is half as much as for a cosine.

    A support row is a description of its class, such as the embedded name of the class; how many there are doesn't
    matter. A net with norm "batch" breaks `alone`, `padding` and `weights`; one with "frozen" does so until measured.

    >>> fast = learner.adapt(params, descriptions)
    >>> learner.predict(params, fast, x).argmax(1)
    """

    description_encoder: Net | None = None
    shared: bool = False
    scale: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        functional.blueprint(self._describer)  # now, since none can be built inside vmap
        if not self.scale > 0:
            raise ValueError(f"scale is {self.scale} and must be positive: give a number above 0, such as 5")
        if self.shared and self.description_encoder is not None:
            raise ValueError("shared is true and there are two encoders: leave out description_encoder, or shared")

    @property
    def _describer(self) -> Net:
        return self.encoder if self.description_encoder is None else self.description_encoder

    @property
    def keeps(self) -> frozenset[str]:
        """All, unless one of the encoders normalises by the rows at hand."""
        return kept_laws(self.encoder, self._describer)

    def init(self, seed: int) -> Params:
        """The weights of both encoders, or of the shared one, and the logarithm of the scale."""
        params = {
            "encoder": functional.initial_weights(self.encoder, seed),
            "log_scale": torch.tensor(math.log(self.scale)),
        }
        return params if self.shared else {**params, _DESCRIPTIONS: functional.initial_weights(self._describer, seed)}

    def adapt(self, params: Params, support: Examples) -> Fast:
        """c_k = the direction of the mean of g(v_k) over the descriptions of class k, of length 1."""
        weights = self._description_weights(params)
        z, _ = functional.observe(self._describer, weights, support.x, support.weight)
        prototypes = normalize(class_means(normalize(z.flatten(1), dim=-1), support), dim=-1)  # [W, D]
        return {"prototypes": prototypes, "present": present_classes(support), **self._statistics(params, support)}

    def _statistics(self, params: Params, support: Examples) -> Params:
        """With norm "support" those by which queries are normalised: of the support rows, taken for queries."""
        if "statistics" not in functional.statistics_kept(self.encoder):
            return {}
        return self.embed_support(params, support)[1]

    def embed(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "N D"]:
        """Queries in the learned space, of length 1."""
        return normalize(super().embed(params, fast, x), dim=-1)

    def over_embedded(self, params: Params) -> None:
        """None: how a row is embedded depends on whether it describes a class or is asked."""

    def predict(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "Q W"]:
        """Minus the squared distance to every prototype, times the scale."""
        far = squared_distances(self.embed(params, fast, x), fast["prototypes"])
        return without_absent(-params["log_scale"].exp() * far, fast["present"])

    def measure(self, params: Params, source: TaskSource) -> Params:
        """Population statistics of frozen norms, from the first training episodes: of queries, and of descriptions."""
        tasks = [source(step) for step in range(MEASURED_BATCHES)] if self._measures else []
        of_queries = functional.population(
            self.encoder, self.encoder_weights(params), (counted_inputs(task.query) for task in tasks)
        )
        of_descriptions: Params = {}
        if not self.shared:
            weights = self._description_weights(params)
            supports = (counted_inputs(task.support) for task in tasks)
            of_descriptions = functional.population(self._describer, weights, supports)
        measured = of_queries | {f"{_DESCRIPTIONS}.{name}": leaf for name, leaf in of_descriptions.items()}
        return {**params, "measured": measured} if measured else params

    @property
    def _measures(self) -> bool:
        return any("measured" in functional.statistics_kept(net) for net in (self.encoder, self._describer))

    def _description_weights(self, params: Params) -> Params:
        """The weights of the descriptions' encoder, with its measured statistics."""
        if self.shared:
            return self.encoder_weights(params)
        prefix = f"{_DESCRIPTIONS}."
        measured = params.get("measured", {})
        own = {name.removeprefix(prefix): leaf for name, leaf in measured.items() if name.startswith(prefix)}
        # An encoder without weights is an empty part, and those are not in a saved file.
        return {**params.get(_DESCRIPTIONS, {}), **({"measured": own} if own else {})}


ROWS = {
    "zero_shot": encoder_row(
        ZeroShot,
        "Snell 2017",
        "nearest description of a class: descriptions and queries have encoders of their own; no examples",
    ),
}
