"""The folder: an SQLite file with every predictor, its examples and its last versions, and the files of uploads.

A change is one transaction, which is on the disk before it is acknowledged. Which examples a version has is kept as
spans of versions, so that a change costs what it changes, and an undo is another change.
"""

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mapwise.interfaces.server.state.changes import NewExample, Step
from mapwise.interfaces.server.state.live import Draft

FILE = "index.sqlite3"
FORMAT = 1
_SCHEMA = """
CREATE TABLE predictors (id TEXT PRIMARY KEY, name TEXT, version INTEGER, next_example INTEGER, created REAL,
    updated REAL);
CREATE TABLE versions (predictor TEXT, version INTEGER, parent INTEGER, draft TEXT, classes INTEGER, examples INTEGER,
    temperature REAL,    PRIMARY KEY (predictor, version)) WITHOUT ROWID;
CREATE TABLE examples (place INTEGER PRIMARY KEY, predictor TEXT, number INTEGER, shown BLOB, source TEXT, dtype TEXT,
    shape TEXT, array BLOB, digest INTEGER, weight REAL, UNIQUE (predictor, number));
CREATE TABLE members (place INTEGER PRIMARY KEY, predictor TEXT, number INTEGER, class INTEGER, since INTEGER,
    until INTEGER);
CREATE INDEX members_of ON members (predictor, number, until);
CREATE INDEX members_gone ON members (predictor, until) WHERE until IS NOT NULL;
CREATE TABLE evidence (predictor TEXT PRIMARY KEY, version INTEGER, content TEXT);
CREATE TABLE replies (key TEXT PRIMARY KEY, fingerprint TEXT, status INTEGER, headers TEXT, body BLOB, created REAL);
CREATE INDEX replies_by_age ON replies (created);
"""


@dataclass(frozen=True)
class Reply:
    """An answer that was given to a write."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, eq=False)
class Row:
    """An example of a version, with its encoded row."""

    number: int
    class_number: int
    source: str
    array: np.ndarray
    digest: int
    weight: float


@dataclass(frozen=True, eq=False)
class StoredPredictor:
    """What is kept of a predictor's version."""

    id: str
    version: int
    parent: int
    draft: Draft
    next_example: int
    rows: Sequence[Row]
    created: float
    updated: float
    temperature: float | None = None
    evidence: str = ""


@dataclass(frozen=True)
class Listed:
    """A predictor in a list."""

    id: str
    name: str
    version: int
    classes: int
    examples: int
    modality: str
    created: float
    updated: float


