"""A run: a folder that holds everything needed to repeat a training and to use what it learned.

run.toml          the settings, with a schema version
metrics.jsonl     one record per line
last.safetensors  where to resume
best.safetensors  what to evaluate
"""

import json
import platform
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, TypeAdapter, ValidationError

from mapwise import catalog
from mapwise.catalog import LEARNERS, NETS, SOURCES, LearnerRow, SourceSettings, named, net_options
from mapwise.core import tree
from mapwise.core.execution import How, Precision
from mapwise.core.files import write_atomically
from mapwise.core.functional import Net
from mapwise.core.kinds import KINDS
from mapwise.core.learner import Learner
from mapwise.core.task import TaskShape, TaskSource
from mapwise.core.tree import Params
from mapwise.engine import checkpoint
from mapwise.engine.train import BEST, LAST
from mapwise.tasks.episodes import Episodes

SETTINGS = "run.toml"
SCHEMA = 1

Settings = TypeVar("Settings", bound=BaseModel)


class TrainedOn(BaseModel):
    """What a learner must know of the data it is trained on, so that it can be made again without them.

    source: the name of the catalog's row that read them.
    net:    the network that was taken.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    net: str
    shape: TaskShape


STAMPS = ("trained_on", "command", "mapwise", "torch", "platform")
"""Settings that nobody asks for: they say what came of the others."""


class RunSettings(BaseModel):
    """What a run was asked for; run.toml holds exactly this."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = SCHEMA
    learner: str
    fields: dict[str, Any] = {}
    """Hyperparameters of the learner that differ from its defaults."""
    net: str | None = None
    """None: the network the source asks for."""
    net_options: dict[str, Any] = {}
    source: str
    source_options: dict[str, Any] = {}
    """Settings of the source alone; a test source of its own keeps its defaults."""
    test_source: str | None = None
    """Another source whose val and test splits judge; None: the training source's."""
    data: str | None = None
    label: str | None = None
    skip_bad: bool = False
    augment: list[str] = []
    part: Literal["train", "trainval"] = "train"
    """The split to train on; trainval is for a last run whose settings were chosen before."""
    ways: str = "5"
    shots: str = "1"
    queries: int | None = None
    test_ways: str | None = None
    test_shots: str | None = None
    test_queries: int | None = None
    """What the validation and the default evaluation ask; None: as in training."""
    tasks: int = 16
    steps: int = 1000
    optimizer: str = "Adam lr=0.001"
    schedule: str | None = None
    warmup: int = 0
    clip: float | None = None
    aggregate: str = "mean"
    validate_every: int | None = None
    validation_episodes: int = 200
    patience: int | None = None
    select: Literal["best", "last"] = "best"
    seed: int = 0
    device: str = "cpu"
    init: str | None = None
    """A run whose weights this one starts from, where names and shapes agree."""
    how: str = "auto"
    compile: bool = False
    remat: bool = False
    precision: Precision = "full"
    """Of the nets while training; they are judged in full precision."""
    track: list[str] = []
    """Where the records go besides metrics.jsonl."""
    threads: int | None = None
    """CPU threads; part of a run's identity, since they change the order of sums."""
    trained_on: TrainedOn | None = None
    command: str = ""
    mapwise: str = ""
    torch: str = ""
    platform: str = ""

    def write(self, folder: Path) -> None:
        """Write run.toml, whole or not at all; raises OSError when the folder can't be written."""
        write_toml(self, folder / SETTINGS)

    @classmethod
    def read(cls, folder: Path) -> "RunSettings":
        """The settings of a run's folder; raises ValueError when it is not a run, or not one of this version."""
        path = folder / SETTINGS
        if not path.is_file():
            raise ValueError(f"{folder} is not a run (it has no {SETTINGS}): give a folder that mapwise train wrote")
        return read_toml(cls, path, SCHEMA, "train the run again")

    @property
    def mapping(self) -> How | Literal["auto"]:
        """How tasks are mapped, as the engine takes it; raises ValueError for anything it doesn't know."""
        if self.how in ("auto", "vmap", "loop"):
            return typing.cast('How | Literal["auto"]', self.how)
        if self.how.isdecimal() and int(self.how) > 0:
            return int(self.how)
        raise ValueError(f"how is {self.how!r}: give auto, vmap, loop, or the number of tasks to do at a time")

    def on(self, source: TaskSource) -> "RunSettings":
        """With what its learner must know of these tasks, which it is trained on, written in."""
        name = source_name(self.source)
        found = TrainedOn(source=name, net=self.net or SOURCES[name].net, shape=shape_of(source))
        return self.model_copy(update={"trained_on": found})

    def stamped(self, command: str) -> "RunSettings":
        """With the versions and the command written in."""
        from mapwise import __version__

        threads = self.threads or torch.get_num_threads()
        return self.model_copy(
            update={
                "command": command,
                "mapwise": __version__,
                "torch": torch.__version__,
                "platform": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
                "threads": threads,
            }
        )


