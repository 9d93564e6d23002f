"""A run's learner, made from the settings that name it."""

from functools import partial
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from mapwise.catalog.learners import LEARNERS
from mapwise.catalog.nets import NETS, net_options, reading
from mapwise.catalog.rows import named
from mapwise.core.functional import Net
from mapwise.core.learner import Learner
from mapwise.core.source import TaskShape, TaskSource, inputs_of
from mapwise.core.tree import Params
from mapwise.learners.generation.model_averaging import member_params
from mapwise.learners.row import BLUEPRINTS, LearnerRow
from mapwise.problems import PROBLEMS
from mapwise.runs.settings import RunSettings
from mapwise.runs.shape import FiledShape
from mapwise.runs.words import typed

MOST_MEMBERS = 1000
"""Runs that one can be made of."""


class LearnerSettings(BaseModel):
    """What makes a run's learner again, without its data.

    members: of the runs that it was made of, in their order; [] for a learner that was trained itself.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    learner: str
    fields: dict[str, Any]
    net: str
    net_options: dict[str, Any]
    shape: FiledShape
    members: list["LearnerSettings"] = Field(default=[], max_length=MOST_MEMBERS)

    @classmethod
    def of(cls, settings: RunSettings, shape: TaskShape) -> "LearnerSettings":
        """Those of a run that is trained on tasks of this shape."""
        return cls(
            learner=settings.learner,
            fields=settings.fields,
            net=settings.net_name,
            net_options=settings.net_options,
            shape=shape,
            members=settings.members,
        )

    def to_file(self) -> dict[str, Any]:
        """The settings as plain values, which `model_validate` reads."""
        return self.model_dump(exclude_defaults=True)  # without members, as earlier versions wrote and read them

    def parts(self, params: Params) -> "list[tuple[LearnerSettings, Params]]":
        """The settings and the params of what was trained: its members', or its own."""
        if not self.members:
            return [(self, params)]
        return [(member, member_params(params, place)) for place, member in enumerate(self.members)]

    @property
    def row(self) -> LearnerRow:
        """The learner's row of the catalog; raises ValueError for a name that isn't there."""
        row: LearnerRow = named(LEARNERS, self.learner, "learner")
        return row

    def typed_fields(self) -> dict[str, Any]:
        """The hyperparameters by their types; raises ValueError for names and values that aren't there."""
        for name in self.fields:
            named(self.row.fields, name, "field of the learner", f"mapwise list {self.learner}")
        return {name: typed(self.row.types[name], value, name) for name, value in self.fields.items()}

    def typed_net_options(self) -> dict[str, Any]:
        """The same of the network's options, with those that the learner prefers."""
        known = net_options(self.net)
        for name in self.net_options:
            named(known, name, f"option of net {self.net}", f"mapwise list {self.learner}")
        given = {name: typed(known[name].annotation, value, f"net.{name}") for name, value in self.net_options.items()}
        return {**self.row.nets.get(self.net, {}), **given}

    def built_net(self) -> Net | None:
        """What builds the learner's network; None for a learner that takes none."""
        if self.row.blueprint is None:
            return None
        make = named(NETS, self.net, "net")
        outputs = self.shape.outputs if BLUEPRINTS[self.row.blueprint] else None
        return partial(make, reading(self.net, self.shape.inputs), outputs, **self.typed_net_options())

    def build(self) -> Learner:
        """The learner, before any training.

        Raises ValueError for names and values that aren't there, and for a learner of another problem.
        """
        row = self.row
        problem = self.shape.problem
        named(PROBLEMS, problem, "problem")
        if not row.takes(problem):
            raise ValueError(
                f"{self.learner} is for {' and '.join(row.only_for)} and the source is of {problem}: "
                "choose another learner or another source (mapwise list names the problems)"
            )
        fields = {**row.fields_for(problem), **self.typed_fields(), **row.sizes(self.shape)}
        loss = PROBLEMS[problem].loss
        if loss is not None and "loss" in row.fields:
            fields.setdefault("loss", loss)
        if row.of_runs:
            fields["members"] = self._built_members()
        net = self.built_net()
        if isinstance(net, partial):
            try:
                net()  # so that a shape the network can't read is an error here and not in the first step
            except (RuntimeError, TypeError, ArithmeticError, LookupError, MemoryError) as error:
                options = ", ".join(f"{name} {value!r}" for name, value in net.keywords.items())
                reason = " ".join(str(error).split())[:200]
                raise ValueError(
                    f"torch can't build the net {self.net} with {options} ({reason}): correct it"
                ) from None
        return row.build(net, fields)

    def _built_members(self) -> tuple[Learner, ...]:
        if not self.members or any(member.row.of_runs for member in self.members):
            raise ValueError(
                f"{self.learner} is made of trained runs, and not of an average: make it with mapwise average RUN RUN "
                "--predictions"
            )
        return tuple(member.build() for member in self.members)


def shape_of(source: TaskSource) -> TaskShape:
    """What a learner must know of the tasks of a source."""
    return TaskShape(source.problem.name, inputs_of(source), source.outputs)


def learner_of(settings: RunSettings, source: TaskSource) -> Learner:
    """The learner a run trains, its network shaped for the source it trains on."""
    return LearnerSettings.of(settings, shape_of(source)).build()
