"""The settings of a run: what run.toml holds, and one address for each of them.

inner_lr          a field of the learner
net.norm          an option of its network
source.noise      a setting of the source alone
optimizer.lr      an option of the optimizer, or of the schedule
steps             a setting that every run has
"""

import hashlib
import inspect
import json
import os
import platform
import typing
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict, TypeAdapter

from mapwise.catalog.learners import LEARNERS
from mapwise.catalog.nets import NETS, net_options
from mapwise.catalog.rows import SourceRow, named
from mapwise.catalog.sources import SOURCES
from mapwise.core.problem import Problem
from mapwise.core.source import TaskShape, TaskSource, inputs_of
from mapwise.core.spelling import suggestion
from mapwise.data.annotated.read import is_annotated
from mapwise.engine.optimizer import parse
from mapwise.learners.row import LearnerRow
from mapwise.problems import PROBLEMS
from mapwise.runs.flags import FLAGS, RunFlags
from mapwise.runs.shape import FiledShape, shape_to_file
from mapwise.runs.toml import read_toml, write_toml
from mapwise.runs.words import flag, typed

SETTINGS = "run.toml"
SEEDS = "seeds.toml"
"""The file of a folder that holds a run for each of several seeds."""
SCHEMA = 1
STAMPS = ("trained_on", "command", "mapwise", "torch", "platform", "id")
"""Settings that can't be given: they record the run."""
PARTED = {"optimizer": torch.optim, "schedule": torch.optim.lr_scheduler}
"""Settings whose options have addresses of their own, and where torch has what they name."""


