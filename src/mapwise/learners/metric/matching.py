"""Matching Networks."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mapwise.core import functional
from mapwise.core.functional import Net
from mapwise.core.geometry import cosines
from mapwise.core.learner import WAIVABLE, Learner
from mapwise.core.losses import present_classes, without_absent
from mapwise.core.task import Examples, TaskSource
from mapwise.core.tree import Fast, Params

MEASURED_BATCHES = 20


@dataclass(frozen=True)
class Matching(Learner):
    """A query attends to the support rows that look like it, and takes their labels in that proportion.

    Paper:   Vinyals, Blundell, Lillicrap, Kavukcuoglu, Wierstra 2016, arXiv:1606.04080, eq. 1 and section 2.1.1.
    Fast:    {"rows": [S, D], "labels": [S, W], "present": [W]}; with norm "support" also {"statistics": ...}.
    Loss:    cross-entropy; scores are the log of the attention that a class receives.
    Differs: the cosines are multiplied by a learned temperature. The paper's are not, so that with 5 rows the
             largest attention is 0.65 when all others are opposite. One encoder embeds support and queries,
             each row by itself: without the paper's full-context embeddings.

    encoder:     [N, *input] -> [N, D].
    temperature: what it starts at; learned as its logarithm, so it stays positive.

    A net with norm "batch" breaks `alone` and `padding`; one with "frozen" does so until measured.

    >>> fast = learner.adapt(params, support)
    >>> fast["rows"].shape
    torch.Size([5, 64])
    """

    encoder: Net
    temperature: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0:
            raise ValueError(
                f"the temperature is {self.temperature} and must be positive: give a number above 0, such as 10"
            )

    @property
    def keeps(self) -> frozenset[str]:
        """All, unless the encoder normalises by the rows at hand."""
        return WAIVABLE - ({"alone", "padding"} if "rows" in functional.statistics_kept(self.encoder) else frozenset())

    def init(self, seed: int) -> Params:
        """The encoder's weights, and the logarithm of the temperature."""
        encoder = functional.initial_weights(self.encoder, seed)
        return {"encoder": encoder, "log_temperature": torch.tensor(math.log(self.temperature))}

    def adapt(self, params: Params, support: Examples) -> Fast:
        """Remember the embedded rows and their labels; a row of weight 0 has none."""
        weights = functional.part(params, "encoder")
        z, seen = functional.observe(self.encoder, weights, support.x, support.weight)
        labels = support.y * support.weight[:, None]
        return {"rows": z.flatten(1), "labels": labels, "present": present_classes(support), **seen}

    def predict(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "Q W"]:
        """log sum_i a(x, x_i) y_i, where a is the softmax over the support rows of temperature * cosine (eq. 1)."""
        alike = params["log_temperature"].exp() * cosines(self.embed(params, fast, x), fast["rows"])  # [Q, S]
        labels, least = fast["labels"], torch.finfo(alike.dtype).min / 2
        # The sums of a product, as logarithms: a distant row's attention would vanish in rounding, and its slope.
        each = alike[:, :, None] + labels.clamp(min=1e-30).log()  # [Q, S, W]
        received = torch.where(labels > 0, each, least).logsumexp(1)
        # All labels of a row sum to 1, so the attention of all classes is that of all rows.
        return without_absent(torch.log_softmax(received, -1), fast["present"])

    def embed(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "N D"]:
        """Rows in the learned space."""
        return functional.apply(self.encoder, functional.part(params, "encoder", fast), x).flatten(1)

    def measure(self, params: Params, source: TaskSource) -> Params:
        """Population statistics of a frozen norm, from the first training episodes of the source."""
        batches = (source(step).support.x.flatten(0, 1) for step in range(MEASURED_BATCHES))
        measured = functional.population(self.encoder, functional.part(params, "encoder"), batches)
        return {**params, "measured": measured} if measured else params
