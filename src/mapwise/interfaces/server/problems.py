"""What goes wrong, as problem details (RFC 9457): a sentence that holds no path and no control character."""

import errno
import sqlite3
from typing import Any

from mapwise.interfaces.printing import printable
from mapwise.interfaces.server.json_text import json_bytes

MEDIA = "application/problem+json"
_LONGEST = 600
"""Letters of a sentence: names may be long."""

TITLES = {
    400: "malformed request",
    401: "token needed",
    403: "not allowed",
    404: "not found",
    405: "method not allowed",
    408: "body too slow",
    409: "conflict",
    412: "changed meanwhile",
    413: "too large",
    415: "unsupported media type",
    421: "unknown host",
    422: "not usable",
    429: "too many requests",
    500: "fault of mapwise",
    503: "shutting down",
    507: "out of space",
}
"""The title of each status."""


class Refusal(Exception):
    """An answer other than the one that was wanted.

    status: of HTTP.
    detail: what was given, what is needed and what to do.
    headers: further ones of the answer.
    """

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None):
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers or {}

    def to_json(self) -> dict[str, Any]:
        """The problem details."""
        title = TITLES[self.status]
        return {
            "type": f"urn:mapwise:problem:{title.replace(' ', '-')}",
            "title": title,
            "status": self.status,
            "detail": _plain(self.detail),
        }

    def to_bytes(self) -> bytes:
        """The problem details as JSON."""
        return json_bytes(self.to_json())


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def problem_of(error: BaseException) -> Refusal:
    """The problem that an error is: one that a user can mend, a full disk, or a fault."""
    if isinstance(error, Refusal):
        return error
    full = isinstance(error, OSError) and error.errno in _FULL
    if full or (isinstance(error, sqlite3.Error) and _is_full(error)):
        return Refusal(507, "there is no room for it: remove predictors, or make room on the server's disk")
    if isinstance(error, ValueError):
        return Refusal(422, str(error))
    if isinstance(error, MemoryError):
        return Refusal(413, "there is not enough memory for it: give fewer rows or smaller ones")
    return Refusal(500, "this is a fault of mapwise, and the server's log says more: report it")


def _is_full(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


def _plain(text: str) -> str:
    line = printable(" ".join(text.split()))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"