@dataclass(frozen=True)
class TrainedOn:
    """What a learner must know of the data it is trained on, so that it can be made again without them.

    source: the name of the catalog's row that read them.
    net:    the network that was taken.
    classes: the digest of the rows of its classes; "" without such, and in runs of earlier versions.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    source: str
    net: str
    shape: FiledShape
    classes: str = ""


@dataclass(frozen=True)
class Setting:
    """One setting of a run.

    value:   what it is; None where torch alone knows.
    changes: the fields of RunSettings that give it another value, which is of its type.
    """

    type: Any
    value: Any
    changes: Callable[[Any], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class RunSettings(RunFlags):
    """The settings of a run; run.toml holds exactly this.

    fields:         hyperparameters of the learner that differ from its defaults.
    net_options:    the same of the network.
    source_options: the same of the source alone; a test source has its defaults.
    members:        what makes the learners that it averages, as plain values; [] for a single learner.
    average_of:     the ids of the runs whose average it is; [] for a run that was trained.
    id:             of the settings that were given; a run's weights hold it too, so that others aren't taken for them.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    schema_version: int = SCHEMA
    learner: str
    source: str
    fields: dict[str, Any] = field(default_factory=dict)
    net_options: dict[str, Any] = field(default_factory=dict)
    source_options: dict[str, Any] = field(default_factory=dict)
    members: list[Any] = field(default_factory=list)
    average_of: list[str] = field(default_factory=list)
    trained_on: TrainedOn | None = None
    command: str = ""
    mapwise: str = ""
    torch: str = ""
    platform: str = ""
    id: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.net is not None:
            named(NETS, self.net, "net")

    @classmethod
    def of(cls, learner: str, source: str, values: Mapping[str, Any] | None = None) -> "RunSettings":
        """The learner's recipe on a source, with values by their addresses.

        Raises ValueError for a name or a value that isn't there.
        """
        row: LearnerRow = named(LEARNERS, learner, "learner")
        place, path = named_source(source, (values or {}).get("text"))
        where = os.path.realpath(path) if path else source
        plain = {"ways": str(place.ways), "shots": place.shots, **row.recipe}
        return cls(learner=learner, source=where).with_values({**plain, **(values or {})})

    @classmethod
    def read(cls, folder: Path) -> "RunSettings":
        """The settings of a run's folder; raises ValueError when it is not a run, or not one of this version."""
        path = folder / SETTINGS
        if (folder / SEEDS).is_file() and not path.is_file():
            raise ValueError(f"{folder} holds runs of several seeds: give one of them, such as {folder / 'seed-0'}")
        if not path.is_file():
            raise ValueError(f"{folder} is not a run (it has no {SETTINGS}): give a folder that mapwise train wrote")
        return read_toml(cls, path, SCHEMA, "train the run again", last="platform")

    def write(self, folder: Path) -> None:
        """Write run.toml, whole or not at all; raises OSError when the folder can't be written."""
        write_toml(self.to_file(), folder / SETTINGS)

    def to_file(self) -> dict[str, Any]:
        """The settings as plain values, which `of_file` reads."""
        first = {"schema_version": self.schema_version, "learner": self.learner, "source": self.source}
        values = {**first, **asdict(self), "how": str(self.how)}  # how has always been a text there
        if self.trained_on is not None:
            values["trained_on"]["shape"] = shape_to_file(self.trained_on.shape)
        # Not in the file of a run that was trained, so that it has the id that earlier versions gave it.
        return {name: value for name, value in values.items() if value or name not in ("members", "average_of")}

    @classmethod
    def of_file(cls, values: Mapping[str, Any]) -> "RunSettings":
        """The settings from plain values; raises pydantic's ValidationError for others."""
        return TypeAdapter(cls).validate_python(dict(values))

    @property
    def row(self) -> LearnerRow:
        """The learner's row of the catalog; raises ValueError for a name that isn't there."""
        row: LearnerRow = named(LEARNERS, self.learner, "learner")
        return row

    @property
    def source_row(self) -> SourceRow:
        """The source's row of the catalog, whose data need not be there any more."""
        return named_source(self.source, self.text)[0] if self.trained_on is None else SOURCES[self.trained_on.source]

    @property
    def problem(self) -> Problem:
        """What the source's tasks ask for."""
        return PROBLEMS[self.source_row.problem]

    @property
    def net_name(self) -> str:
        """The network: the one asked for, or the source's."""
        return self.net or (self.source_row.net if self.trained_on is None else self.trained_on.net)

    def at(self, address: str) -> Setting:
        """The setting of this address; raises ValueError for one that isn't there, naming the nearest."""
        whole, dot, part = address.replace("-", "_").partition(".")
        row = self.row
        if not dot and whole in row.fields:
            default = row.fields_for(self.source_row.problem).get(
                whole, row.preset.get(whole, row.fields[whole].default)
            )
            return Setting(row.types[whole], self.fields.get(whole, default), self._entry("fields", whole))
        if not dot and whole in FLAGS:
            value = self.net_name if whole == "net" else getattr(self, whole)
            return Setting(_TYPES[whole], value, lambda value: {whole: value})
        if dot and whole == "net" and row.blueprint is not None:
            net = self.net_name
            option = _parameter(net_options(net), part, f"net {net}", "net.")
            default = row.nets.get(net, {}).get(part, option.default)
            value = self.net_options.get(part, default)
            return Setting(option.annotation, value, self._entry("net_options", part))
        if dot and whole == "source":
            option = _parameter(self.source_row.options, part, f"source {self.source}", "source.")
            value = self.source_options.get(part, option.default)
            return Setting(option.annotation, value, self._entry("source_options", part))
        if dot and whole in PARTED:
            return self._option_of(whole, part)
        near = suggestion(whole, [*row.fields, *FLAGS], flag)
        raise ValueError(f"{self.learner} has no setting {address!r}: {near}")

    def get(self, address: str) -> Any:
        """The value of a setting; raises ValueError for an address that isn't there.

        >>> RunSettings.of("maml", "glyphs").get("net.norm")
        'support'
        """
        return self.at(address).value

    def put(self, address: str, value: Any) -> "RunSettings":
        """With another value, also from text; raises ValueError for an address or a value that can't be.

        >>> RunSettings.of("maml", "glyphs").put("optimizer.lr", "0.01").optimizer
        'Adam lr=0.01'
        """
        return self.with_values({address: value})

    def with_values(self, values: Mapping[str, Any]) -> "RunSettings":
        """With several values put in; those that depend on one another are checked together."""
        values = {address.replace("-", "_"): value for address, value in values.items()}
        own = [address for address in values if address in FLAGS]
        settings = replace(self, **{name: typed(_TYPES[name], values[name], name) for name in own})
        for address, value in values.items():
            if address not in own:  # a whole before its parts: net before net.norm
                setting = settings.at(address)
                settings = replace(settings, **setting.changes(typed(setting.type, value, address)))
        return settings

    def judged_with(self, changes: Mapping[str, Any]) -> "RunSettings":
        """The settings of a trained run with some changed; `data` also says where its own folder or file lies now.

        Raises ValueError for changes that can't be.
        """
        changes = dict(changes)
        settings = self
        if "data" in changes and self.source not in SOURCES:
            settings = replace(self, source=str(changes.pop("data")))
        if self.test_source is not None and any(address.startswith("source.") for address in changes):
            raise ValueError(
                f"--source changes the training source and the run is judged on {self.test_source}: leave it out"
            )
        return settings.with_values(changes)

    def given(self) -> dict[str, Any]:
        """The settings that differ from none given at all, by their addresses, but for learner, source and stamps."""
        plain = RunSettings(learner="", source="")
        flags = {name: getattr(self, name) for name in FLAGS if getattr(self, name) != getattr(plain, name)}
        net = {f"net.{name}": value for name, value in self.net_options.items()}
        source = {f"source.{name}": value for name, value in self.source_options.items()}
        return {**flags, **self.fields, **net, **source}

    def words(self) -> list[str]:
        """The command line that trains a run of these settings.

        >>> " ".join(RunSettings.of("maml", "glyphs", {"inner_lr": 0.1}).words())
        'mapwise train maml glyphs --inner-lr 0.1'
        """
        # What the recipe gives anyway need not be given; what it changes must be, where these settings don't.
        recipe = dict(named(LEARNERS, self.learner, "learner").recipe)
        given = {**{name: getattr(self, name) for name in recipe}, **self.given()}
        words = ["mapwise", "train", self.learner, self.source]
        for address, value in given.items():
            if address not in recipe or value != recipe[address]:
                words += words_of(address, value)
        return words

    @property
    def judging_data(self) -> tuple[str, str | None]:
        """Where the tasks come from that judge: the name or path of the source, and the data given to it."""
        return self.test_source or self.source, self.data

    def trained(self, source: TaskSource, classes: str = "") -> "RunSettings":
        """With what the learner must know of these tasks, which it is trained on.

        classes: the digest of the rows of their classes.
        """
        name = source_name(self.source, self.text)
        shape = TaskShape(source.problem.name, inputs_of(source), source.outputs)
        return replace(self, trained_on=TrainedOn(name, self.net or SOURCES[name].net, shape, classes))

    def stamped(self, command: str) -> "RunSettings":
        """With the versions and the command."""
        from mapwise import __version__

        return replace(
            self,
            command=command,
            mapwise=__version__,
            torch=torch.__version__,
            platform=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
            threads=self.threads or torch.get_num_threads(),
        ).identified()

    def identified(self) -> "RunSettings":
        """With the id; the same settings have the same one, wherever their records go."""
        values = {name: value for name, value in self.to_file().items() if name not in (*STAMPS, "track")}
        return replace(self, id=hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16])

    def _entry(self, name: str, key: str) -> Callable[[Any], dict[str, Any]]:
        # TOML has no null.
        return lambda value: {name: {**getattr(self, name), key: "none" if value is None else value}}

    def _option_of(self, whole: str, part: str) -> Setting:
        """An option of the optimizer or the schedule; which there are, torch itself says when it is made."""
        text = getattr(self, whole)
        if text is None:
            raise ValueError(f"{whole}.{part} is an option of the {whole} and there is none: give it with --{whole}")
        name, options = parse(text)
        factory = getattr(PARTED[whole], name, None)
        known = inspect.signature(factory).parameters if inspect.isclass(factory) else {}
        about = known.get(part)
        words = [word for word in text.split() if not word.startswith(f"{part}=")]
        return Setting(
            int if about is not None and _is_whole(about) else Any,
            options.get(part, None if about is None else about.default),
            lambda value: {whole: " ".join([*words, f"{part}={value}"])},
        )


