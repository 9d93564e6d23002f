"""VERSA: versatile and efficient amortization of few-shot learning."""

import math
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mapwise.core import functional, random
from mapwise.core.families.class_noise import noise_by_class
from mapwise.core.families.embedding import EmbeddingLearner
from mapwise.core.functional import Net
from mapwise.core.geometry import class_means
from mapwise.core.scores import without_absent
from mapwise.core.task import Examples, present_classes
from mapwise.core.tree import Fast, Params
from mapwise.learners.row import encoder_row
from mapwise.nets import MLP


@dataclass(frozen=True)
class VERSA(EmbeddingLearner):
    """A network reads the mean of a class's features and writes a normal distribution of the class's head weights.

    Paper:   Gordon, Bronskill, Bauer, Nowozin, Turner 2019, arXiv:1805.09921, sections 2 and 3.
    Fast:    {"heads": [L, W, D + 1], "present": [W]}, L drawn heads; with norm "support" also {"statistics": ...}.
    Loss:    minus the log of the query's mean probability over the drawn heads; no KL.
    Differs: heads are drawn, once for a task, where the published code draws the logits of every query (the local
             reparameterisation): each query's logits have the same distribution, and a prediction doesn't depend on
             which others are asked for. One network writes means and variances, where the code has four. Variances
             start small; no dropout.

    encoder:      [N, *input] -> [N, D], with its attribute `output_shape`.
    samples:      L, heads drawn for a task; 0: the mean head alone, without drawing.
    units:        of each of the inference network's two hidden layers.
    log_variance: what is added to the log variances it writes: about where they start.

    A class draws by a key of its own, made of the task's key and of its support rows and not of its column's place.
    Rows that are equal in every bit thus draw alike, and classes differ in theirs.

    Over rows that are embedded once a class draws other heads, and so does one with a row twice, which
    breaks `embeds` and `weights` unless `samples` is 0.
    A net with norm "batch" breaks `alone`, `padding` and `weights`; one with "frozen" does so until measured.

    Raises ValueError for an encoder without `output_shape`, and for fewer than 0 samples.

    >>> fast = learner.adapt(params, support)
    >>> fast["heads"].shape
    torch.Size([10, 5, 65])
    """

    samples: int = 10
    units: int = 256
    log_variance: float = -10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        functional.blueprint(self.inference())  # now, since none can be built inside vmap

    @property
    def keeps(self) -> frozenset[str]:
        """All but `embeds` and `weights` where heads are drawn, unless the encoder normalises by the rows at hand."""
        return super().keeps - ({"embeds", "weights"} if self.samples else frozenset())

    def inference(self) -> Net:
        """The inference network, [W, D] -> [W, 2 (D + 1)]."""
        return _inference(math.prod(functional.output_shape(self.encoder)), self.units)

    def init(self, seed: int) -> Params:
        """The encoder's weights, and the inference network's."""
        other = random.fold(random.key_of(seed), 1)  # so that the two don't start from the same draws
        return {
            "encoder": functional.initial_weights(self.encoder, seed),
            "inference": functional.initial_weights(self.inference(), other),
        }

    def adapt(self, params: Params, support: Examples) -> Fast:
        """psi_l ~ q(psi | class means of the support), L times for every class (section 3)."""
        z, seen = self.embed_support(params, support)
        written = functional.apply(self.inference(), functional.part(params, "inference"), class_means(z, support))
        mean, spread = written.chunk(2, dim=1)  # each [W, D + 1]
        heads = mean[None]
        if self.samples:
            scale = ((self.log_variance + spread) / 2).exp()
            heads = mean + scale * noise_by_class(support, self.samples, mean.shape[1]).to(mean)  # [L, W, D + 1]
        return {"heads": heads, "present": present_classes(support), **seen}

    def predict(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "Q W"]:
        """log 1/L sum_l p(y | x, psi_l)."""
        heads = fast["heads"]
        z = self.embed(params, fast, x)
        rows = torch.cat([z, z.new_ones(len(z), 1)], 1)  # [Q, D + 1]
        logits = (rows @ heads.flatten(0, 1).T).unflatten(1, heads.shape[:2])  # [Q, L, W]
        each = torch.log_softmax(without_absent(logits, fast["present"]), dim=-1)
        return without_absent(each.logsumexp(1) - math.log(len(heads)), fast["present"])


@cache
def _inference(features: int, units: int) -> Net:
    outputs = 2 * (features + 1)
    return partial(MLP, (features,), outputs, hidden=(units, units), activation="elu")


ROWS = {
    "versa": encoder_row(VERSA, "Gordon 2019", "a network that writes a distribution of each class's head weights"),
}
