"""How a learner is listed: under a name, a class with some of its fields set, and what it prefers of nets and training.

The file of a learner holds its rows, as `ROWS`; the catalog collects them.
"""

import dataclasses
import math
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from mapwise.core.capabilities import Causal
from mapwise.core.functional import Net
from mapwise.core.learner import MOMENT, Learner
from mapwise.core.source import TaskShape
from mapwise.core.spec import plain_shape
from mapwise.problems import PROBLEMS

OUTER_RATES = {"optimizer.lr": (0.001, 0.003, 0.01)}
"""Rates of Adam worth trying for a learner that has no other."""


@dataclass(frozen=True)
class LearnerRow:
    """One learner of the catalog: a class with some of its fields set."""

    make: Callable[..., Learner]
    paper: str
    summary: str
    _: dataclasses.KW_ONLY
    page: str = ""
    """The docs page, docs/learners/<page>.md; "": that of its file, which kin share."""
    nets: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    """Net options this learner prefers to the nets' own, by net."""
    pretraining: bool = False
    """It trains on all base classes at once instead of on episodes."""
    recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """How it asks to be trained where the user says nothing, by the names of a run's settings.

    Only what holds on every source: how many ways and shots there are to train with, the source decides.
    """
    of_columns: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    """Hyperparameters for problems whose columns are "classes", "targets" or "bits", where its own don't fit."""
    tuned: Mapping[str, Sequence[float | str]] = dataclasses.field(default_factory=lambda: OUTER_RATES)
    """Settings worth trying, named as by `mapwise tune`: every combination is a candidate of `mapwise bench`."""
    columns: tuple[str, ...] = ()
    """What the columns are of the problems it is for; () for all."""
    of_runs: bool = False
    """It is made of trained runs, by `mapwise average`, and isn't trained itself."""

    def __post_init__(self) -> None:
        if not self.page:
            object.__setattr__(self, "page", self.learner.__module__.rpartition(".")[2])

    @property
    def family(self) -> str:
        """The folder of its file, or the file of a learner that has none."""
        return str(self.learner.__module__).split(".")[-2:][0]

    @property
    def fields(self) -> dict[str, dataclasses.Field[Any]]:
        """The learner's hyperparameters by name, in the order of its signature: all but networks, sizes and moments."""
        ordered = sorted(dataclasses.fields(self.learner), key=lambda field: field.kw_only is True)
        given = {*BLUEPRINTS, *PYTHON_ONLY, *SIZES}
        return {field.name: field for field in ordered if field.name not in given and field.metadata != MOMENT}

    @property
    def preset(self) -> dict[str, Any]:
        """The fields this row sets."""
        return dict(self.make.keywords) if isinstance(self.make, partial) else {}

    @property
    def types(self) -> dict[str, Any]:
        """The type of every field."""
        return typing.get_type_hints(self.learner)

    @property
    def blueprint(self) -> str | None:
        """The field that takes a network, unless the row sets it."""
        names = [f.name for f in dataclasses.fields(self.learner) if f.name in BLUEPRINTS]
        return next((name for name in names if name not in self.preset), None)

    def takes(self, problem: str) -> bool:
        """Whether it is for tasks of the problem of this name."""
        return not self.columns or PROBLEMS[problem].columns in self.columns

    @property
    def only_for(self) -> list[str]:
        """The names of the problems it is for; [] for all."""
        return [name for name in PROBLEMS if self.takes(name)] if self.columns else []

    def fields_for(self, problem: str) -> Mapping[str, Any]:
        """The hyperparameters that it takes for the problem of this name, where its own don't fit."""
        return self.of_columns.get(PROBLEMS[problem].columns, {})

    def sizes(self, shape: TaskShape) -> dict[str, int]:
        """The fields that say how large rows and answers are, for a learner that has such."""
        names = {field.name for field in dataclasses.fields(self.learner)}
        return {name: size(shape) for name, size in SIZES.items() if name in names}

    @property
    def causal(self) -> bool:
        """Whether the learner has a causal pass, by which it is trained on streams."""
        return issubclass(self.learner, Causal)

    @property
    def learner(self) -> Any:
        """The learner's class."""
        return self.make.func if isinstance(self.make, partial) else self.make

    def build(self, net: Net | None = None, fields: Mapping[str, Any] | None = None) -> Learner:
        """The learner with this network and these fields."""
        chosen = dict(fields or {})
        if self.blueprint is not None:
            assert net is not None
            chosen[self.blueprint] = net
        return self.make(**chosen)


def earlier_row(
    make: Callable[..., Learner], family: str, paper: str, summary: str, page: str, **fields: Any
) -> LearnerRow:
    """A row as version 0.1.0 wrote it."""
    columns = tuple(PROBLEMS[name].columns for name in fields.pop("kinds", ()))
    of_columns: dict[str, Any] = {
        str(PROBLEMS[name].columns): values for name, values in fields.pop("of_kind", {}).items()
    }
    return LearnerRow(make, paper, summary, page=page, columns=columns, of_columns=of_columns, **fields)


SIZES: dict[str, Callable[[TaskShape], int]] = {
    "inputs": lambda shape: math.prod(plain_shape(shape.inputs, "this learner")),
    "outputs": lambda shape: shape.outputs,
}
"""Field names of a learner that makes all its parts itself, and what of its tasks they are."""
BLUEPRINTS = {"net": True, "encoder": False}
"""Field names that take a network, and whether that network ends in a head of W columns."""
PYTHON_ONLY = ("description_encoder", "members")
"""Field names that take a second network or other learners, which no setting names."""

OF_CLASSES = ("classes",)
# Inductive by default: a prediction must not depend on its neighbours.
MOVING: Mapping[str, Mapping[str, Any]] = {
    "conv4": {"norm": "support", "down": "stride"},
    "resnet12": {"norm": "support"},
}
"""The options of a net that moves in a task."""
FIXED: Mapping[str, Mapping[str, Any]] = {"conv4": {"norm": "frozen"}, "resnet12": {"norm": "frozen"}}
"""The options of an encoder that stays as it is."""

gradient_row = partial(
    LearnerRow,
    nets=MOVING,
    tuned={"optimizer.lr": (0.001, 0.003), "inner_lr": (0.1, 0.4)},
    # Squared errors are larger than cross-entropies, and so are their gradients: the rate of section 5.1 of Finn 2017.
    of_columns={"targets": {"inner_lr": 0.01}},
)
"""A row of a learner that moves a net by gradient steps."""
encoder_row = partial(LearnerRow, nets=FIXED, columns=OF_CLASSES)
"""A row of a learner of classes whose encoder stays as it is."""
