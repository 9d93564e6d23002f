"""A net whose head has fixed columns, moved to one task by gradient steps: what MAML and its kin share."""

from typing import Any

from torch import Tensor

from mapwise.core import functional, tree
from mapwise.core.functional import Net
from mapwise.core.inner_loop import Rule, descend
from mapwise.core.learner import WAIVABLE
from mapwise.core.losses import Loss, cross_entropy, present_classes, without_absent
from mapwise.core.task import Examples
from mapwise.core.tree import Fast, Params


def kept_laws(net: Net) -> frozenset[str]:
    """All but `relabel`; with statistics of the rows at hand, not `alone` and `padding` either."""
    by_rows = functional.statistics_kept(net) - {"statistics"}
    return WAIVABLE - {"relabel"} - ({"alone", "padding"} if by_rows else frozenset())


def present_in(support: Examples, criterion: Loss) -> Params:
    """{"present": [W]} for the cross-entropy; {} for another loss, which may not read columns as classes."""
    return {"present": present_classes(support)} if criterion is cross_entropy else {}


def columns(scores: Tensor, present: Params, ways: int) -> Tensor:
    """The head's columns of a task with this many classes, absent classes out of reach."""
    if scores.shape[-1] < ways:
        raise ValueError(
            f"the head has {scores.shape[-1]} columns and the task has {ways} classes: build the net for {ways} ways, "
            "or take a learner without a fixed head, such as protonet"
        )
    return without_absent(scores[..., :ways], present["present"]) if present else scores


def loss_of(net: Net, criterion: Loss, weights: Params, rows: Examples, present: Params) -> Tensor:
    """The loss of rows under these weights, normalised by themselves."""
    scores = functional.apply(net, weights, rows.x, rows.weight)
    return criterion(columns(scores, present, rows.y.shape[-1]), rows)


def adapted_near(
    net: Net, criterion: Loss, params: Params, rows: Examples, *, pull: float, rule: Rule, steps: int
) -> Fast:
    """Steps from the params down the loss of these rows + pull / 2 |phi - params|^2; a constant.

    With enough of them phi is a minimum of that sum, and no longer depends on how it was found.
    """
    present, (start, _) = present_in(rows, criterion), functional.choose(net, tree.detach(params), ("*",))

    def pulled(phi: Params, step: int, start: Params, rows: Examples, present: Params) -> Tensor:
        return loss_of(net, criterion, phi, rows, present) + pull / 2 * tree.squared_distance(phi, start)

    phi = descend(pulled, start, rule, steps, given=(start, rows, present), first_order=True)
    return tree.detach({**with_statistics(net, {}, phi, rows), **present})


def with_statistics(net: Net, held: Params, moved: Params, support: Examples) -> Fast:
    """The moved weights, and with norm "support" the statistics of the support under them."""
    if "statistics" not in functional.statistics_kept(net):
        return moved
    _, seen = functional.observe(net, {**held, **moved}, support.x, support.weight)
    return {**moved, **seen}


def predicted(net: Net, weights: Params, fast: Fast, x: Any) -> Tensor:
    """The net's output with what a task has moved put over its weights, [Q, W]."""
    present = {"present": fast["present"]} if "present" in fast else {}
    moved = {name: leaf for name, leaf in fast.items() if name != "present"}
    scores = functional.apply(net, {**weights, **moved}, x)
    return columns(scores, present, present["present"].shape[0] if present else scores.shape[-1])