def span(text: str, what: str) -> int | tuple[int, int]:
    """ "5" or "5-20" as a number or a range; raises ValueError for anything else."""
    try:
        low, dash, high = text.partition("-")
        return (int(low), int(high)) if dash else int(low)
    except ValueError:
        raise ValueError(f"{what} is {text!r}: give a number such as 5, or a range such as 5-20") from None


def source_of(settings: RunSettings, role: Literal["train", "test"] = "train") -> TaskSource:
    """The episodes a run trains on, or those that judge it (take their split "val" or "test")."""
    testing = role == "test"
    name = settings.test_source if testing and settings.test_source else settings.source
    row, data = source_row(name)
    own = {} if name != settings.source else settings.source_options
    if data is None and settings.data is not None:
        data = Path(settings.data)
    ways, shots, queries = _asked(settings) if testing else (settings.ways, settings.shots, settings.queries)
    wanted = SourceSettings(
        data=data,
        ways=span(ways, "ways"),
        shots=span(shots, "shots"),
        queries=queries,
        tasks=settings.tasks,
        seed=settings.seed,
        augment=() if testing else tuple(settings.augment),
        device=settings.device,
        label=settings.label,
        skip_bad=settings.skip_bad,
        options={option: typed_source_option(name, option, value) for option, value in own.items()},
    )
    found: TaskSource = row.open(wanted)
    return found if settings.part == "train" or testing else found.split(settings.part)


def source_row(name: str) -> tuple[catalog.SourceRow, Path | None]:
    """The row of a source, and the path when the name is one: a path says by itself which source reads it.

    Raises ValueError for a name that is neither in the catalog nor on the disk.
    """
    found = source_name(name)
    return SOURCES[found], None if found == name else Path(name).expanduser()


def source_name(name: str) -> str:
    """The name of a source's row: its own, or that of what reads such a path; raises ValueError as `source_row`."""
    path = Path(name).expanduser()
    if name not in SOURCES and path.exists():
        return "table" if path.is_file() else "images"
    if name not in SOURCES and (path.suffix or len(path.parts) > 1):
        raise ValueError(f"there is no file or folder {name}: correct the path, or name a source (mapwise list)")
    named(SOURCES, name, "source")
    return name


