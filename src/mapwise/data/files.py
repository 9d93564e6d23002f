"""Reads of files that end, atomic writes, and claims that end with the process that made them."""

import contextlib
import errno
import glob
import os
import secrets
import select
import stat
from collections.abc import Callable, Iterable, Iterator
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from mapwise.core.fields import quote

MOST = 1 << 27
"""Bytes of a file that is read whole."""
_SILENCE = 8.0
"""Seconds for which a pipe may give nothing."""
_BLOCK = 1 << 20
STDIN = Path("standard input")
"""This very path is no name of a file: `read_bytes` takes it for standard input."""


def path_of(path: object) -> Path:
    """A path as a user gives it; raises ValueError for what is none."""
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise ValueError(f"the path is {quote(path)}: give the name of a file, or a pathlib.Path")
    return Path(text)


def path_to_read(given: str | Path) -> Path:
    """The path of what a user hands over, where "-" is standard input."""
    return STDIN if str(given) == "-" else Path(os.path.expanduser(given))


def path_to_write(path: object) -> Path:
    """The path of a file to be written.

    Raises ValueError for what is no path, and OSError for a folder, a device, and a name that no file can have.
    """
    place = path_of(path)
    with contextlib.suppress(FileNotFoundError):
        check_file(place)  # a device would be replaced by a file
    return place


def check_file(path: str | Path, *, streams: bool = False) -> None:
    """Raises OSError for what is no file: a folder, a socket, and, unless `streams`, a pipe or a device.

    Opening these may wait for ever, and reading them may never end.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "a folder", str(path))
    if not (stat.S_ISREG(mode) or (streams and (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)))):
        raise OSError(errno.EINVAL, "a pipe, a device or a socket", str(path))


def is_pipe(path: str | Path) -> bool:
    """Whether this is a pipe or a device, such as /dev/stdin and what a shell makes of <(command)."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def read_bytes(path: str | Path, most: int = MOST, *, streams: bool = False) -> bytes:
    """The bytes of a file; with `streams` also of a pipe or a device, up to its end.

    path: of a file, or STDIN, which may be silent for as long as it likes.
    most: so many at most.

    Raises OSError as opening does, for what is no file, for more bytes, and for a pipe that is silent for 8 seconds.
    """
    if path is STDIN:
        with open(0, "rb", closefd=False) as file:  # sys.stdin may be closed, or be another's
            return _whole([file.read(most + 1)], most, str(path))
    check_file(path, streams=streams)
    # A pipe that nothing writes to would otherwise keep `open` waiting.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(handle, "rb", buffering=0) as file:
        return _whole(iter(lambda: _next(file, str(path)), b""), most, str(path))


def _whole(blocks: Iterable[bytes], most: int, name: str) -> bytes:
    parts, size = [], 0
    for block in blocks:
        parts.append(block)
        size += len(block)
        if size > most:
            raise OSError(errno.EFBIG, f"more than {most >> 20} MB", name)
    return b"".join(parts)


def _next(file: FileIO, name: str) -> bytes:
    """The next bytes; b"" at the end."""
    block: bytes | None = None
    while block is None:  # another reader of the pipe was faster
        if os.name == "posix" and not select.select([file], [], [], _SILENCE)[0]:
            raise OSError(errno.ETIMEDOUT, f"nothing came for {_SILENCE:.0f} seconds", name)
        block = file.read(_BLOCK)
    return block


def write_atomically(path: str | Path, writer: Callable[[BinaryIO], object]) -> None:
    """Write a file so that it is there whole or not at all, even after a kill or a power cut.

    Remains of a crashed attempt are removed; the part that another process is writing stays.

    writer: writes to the binary file it is handed. Whatever it raises is passed on, and a file that
            was at `path` before stays as it was.

    Raises ValueError for what is no path, and OSError for a folder or a device, when the disk is full, and when the
    folder can't be written.
    """
    path = path_to_write(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    # Beside its final place, since a rename is atomic on one file system only; opened by name and not
    # through tempfile, whose files no other user of a shared folder could read.
    while not _written(path, path.with_name(f".{path.name}.{secrets.token_hex(6)}.part"), writer):
        pass
    _settle(path.parent)


def _written(path: Path, part: Path, writer: Callable[[BinaryIO], object]) -> bool:
    """Write the part and rename it; False where another process took it for a remain before it had its lock."""
    try:
        with part.open("xb") as file:
            _lock(file, wait=True)
            if not part.exists():
                return False
            writer(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return True


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
            if _lock(file, wait=False):
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
