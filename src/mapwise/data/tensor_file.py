"""Tensors and a JSON-ready description in one safetensors file, with a digest that is checked when it is opened."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import safetensors
import safetensors.torch
from torch import Tensor

from mapwise.data.files import check_file, write_atomically

VERSION = 2
"""The version of the file format; the first had no digest."""
DAMAGE = (
    *(safetensors.SafetensorError, KeyError, TypeError, ValueError, AttributeError, RecursionError, MemoryError),
    OSError,
    RuntimeError,  # torch's, for sizes beyond memory
)
"""The errors that a truncated or malicious file may raise when it is read."""

_OPENING = b'{"__metadata__":{"mapwise":"{\\"digest\\": \\"'
_PLACE = slice(8 + len(_OPENING), 8 + len(_OPENING) + 64)
"""The place of the digest: safetensors begins the header, which follows its length, with the metadata."""
_LONGEST = 1 << 24
"""Bytes of a header: as Python's objects they take twenty times as much memory."""
_BLANK = b"0" * 64
"""Stands there while the digest is computed."""


def save_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write tensors and a description to one file, whole or not at all; the same content is the same bytes.

    Raises OSError when the disk is full or the folder can't be written, and ValueError for too long a description.
    """
    words = json.dumps({"digest": _BLANK.decode(), "version": VERSION, **about})
    if 2 * len(words) > _LONGEST:  # which are quoted there
        raise ValueError(
            f"the texts, names of classes and of what the rows came from are too long for a file ({len(words):,} "
            "letters): shorten them, or give fewer texts"
        )
    # cloned: two views of one tensor may not share memory in the file
    whole = {name: leaf.detach().cpu().clone().contiguous() for name, leaf in tensors.items()}
    # One word of metadata: safetensors writes several in any order.
    data = memoryview(safetensors.torch.save(whole, {"mapwise": words}))
    assert data[8 : _PLACE.start] == _OPENING and data[_PLACE] == _BLANK
    parts = data[: _PLACE.start], _digest(data).encode(), data[_PLACE.stop :]
    write_atomically(path, lambda file: file.writelines(parts))


def load_tensors(path: Path, what: str, again: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the description written by `save_tensors`; nothing in the file is executed.

    what:  what the file is, such as "predictor".
    again: what to do when it can't be restored.

    Raises ValueError when the file is missing, truncated, changed since it was written, not mapwise's, or of a later
    version. A file of the first version has no digest, so a change in it may go unnoticed.
    """
    with _refused(path, what, again):
        data, header = _whole(path)
        about = _about(header)
        version, digest = about.pop("version"), about.pop("digest", None)
        # A digest is checked wherever there is one, so that no change of the version hides another.
        if (version > 1 or digest is not None) and not data[_PLACE].decode() == digest == _digest(data):
            raise ValueError("its content isn't what its digest says")
        tensors = safetensors.torch.load(data)
        for name in tensors:
            parts = name.split("/")
            if "" in parts or any("/".join(parts[:end]) in tensors for end in range(1, len(parts))):
                raise ValueError(f"the path {name[:80]!r} is none, or leads through another tensor")
        return tensors, about


def load_about(path: Path, what: str, again: str) -> dict[str, Any]:
    """The description alone: it says what the file claims to be, and only `load_tensors` shows whether that is whole.

    Raises ValueError as `load_tensors` does, but for what the tensors or the digest would show.
    """
    with _refused(path, what, again), _opened(path) as (_, header):
        return _about(header)


@contextlib.contextmanager
def _refused(path: Path, what: str, again: str) -> Iterator[None]:
    """Within, whatever reading a file raises becomes a ValueError that says what to do."""
    try:
        yield
    except _Later as later:
        raise ValueError(
            f"{path} is of format {later} and this mapwise reads up to {VERSION}: upgrade mapwise"
        ) from None
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}: check the path, or {again}") from None
    except DAMAGE as problem:
        raise ValueError(damaged(path, what, problem, again)) from None


def _about(header: Mapping[str, Any]) -> dict[str, Any]:
    """The description in a header; raises an error of `DAMAGE` for what is none."""
    about: dict[str, Any] = json.loads(header["__metadata__"]["mapwise"])
    version = about["version"]
    if type(version) is not int or version < 1:
        raise ValueError(f"its format is {version!r}")
    if version > VERSION:
        raise _Later(version)
    return about


def _whole(path: Path) -> tuple[bytes, dict[str, Any]]:
    """The bytes of a file and its header."""
    with _opened(path) as (file, header):
        file.seek(0)
        return file.read(), header


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, dict[str, Any]]]:
    """A file and its header; raises ValueError for one of another size than that says, before reading the rest."""
    check_file(path)
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _LONGEST:
            raise ValueError(f"its header is of {length:,} bytes")
        header = json.loads(file.read(length))
        offsets = [about["data_offsets"] for name, about in header.items() if name != "__metadata__"]
        ends = [end for _, end in offsets]  # two each, or it is damaged
        size, expected = os.fstat(file.fileno()).st_size, 8 + length + max(ends, default=0)
        if size != expected:
            raise ValueError(f"it is of {size:,} bytes, and its header says {expected:,}")
        yield file, header


def damaged(path: Path, what: str, problem: BaseException | str, again: str) -> str:
    """The error text for a damaged file."""
    reason = " ".join(str(problem).split())[:200] or type(problem).__name__
    reason = f"it has no {reason}" if isinstance(problem, KeyError) else reason
    return f"{path} is no whole {what} ({reason}): restore it, or {again}"


class _Later(Exception):
    """The file is of a later version."""


def _digest(data: bytes | memoryview) -> str:
    """The SHA-256 of a file, its digest left blank."""
    view = memoryview(data)
    sha = hashlib.sha256(view[: _PLACE.start])
    sha.update(_BLANK)
    sha.update(view[_PLACE.stop :])
    return sha.hexdigest()
