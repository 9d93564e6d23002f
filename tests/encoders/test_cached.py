"""What a costly encoder gave is found again, and nothing about the file it lies in is an error."""

import hashlib
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from mapwise.encoders import cached
from mapwise.encoders.cached import Cached
from mapwise.encoders.encoder import Costly


@dataclass(frozen=True)
class Slow:
    """Texts as 8 numbers made of their bytes; it remembers what it was asked."""

    version: str = "1"
    name: str = "slow"
    reads: str = "texts"
    state: dict = field(default_factory=dict)
    usual: None = None
    requests: list = field(default_factory=list)

    def with_state(self, state):
        return replace(self, state=dict(state))

    def fitted(self, rows, weight):
        return self

    def content(self, row, place):
        if not row:
            raise ValueError(f"the text of row {place} is empty")
        return row.encode()

    def __call__(self, rows):
        self.requests.extend(rows)
        return np.stack([self.compute(row) for row in rows])

    def compute(self, row):
        digest = hashlib.sha256(f"{self.version} {self.state} {row}".encode()).digest()
        return np.frombuffer(digest[:8], np.uint8).astype(np.float32)


class Short(Slow):
    """It reads 7 characters of a text."""

    def cut(self, rows):
        self.requests.extend(rows)
        return [place for place, row in enumerate(rows) if len(row) > 7]


ROWS = [f"text {i}" for i in range(150)]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "cache" / "embeddings.sqlite3"


def expected(encoder, rows):
    return np.stack([encoder.compute(row) for row in rows])


def test_a_row_is_encoded_once_whoever_asks(file):
    first = Cached(Slow(), file)
    twice = [*ROWS, *reversed(ROWS)]
    np.testing.assert_array_equal(first(twice), expected(first.encoder, twice))
    assert sorted(first.encoder.requests) == sorted(set(ROWS))
    later = Cached(Slow(), file)
    result = later([*ROWS[::7], "new"])
    np.testing.assert_array_equal(result, expected(later.encoder, [*ROWS[::7], "new"]))
    assert result.dtype == np.float32
    assert later.encoder.requests == ["new"]


def test_whether_a_row_is_cut_is_looked_up_too_and_apart_from_its_array(file):
    first = Cached(Short(), file)
    np.testing.assert_array_equal(first(ROWS), expected(first.encoder, ROWS))
    assert first.cut(ROWS) == [place for place, row in enumerate(ROWS) if len(row) > 7] != []
    assert first.encoder.requests == [*ROWS, *ROWS]
    later = Cached(Short(), file)
    np.testing.assert_array_equal(later(ROWS), expected(later.encoder, ROWS))
    assert later.cut(ROWS[::-1]) == [place for place, row in enumerate(ROWS[::-1]) if len(row) > 7]
    assert later.encoder.requests == []
    assert Cached(Slow(), file).cut(ROWS) == []
    assert later.cut([]) == []  # a class known by its name alone


def test_another_version_and_another_state_are_other_encoders(file):
    for encoder in (Slow(), Slow(version="2"), Slow().with_state({"seen": 3})):
        result = Cached(encoder, file)
        np.testing.assert_array_equal(result(ROWS[:3]), expected(encoder, ROWS[:3]))
        assert encoder.requests == ROWS[:3]
        assert (result.name, result.version, result.state) == (encoder.name, encoder.version, encoder.state)
        again = result.fitted(ROWS, np.ones(len(ROWS))).with_state(encoder.state)
        np.testing.assert_array_equal(again(ROWS[:3]), expected(encoder, ROWS[:3]))
        assert encoder.requests == ROWS[:3]


def test_the_file_is_for_its_owner_alone(file):
    Cached(Slow(), file)(ROWS[:3])
    assert file.stat().st_mode & 0o077 == 0


def test_rows_are_gone_through_once_and_a_few_at_a_time(file):
    """Whoever watches them sees the work, and what was done before a stop is kept."""
    encoder = Slow()
    passed = []

    def rows():
        for row in ROWS:
            passed.append((row, len(encoder.requests)))
            yield row
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Cached(encoder, file)(rows())
    assert [row for row, _ in passed] == ROWS
    assert passed[-1][1] >= 100
    later = Slow()
    Cached(later, file)(ROWS)
    assert len(later.requests) == len(ROWS) - len(encoder.requests)


def test_a_bad_row_is_named_by_its_place_among_all(file):
    Cached(Slow(), file)(ROWS[:50])
    with pytest.raises(ValueError, match="row 130 is empty"):
        Cached(Slow(), file)([*ROWS[:130], "", *ROWS[130:]])


