"""Where data lies: the data root, the cache folder, downloads with a checksum, and whole-or-nothing writes."""

import hashlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from mapwise.data.files import write_atomically

BLOCK = 1 << 18


def cache_folder() -> Path:
    """The folder for what can be made again: `mapwise` inside the user's cache folder.

    XDG_CACHE_HOME where it is set, otherwise ~/.cache, ~/Library/Caches on macOS and LOCALAPPDATA on
    Windows. The folder need not exist yet.
    """
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(chosen):  # a relative one is to be ignored, says the XDG specification
        parent = Path(chosen)
    elif sys.platform == "darwin":
        parent = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        parent = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        parent = Path.home() / ".cache"
    return parent / "mapwise"


def data_root(data: str | Path | None = None) -> Path:
    """The folder that holds one folder per data set: `data`, else MAPWISE_DATA, else `data` in the cache folder.

    Raises ValueError when it is a file.
    """
    given = data if data else os.environ.get("MAPWISE_DATA")
    root = Path(given).expanduser() if given else cache_folder() / "data"
    if root.exists() and not root.is_dir():
        raise ValueError(f"the data root {root} is a file: give the folder that holds one folder per data set")
    return root


@dataclass(frozen=True)
class Remote:
    """A file of a data set at its official address.

    name:    its path inside the data set's folder, with forward slashes.
    address: http or https.
    sha256, md5: the published checksum, in hexadecimal; at least one of them.
    size:    bytes, where it was published.
    """

    name: str
    address: str
    sha256: str | None = None
    md5: str | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        if urlsplit(self.address).scheme not in ("http", "https"):
            raise ValueError(f"{self.name} has the address {self.address}: only http and https are fetched")
        if not (self.sha256 or self.md5):
            raise ValueError(f"{self.name} has no checksum: give its sha256 or its md5, so that a bad copy is noticed")


def fetch(remote: Remote, folder: str | Path, *, timeout: float = 30.0) -> Path:
    """The path of a file in `folder`, downloaded first when it isn't there yet.

    A file that is there is returned as it is. A download is checked before it gets its name, so the
    folder holds a right copy or none. timeout: seconds without an answer before giving up.

    Raises ValueError, saying which file to put where, when it cannot be had, is not the published
    one, or cannot be written.
    """
    return fetch_all((remote,), folder, timeout=timeout)[0]


def fetch_all(remotes: Sequence[Remote], folder: str | Path, *, timeout: float = 30.0) -> list[Path]:
    """The paths of all files of a data set in `folder`, those that are missing downloaded first.

    Raises ValueError as `fetch` does; with several files still missing, the sentence names them all.
    """
    paths = [Path(folder) / remote.name for remote in remotes]
    for remote, path in zip(remotes, paths, strict=True):
        if path.is_file():
            continue
        try:
            write_atomically(path, partial(_download, remote, timeout))
        except _Unavailable as problem:
            missing = [r for r, p in zip(remotes, paths, strict=True) if not p.is_file()]
            if len(missing) == 1:
                remedy = f"get it from {remote.address} and put it at {path}"
            else:
                sources = ", ".join(dict.fromkeys(r.address.rpartition("/")[0] for r in missing))
                remedy = f"put {', '.join(r.name for r in missing)} (from {sources}) into {folder}"
            raise ValueError(f"{remote.name} is not in {folder} and {problem}: {remedy}") from None
        except OSError as problem:
            reason = problem.strerror or str(problem)
            raise ValueError(
                f"{remote.name} cannot be written to {path.parent} ({reason}): "
                "make room or give a folder that can be written, or put the file there"
            ) from None
    return paths


class _Unavailable(Exception):
    """A download that failed for a reason outside this machine's disk."""


def _download(remote: Remote, timeout: float, file: BinaryIO) -> None:
    digests = {name: hashlib.new(name, usedforsecurity=False) for name in ("sha256", "md5")}
    received = 0
    request = Request(remote.address, headers={"User-Agent": "mapwise"})
    try:
        response = urlopen(request, timeout=timeout)
    except HTTPError as problem:
        problem.close()  # it holds the connection
        raise _Unavailable(f"cannot be downloaded (the server answers {problem.code} {problem.reason})") from None
    except (URLError, HTTPException, OSError) as problem:
        raise _Unavailable(f"cannot be downloaded ({_reason(problem)})") from None
    with response:
        length = response.headers.get("Content-Length", "")
        expected = remote.size or (int(length) if length.isdigit() else None)
        while True:
            try:
                block = response.read(BLOCK)
            except (HTTPException, OSError) as problem:
                raise _Unavailable(f"its download broke off after {received} bytes ({_reason(problem)})") from None
            if not block:
                break
            received += len(block)
            for digest in digests.values():
                digest.update(block)
            file.write(block)
    if expected is not None and received < expected:
        raise _Unavailable(f"its download broke off after {received} of {expected} bytes")
    for name, published in (("sha256", remote.sha256), ("md5", remote.md5)):
        actual = digests[name].hexdigest()
        if published and actual != published.lower():
            raise _Unavailable(f"what was downloaded is another file, its {name} being {actual} and not {published}")


def _reason(problem: Exception) -> str:
    cause = problem.reason if isinstance(problem, URLError) else problem
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return " ".join(str(text).split())
