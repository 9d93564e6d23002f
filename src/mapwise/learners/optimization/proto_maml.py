"""Proto-MAML."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

from jaxtyping import Float
from torch import Tensor, nn

from mapwise.core import functional, tree
from mapwise.core.functional import Net
from mapwise.core.geometry import class_means
from mapwise.core.inner_loop import SGD, descend
from mapwise.core.learner import BY_ROWS, WAIVABLE, Learner
from mapwise.core.scores import without_absent
from mapwise.core.task import Examples, Task, present_classes
from mapwise.core.tree import Fast, Params
from mapwise.learners.row import MOVING, OF_CLASSES, LearnerRow


@dataclass(frozen=True)
class ProtoMAML(Learner):
    """Start a linear head at what ProtoNet would say, then take MAML's steps on head and encoder.

    Paper:   Triantafillou et al. 2020, arXiv:1903.03096, section 3.
    Fast:    {"head": {"weight": [W, D], "bias": [W]}, "body": moved encoder weights, "present": [W]};
             with norm "support" also {"statistics": ...}.
    Loss:    the query loss after the steps, differentiated through them and through the prototypes.
    Differs: second order by default, where the paper reports first order (`first_order`). The paper's best runs start
             from an encoder trained as a classifier; `--init` does that.

    encoder:     [N, *input] -> [N, D].
    inner_steps: K, gradient steps of an adaptation; 0 is ProtoNet.
    inner_lr:    their rate, for head and encoder. Scores are squared lengths of embeddings, so it is small.
    train_steps: steps while training; None: as many as `inner_steps`.
    first_order: the sum of the steps enters as a constant; the prototypes are still differentiated through.

    Takes any number of ways. An encoder whose norm uses the rows at hand breaks `alone`, `padding` and `weights`
    (unless its rows are the support's).
    """

    encoder: Net
    inner_steps: int = 6
    inner_lr: float = 0.01
    train_steps: int | None = None
    first_order: bool = False

    @property
    def keeps(self) -> frozenset[str]:
        """All; with statistics of the rows at hand, not `alone`, `padding` and `weights`."""
        by_rows = functional.statistics_kept(self.encoder) - {"statistics"}
        return WAIVABLE - (BY_ROWS if by_rows else frozenset())

    def init(self, seed: int) -> Params:
        """The encoder's weights: a head is made from each support set."""
        return functional.initial_weights(self.encoder, seed)

    def at(self, progress: float) -> Self:
        """Training takes `train_steps`."""
        return self if self.train_steps is None else replace(self, inner_steps=self.train_steps)

    def adapt(self, params: Params, support: Examples) -> Fast:
        """The prototypes' head, and K gradient steps from there."""
        present = present_classes(support)

        def support_loss(point: Params, step: int, support: Examples, present: Tensor) -> Tensor:
            z = functional.apply(self.encoder, point["body"], support.x, support.weight)
            return self.criterion(without_absent(_linear(point["head"], z), present), support)

        rule, point, given = SGD(self.inner_lr), self._point(params, support), (support, present)
        fast = descend(support_loss, point, rule, self.inner_steps, given=given, first_order=self.first_order)
        return {**self._with_statistics(fast, support), "present": present}

    def start(self, params: Params, support: Examples) -> Fast:
        """The prototypes' head on the encoder as it is: ProtoNet."""
        return {**self._with_statistics(self._point(params, support), support), "present": present_classes(support)}

    def _point(self, params: Params, support: Examples) -> Fast:
        """-|z - c|^2 = 2 c.z - |c|^2 - |z|^2, and the last is the same for all classes: w = 2 c, b = -|c|^2."""
        body, _ = functional.split_weights(self.encoder, params, ("*",))
        c = class_means(functional.apply(self.encoder, body, support.x, support.weight).flatten(1), support)  # [W, D]
        return {"head": {"weight": 2 * c, "bias": -(c**2).sum(1)}, "body": body}

    def _with_statistics(self, fast: Fast, support: Examples) -> Fast:
        return {**fast, **functional.observe(self.encoder, fast["body"], support.x, support.weight)[1]}

    def predict(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "Q W"]:
        """The moved head on the moved encoder."""
        return without_absent(_linear(fast["head"], self.embed(params, fast, x)), fast["present"])

    def embed(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "N D"]:
        """Rows in the space the task has moved to."""
        statistics = {"statistics": fast["statistics"]} if "statistics" in fast else {}
        return functional.apply(self.encoder, {**params, **fast["body"], **statistics}, x).flatten(1)

    def over_embedded(self, params: Params) -> None:
        """None: the steps move the encoder."""

    def surrogate(self, params: Params, task: Task) -> Callable[[Params], Tensor]:
        """The objective; in first order, the query loss with the sum of the steps held constant."""
        if not self.first_order:
            return super().surrogate(params, task)
        fast, start = self.adapt(params, task.support), self._point(params, task.support)
        steps = {part: tree.map(lambda there, here: (there - here).detach(), fast[part], start[part]) for part in start}

        def shifted(point: Params) -> Tensor:
            moved = tree.map(lambda leaf, step: leaf + step, self._point(point, task.support), steps)
            again = {**fast, **self._with_statistics(moved, task.support)}
            return self.criterion(self.predict(point, again, task.query.x), task.query)

        return shifted


def _linear(head: Params, features: Tensor) -> Tensor:
    return nn.functional.linear(features.flatten(1), head["weight"], head["bias"])


ROWS = {
    "proto_maml": LearnerRow(
        ProtoMAML,
        "Triantafillou 2020",
        "maml from the head that protonet would take; any ways",
        nets=MOVING,
        tuned={"optimizer.lr": (0.001, 0.003), "inner_lr": (0.01, 0.03)},
        columns=OF_CLASSES,
    ),
}