_TYPES = typing.get_type_hints(RunFlags)


def named_source(name: str, text: str | None = None) -> tuple[SourceRow, Path | None]:
    """The row of a source, and the path when the name is one: a path says by itself which source reads it.

    text: the column of texts; None: there are none.

    Raises ValueError for a name that is neither in the catalog nor on the disk.
    """
    row = source_name(name, text)
    return SOURCES[row], None if row == name else Path(name).expanduser()


def source_name(name: str, text: str | None = None) -> str:
    """The name of a source's row: its own, or that of what reads such a path; raises ValueError as `named_source`."""
    path = Path(name).expanduser()
    if name not in SOURCES and path.exists():
        if text is None and is_annotated(path):
            return "conll"
        return "texts" if text is not None else "table" if path.is_file() else "images"
    if name not in SOURCES and (path.suffix or len(path.parts) > 1):
        raise ValueError(f"there is no file or folder {name}: correct the path, or name a source (mapwise list)")
    named(SOURCES, name, "source")
    return name


def _parameter(options: Mapping[str, inspect.Parameter], name: str, owner: str, prefix: str) -> inspect.Parameter:
    if name in options:
        return options[name]
    if not options:
        raise ValueError(f"{owner} has no settings of its own, and {prefix}{name} was given: leave it out")
    near = suggestion(name, options, lambda each: flag(prefix + each))
    raise ValueError(f"{owner} has no option {name!r}: {near}")


def _is_whole(option: inspect.Parameter) -> bool:
    return "int" in str(option.annotation) and "float" not in str(option.annotation)


def words_of(address: str, value: Any) -> list[str]:
    """The flag of a setting, and its value where that follows."""
    if isinstance(value, bool):
        return [flag(address) if value else flag(f"no-{address}")]
    if isinstance(value, (list, tuple)):
        return [flag(address), ",".join(str(part) for part in value)]
    return [flag(address), "none" if value is None else str(value)]
