"""Relation networks."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from mapwise.core import functional, random
from mapwise.core.families.embedding import MEASURED_BATCHES, EmbeddingLearner, kept_laws
from mapwise.core.functional import Net
from mapwise.core.losses import squared_error
from mapwise.core.map_tasks import task_at, tasks_in
from mapwise.core.scores import without_absent
from mapwise.core.source import TaskSource
from mapwise.core.task import Examples, Task, present_classes, rows_at
from mapwise.core.tree import Fast, Params
from mapwise.learners.row import OF_CLASSES, LearnerRow
from mapwise.nets.compare import Compare

PairNorm = Literal["frozen", "batch", "group", "layer"]


@dataclass(frozen=True)
class Relation(EmbeddingLearner):
    """A second network compares a query's feature maps with a class's, and scores how much they are related.

    Paper:   Sung, Yang, Zhang, Xiang, Torr, Hospedales 2018, arXiv:1711.06025, eq. 1-2 and section 3.4.
    Fast:    {"maps": [W, C, h, w], "present": [W]}; with an encoder of norm "support" also {"statistics": ...}.
    Loss:    squared error between relation (0..1) and "same or not", the mean over all pairs of query and class.
    Differs: scores are the logits of relations, so that they can be ranked and calibrated; a prediction's
             probabilities are their softmax, which training doesn't fit. The paper sums the error, which is the same
             up to a factor. Convolutions are padded: a side of 28 has maps of 7x7, where the paper's are 5x5. Compared
             with other learners it has a network of its own: an encoder that halves the sides twice and gives maps, and
             the relation module behind it.

    encoder: [N, *input] -> [N, C, h, w], with its attribute `output_shape`; vectors [N, C] count as maps of 1x1.
    filters: channels of the relation module's two convolution blocks; each halves the sides that are longer than 1.
    units:   of the layer before the last.
    norm:    of the relation module, whose rows are pairs: "batch" or "frozen" over those at hand, "group", "layer".
             There is no "support": a support set has no pairs of a class and a row outside of it.

    Breaks `query_loss`: it trains on relations, whose softmax the scores are only afterwards.
    Norm "batch", of the encoder or of pairs, breaks `alone`, `padding` and `weights`; "frozen" does so until measured.

    Raises ValueError for an encoder without `output_shape`, or whose outputs are neither maps nor vectors.

    >>> fast = learner.adapt(params, support)
    >>> learner.predict(params, fast, query.x).sigmoid()  # the relation to each class, 0..1
    """

    filters: int = 64
    units: int = 8
    norm: PairNorm = "frozen"

    def __post_init__(self) -> None:
        super().__post_init__()
        functional.blueprint(self.module())  # now, since none can be built inside vmap

    def module(self) -> Net:
        """The relation module g, shaped for the encoder's maps."""
        return _module(self._shape(), self.filters, self.units, self.norm)

    def _shape(self) -> tuple[int, ...]:
        """(C, h, w) of the encoder's maps; a vector counts as maps of 1x1."""
        shape = functional.output_shape(self.encoder)
        if len(shape) not in (1, 3):
            raise ValueError(
                f"the encoder gives rows of shape {shape}, and relations are convolved over maps (C, h, w): "
                "give an encoder of maps, such as conv4 with maps, or of vectors (C,)"
            )
        return (*shape, 1, 1)[:3]

    def _as_maps(self, z: Tensor) -> Float[Tensor, "N C h w"]:
        return z.reshape(len(z), *self._shape())

    @property
    def keeps(self) -> frozenset[str]:
        """All but `query_loss`, unless the encoder or the relation module normalises by the rows at hand."""
        return kept_laws(self.encoder, self.module()) - {"query_loss"}

    def init(self, seed: int) -> Params:
        """The encoder's weights, and the relation module's."""
        other = random.fold(random.key_of(seed), 1)  # so that the two don't start from the same draws
        return {
            "encoder": functional.initial_weights(self.encoder, seed),
            "relation": functional.initial_weights(self.module(), other),
        }

    def adapt(self, params: Params, support: Examples) -> Fast:
        """The sum of the feature maps of each class's support rows (section 3.2)."""
        z, seen = self.embed_support(params, support)
        share = support.y * support.weight[:, None]  # [S, W]
        maps = self._as_maps(share.T @ z)
        return {"maps": maps, "present": present_classes(support), **seen}

    def predict(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "Q W"]:
        """The logit of r_ij = g(C(f(x_i), f(x_j))), for every query j and every class i (eq. 1)."""
        queries = self._as_maps(self.embed(params, fast, x))
        weights = functional.part(params, "relation")
        logits = functional.apply(self.module(), weights, (fast["maps"], queries), _pairs(fast, queries))
        return without_absent(logits, fast["present"])

    def objective(self, params: Params, task: Task) -> Float[Tensor, ""]:
        """The mean of (r_ij - 1(y_i == y_j))^2 over all pairs (eq. 2)."""
        fast = self.adapt(params, task.support)
        relations = self.predict(params, fast, task.query.x).sigmoid()
        # An absent class has relation 0 to all, which is right, and makes no pairs.
        present: Tensor = fast["present"]
        return squared_error(relations, task.query) * (len(present) / present.sum().clamp(min=1))

    def measure(self, params: Params, source: TaskSource) -> Params:
        """Population statistics of frozen norms, from the first training episodes: of supports, then of pairs."""
        learned = {name: leaf for name, leaf in params.items() if name != "measured"}
        measured = super().measure(learned, source).get("measured", {})
        compared = self._compared({**learned, "measured": measured}, source)
        of_pairs = functional.population(self.module(), functional.part(learned, "relation"), compared)
        for name in measured.keys() & of_pairs.keys():
            raise ValueError(f"the encoder has a layer named {name!r}, as the relation module has: rename it")
        return {**params, "measured": {**measured, **of_pairs}} if measured or of_pairs else params

    def _compared(self, params: Params, source: TaskSource) -> Iterator[tuple[Tensor, Tensor]]:
        """What the relation module compares in the first training episodes: (classes there, queries there)."""
        for step in range(MEASURED_BATCHES):
            batch = source(step)
            for number in range(tasks_in(batch)):
                support, query = task_at(batch, number)
                fast = self.adapt(params, support)
                queries = self._as_maps(self.embed(params, fast, rows_at(query.x, query.weight > 0)))
                yield fast["maps"][fast["present"] > 0], queries


@cache
def _module(shape: tuple[int, ...], filters: int, units: int, norm: PairNorm) -> Net:
    return partial(Compare, shape, filters=filters, units=units, norm=norm)


def _pairs(fast: Fast, queries: Tensor) -> Tensor:
    """Which pairs count, [Q * W]: those with a class that is there."""
    present: Tensor = fast["present"]
    return present.expand(len(queries), -1).flatten()


ROWS = {
    "relation": LearnerRow(
        Relation,
        "Sung 2018",
        "a second network that compares feature maps of a query and of each class",
        nets={"conv4": {"norm": "frozen", "maps": True, "halvings": 2}, "resnet12": {"norm": "frozen", "maps": True}},
        recipe={"clip": 0.5},
        columns=OF_CLASSES,
    ),
}
