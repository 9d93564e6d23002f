"""A finder of spans: where they begin and end is learned across tasks, and a type lies where its words and name do."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear, normalize

from mapwise.core import context, functional
from mapwise.core.capabilities import OverEmbedded
from mapwise.core.chain import log_marginals
from mapwise.core.families.embedding import kept_laws
from mapwise.core.families.words import (
    WordLearner,
    check_tags,
    is_name,
    moves_of,
    of_places,
    of_types,
    path_loss,
    starts_of,
    zero_table,
)
from mapwise.core.geometry import class_means
from mapwise.core.inner_loop import Adam, descend
from mapwise.core.learner import Learner
from mapwise.core.losses import row_mean
from mapwise.core.mini_batch import mini_batch
from mapwise.core.scores import without_absent
from mapwise.core.task import Examples, Task, present_classes, reweighted
from mapwise.core.tree import Fast, Params, Tree
from mapwise.learners.row import LearnerRow

_RESUMED_LR = 0.01
"""Of the steps by which an adapted learner takes in other rows."""


@dataclass(frozen=True)
class SpanFinder(WordLearner):
    """Words begin a span, continue it, or lie outside; those inside go to the nearest type.

    Of a word with vector h, P(O), P(B) and P(I) are a softmax of three linear scores, and P(type) is one of
    `scale` times g(h) . c, where g is a learned map onto length 1 and c the mean over the type's words in the support,
    and over those of its name. A tag's probability is the product of both. Then all of it moves down the loss of the
    support, the prototypes too; in the end they are means again, so that each word of the support votes by its share.

    Paper:   the prototypes are those of Snell, Swersky, Zemel 2017, arXiv:1703.05175, eq. 1, as Fritzler, Logacheva,
             Kretov 2019, arXiv:1812.06158 take them for words; finding spans apart from typing them is Ma et al. 2022,
             arXiv:2203.08985 (section 3).
    Fast:    {"encoder": its weights, "finder": {"weight": [3, D], "bias": [3]}, "map": [D, D], "log_scale": [],
             "types": [T, D], "present": [2 T + 1]}, and with a chain "table": {"moves": [3, 3], "start": [3]}.
    Loss:    cross-entropy of the tags of the queries, before any step.
    Differs: one tag for each word where the first has spans scored as a whole; names of types are support rows too; and
             adapting is by Adam in mini-batches, of which no gradient reaches the start.

    encoder:     [N, L] pieces -> [N, L, D], with whatever is frozen inside it.
    tune_steps:  steps of an adaptation, none of them in training; 0: prototypes alone.
    tune_batch:  texts in each.
    tune_lr:     the peak rate of the encoder's weights, reached after a tenth of the steps and falling to zero.
    head_lr:     the same of the finder and the map.
    type_lr:     the same of the prototypes.
    type_weight: what the mean loss of types, over the words inside of spans, counts beside that of O, B and I while
                 adapting; as parts of the tags' cross-entropy it would be the share of these words.
    name_weight: how often a word of a type's name counts, as against one of an example; 0: names say nothing.
    scale:       what a prototype's product is multiplied by at first; learned as its logarithm.
    chain:       whether O, B and I of a text are one path, in which I stands behind B or I, and scores of what follows
                 what, and of what a text begins with, are learned and moved as well; zero at first. P(O), P(B) and P(I)
                 are then the marginals of these paths, and the losses have their negative log-likelihood in place of
                 O, B and I word by word (Lafferty, McCallum, Pereira, ICML 2001).

    x is a dict of tensors; where it has "described", [N], rows with 1 there are names of types and no texts, and where
    it has "starts", [N, L], a path leads over the pieces with 1 there.

    Breaks `relabel`, as "O" has a column of its own. With steps also `query_loss`, since training is without them, and
    `order` and `weights`, since places of rows say which of them share a mini-batch. With a chain also `query_loss`,
    since it is trained on paths, and answers for words.

    Raises ValueError for tasks whose columns aren't tags.
    """

    tune_steps: int = 0
    tune_batch: int = 8
    tune_lr: float = 1e-3
    head_lr: float = 1e-3
    type_lr: float = 3e-3
    type_weight: float = 1.0
    name_weight: float = 1.0
    scale: float = 12.0
    chain: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.scale > 0:
            raise ValueError(f"scale is {self.scale}: give a number above 0, such as 12")
        if self.tune_batch < 1:
            raise ValueError("tune_batch is 0: give at least one text")

    @property
    def keeps(self) -> frozenset[str]:
        """See the class."""
        by_steps = {"order", "weights", "query_loss"} if self.tune_steps else set[str]()
        return kept_laws(self.encoder) - {"relabel"} - by_steps - ({"query_loss"} if self.chain else set())

    def init(self, seed: int) -> Params:
        """The encoder's weights, a finder that is undecided, and the identity as map."""
        width = functional.output_shape(self.encoder)[-1]
        return {
            "encoder": functional.initial_weights(self.encoder, seed),
            "finder": {"weight": torch.zeros(3, width), "bias": torch.zeros(3)},
            "map": torch.eye(width),
            "log_scale": torch.tensor(self.scale).log(),
            **{name: zero_table() for name in self._of_chain},
        }

    @property
    def _of_chain(self) -> tuple[str, ...]:
        """What it has beside the rest with a chain."""
        return ("table",) if self.chain else ()

    def start(self, params: Params, support: Examples) -> Fast:
        """What the steps begin with: prototypes of the support's words and of the names of types."""
        check_tags(support.y, "SpanFinder")
        types = of_types(support.y)
        words = support._replace(y=types, weight=support.weight * types.sum(-1))
        words = reweighted(words, torch.where(is_name(support.x) > 0, self.name_weight, 1.0))
        prototypes = class_means(self._placed(params, self.encode(params, support.x)), words)
        present = present_classes(support._replace(y=types))
        columns = torch.cat([torch.ones_like(present[:1]), present.repeat_interleave(2)])
        parts = {name: params[name] for name in ("encoder", "finder", "map", "log_scale", *self._of_chain)}
        return {**parts, "types": prototypes, "present": columns}

    def adapt(self, params: Params, support: Examples) -> Fast:
        """The prototypes, and steps down the support's loss for all that is learned."""
        start = self.start(params, support)
        texts = reweighted(support, 1 - is_name(support.x))
        if not self.tune_steps:
            return start
        moving = {name: part for name, part in start.items() if name != "present"}

        def support_loss(point: Params, step: int, present: Tensor, texts: Examples) -> Tensor:
            batch = mini_batch(texts, step, min(self.tune_batch, len(texts.y)))
            return self._loss({**point, "present": present}, batch)

        given = (start["present"], texts)
        # First order: nothing is learned through these steps.
        rule = Adam(partial(self._rates, tuple(moving["encoder"])))
        moved = descend(support_loss, moving, rule, self.tune_steps, given=given, first_order=True)
        # In full precision, as words are compared with them in it: rounded means would have shares that don't add up.
        with context.within(precision="full"):
            return self.start({**params, **moved}, support)

    def resume(self, params: Params, fast: Fast, support: Examples, steps: int) -> Fast:
        """Prototypes of this support, and steps of O, B and I down its loss; encoder, map and scale stay as they are.

        With one matrix for all words a step takes milliseconds, on all texts at once, by Adam at a constant rate.
        """
        start = self.start(fast, support)
        texts = reweighted(support, 1 - is_name(support.x))
        z = self.encode(fast, support.x).detach()

        def loss(point: Params, step: int, z: Tensor, texts: Examples) -> Tensor:
            return self._place_loss(point, _places(point, z), texts)

        moving = {name: start[name] for name in ("finder", *self._of_chain)}
        return {**start, **descend(loss, moving, Adam(_RESUMED_LR), steps, given=(z, texts), first_order=True)}

    def _loss(self, fast: Fast, rows: Examples) -> Float[Tensor, ""]:
        """The loss of O, B and I, and `type_weight` times that of the types of the words inside, a mean each."""
        find, kind = self._judged(fast, rows.x)
        types = of_types(rows.y)
        each = -(types * kind).sum(-1)
        return self._place_loss(fast, find, rows) + self.type_weight * row_mean(each, rows.weight * types.sum(-1))

    def _place_loss(self, head: Params, find: Float[Tensor, "N L 3"], rows: Examples) -> Float[Tensor, ""]:
        """The loss of O, B and I, whose logarithms word by word are `find`: of words, or with a chain of paths."""
        rows = rows._replace(y=of_places(rows.y))
        if self.chain:
            return path_loss(find, moves_of(head["table"], 1), rows, starts_of(rows.x, find))
        return row_mean(-(rows.y * find).sum(-1), rows.weight)

    def _rates(self, encoder: tuple[str, ...], step: int) -> Tree:
        """Of all that moves, at a step; of the encoder by the names of its weights."""
        share = min(1.0, (step + 1) / max(1.0, self.tune_steps / 10)) * (1 - step / self.tune_steps)
        head = torch.tensor(self.head_lr * share)
        return {
            "encoder": dict.fromkeys(encoder, torch.tensor(self.tune_lr * share)),
            "finder": {"weight": head, "bias": head},
            "map": head,
            "log_scale": head,
            "types": torch.tensor(self.type_lr * share),
            **{name: {"moves": head, "start": head} for name in self._of_chain},
        }

    def predict(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "Q L W"]:
        """The logarithm of every tag's probability."""
        find, kind = self._judged(fast, x)
        if self.chain:
            find = log_marginals(find, *moves_of(fast["table"], 1), starts_of(x, find))
        inside = (find[..., None, 1:] + kind[..., None]).flatten(-2)  # B and I of each type in turn
        return without_absent(torch.cat([find[..., :1], inside], -1), fast["present"])

    def _judged(self, fast: Fast, x: Any) -> tuple[Float[Tensor, "Q L 3"], Float[Tensor, "Q L T"]]:
        """The logarithms of P(O), P(B) and P(I) of each word by itself, and of its chance of each type."""
        z = self.encode(fast, x)
        near = fast["log_scale"].exp() * self._placed(fast, z) @ fast["types"].T
        return _places(fast, z), without_absent(near, fast["present"][1::2]).log_softmax(-1)

    def objective(self, params: Params, task: Task) -> Float[Tensor, ""]:
        """The query loss with the prototypes as they are before any step."""
        fast = self.start(params, task.support)
        if self.chain:
            find, kind = self._judged(fast, task.query.x)
            each = -(of_types(task.query.y) * kind).sum(-1)
            return self._place_loss(fast, find, task.query) + row_mean(each, task.query.weight)
        return self.criterion(self.predict(params, fast, task.query.x), task.query)

    def embed(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "N L D"]:
        """Words where they are compared with the types, of length 1."""
        return self._placed(fast, self.encode(fast, x))

    def over_embedded(self, params: Params) -> OverEmbedded[Learner] | None:
        """As every learner of words has it; None where steps would move their vectors."""
        return None if self.tune_steps else super().over_embedded(params)

    def _placed(self, params: Params, z: Float[Tensor, "N L D"]) -> Float[Tensor, "N L D"]:
        placed: Tensor = normalize(linear(z, params["map"]), dim=-1)
        return placed


def _places(head: Params, z: Float[Tensor, "N L D"]) -> Float[Tensor, "N L 3"]:
    """The logarithms of P(O), P(B) and P(I) of each word by itself."""
    return linear(z, head["finder"]["weight"], head["finder"]["bias"]).log_softmax(-1)


ROWS = {
    "span_finder": LearnerRow(
        SpanFinder,
        "Snell 2017, Ma 2022",
        "spans of texts: their ends are learned across tasks, their types are nearest words and names",
        columns=("tags",),
        tuned={"optimizer.lr": (0.0001, 0.0003)},
    ),
}
