"""A learner: the mapping from a support set to a predictor, as two pure functions."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

from jaxtyping import Float
from torch import Tensor, nn

from mapwise.core import tree
from mapwise.core.capabilities import Causal
from mapwise.core.fields import check_fields, check_sizes, is_whole, quote
from mapwise.core.functional import Net, blueprint
from mapwise.core.losses import Loss, cross_entropy
from mapwise.core.problem import Problem
from mapwise.core.scores import Scores
from mapwise.core.source import TaskSource
from mapwise.core.task import Examples, Task
from mapwise.core.tree import Fast, Params

MOMENT = {"moment": True}
"""Metadata of a field that only `at` sets: it describes a moment of training and is no hyperparameter."""

WAIVABLE = frozenset({"order", "relabel", "padding", "alone", "embeds", "query_loss", "weights"})
"""The laws an instance may waive, by leaving them out of `keeps`."""
BY_ROWS = frozenset({"alone", "padding", "weights"})
"""The laws broken by a net that normalises by the rows at hand, which counts each query once."""


@dataclass(frozen=True)
class Learner:
    """How a support set becomes a predictor.

    A frozen dataclass whose fields are its hyperparameters. Write `init`, `adapt` and `predict` for
    one task; the engine adds the task axis. Nothing is stored: state is returned.
    """

    takes_tokens: ClassVar[bool] = False
    """Whether it answers by token where every token has a label, y [N, L, W]."""
    uncompiled: ClassVar[str] = ""
    """Why its meta-gradient isn't compiled, as a reason that follows "since"; "" where it is."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_sizes(0, **{name: value for name, value in vars(self).items() if is_whole(value)})
        _ = self.criterion  # an unknown loss is an error here
        nets_of(self)  # now: an unfit network is an error here, and none is built inside vmap

    @property
    def keeps(self) -> frozenset[str]:
        """The waivable laws this instance keeps: all of them unless it says otherwise."""
        return WAIVABLE

    @property
    def criterion(self) -> Loss:
        """The loss between scores and rows that the default objective takes."""
        return cross_entropy

    def init(self, seed: int) -> Params:
        """The params before any training, from a seed."""
        raise NotImplementedError

    def at(self, progress: float) -> Self:
        """The learner for this moment of training, progress 0..1; schedules are `dataclasses.replace`."""
        return self

    def adapt(self, params: Params, support: Examples) -> Fast:
        """The state adapted to one support set."""
        raise NotImplementedError

    def predict(self, params: Params, fast: Fast, x: Any) -> Scores:
        """Scores of query rows, [Q, *input] -> [Q, W], or a Gaussian over W targets."""
        raise NotImplementedError

    def objective(self, params: Params, task: Task) -> Float[Tensor, ""]:
        """The loss that training minimises: by default the query loss after adapting to the support.

        For a stream, which has no query rows, a `Causal` learner takes the loss of every row before its label is seen.

        Raises ValueError for a stream when the learner isn't `Causal`.
        """
        if not len(task.query.y):
            if not isinstance(self, Causal):
                raise ValueError(
                    f"the task is a stream (it has no query rows) and {type(self).__name__} has no causal pass: "
                    "train it on episodes, and judge it on the stream"
                )
            return self.criterion(self.causal(params, task.support), task.support)
        fast = self.adapt(params, task.support)
        return self.criterion(self.predict(params, fast, task.query.x), task.query)

    def surrogate(self, params: Params, task: Task) -> Callable[[Params], Tensor]:
        """The function whose gradient at these params is that of the objective; the law `gradient` checks it.

        By default the objective itself. A learner that treats a part of its computation as constant makes
        that part here, at `params`, and returns the function of the rest: its meta-gradient by definition.
        """
        return lambda point: self.objective(point, task)

    def measure(self, params: Params, source: TaskSource) -> Params:
        """Params with statistics computed from training tasks rather than learned; by default the params alone."""
        return params