@pytest.mark.parametrize(
    "damage", ["an array", "its sum", "another type", "the file", "half the file", "another table"]
)
def test_what_is_damaged_is_made_again(file, damage):
    Cached(Slow(), file)(ROWS)
    if damage == "the file":
        file.write_bytes(b"no database at all" * 100)
    elif damage == "half the file":
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2])
    else:
        change = {
            "an array": "UPDATE arrays SET array = zeroblob(32)",
            "its sum": "UPDATE arrays SET sum = sum + 1",
            "another type": "UPDATE arrays SET array = 'text'",
            "another table": "ALTER TABLE arrays RENAME COLUMN sum TO total",
        }[damage]
        link = sqlite3.connect(file)
        with link:
            link.execute(change)
        link.close()
    encoder = Slow()
    np.testing.assert_array_equal(Cached(encoder, file)(ROWS), expected(encoder, ROWS))
    assert set(encoder.requests) == set(ROWS)
    again = Slow()
    np.testing.assert_array_equal(Cached(again, file)(ROWS), expected(again, ROWS))
    if damage == "another table":  # of another program: it is left alone
        assert again.requests == ROWS
    else:
        Cached(last := Slow(), file)(ROWS)
        assert last.requests == []


@pytest.mark.parametrize("hindrance", ["a file above", "a folder in its place", "no SQLite", "a writer for long"])
def test_without_the_file_every_row_is_encoded(file, hindrance, monkeypatch):
    link = None
    if hindrance == "a file above":
        file.parent.write_text("")
    elif hindrance == "a folder in its place":
        file.mkdir(parents=True)
    elif hindrance == "no SQLite":
        monkeypatch.setitem(sys.modules, "sqlite3", None)
    else:
        Cached(Slow(), file)(["other"])
        monkeypatch.setattr(cached, "_PATIENCE", 0.01)
        link = sqlite3.connect(file)
        link.execute("BEGIN EXCLUSIVE")
    encoder = Slow()
    np.testing.assert_array_equal(Cached(encoder, file)(ROWS), expected(encoder, ROWS))
    assert encoder.requests == ROWS
    if link is not None:
        link.close()
        Cached(later := Slow(), file)(["other"])
        assert later.requests == []  # a busy file is not a damaged one


def test_a_full_file_lets_go_of_the_oldest(file, monkeypatch):
    monkeypatch.setattr(cached, "MOST", 60_000)
    many = [f"{i} of many" for i in range(2000)]
    result = Cached(Slow(), file)(many)
    np.testing.assert_array_equal(result, expected(Slow(), many))
    assert file.stat().st_size < 100_000
    Cached(later := Slow(), file)(many[-100:])
    assert later.requests == []
    Cached(oldest := Slow(), file)(many[:100])
    assert oldest.requests == many[:100]


def test_a_locked_file_is_not_waited_for_long(file):
    Cached(Slow(), file)(["one"])
    with closing(sqlite3.connect(file)) as link:
        link.execute("BEGIN EXCLUSIVE")
        start = time.monotonic()
        for _ in range(2):  # a fit looks for its rows twice
            np.testing.assert_array_equal(Cached(Slow(), file)(["one", "two"]), expected(Slow(), ["one", "two"]))
        assert time.monotonic() - start < 4


def test_two_processes_write_at_once(file):
    code = (
        "import sys; from pathlib import Path; from test_cached import Cached, Slow, expected; import numpy as np\n"
        "rows = [f'text {i}' for i in range(int(sys.argv[2]), int(sys.argv[3]))]\n"
        "for _ in range(3): assert (Cached(Slow(), Path(sys.argv[1]))(rows) == expected(Slow(), rows)).all()\n"
    )
    here = str(Path(__file__).parent)
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(file), str(first), str(first + 1500)], cwd=here)
        for first in (0, 500)
    ]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    Cached(later := Slow(), file)([f"text {i}" for i in range(2000)])
    assert later.requests == []


def test_any_costly_encoder_of_the_catalog_is_kept_and_no_other(tmp_path, monkeypatch):
    # Here, so that the writers above start quickly.
    from mapwise.catalog.encoders import ENCODERS, FAMILIES, encoder_named

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(ENCODERS, "slow", Slow)
    monkeypatch.setitem(FAMILIES, "family", lambda name, fetch: Slow(version=f"{name} {fetch}"))
    for name, version in (("slow", "1"), ("family:any:name", "any:name False")):
        result = encoder_named(name, fetch=False)
        assert isinstance(result, Cached) and result.version == version
        assert result.file.is_relative_to(tmp_path)
    assert isinstance(Slow(), Costly)
    for name in ("table", "text-hash", "words", "drawings"):
        assert not isinstance(encoder_named(name, fetch=False), Cached)
