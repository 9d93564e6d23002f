"""Atomic writes of files, and claims that end with the process that made them."""

import contextlib
import glob
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: str | Path, writer: Callable[[BinaryIO], object]) -> None:
    """Write a file so that it is there whole or not at all, even after a kill or a power cut.

    Remains of a crashed attempt are removed; the part that another process is writing stays.

    writer: writes to the binary file it is handed. Whatever it raises is passed on, and a file that
            was at `path` before stays as it was.

    Raises OSError when the disk is full or the folder can't be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    # Beside its final place, since a rename is atomic on one file system only; opened by name and not
    # through tempfile, whose files no other user of a shared folder could read.
    part = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    try:
        with part.open("xb") as file:
            _lock(file, wait=True)
            writer(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _settle(path.parent)


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Whether this process holds the claim of this name alone, for the time of the block.

    The kernel keeps the claim, not the file, which stays: it ends with the process, however the process ends.
    On systems without such claims every process gets them.
    """
    if os.name != "posix":
        yield True
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        yield _lock(file, wait=False)


def _lock(file: BinaryIO, *, wait: bool) -> bool:
    """Whether this process gets an exclusive lock on an open file, until it closes the file or ends."""
    if os.name != "posix":
        return False
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sweep(path: Path) -> None:
    """Remove what crashed writes of this file left."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.*part"):
        with contextlib.suppress(OSError), part.open("r+b") as file:
            # A process that has just made its part, and has no lock of it yet, has written nothing either.
            if _lock(file, wait=False) and os.fstat(file.fileno()).st_size:
                part.unlink()


def _settle(folder: Path) -> None:
    """Put a new name on the disk: it lies in the folder, which is synced on its own where that is possible."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
