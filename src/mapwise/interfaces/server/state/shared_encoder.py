"""An encoder that many predictors share, and that takes rows which were encoded already."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self, overload

import numpy as np
from jaxtyping import Float

from mapwise.data.modality import Modality
from mapwise.encoders.encoder import Encoder, Prepares, Spread, cut_rows, description_rows


class EncodedRow(NamedTuple):
    """A raw row as its encoder made it.

    array: [*D].
    cut:   whether the encoder didn't read its end.
    """

    array: np.ndarray
    cut: bool = False


@dataclass(frozen=True, eq=False)
class EncodedRows(Sequence[EncodedRow]):
    """Raw rows as their encoder made them: a sequence of `EncodedRow` in one array.

    array: [N, *D].
    cut:   of each, whether the encoder didn't read its end.
    """

    array: Float[np.ndarray, "N *D"]
    cut: Sequence[bool]

    def __len__(self) -> int:
        return len(self.array)

    @overload
    def __getitem__(self, place: int) -> EncodedRow: ...
    @overload
    def __getitem__(self, place: slice) -> Self: ...
    def __getitem__(self, place: int | slice) -> EncodedRow | Self:
        if isinstance(place, slice):
            return replace(self, array=self.array[place], cut=self.cut[place])
        return EncodedRow(self.array[place], self.cut[place])


@dataclass(frozen=True, eq=False)
class SharedEncoder:
    """An encoder without a state of its own, which all predictors that name it hold.

    state: what the encoder learned.
    inner: encodes raw rows; None where only the facts travelled, as to another process.
    network: the same, where it makes numbers of each row first.
    """

    name: str
    reads: Modality
    version: str
    usual: Spread | None
    state: Mapping[str, Any]
    inner: Encoder | None = None
    network: Prepares | None = None

    @classmethod
    def of(cls, encoder: Encoder) -> "SharedEncoder":
        """The shared form of an encoder."""
        network = encoder if isinstance(encoder, Prepares) else None  # looked up once, since it takes long
        return cls(encoder.name, encoder.reads, encoder.version, encoder.usual, encoder.state, encoder, network)

    @property
    def facts(self) -> "SharedEncoder":
        """What is known of it, without what encodes."""
        return replace(self, inner=None, network=None)

    def with_state(self, state: Mapping[str, Any]) -> Self:
        """Itself."""
        return self

    def fitted(self, rows: Any, weight: np.ndarray) -> Self:
        """Itself."""
        return self

    def __call__(self, rows: Sequence[Any]) -> Float[np.ndarray, "N D"]:
        """[N, D]; raises ValueError for rows that the encoder can't read."""
        if isinstance(rows, EncodedRows):
            return rows.array
        arrays: list[Any] = [row.array if isinstance(row, EncodedRow) else None for row in rows]
        raw = [place for place, array in enumerate(arrays) if array is None]
        if raw:
            assert self.inner is not None
            encoded = self.inner([rows[place] for place in raw])
            if len(raw) == len(rows):
                return encoded
            for place, array in zip(raw, encoded, strict=True):
                arrays[place] = array
        return np.stack(arrays)

    def cut(self, rows: Sequence[Any]) -> list[int]:
        """The places of rows whose end isn't read."""
        raw = [place for place, row in enumerate(rows) if not isinstance(row, EncodedRow)]
        known = [place for place, row in enumerate(rows) if isinstance(row, EncodedRow) and row.cut]
        if not raw or self.inner is None:
            return known
        return sorted([*known, *(raw[place] for place in cut_rows(self.inner, [rows[place] for place in raw]))])

    def described(self, text: str) -> str:
        """A sentence about a class as a row that the encoder reads."""
        return text if self.inner is None else description_rows(self.inner, [text])[0]
