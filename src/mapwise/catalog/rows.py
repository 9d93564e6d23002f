"""The rows of the catalog: what stands behind a name, and what follows from it."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mapwise.core.fields import check_text
from mapwise.core.learner import Learner
from mapwise.core.source import TaskSource
from mapwise.core.spelling import suggestion
from mapwise.core.task import Examples
from mapwise.data.rows import LabelledRows
from mapwise.encoders.encoder import Encoder

if TYPE_CHECKING:
    from mapwise.tasks.episodes import Span


@dataclass(frozen=True)
class SourceSettings:
    """What a source is asked for."""

    data: Path | None = None
    ways: "Span" = 5
    shots: "Span" = 1
    queries: int | None = None
    tasks: int = 16
    seed: int = 0
    augment: tuple[str, ...] = ()
    shuffle_labels: bool = False
    device: str = "cpu"
    label: str | None = None
    text: str | None = None
    encoder: str = "words"
    skip_bad: bool = False
    part: str = "train"
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
    factory: Callable[..., TaskSource | LabelledRows | tuple[LabelledRows, LabelledRows | None]] | None = None
    """What makes it, if it has settings of its own: those are its keyword-only parameters."""

    @property
    def options(self) -> dict[str, inspect.Parameter]:
        """The settings of this source alone, by name."""
        return {} if self.factory is None else keyword_only(self.factory)


@dataclass(frozen=True)
class EncoderRow:
    """One encoder of raw rows.

    suits: whether raw rows look like what it is for; of those that do "auto" takes the last where the examples can't
           tell. None: "auto" never takes it.
    only:  whether other rows can't be read, so that "auto" doesn't compare it on them.
    """

    make: Callable[[], Encoder]
    summary: str
    suits: Callable[[Any], bool] | None = None
    only: bool = False

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
    check_text(what, name)
    if name not in table:
        raise ValueError(f"there is no {what} {name!r}: {suggestion(name, table)} ({command} shows all)")
    return table[name]


def keyword_only(make: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters by name: the options of a net, and a source's own settings."""
    return {p.name: p for p in inspect.signature(make).parameters.values() if p.kind is p.KEYWORD_ONLY}
