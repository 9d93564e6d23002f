"""What MAML and its relatives have in common: gradient steps on a net whose head has a fixed number of columns."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from mapwise.core import functional, tree
from mapwise.core.functional import Net
from mapwise.core.inner_loop import Rule, descend
from mapwise.core.learner import BY_ROWS, WAIVABLE, Learner
from mapwise.core.losses import Loss, cross_entropy, loss_named
from mapwise.core.mini_batch import mini_batch
from mapwise.core.scores import without_absent
from mapwise.core.task import Examples, present_classes
from mapwise.core.tree import Fast, Params


@dataclass(frozen=True)
class FixedHeadLearner(Learner):
    """A net with a column for every class is adapted to a task, and the adapted weights are its fast.

    A learner that extends this writes `adapt`, which ends with `fast_of`. Its params are the net's weights, or hold
    them as the part `net_part`; then it writes `init`, too.

    net:  [N, *input] -> [N, W], or [N, L, W] where every token has a label; its head is fixed in ways.
    loss: "cross_entropy", "squared_error", another loss's name, or a function (scores, rows) -> scalar.
    """

    takes_tokens: ClassVar[bool] = True
    net_part: ClassVar[str] = ""
    """The name of the net's part of params; "" when all params are the net's."""

    net: Net
    loss: str | Loss = field(default="cross_entropy", kw_only=True)

    @property
    def keeps(self) -> frozenset[str]:
        """All but `relabel`; statistics of the rows at hand break `BY_ROWS`, too."""
        by_rows = functional.statistics_kept(self.net) - {"statistics"}
        return WAIVABLE - {"relabel"} - (BY_ROWS if by_rows else frozenset())

    @property
    def criterion(self) -> Loss:
        """The loss of support and query."""
        return loss_named(self.loss)

    def init(self, seed: int) -> Params:
        """The net's weights."""
        return functional.initial_weights(self.net, seed)

    def weights_of(self, params: Params) -> Params:
        """The net's weights, without the statistics that may be stored with them."""
        return functional.split_weights(self.net, params[self.net_part] if self.net_part else params, ("*",))[0]

    def predict(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "Q W"]:
        """The net's output with the adapted weights."""
        present = {"present": fast["present"]} if "present" in fast else {}
        moved = {name: leaf for name, leaf in fast.items() if name != "present"}
        scores = functional.apply(self.net, {**(params[self.net_part] if self.net_part else params), **moved}, x)
        return _columns(scores, present, present["present"].shape[0] if present else scores.shape[-1])

    def present_in(self, support: Examples) -> Params:
        """{"present": [W]} for the cross-entropy; {} for another loss, which may not read columns as classes."""
        return {"present": present_classes(support)} if self.criterion is cross_entropy else {}

    def loss_of(self, weights: Params, rows: Examples, present: Params) -> Tensor:
        """The loss of rows under these weights, normalised by themselves."""
        return self.criterion(self.scores_of(weights, rows, present), rows)

    def scores_of(self, weights: Params, rows: Examples, present: Params) -> Float[Tensor, "N W"]:
        """The scores of rows under these weights, normalised by themselves."""
        scores = functional.apply(self.net, weights, rows.x, rows.weight)
        return _columns(scores, present, rows.y.shape[-1])

    def fast_of(self, moved: Params, support: Examples, *, held: Params | None = None) -> Fast:
        """What `predict` needs: the moved weights, the statistics of the support under them, and its classes.

        held: the weights of the net that have not moved, if any.
        """
        seen: Params = {}
        if "statistics" in functional.statistics_kept(self.net):
            _, seen = functional.observe(self.net, {**(held or {}), **moved}, support.x, support.weight)
        return {**moved, **seen, **self.present_in(support)}

    def start(self, params: Params, support: Examples) -> Fast:
        """What `adapt` starts from: all weights of the net, the support's statistics under them, and its classes."""
        return self.fast_of(self.weights_of(params), support)

    def near(
        self, params: Params, rows: Examples, *, pull: float, rule: Rule, steps: int, batch: int | None = None
    ) -> Fast:
        """Gradient steps from the params on the loss of these rows + pull / 2 |phi - params|^2; a constant.

        After enough steps phi is a minimum of that sum and no longer depends on the path. With a `batch` each step
        sees that many rows, as `mini_batch` draws them.
        """
        start, present = self.weights_of(tree.detach(params)), self.present_in(rows)

        def pulled(phi: Params, step: int, start: Params, rows: Examples, present: Params) -> Tensor:
            seen = rows if batch is None else mini_batch(rows, step, batch)
            return self.loss_of(phi, seen, present) + pull / 2 * tree.squared_distance(phi, start)

        phi = descend(pulled, start, rule, steps, given=(start, rows, present), first_order=True)
        return tree.detach(self.fast_of(phi, rows))


def _columns(scores: Tensor, present: Params, ways: int) -> Tensor:
    """The head's columns for a task with this many classes; absent classes can't be chosen."""
    if scores.shape[-1] < ways:
        raise ValueError(
            f"the head has {scores.shape[-1]} columns and the task has {ways} classes: build the net for {ways} ways, "
            "or take a learner without a fixed head, such as protonet"
        )
    return without_absent(scores[..., :ways], present["present"]) if present else scores
