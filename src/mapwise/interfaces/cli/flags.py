"""A flag for every setting: a run's by RunFlags, a learner's, a net's and a source's by the catalog.

Which fields a learner has is known with torch alone, so help shows the run's flags; the catalog's are added before a
command line is read, each by its own name, and `RunSettings` refuses those that its learner doesn't have.
"""

import inspect
import os
import typing
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from mapwise.runs.flags import FLAGS, RunFlags
from mapwise.runs.words import field_meanings, flag, plain_value
from mapwise.workflows.errors import WrongUse

Command = TypeVar("Command", bound=Callable[..., None])

COMMANDS: dict[str, tuple[Callable[..., None], inspect.Signature]] = {}
"""The commands that take settings, by name, with their signatures without the catalog."""

Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A field of the learner, net.NAME or source.NAME, in place of its own flag; may be repeated.",
    ),
]


JUDGING = ("test_ways", "test_shots", "test_queries", "data", "label", "text", "device", "threads")
"""What may be changed of a trained run besides the settings of the catalog: --ways is its test_ways."""


def with_settings(name: str, *, judges: bool = False) -> Callable[[Command], Command]:
    """A command with flags for settings, which it takes as **settings by their addresses.

    judges: it judges trained runs, of which only some settings may be changed.
    """

    def decorated(command: Command) -> Command:
        signature = inspect.signature(command)
        own = [part for part in signature.parameters.values() if part.kind is not part.VAR_KEYWORD]
        flags = [_run_flag(setting, judges) for setting in (JUDGING if judges else FLAGS)]
        COMMANDS[name] = command, signature.replace(parameters=[*own, *flags])
        _sign(command, COMMANDS[name][1])
        return command

    return decorated


def add_catalog(others: Sequence[str] = ()) -> None:
    """Give these commands the flags of all learners, nets and sources, hidden: help with a learner's name shows its.

    others: names of learners and sources that are not the catalog's own, as MODULE:NAME.
    """
    from mapwise.catalog.learners import LEARNERS
    from mapwise.catalog.nets import NETS, net_options
    from mapwise.catalog.sources import SOURCES

    for name in others:
        try:
            LEARNERS[name]  # from now on it is one of those that are listed
        except ValueError:
            with suppress(ValueError):  # said by the command, which knows what the name is for
                SOURCES[name]
    switches = {name: row.types[name] is bool for row in LEARNERS.values() for name in row.fields}
    options = [("net", name, about) for net in NETS for name, about in net_options(net).items()]
    options += [("source", name, about) for row in SOURCES.values() for name, about in row.options.items()]
    switches |= {f"{owner}.{name}": about.annotation is bool for owner, name, about in options}
    flags = [_catalog_flag(address, switch) for address, switch in switches.items()]
    for command, signature in COMMANDS.values():
        _sign(command, signature.replace(parameters=[*signature.parameters.values(), *flags]))


def values_of(settings: Mapping[str, Any], assignments: list[str] | None) -> dict[str, Any]:
    """What a command line gives, by address; raises WrongUse for an assignment that is none."""
    values = {name.replace("__", "."): value for name, value in settings.items() if value is not None}
    for text in assignments or ():
        name, equals, value = text.partition("=")
        if not equals:
            raise WrongUse(f"--set takes NAME=VALUE and {text!r} was given: write --set {text}=VALUE")
        values[name.replace("-", "_")] = value
    for name, value in values.items():
        if isinstance(value, list):
            values[name] = ",".join(value)
        if name in ("data", "init"):
            values[name] = os.path.realpath(Path(value).expanduser())  # a run is read from any folder
    return values


def given_options(ctx: typer.Context) -> list[str]:
    """The parameters that the command line gives a value."""
    return [name for name in ctx.params if (source := ctx.get_parameter_source(name)) and source.name == "COMMANDLINE"]


_TYPES = typing.get_type_hints(RunFlags)
_MEANINGS = field_meanings(RunFlags)


def _run_flag(name: str, judges: bool) -> inspect.Parameter:
    kind, default = _TYPES[name], FLAGS[name].default
    meaning, _, otherwise = _MEANINGS[name].rstrip(".").partition("; None: ")
    shown = "" if default is None or default is False or default == () else f" [{plain_value(default)}]"
    shown = " [as in training]" if judges else f" [{otherwise}]" if otherwise else shown
    text = f"{meaning[0].upper()}{meaning[1:]}.{shown}".replace("[", "\\[")  # no markup of rich's
    many = typing.get_origin(kind) is tuple
    value: Any = next((each for each in (bool, int, float) if kind in (each, each | None)), list[str] if many else str)
    shortened = flag(name.removeprefix("test_") if judges else name)
    return _parameter(name, value, typer.Option(shortened, help=text, show_default=False))


def _catalog_flag(address: str, switch: bool) -> inspect.Parameter:
    names = f"{flag(address)}/{flag(f'no-{address}')}" if switch else flag(address)
    return _parameter(address.replace(".", "__"), bool if switch else str, typer.Option(names, hidden=True))


def _parameter(name: str, kind: Any, option: Any) -> inspect.Parameter:
    annotation = Annotated[kind | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _sign(command: Callable[..., None], signature: inspect.Signature) -> None:
    command.__signature__ = signature  # type: ignore[attr-defined]  # what typer reads
