"""A cache on disk for a slow encoder: a row that was encoded before isn't encoded again."""

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import numpy as np
from jaxtyping import Float, Int64

from mapwise.data.modality import Modality
from mapwise.encoders.encoder import Costly, Spread, Truncates, Tunable, description_rows

if TYPE_CHECKING:
    from sqlite3 import Connection

MOST = 1 << 30
"""Bytes of a file; where it holds more, the oldest quarter goes."""
_ROWS = 64
"""Rows that are looked up, encoded and kept at a time: after a stop these are lost, and no others."""
_PATIENCE = 0.5
"""Seconds that another process may be writing for; without the cache a row is encoded anew, which a fit can bear."""


@dataclass(frozen=True)
class Cached:
    """An encoder whose arrays are cached by its version and the content of a row.

    encoder: texts or pictures -> [N, D], float32.
    file:    an SQLite file, which may be deleted at any time. Several processes may use it at once.

    The file never raises an error. Where it can't be read or written, every row is encoded; an array with a wrong
    checksum is computed again, and a damaged file is replaced.
    """

    encoder: Costly
    file: Path

    @property
    def name(self) -> str:
        """What the encoder is called."""
        return self.encoder.name

    @property
    def reads(self) -> Modality:
        """What its rows are."""
        return self.encoder.reads

    @property
    def version(self) -> str:
        """That of the encoder: keeping changes no array."""
        return self.encoder.version

    @property
    def state(self) -> Mapping[str, Any]:
        """What the encoder saw."""
        return self.encoder.state

    @property
    def usual(self) -> Spread | None:
        """How far rows of the encoder lie from their class."""
        return self.encoder.usual

    def with_state(self, state: Mapping[str, Any]) -> Self:
        """The encoder that has seen this, kept in the same file."""
        return replace(self, encoder=self.encoder.with_state(state))

    def fitted(self, rows: Sequence[Any], weight: np.ndarray) -> Self:
        """The encoder for rows like these, kept in the same file."""
        return replace(self, encoder=self.encoder.fitted(rows, weight))

    def content(self, row: Any, place: int) -> bytes:
        """What decides a row's array; raises ValueError as the encoder does."""
        return self.encoder.content(row, place)

    def __call__(self, rows: Sequence[Any]) -> Float[np.ndarray, "N D"]:
        """[N, D], float32; raises ValueError as the encoder does."""
        return self._looked_up(rows, "", self.encoder)

    def cut(self, rows: Sequence[Any]) -> list[int]:
        """The places of rows whose end the encoder doesn't read; raises ValueError as the encoder does."""
        encoder = self.encoder
        if not isinstance(encoder, Truncates) or not len(rows):
            return []

        def flags(block: Sequence[Any]) -> Float[np.ndarray, "N 1"]:
            return np.isin(np.arange(len(block)), encoder.cut(block)).astype(np.float32)[:, None]

        return np.flatnonzero(self._looked_up(rows, "cut", flags)).tolist()

    def described(self, text: str) -> str:
        """A sentence about a class as a row that the encoder reads."""
        return description_rows(self.encoder, [text])[0]

    def _looked_up(
        self, rows: Sequence[Any], what: str, compute: Callable[[Sequence[Any]], np.ndarray]
    ) -> Float[np.ndarray, "N D"]:
        """What was computed of each row before, under this name, and else is now."""
        about = [self.encoder.version, self.encoder.state, *([what] if what else [])]
        head = json.dumps(about, sort_keys=True, default=_digest).encode()
        parts = []
        # Rows are gone through once and a few at a time, so that whoever watches them sees the work.
        numbered = iter(enumerate(rows))
        with _Store(self.file) as store:
            while block := [(row, _key(head, self.encoder.content(row, i))) for i, row in islice(numbered, _ROWS)]:
                known = store.get({key for _, key in block})
                new = {key: row for row, key in block if key not in known}
                if new:
                    arrays = dict(zip(new, compute(list(new.values())), strict=True))
                    store.put(arrays)
                    known |= arrays
                parts.append(np.stack([known[key] for _, key in block]))
        return np.concatenate(parts)


@runtime_checkable
class CostlyTunable(Costly, Tunable, Protocol):
    """What takes long for a row, and can be tuned."""


