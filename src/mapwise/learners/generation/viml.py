"""Neural processes: a latent of each task, learned by variational inference."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import torch
from jaxtyping import Float
from torch import Tensor

from mapwise.core import random
from mapwise.core.annealing import rise
from mapwise.core.families.class_noise import noise_by_class
from mapwise.core.families.neural_process import NeuralProcess
from mapwise.core.functional import Net
from mapwise.core.learner import MOMENT
from mapwise.core.normals import divergence
from mapwise.core.scores import Gaussian, Scores, mix, without_absent
from mapwise.core.task import Examples, Task, present_classes
from mapwise.core.tree import Fast, Params
from mapwise.learners.row import FIXED, LearnerRow
from mapwise.nets.mlp import stack

LEAST_SIGMA = 0.1
"""The smallest standard deviation of a latent; the largest is 1."""


@dataclass(frozen=True)
class VIML(NeuralProcess):
    """The support says how a latent of the task is distributed, and a decoder predicts queries from draws of it.

    Paper:   Garnelo, Schwarz, Rosenbaum, Viola, Rezende, Eslami, Teh 2018, arXiv:1807.01622, eq. 8-9 and section 2.
    Fast:    {"latents": [L, latent]} for targets, L draws; {"latents": [L, W, latent], "present": [W]} for classes;
             with norm "support" also {"statistics": ...}.
    Loss:    value of the query loss of the prediction; gradient of minus the bound on the queries' log-likelihood, by
             row: E_q[-log p(query | latent)] + beta KL(q(. | support, query) || q(. | support)) / queries.
    Differs: with classes there is a latent of each, from that class's rows, and the decoder scores one class at a time.
             For targets the prediction is the normal with mean and variance of the mixture over draws. Only queries are
             judged; the paper's targets include the support rows.

    encoder:        [N, *input] -> [N, D], with its attribute `output_shape`; the features of x, in support and query.
    loss:           "gaussian" for targets, "cross_entropy" for classes.
    targets:        numbers in a row's y; without effect on classes.
    width:          units of every hidden layer, and the length of r for targets.
    layers:         of h, which makes r of a row's features and targets; without effect on classes.
    decoder_layers: of g, which reads a query's features and a latent.
    least_scale:    the smallest standard deviation it can predict, in the unit of y.
    latent:         length of a latent; its standard deviations are 0.1 + 0.9 sigmoid, so between 0.1 and 1.
    samples:        L, latents drawn from q(. | support) for a prediction.
    train_samples:  the same while training, and latents drawn from q(. | support, query) for the bound.
    beta:           weight of the KL.
    anneal:         share of the training, 0..1, in which beta rises from 0 to its value, in five levels.
    risen:          what `at` sets by `anneal`: the share of beta.

    Without support rows r is 0, and latents are drawn from the prior learned from all tasks.

    With "gaussian", columns are targets with weights of their own and not classes, so `relabel` isn't kept. A class
    draws by a key of its own, made of the task's key and the bits of its support rows. So over rows that are embedded
    once it draws others, and so does one with a row twice: with classes `embeds` and `weights` aren't kept. A net with
    norm "batch" breaks `alone`, `padding` and `weights`; one with "frozen" does so until measured.

    Raises ValueError for another loss, counts and scales that are too small, an encoder without `output_shape`, and
    tasks with another number of targets.

    >>> fast = learner.adapt(params, support)
    >>> mean, scale = learner.predict(params, fast, query.x)
    """

    counts: ClassVar[tuple[str, ...]] = (*NeuralProcess.counts, "latent", "samples", "train_samples")

    latent: int = 64
    samples: int = 10
    train_samples: int = 2
    beta: float = 1.0
    anneal: float = 0.3
    risen: float = field(default=1.0, metadata=MOMENT)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.beta >= 0:
            raise ValueError(f"beta is {self.beta}: give 0 for no KL, or a positive weight")
        if not 0 <= self.anneal <= 1:
            raise ValueError(f"anneal is {self.anneal}: give a share of the training, from 0 to 1")

    @property
    def keeps(self) -> frozenset[str]:
        """All but `relabel` with targets, and `embeds` and `weights` with classes; unless a norm breaks more."""
        return super().keeps - (frozenset() if self.of_targets else {"embeds", "weights"})

    def nets(self) -> dict[str, Net]:
        """q, which reads r, g, and for targets h, shaped for the encoder's features."""
        summary, outputs = (self.width, 2 * self.targets) if self.of_targets else (self.features, 1)
        nets = {
            "q": stack(summary, 2, self.width, 2 * self.latent),
            "g": stack(self.features + self.latent, self.decoder_layers, self.width, outputs),
        }
        if self.of_targets:
            nets["h"] = stack(self.features + self.targets, self.layers, self.width, self.width)
        return nets

    def at(self, progress: float) -> Self:
        """Training draws `train_samples`; the weight of the KL is the moment's."""
        return replace(self, samples=self.train_samples, risen=rise(progress, self.anneal))

    def adapt(self, params: Params, support: Examples) -> Fast:
        """Latents drawn from q(. | support)."""
        z, seen = self.embed_support(params, support)
        latents = self._drawn(self._q(params, z, support), support, 0)
        return {"latents": latents, **seen, **self._present_in(support)}

    def predict(self, params: Params, fast: Fast, x: Any) -> Scores:
        """The mean over latents of p(y | x, latent)."""
        return self._together(self._each(params, fast["latents"], self.embed(params, fast, x)), fast)

    def objective(self, params: Params, task: Task) -> Float[Tensor, ""]:
        """In value the query loss of the prediction, in gradient minus the bound."""
        z, queries = self._features(params, task)
        latents = self._drawn(self._q(params, z, task.support), task.support, 0)
        together = self._together(self._each(params, latents, queries), self._present_in(task.support))
        loss = self.criterion(together, task.query).detach()
        bound = self._bound(params, task, z, queries)
        return loss + (bound - bound.detach())

    def surrogate(self, params: Params, task: Task) -> Callable[[Params], Tensor]:
        """Minus the bound: expected losses and the KL."""
        return lambda point: self._bound(point, task, *self._features(point, task))

    def _features(self, params: Params, task: Task) -> tuple[Float[Tensor, "S D"], Float[Tensor, "Q D"]]:
        z, seen = self.embed_support(params, task.support)
        return z, self.embed(params, seen, task.query.x)

    def _bound(self, params: Params, task: Task, z: Float[Tensor, "S D"], queries: Float[Tensor, "Q D"]) -> Tensor:
        support, query = task
        both, y = torch.cat([z, queries]), torch.cat([support.y, query.y])
        rows = Examples(both, y, torch.cat([support.weight, query.weight]), support.key)
        prior, posterior = self._q(params, z, support), self._q(params, both, rows)
        each = self._each(params, self._drawn(posterior, support, 1), queries)
        present = self._present_in(support)
        expected = torch.stack([self.criterion(self._judged(scores, present), query) for scores in each]).mean()
        nats = self.risen * self.beta * divergence(posterior, prior)
        bound: Tensor = expected + nats / query.weight.sum().clamp(min=1e-12)
        return bound

    def _q(self, params: Params, z: Float[Tensor, "N D"], rows: Examples) -> Params:
        """The distribution of the latent, or of that of each class, after these rows (section 2)."""
        r = self.mean_row(params, z, rows)
        mean, raw = self.apply_net("q", params, r.reshape(-1, r.shape[-1])).reshape(*r.shape[:-1], -1).chunk(2, -1)
        return {"mean": mean, "log_sigma": (LEAST_SIGMA + (1 - LEAST_SIGMA) * raw.sigmoid()).log()}

    def _drawn(self, q: Params, support: Examples, purpose: int) -> Float[Tensor, "L *W latent"]:
        """Draws of the latent, by the task's key, or by that of each class."""
        rows = support._replace(key=random.fold(support.key, purpose))
        if self.of_targets:
            noise = random.normal(rows.key, (self.samples, self.latent))
        else:
            noise = noise_by_class(rows, self.samples, self.latent)
        latents: Tensor = q["mean"] + q["log_sigma"].exp() * noise.to(q["mean"])
        return latents

    def _each(self, params: Params, latents: Float[Tensor, "L *W latent"], z: Float[Tensor, "Q D"]) -> list[Any]:
        """What the decoder says by every latent."""
        return [self.decode(params, z, latent) for latent in latents.unbind(0)]

    def _present_in(self, support: Examples) -> Params:
        return {} if self.of_targets else {"present": present_classes(support)}

    def _judged(self, scores: Scores, present: Params) -> Scores:
        return scores if isinstance(scores, Gaussian) else without_absent(scores, present["present"])

    def _together(self, each: list[Any], present: Params) -> Scores:
        """The mean of p(y | x, latent) over latents; for targets the normal of that mixture's mean and variance."""
        if self.of_targets:
            means, scales = (torch.stack(parts) for parts in zip(*each, strict=True))  # [L, Q, targets]
            mean = means.mean(0)
            return Gaussian(mean, (scales**2 + (means - mean) ** 2).mean(0).sqrt())
        mean = mix(torch.stack([without_absent(scores, present["present"]) for scores in each]))  # [Q, W]
        return without_absent(mean, present["present"])


ROWS = {
    "viml": LearnerRow(
        VIML,
        "Garnelo 2018b",
        "a latent of each task, drawn from what its support says of it, tells a decoder what to say of a query",
        nets=FIXED,
        of_columns={"targets": {"loss": "gaussian"}},
        columns=("classes", "targets"),
    ),
}