def judging(
    settings: RunSettings, split: str = "test", *, seed: int | None = None, training: TaskSource | None = None
) -> TaskSource:
    """The episodes of a split that judge a run.

    seed:     of the episodes; None: the run's. It never changes which classes a split holds.
    training: the run's training source where it is open already, so that its data aren't read twice.

    The number of tasks drawn together is set by their size and not by the run's settings, so every run
    that asks for the same ways and shots is judged on the same episodes.

    Raises ValueError when the rows of a test source of its own have another shape.
    """
    ways, shots, queries = _asked(settings)
    if settings.test_source is None and isinstance(training, Episodes):
        found: Any = replace(
            training, part=split, ways=span(ways, "ways"), shots=span(shots, "shots"), queries=queries, augment=None
        )
    else:
        found = source_of(settings, "test").split(split)
    if training is not None and training.input_shape != found.input_shape:
        raise ValueError(
            f"rows of {found.about.source} have shape {found.input_shape} and those of the training source "
            f"{training.input_shape}: choose a test source of the same shape"
        )
    one = replace(found, tasks=1)(0)
    numbers = one.support.x.numel() + one.query.x.numel()
    return typing.cast(
        TaskSource,
        replace(found, tasks=max(1, min(_MOST, _NUMBERS // numbers)), seed=found.seed if seed is None else seed),
    )


_MOST = 100  # tasks of an evaluation drawn together
_NUMBERS = 1 << 18  # input numbers of those tasks: the activations of a small network then fit a cache


def _asked(settings: RunSettings) -> tuple[str, str, int | None]:
    """Ways, shots and queries of the episodes that judge."""
    queries = settings.queries if settings.test_queries is None else settings.test_queries
    return settings.test_ways or settings.ways, settings.test_shots or settings.shots, queries


def shape_of(source: TaskSource) -> TaskShape:
    """What a learner must know of the tasks of a source."""
    return TaskShape(source.kind, source.input_shape, source.outputs)


def learner_of(settings: RunSettings, source: TaskSource) -> Learner:
    """The learner a run trains, its network shaped for the source it trains on."""
    return LearnerSettings.of(settings, shape_of(source)).made()


class LearnerSettings(BaseModel):
    """What makes a run's learner again, without its data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    learner: str
    fields: dict[str, Any]
    net: str
    net_options: dict[str, Any]
    shape: TaskShape

    @classmethod
    def of(cls, settings: RunSettings, shape: TaskShape) -> "LearnerSettings":
        """Those of a run that is trained on tasks of this shape."""
        net = settings.net or source_row(settings.source)[0].net
        return cls(
            learner=settings.learner,
            fields=settings.fields,
            net=net,
            net_options=settings.net_options,
            shape=shape,
        )

    @property
    def row(self) -> LearnerRow:
        """The learner's row of the catalog; raises ValueError for a name that isn't there."""
        row: LearnerRow = named(LEARNERS, self.learner, "learner")
        return row

    def typed_fields(self) -> dict[str, Any]:
        """The hyperparameters by their types; raises ValueError for names and values that aren't there."""
        return {name: typed_field(self.row, name, value) for name, value in self.fields.items()}

    def typed_net_options(self) -> dict[str, Any]:
        """The same of the network's options, with those that the learner prefers."""
        given = {name: typed_net_option(self.net, name, value) for name, value in self.net_options.items()}
        return {**self.row.nets.get(self.net, {}), **given}

    def built_net(self) -> Net | None:
        """What builds the learner's network; None for a learner that takes none."""
        if self.row.blueprint is None:
            return None
        make = named(NETS, self.net, "net")
        outputs = self.shape.outputs if catalog.BLUEPRINTS[self.row.blueprint] else None
        return partial(make, self.shape.input_shape, outputs, **self.typed_net_options())

    def made(self) -> Learner:
        """The learner, before any training.

        Raises ValueError for names and values that aren't there, and for a learner of another kind of task.
        """
        row = self.row
        kind = self.shape.kind
        if not row.takes(kind):
            raise ValueError(
                f"{self.learner} is for tasks of kind {' and '.join(row.kinds)} and those of the source are of kind "
                f"{kind}: choose another learner or another source (mapwise list names the kinds)"
            )
        fields = {**row.of_kind.get(kind, {}), **self.typed_fields(), **row.sizes(self.shape)}
        # Classes are what every learner takes by default, whatever its loss.
        if kind != "classification" and "loss" in row.fields:
            fields.setdefault("loss", KINDS[kind].loss)
        net = self.built_net()
        if isinstance(net, partial):
            net()  # so that a shape the network can't read is an error here and not in the first step
        return row.build(net, fields)


def typed_field(row: LearnerRow, name: str, value: Any) -> Any:
    """A learner's field from text or TOML, by its type."""
    named(row.fields, name, "field of the learner")
    return _typed(row.types[name], value, f"--{name.replace('_', '-')}")


def typed_net_option(net: str, name: str, value: Any) -> Any:
    """A network's option from text or TOML, by its type."""
    option = named(net_options(net), name, f"option of net {net}")
    return _typed(option.annotation, value, f"--net.{name.replace('_', '-')}")


def typed_source_option(source: str, name: str, value: Any) -> Any:
    """A source's own setting from text or TOML, by its type."""
    options = source_row(source)[0].options
    if name not in options:
        there = f"there is {', '.join(options)}" if options else "it has none"
        raise ValueError(f"source {source} has no setting {name!r} of its own: {there}")
    return _typed(options[name].annotation, value, f"--source.{name.replace('_', '-')}")


def _typed(kind: Any, value: Any, flag: str) -> Any:
    if isinstance(value, str) and value == "none":
        value = None
    try:
        return TypeAdapter(_readable(kind)).validate_python(value)
    except ValidationError as error:
        raise ValueError(f"{flag} is {value!r}: {error.errors()[0]['msg'].lower()}") from None


def _readable(kind: Any) -> Any:
    """The type, with a sequence also to be had from comma-separated words."""
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        return typing.Union[tuple(_readable(part) for part in typing.get_args(kind))]  # noqa: UP007
    return Annotated[kind, BeforeValidator(_words)] if origin in (tuple, list, Sequence) else kind


def _words(value: Any) -> Any:
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


def initial_params(learner: Learner, settings: RunSettings) -> Params:
    """The learner's params under the run's seed, with the weights of the run named in `init` put in.

    Raises ValueError when no weight of that run has the name and shape of one of this learner's.
    """
    params = _on(learner.init(settings.seed), settings.device)
    if settings.init is None:
        return params
    found = tree.flatten(_on(load_params(Path(settings.init))[0], settings.device))
    # The net's weights by their own names, wherever the net stands; other parts only by their whole path, since
    # a rate is named after the weight that it is for.
    of_net = {name: leaf for path, leaf in found.items() if (name := _name_in_net(path))}
    own = tree.flatten(params)
    taken = {
        path: given
        for path, leaf in own.items()
        if (given := found.get(path, of_net.get(_name_in_net(path)))) is not None and given.shape == leaf.shape
    }
    if not taken:
        raise ValueError(
            f"no weight of {settings.init} fits this learner's network: train both with the same net and net options"
        )
    measured = {path: leaf for path, leaf in found.items() if path.startswith("measured/")}
    return tree.unflatten({**own, **taken, **measured})


def _name_in_net(path: str) -> str:
    """A weight's name in its net, by its path in params; "" for what is of no net."""
    part, _, name = path.rpartition("/")
    return name if part in ("", *catalog.BLUEPRINTS) else ""


def load_params(folder: Path) -> tuple[Params, int]:
    """The params a run selected, and the step they are from; raises ValueError for a half-written run."""
    RunSettings.read(folder)
    if not (folder / BEST).exists():
        state = "was stopped before its first validation" if (folder / LAST).exists() else "has no checkpoint yet"
        raise ValueError(f"the run {folder} {state}: finish it with mapwise train --resume {folder}")
    tensors, about = checkpoint.load(folder / BEST)
    return tensors.get("params", {}), int(about["step"])


def open_run(
    folder: Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    net: Mapping[str, Any] | None = None,
    asked: Mapping[str, Any] | None = None,
) -> tuple[RunSettings, Learner, Params, TaskSource]:
    """A finished run: its settings, learner, params, and training source; see `judging` for what judges it.

    overrides: learner fields to change before adapting, such as {"inner_steps": 10}.
    net:       net options to change, such as {"norm": "batch"}; what was measured is then measured anew.
    asked:     other settings to change, such as {"test_shots": "5"}.

    Raises ValueError for a folder that is no finished run, and for changes its weights don't fit.
    """
    settings = RunSettings.read(folder).model_copy(update=dict(asked or {}))
    row = named(LEARNERS, settings.learner, "learner")
    changed = settings.model_copy(
        update={
            "fields": {**settings.fields, **(overrides or {})},
            "net_options": {**settings.net_options, **(net or {})},
        }
    )
    params = _on(load_params(folder)[0], settings.device)
    source = source_of(changed)
    training = catalog.training_source(row, source)
    learner = learner_of(changed, training)
    if net:
        params = {name: leaf for name, leaf in params.items() if name != "measured"}
    if not fits(learner, params):
        what = "with these changes " if net or overrides else ""
        raise ValueError(
            f"the weights of {folder} don't fit its network {what}any more: leave the changes out, or train anew"
        )
    if net:
        params = learner.measure(params, training)
    return changed, learner, params, source


def fits(learner: Learner, params: Params) -> bool:
    """Whether these are params of this learner, by their names and shapes."""
    shapes = {path: leaf.shape for path, leaf in tree.flatten(learner.init(0)).items()}
    return shapes == {
        path: leaf.shape for path, leaf in tree.flatten(params).items() if not path.startswith("measured/")
    }


def _on(params: Params, device: str) -> Params:
    return tree.map(lambda leaf: leaf.to(device), params) if params else params


def write_toml(settings: BaseModel, path: Path) -> None:
    """Write settings, whole or not at all; raises OSError when the file can't be written."""
    lines = [f"{name} = {_toml(value)}" for name, value in settings.model_dump().items() if value is not None]
    text = "\n".join(lines) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def read_toml(kind: type[Settings], path: Path, schema: int, again: str) -> Settings:
    """The settings of a file; raises ValueError for a damaged file or another schema version.

    again: what to do when the file can't be restored.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged ({error}): restore it, or {again}") from None
    version = found.get("schema_version")
    if version != schema:
        raise ValueError(
            f"{path} has schema version {version} and this mapwise reads {schema}: "
            f"use the mapwise version that wrote it, or {again}"
        )
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{path}: {where}: {first['msg']}; restore it, or {again}") from None


def _toml(value: Any) -> str:
    """A TOML value; JSON's strings, numbers and lists are TOML's too."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items() if v is not None) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    return json.dumps(value)
