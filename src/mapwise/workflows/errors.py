"""What goes wrong, as one line and an exit code.

0 done, 1 failed, 2 wrong use, 130 stopped by Ctrl-C. Wrong use is what the command line alone shows to
be wrong; what only the data, a run's folder or the machine can show is a failure.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

FAILED, WRONG_USE, STOPPED = 1, 2, 130
_LONGEST = 4000
"""Letters of a line: names and cells of a file may be of any length."""


class WrongUse(Exception):
    """A command line that cannot be meant: an unknown name, a value of the wrong kind."""


class Stopped(Exception):
    """Ctrl-C, with how to go on."""


class Untold(Exception):
    """A failure that another process of the same training puts into words."""


def shared(error: BaseException) -> bool:
    """Whether every process of a training comes to this error, so that one telling is enough."""
    return isinstance(error, (WrongUse, Stopped, KeyboardInterrupt, Untold))


@contextmanager
def wrong_use() -> Iterator[None]:
    """A ValueError inside is the command line's fault."""
    try:
        yield
    except ValueError as error:
        raise WrongUse(sentence(error)) from None


def line_and_code(error: BaseException, command: str = "train") -> tuple[str, int] | None:
    """The line and the exit code for an error; None for one that is a bug, whose traceback is worth having.

    command: the one it ended, whose flags are named.
    """
    if isinstance(error, WrongUse):
        return sentence(error), WRONG_USE
    if isinstance(error, Stopped):
        return sentence(error), STOPPED
    if isinstance(error, Untold):
        return "", FAILED
    if isinstance(error, KeyboardInterrupt):
        return "stopped", STOPPED
    if isinstance(error, MemoryError) or _is_memory(error):
        return f"there is not enough memory: {_LESS if command in _ON_TASKS else _FEWER}", FAILED
    if isinstance(error, (ValueError, OSError)):
        return sentence(error), FAILED
    return None


def fault(error: BaseException) -> tuple[str, int]:
    """The line and the exit code for an error that is a bug."""
    text = f"{type(error).__name__}: {sentence(error)}"
    text = text if len(text) < 300 else f"{text[:300]}..."
    return f"this is a fault of mapwise ({text}): run it again with --traceback, and report what it then shows", FAILED


def sentence(error: BaseException) -> str:
    """What an error says, on one line."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}: {_ADVICE.get(error.errno, 'correct the path')}, then run the command again"
    text = str(error)
    if hasattr(error, "errors"):  # pydantic's, which would take several lines
        first = error.errors()[0]
        text = f"{'.'.join(str(part) for part in first['loc'])}: {first['msg'].lower()}"
    text = " ".join(text.split()) or type(error).__name__
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"


_ON_TASKS = ("train", "tune", "eval", "check")
"""Commands whose flags say how much is computed at a time."""
_LESS = "lower --tasks, --ways or --queries, or take --how loop"
_FEWER = "give fewer rows at a time or smaller ones, or close other programs"
_FULL = "make room or choose another folder"
_ADVICE: dict[int | None, str] = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _FULL),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "choose another folder, or change who may write there"),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "let this process open more files (ulimit -n)"),
    errno.EIO: "look for a fault of the disk",
}


def _is_memory(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and any(
        sign in str(error) for sign in ("out of memory", "not enough memory", "can't allocate memory")
    )
