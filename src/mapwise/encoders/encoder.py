"""What an encoder is: a mapping from raw rows to arrays, which may first look at the rows it will be used on."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, Self, runtime_checkable

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


class Encoder(Protocol):
    """Raw rows to an array; a value, so that looking at rows returns another encoder."""

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
        """Another one gives other arrays."""
        ...

    @property
    def state(self) -> Mapping[str, Any]:
        """What it saw of the rows it was fitted on, JSON-ready or arrays of numbers; {} when that is nothing."""
        ...

    @property
    def usual(self) -> Spread | None:
        """How far rows lie from their class, measured on classes it was not trained on; None where nobody measured."""
        ...

    def with_state(self, state: Mapping[str, Any]) -> Self:
        """The encoder that has seen this; raises ValueError for what no such encoder has."""
        ...

    def fitted(self, rows: Any, weight: np.ndarray) -> Self:
        """The encoder for rows like these, of which each counts as often as its weight, [N], says."""
        ...

    def __call__(self, rows: Any) -> np.ndarray:
        """[N, D], floating-point; raises ValueError for rows it can't read, naming the first."""
        ...


@runtime_checkable
class Costly(Encoder, Protocol):
    """An encoder of texts or pictures that takes so long for a row that what it gave is kept: float32, row by row."""

    def content(self, row: Any, place: int) -> bytes:
        """All that the array of a row depends on, quickly had; raises ValueError for a row it can't read, naming it."""
        ...


@runtime_checkable
class Tunable(Encoder, Protocol):
    """An encoder that labelled rows can move a little, so that their classes lie apart; its state holds by what.

    Such rows can't say how good it is: it saw their labels.
    """

    def tuned(self, rows: Sequence[Any], columns: Int64[np.ndarray, "N"], weight: Float[np.ndarray, "N"]) -> Self:
        """The encoder that was moved, by rows of these classes; raises ValueError where it can't be."""
        ...

    def tuning_seconds(self, rows: Sequence[Any]) -> float:
        """About how long that takes for such rows; raises ValueError where it can't be."""
        ...
