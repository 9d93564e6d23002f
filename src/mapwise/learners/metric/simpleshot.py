"""SimpleShot: nearest class mean of centred features of unit length."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mapwise.core.geometry import class_means, squared_distances
from mapwise.core.scores import without_absent
from mapwise.core.source import TaskSource
from mapwise.core.task import Examples, counted_inputs, present_classes
from mapwise.core.tree import Fast, Params
from mapwise.learners.pretraining.supervised import MEASURED_BATCHES, Supervised
from mapwise.learners.row import encoder_row

MEAN = "feature_mean"
"""What the mean is called among the measured statistics, whose other names are those of layers."""


@dataclass(frozen=True)
class SimpleShot(Supervised):
    """Subtract the base classes' mean feature, scale every feature to length 1, and take the nearest class mean.

    Paper:   Wang, Chao, Weinberger, van der Maaten 2019, arXiv:1911.04623, section 2 (CL2N).
    Fast:    {"means": [W, D], "present": [W]}; with norm "support" also {"statistics": ...}.
    Loss:    pretraining as `supervised`.
    Differs: the mean is that of the first training batches, and not of all base rows. Scores are `scale` times
             minus the squared distance, so that they are log-probabilities of some use.

    scale: what minus the squared distance is multiplied by; without effect on which class is nearest.

    Breaks `query_loss`: training asks for base classes. A net with norm "batch" breaks `alone` and `padding`.
    Until measured, the mean to subtract is zero.

    >>> params = learner.measure(params, source)
    >>> params["measured"]["feature_mean"].shape
    torch.Size([64])
    """

    def adapt(self, params: Params, support: Examples) -> Fast:
        """The mean of every class's centred unit features."""
        z, seen = self.embed_support(params, support)
        means = class_means(z, support)
        return {"means": means, "present": present_classes(support), **seen}

    def predict(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "Q W"]:
        """`scale` times minus the squared distance to every class mean."""
        distances = squared_distances(self.embed(params, fast, x), fast["means"])
        return without_absent(-self.cosine_scale(params) * distances, fast["present"])

    def embed_support(self, params: Params, support: Examples) -> tuple[Float[Tensor, "S D"], Params]:
        """The support's features, centred and scaled to length 1."""
        z, seen = super().embed_support(params, support)
        return _centred(params, z), seen

    def embed(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "N D"]:
        """The features before the head, centred and scaled to length 1."""
        return _centred(params, super().embed(params, fast, x))

    def measure(self, params: Params, source: TaskSource) -> Params:
        """The mean feature of the first training batches; before it, the statistics of a frozen norm."""
        params = super().measure(params, source)
        total, rows = torch.zeros((), dtype=torch.float64), 0
        with torch.no_grad():
            for step in range(MEASURED_BATCHES):
                z = super().embed(params, {}, counted_inputs(source(step).query))
                total, rows = total.to(z.device) + z.double().sum(0), rows + len(z)
        return {**params, "measured": {**params.get("measured", {}), MEAN: (total / rows).to(z)}}


def _centred(params: Params, z: Tensor) -> Tensor:
    mean = params.get("measured", {}).get(MEAN)
    return torch.nn.functional.normalize(z if mean is None else z - mean, dim=-1)


ROWS = {
    "simpleshot": encoder_row(
        SimpleShot, "Wang 2019", "nearest class mean of centred unit features of a classifier", pretraining=True
    ),
}