@dataclass(frozen=True)
class CachedTunable(Cached):
    """An encoder that can be tuned, kept likewise: what it gives when it was tuned has keys of its own."""

    encoder: CostlyTunable

    def tuned(self, rows: Sequence[Any], columns: Int64[np.ndarray, "N"], weight: Float[np.ndarray, "N"]) -> Self:
        """The encoder that these rows moved, kept in the same file; raises ValueError as the encoder does."""
        return replace(self, encoder=self.encoder.tuned(rows, columns, weight))

    def tuning_seconds(self, rows: Sequence[Any]) -> float:
        """About how long that takes; raises ValueError as the encoder does."""
        return self.encoder.tuning_seconds(rows)


def cache_in(encoder: Costly, file: Path) -> Cached:
    """The encoder with its arrays kept in this file, which can be tuned where it can."""
    return CachedTunable(encoder, file) if isinstance(encoder, CostlyTunable) else Cached(encoder, file)


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(f"{array.dtype} {array.shape} ".encode() + np.ascontiguousarray(array).tobytes()).hexdigest()


def _key(head: bytes, content: bytes) -> bytes:
    return hashlib.sha256(head + b"\0" + content).digest()


def _whole(array: object, total: object) -> bool:
    return isinstance(array, bytes) and zlib.crc32(array) == total


class _Store:
    """Arrays by key in one file; without it, an empty one that takes nothing."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.link: Connection | None = None

    def __enter__(self) -> Self:
        # A Python may be built without SQLite.
        with suppress(ImportError, OSError):
            import sqlite3

            self.file.parent.mkdir(parents=True, exist_ok=True)
            self.file.touch(0o600)  # of embeddings something of the rows can be guessed: they are their owner's
            try:
                self.link = sqlite3.connect(self.file, timeout=_PATIENCE)
                self.link.execute("PRAGMA synchronous = NORMAL")
                with self.link:
                    self.link.execute(
                        "CREATE TABLE IF NOT EXISTS arrays (place INTEGER PRIMARY KEY, key BLOB UNIQUE, sum INTEGER, "
                        "array BLOB)"
                    )
            except sqlite3.Error as problem:
                self._go_without(problem)
        return self

    def __exit__(self, *_: object) -> None:
        if self.link is not None:
            self.link.close()

    def get(self, keys: Iterable[bytes]) -> dict[bytes, Float[np.ndarray, "D"]]:
        """The arrays that are there and whole."""
        if self.link is None:
            return {}
        import sqlite3

        wanted = list(keys)
        marks = ", ".join("?" * len(wanted))
        try:
            rows = self.link.execute(f"SELECT key, sum, array FROM arrays WHERE key IN ({marks})", wanted).fetchall()
        except sqlite3.Error as problem:
            self._go_without(problem)
            return {}
        return {key: np.frombuffer(array, "<f4") for key, total, array in rows if _whole(array, total)}

    def put(self, arrays: Mapping[bytes, Float[np.ndarray, "D"]]) -> None:
        """Store these too, and drop the oldest where that makes too many."""
        if self.link is None:
            return
        import sqlite3

        whole = [(key, np.ascontiguousarray(array, "<f4").tobytes()) for key, array in arrays.items()]
        try:
            with self.link:
                self.link.executemany(
                    "INSERT OR REPLACE INTO arrays (key, sum, array) VALUES (?, ?, ?)",
                    [(key, zlib.crc32(array), array) for key, array in whole],
                )
                if self._size() > MOST:
                    self.link.execute(
                        "DELETE FROM arrays WHERE place <= (SELECT place FROM arrays ORDER BY place "
                        "LIMIT 1 OFFSET (SELECT count(*) / 4 FROM arrays))"
                    )
        except sqlite3.Error as problem:
            self._go_without(problem)

    def _size(self) -> int:
        """Bytes in use; freed pages are filled again before the file grows."""
        assert self.link is not None
        pages, free, size = (
            self.link.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def _go_without(self, problem: Exception) -> None:
        import sqlite3

        if self.link is not None:
            self.link.close()
        self.link = None
        # An operational error is a full disk, or another process that writes for long; any other, a damaged file.
        if not isinstance(problem, sqlite3.OperationalError):
            with suppress(OSError):
                self.file.unlink(missing_ok=True)
