"""Encoders: mappings from raw rows to arrays, which may first be fitted to the rows they will be used on."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
from jaxtyping import Float, Int64

from mapwise.data.modality import Modality


class Spread(NamedTuple):
    """How far rows lie from their own class where that was measured before: moments of the novelty's logarithm.

    mean, sd: of classes that whatever encodes the rows was not trained on.
    rows: as how many of the support's own rows it counts.
    """

    mean: float
    sd: float
    rows: float = 10.0


@runtime_checkable
class Encoder(Protocol):
    """A mapping from raw rows to an array; a value, so that fitting returns another encoder."""

    @property
    def name(self) -> str:
        """What it is called in the catalog."""
        ...

    @property
    def reads(self) -> Modality:
        """What its rows are."""
        ...

    @property
    def version(self) -> str:
        """The version; encoders of another version give other arrays."""
        ...

    @property
    def state(self) -> Mapping[str, Any]:
        """What it learned from the rows it was fitted on, JSON-ready or arrays of numbers; {} if nothing."""
        ...

    @property
    def usual(self) -> Spread | None:
        """The usual distance of rows from their class, on classes it was not trained on; None if not measured."""
        ...

    def with_state(self, state: Mapping[str, Any]) -> Self:
        """The encoder restored from its state; raises ValueError for an invalid state."""
        ...

    def fitted(self, rows: Any, weight: np.ndarray) -> Self:
        """The encoder fitted to these rows, each counted as often as its weight, [N]."""
        ...

    def __call__(self, rows: Any) -> np.ndarray:
        """[N, D], floating-point; raises ValueError for rows it can't read, naming the first."""
        ...


class Frozen:
    """What encoders share that learn nothing from the rows they will be used on."""

    state: ClassVar[Mapping[str, Any]] = {}
    """Nothing."""

    def with_state(self, state: Mapping[str, Any]) -> Self:
        """Itself."""
        return self

    def fitted(self, rows: Any, weight: np.ndarray) -> Self:
        """Itself."""
        return self


@runtime_checkable
class Costly(Encoder, Protocol):
    """An encoder of texts or pictures so slow that its outputs are cached: float32, row by row."""

    def content(self, row: Any, place: int) -> bytes:
        """The bytes that decide a row's array, without encoding; raises ValueError for an unreadable row, naming it."""
        ...


@runtime_checkable
class Truncates(Encoder, Protocol):
    """An encoder that reads a long row to some bound, and nothing behind it."""

    def cut(self, rows: Sequence[Any]) -> list[int]:
        """The places of rows whose end isn't read; raises ValueError for rows it can't read."""
        ...


@runtime_checkable
class Describes(Encoder, Protocol):
    """An encoder of texts whose rows aren't plain sentences, and that makes a row of a sentence about a class."""

    def described(self, text: str) -> str:
        """The row that says what the sentence does."""
        ...


@runtime_checkable
class Prepares(Encoder, Protocol):
    """An encoder that makes numbers of each row by itself, and then applies a network to many of them."""

    @property
    def rows(self) -> Encoder:
        """Raw rows -> the numbers that the network reads, [N, *input]."""
        ...

    @property
    def near(self) -> int:
        """The pixels a side that pictures are shrunk to, as for `data.pictures.picture`; 1 for other rows."""
        ...

    def features(self, x: Float[np.ndarray, "N *input"]) -> Float[np.ndarray, "N D"]:
        """What the network makes of these numbers."""
        ...


@runtime_checkable
class Packaged(Encoder, Protocol):
    """An encoder whose model comes as a package of its own."""

    @property
    def extra(self) -> str:
        """The extra of mapwise that installs what it needs."""
        ...

    @property
    def installed(self) -> bool:
        """Whether what it needs is there."""
        ...


def cut_rows(encoder: Encoder, rows: Any) -> list[int]:
    """The places of raw rows whose end the encoder doesn't read; raises ValueError for rows it can't read."""
    return encoder.cut(rows) if isinstance(encoder, Truncates) else []


def description_rows(encoder: Encoder, texts: Sequence[str]) -> list[str]:
    """Sentences about classes, such as their names, as rows that the encoder reads."""
    return [encoder.described(text) for text in texts] if isinstance(encoder, Describes) else list(texts)


@runtime_checkable
class Tunable(Encoder, Protocol):
    """An encoder that can be tuned on labelled rows to separate their classes; its state holds the changes.

    These rows can't be used to evaluate it, since it has seen their labels.
    """

    def tuned(self, rows: Sequence[Any], columns: Int64[np.ndarray, "N"], weight: Float[np.ndarray, "N"]) -> Self:
        """The encoder tuned on rows of these classes; raises ValueError where it can't be tuned."""
        ...

    def tuning_seconds(self, rows: Sequence[Any]) -> float:
        """About how many seconds tuning takes for such rows; raises ValueError where it can't be tuned."""
        ...