class Store:
    """The folder of one server; used by one thread at a time."""

    def __init__(self, folder: Path, history: int):
        self.folder, self.history = folder, history
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.files = folder / "files"
        self.files.mkdir(exist_ok=True, mode=0o700)
        self.link = sqlite3.connect(folder / FILE, isolation_level=None, check_same_thread=False, timeout=5)
        os.chmod(folder / FILE, 0o600)
        self.link.execute("PRAGMA journal_mode = WAL")
        self.link.execute("PRAGMA synchronous = FULL")  # a change is on the disk before it is acknowledged
        self.link.execute("PRAGMA journal_size_limit = 16777216")
        edition = self.link.execute("PRAGMA user_version").fetchone()[0]
        if not edition:
            self.link.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")
        elif edition != FORMAT:
            raise ValueError(f"{folder} is of format {edition} and this mapwise reads {FORMAT}: take the same mapwise")

    def close(self) -> None:
        """Close the file; a later server opens it as it is."""
        self.link.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self.link.execute("BEGIN IMMEDIATE")
        try:
            yield self.link
            self.link.execute("COMMIT")
        except BaseException:
            if self.link.in_transaction:  # a full disk may have ended it
                self.link.execute("ROLLBACK")
            raise

    def commit(self, change: Step, key: str = "", fingerprint: str = "", reply: Reply | None = None) -> None:
        """Keep a new version, and the answer to its request, whole or not at all.

        Raises sqlite3.Error and OSError where the disk takes no more.
        """
        live, now = change.live, time.time()
        with self._transaction() as link:
            link.execute(
                "INSERT INTO predictors VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET name = excluded.name, "
                "version = excluded.version, next_example = excluded.next_example, updated = excluded.updated",
                (live.id, live.draft.name, live.version, live.next_example, live.created or now, now),
            )
            link.execute(
                "INSERT OR REPLACE INTO versions VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    *(live.id, live.version, live.parent, json.dumps(live.draft.to_json(), ensure_ascii=False)),
                    *(len(live.draft.classes), len(live.examples), live.temperature),
                ),
            )
            link.executemany(
                "UPDATE members SET until = ? WHERE predictor = ? AND number = ? AND until IS NULL",
                [(live.version, live.id, number) for number in change.closed],
            )
            link.executemany(
                "INSERT INTO examples (predictor, number, shown, source, dtype, shape, array, digest, weight) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(live.id, *_example(one)) for one in change.added],
            )
            opened = [*((one.number, one.class_number) for one in change.added), *change.opened]
            link.executemany(
                "INSERT INTO members (predictor, number, class, since) VALUES (?, ?, ?, ?)",
                [(live.id, number, class_number, live.version) for number, class_number in opened],
            )
            self._forget_old(link, live.id, live.version - self.history)
            self._keep_reply(link, key, fingerprint, reply)

    def _forget_old(self, link: sqlite3.Connection, id: str, oldest: int) -> None:
        """Drop versions before the oldest, and examples that no later one has."""
        if oldest <= 0:
            return
        link.execute("DELETE FROM versions WHERE predictor = ? AND version < ?", (id, oldest))
        gone = link.execute("DELETE FROM members WHERE predictor = ? AND until <= ? RETURNING number", (id, oldest))
        for (number,) in gone.fetchall():
            link.execute(
                "DELETE FROM examples WHERE predictor = ? AND number = ? AND NOT EXISTS "
                "(SELECT 1 FROM members WHERE predictor = ? AND number = ?)",
                (id, number, id, number),
            )

    def _keep_reply(self, link: sqlite3.Connection, key: str, fingerprint: str, reply: Reply | None) -> None:
        if key and reply is not None:
            link.execute(
                "INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?, ?)",
                (key, fingerprint, reply.status, json.dumps(reply.headers), reply.body, time.time()),
            )

    def reply(self, key: str, seconds: float) -> tuple[str, Reply] | None:
        """The fingerprint of the request with this key, and its answer; None where there was none."""
        self.link.execute("DELETE FROM replies WHERE created < ?", (time.time() - seconds,))
        row = self.link.execute(
            "SELECT fingerprint, status, headers, body FROM replies WHERE key = ?", (key,)
        ).fetchone()
        return None if row is None else (row[0], Reply(row[1], json.loads(row[2]), row[3]))

    def remove(self, id: str, key: str, fingerprint: str, reply: Reply) -> None:
        """Remove a predictor and all its versions."""
        with self._transaction() as link:
            for table in ("versions", "examples", "members", "evidence"):
                link.execute(f"DELETE FROM {table} WHERE predictor = ?", (id,))
            link.execute("DELETE FROM predictors WHERE id = ?", (id,))
            self._keep_reply(link, key, fingerprint, reply)

    def record(self, id: str, version: int | None = None) -> StoredPredictor | None:
        """A predictor, at its version or an earlier one; None for one that isn't there."""
        row = self.link.execute(
            "SELECT version, next_example, created, updated FROM predictors WHERE id = ?", (id,)
        ).fetchone()
        if row is None:
            return None
        wanted = row[0] if version is None else version
        version_row = self.link.execute(
            "SELECT parent, draft, temperature FROM versions WHERE predictor = ? AND version = ?", (id, wanted)
        ).fetchone()
        if version_row is None:
            return None
        rows = self.link.execute(
            "SELECT m.number, m.class, e.source, e.dtype, e.shape, e.array, e.digest, e.weight FROM members m "
            "JOIN examples e ON e.predictor = m.predictor AND e.number = m.number WHERE m.predictor = ? "
            "AND m.since <= ? AND (m.until IS NULL OR m.until > ?) ORDER BY m.number",
            (id, wanted, wanted),
        ).fetchall()
        evidence = self.link.execute(
            "SELECT content FROM evidence WHERE predictor = ? AND version = ?", (id, wanted)
        ).fetchone()
        draft = Draft.of_json(json.loads(version_row[1]))
        return StoredPredictor(
            *(id, row[0], version_row[0], draft, row[1], [_row(*one) for one in rows], row[2], row[3]),
            temperature=version_row[2],
            evidence=evidence[0] if evidence else "",
        )

    def members(self, id: str, version: int) -> dict[int, int]:
        """Number -> class number of the examples of a version."""
        return dict(
            self.link.execute(
                "SELECT number, class FROM members WHERE predictor = ? AND since <= ? AND (until IS NULL OR until > ?)",
                (id, version, version),
            ).fetchall()
        )

    def keep_evidence(self, id: str, version: int, content: str) -> None:
        """Keep what was computed of a version; it can be computed again."""
        with self._transaction() as link:
            link.execute("INSERT OR REPLACE INTO evidence VALUES (?, ?, ?)", (id, version, content))

    def listed(self, after: str, count: int) -> list[Listed]:
        """The next predictors, by their id."""
        rows = self.link.execute(
            "SELECT p.id, p.name, p.version, v.classes, v.examples, json_extract(v.draft, '$.modality'), p.created, "
            "p.updated FROM predictors p JOIN versions v ON v.predictor = p.id AND v.version = p.version "
            "WHERE p.id > ? ORDER BY p.id LIMIT ?",
            (after, count),
        ).fetchall()
        return [Listed(*row) for row in rows]

    def count(self) -> int:
        """How many predictors there are."""
        return int(self.link.execute("SELECT count(*) FROM predictors").fetchone()[0])

    def contents(self, id: str, numbers: Sequence[int]) -> dict[int, tuple[bytes, str]]:
        """What people see of these examples, and where each came from."""
        marks = ", ".join("?" * len(numbers))
        rows = self.link.execute(
            f"SELECT number, shown, source FROM examples WHERE predictor = ? AND number IN ({marks})", (id, *numbers)
        ).fetchall()
        return {number: (shown, source) for number, shown, source in rows}

    def size(self) -> int:
        """Bytes of the folder."""
        return sum(path.stat().st_size for path in (*self.folder.glob(f"{FILE}*"), *self.files.iterdir()))

    def sweep(self) -> None:
        """Remove files of uploads that no predictor names."""
        named = {
            row[0]
            for row in self.link.execute("SELECT DISTINCT json_extract(draft, '$.base') FROM versions").fetchall()
        }
        for path in self.files.iterdir():
            if path.name not in named:
                path.unlink(missing_ok=True)


def _example(one: NewExample) -> tuple[Any, ...]:
    array = np.ascontiguousarray(one.array)
    shape = json.dumps(array.shape)
    return (one.number, one.shown, one.source, array.dtype.str, shape, array.tobytes(), one.digest, one.weight)


def _row(
    number: int, class_number: int, source: str, dtype: str, shape: str, array: bytes, digest: int, weight: float
) -> Row:
    values = np.frombuffer(array, np.dtype(dtype)).reshape(json.loads(shape))
    return Row(number, class_number, source, values, digest, weight)


Task = Callable[[Store], Any]
"""What is done with a store."""