def nets_of(learner: Learner) -> dict[str, nn.Module]:
    """The networks among a learner's fields, as blueprints by the name of the field.

    Raises ValueError for a network that changes or draws random numbers when it runs.
    """
    values = {field: getattr(learner, field.name) for field in fields(learner)}
    return {
        field.name: blueprint(value)
        for field, value in values.items()
        if isinstance(value, nn.Module) or field.type in (Net, "Net")
    }


def built_nets(learner: Learner) -> list[str]:
    """The fields that hold a built module with weights to train: these are its start, whatever the seed."""
    values = {field.name: getattr(learner, field.name) for field in fields(learner)}
    return [
        name
        for name, value in values.items()
        if isinstance(value, nn.Module) and any(weight.requires_grad for weight in value.parameters())
    ]


def check_tasks(learner: Learner, tasks: Task) -> None:
    """Raises ValueError for what is no learner or no tasks, and for tasks that the learner can't answer.

    Those have a label for every token, and it answers by row alone.
    """
    if not isinstance(learner, Learner):
        raise ValueError(f"learner is {quote(learner)}: give a learner, such as mapwise.ProtoNet(net)")
    if not isinstance(tasks, Task):
        raise ValueError(f"tasks is {quote(tasks)}: give a mapwise.Task, such as a source makes of a step")
    if tasks.support.key.dim() == 0:
        raise ValueError(
            "tasks is one task, and a batch with a leading axis is needed: give "
            "torch.utils._pytree.tree_map(lambda leaf: leaf[None], task)"
        )
    if tasks.query.y.dim() > 3 and not learner.takes_tokens:
        raise ValueError(
            f"{type(learner).__name__} gives one answer for a row and here every token has a label, y [N, L, W]: take "
            "a learner that answers by token, such as MAML or ProtoNet"
        )


def check_loss(learner: Learner, problem: Problem) -> None:
    """Raises ValueError for a learner of classes by its loss, cross-entropy, where a task asks for something else."""
    loss = getattr(learner, "loss", None)
    if problem.columns != "classes" and problem.loss is not None and loss in ("cross_entropy", cross_entropy):
        raise ValueError(
            f"the loss of {type(learner).__name__} is cross_entropy, which is for classes, and the tasks ask for "
            f"{problem.columns}: give it loss={problem.loss!r}"
        )


def check_params(learner: Learner, params: Params) -> None:
    """Raises ValueError for params whose names, shapes or types aren't the learner's; "measured" may be there or not.

    A net silently keeps the weights it was built with where params have none of that name.
    """
    if not isinstance(params, dict):
        raise ValueError(
            f"params are a {type(params).__name__}: give what train returned or {type(learner).__name__}.init"
        )
    try:
        own = tree.flatten(learner.init(0))
    except NotImplementedError:  # made by hand for params of its own, which nothing tells
        return
    given = tree.flatten(params)
    title, origin = f"{type(learner).__name__} with these settings", "give what train returned or learner.init(seed)"
    for path, leaf in given.items():
        if not isinstance(leaf, Tensor):
            raise ValueError(f"params' {path!r} is a {type(leaf).__name__} and a tensor is needed: {origin}")
    for path, leaf in own.items():
        if path not in given:
            raise ValueError(f"the params have no {path!r} and {title} needs one: {origin}")
        if given[path].shape != leaf.shape:
            shapes = f"shape {tuple(given[path].shape)} and {tuple(leaf.shape)} is needed"
            raise ValueError(f"params' {path!r} has {shapes}: {origin}")
        if leaf.is_floating_point() and not given[path].is_floating_point():
            raise ValueError(f"params' {path!r} is of {given[path].dtype} and real numbers are needed: {origin}")
    for path in given:
        if path not in own and not path.startswith("measured/"):
            raise ValueError(f"the params have {path!r} and {title} has no use for it: leave it out")
