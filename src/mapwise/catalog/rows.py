"""The rows of the catalog: what stands behind a name, and what follows from it."""

import dataclasses
import inspect
import math
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mapwise.core.capabilities import Causal
from mapwise.core.functional import Net
from mapwise.core.learner import MOMENT, Learner
from mapwise.core.spec import plain_shape
from mapwise.core.spelling import nearest
from mapwise.core.task import Examples, TaskShape, TaskSource
from mapwise.data.rows import LabelledRows
from mapwise.encoders.encoder import Encoder
from mapwise.tasks.episodes import Span

OUTER_RATES = {"optimizer.lr": (0.001, 0.003, 0.01)}
"""Rates of Adam worth trying for a learner that has no other."""


@dataclass(frozen=True)
class LearnerRow:
    """One learner of the catalog: a class with some of its fields set."""

    make: Callable[..., Learner]
    family: str
    paper: str
    summary: str
    page: str
    """The docs page, docs/learners/<page>.md; kin share one."""
    nets: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    """Net options this learner prefers to the nets' own, by net."""
    pretraining: bool = False
    """It trains on all base classes at once instead of on episodes."""
    recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """How it asks to be trained where the user says nothing, by the names of a run's settings.

    Only what holds on every source: how many ways and shots there are to train with, the source decides.
    """
    of_problem: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    """Hyperparameters that tasks of a problem ask for, where they aren't those it has by itself."""
    tuned: Mapping[str, Sequence[float | str]] = dataclasses.field(default_factory=lambda: OUTER_RATES)
    """Settings worth trying, named as by `mapwise tune`: every combination is a candidate of `mapwise bench`."""
    problems: tuple[str, ...] = ()
    """Names of the problems it is for; () for all."""

    @property
    def fields(self) -> dict[str, dataclasses.Field[Any]]:
        """The learner's hyperparameters by name, in the order of its signature: all but networks, sizes and moments."""
        ordered = sorted(dataclasses.fields(self._class), key=lambda field: field.kw_only is True)
        given = {*BLUEPRINTS, *SIZES}
        return {field.name: field for field in ordered if field.name not in given and field.metadata != MOMENT}

    @property
    def preset(self) -> dict[str, Any]:
        """The fields this row sets."""
        return dict(self.make.keywords) if isinstance(self.make, partial) else {}

    @property
    def types(self) -> dict[str, Any]:
        """The type of every field."""
        return typing.get_type_hints(self._class)

    @property
    def blueprint(self) -> str | None:
        """The field that takes a network, unless the row sets it."""
        names = [f.name for f in dataclasses.fields(self._class) if f.name in BLUEPRINTS]
        return next((name for name in names if name not in self.preset), None)

    def takes(self, problem: str) -> bool:
        """Whether it is for tasks of the problem of this name."""
        return not self.problems or problem in self.problems

    def sizes(self, shape: TaskShape) -> dict[str, int]:
        """The fields that say how large rows and answers are, for a learner that has such."""
        names = {field.name for field in dataclasses.fields(self._class)}
        return {name: size(shape) for name, size in SIZES.items() if name in names}

    @property
    def causal(self) -> bool:
        """Whether the learner has a causal pass, by which it is trained on streams."""
        return issubclass(self._class, Causal)

    @property
    def _class(self) -> Any:
        return self.make.func if isinstance(self.make, partial) else self.make

    def build(self, net: Net | None = None, fields: Mapping[str, Any] | None = None) -> Learner:
        """The learner with this network and these fields."""
        chosen = dict(fields or {})
        if self.blueprint is not None:
            assert net is not None
            chosen[self.blueprint] = net
        return self.make(**chosen)


SIZES: dict[str, Callable[[TaskShape], int]] = {
    "inputs": lambda shape: math.prod(plain_shape(shape.inputs, "this learner")),
    "outputs": lambda shape: shape.outputs,
}
"""Field names of a learner that makes all its parts itself, and what of its tasks they are."""
BLUEPRINTS = {"net": True, "encoder": False}
"""Field names that take a network, and whether that network ends in a head of W columns."""


@dataclass(frozen=True)
class SourceSettings:
    """What a source is asked for."""

    data: Path | None = None
    ways: Span = 5
    shots: Span = 1
    queries: int | None = None
    tasks: int = 16
    seed: int = 0
    augment: tuple[str, ...] = ()
    shuffle_labels: bool = False
    device: str = "cpu"
    label: str | None = None
    skip_bad: bool = False
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Settings of this source alone, by name."""


@dataclass(frozen=True)
class SourceRow:
    """One source of the catalog."""

    open: Callable[[SourceSettings], TaskSource]
    problem: str
    summary: str
    needs: str = ""
    """What must be on the disk; "" for nothing."""
    net: str = "conv4"
    """The network its rows ask for."""
    encoder: Callable[[Sequence[int]], Encoder] | None = None
    """What makes rows of this shape of raw ones; None: nothing does."""
    ways: int = 5
    """Classes of a task where none are given."""
    shots: str = "1"
    """Examples of a class, or points of a function, where none are given."""
    factory: Callable[..., TaskSource | LabelledRows] | None = None
    """What makes it, if it has settings of its own: those are its keyword-only parameters."""

    @property
    def options(self) -> dict[str, inspect.Parameter]:
        """The settings of this source alone, by name."""
        return {} if self.factory is None else keyword_only(self.factory)


@dataclass(frozen=True)
class EncoderRow:
    """One encoder of raw rows."""

    make: Callable[[], Encoder]
    summary: str

    def __call__(self) -> Encoder:
        """The encoder."""
        return self.make()


@dataclass(frozen=True)
class FamilyRow:
    """One family of encoders: FAMILY:NAME is an encoder for any name."""

    make: Callable[[str, bool], Encoder]
    summary: str

    def __call__(self, name: str, fetch: bool) -> Encoder:
        """The encoder of this name; fetch: whether it may be downloaded."""
        return self.make(name, fetch)


@dataclass(frozen=True)
class HeadRow:
    """One learner over encoded rows."""

    make: Callable[[Examples], Learner]
    summary: str
    tunes: bool = False
    """Whether the encoder is tuned on the support before."""
    by_class: bool = False
    """Whether each class is learned from its own rows alone: every part of fast then has a row for each class."""

    def __call__(self, support: Examples) -> Learner:
        """The learner for a support set."""
        return self.make(support)


def named(table: Mapping[str, Any], name: str, what: str, command: str = "mapwise list") -> Any:
    """The row of this name; raises ValueError with the nearest name, and the command that shows all of them."""
    if name not in table:
        near = nearest(name, table)
        raise ValueError(f"there is no {what} {name!r}: did you mean {near!r}? ({command} shows all)")
    return table[name]


def keyword_only(make: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters by name: the options of a net, and a source's own settings."""
    return {p.name: p for p in inspect.signature(make).parameters.values() if p.kind is p.KEYWORD_ONLY}
