"""Where words go: the answer to standard output, everything else to standard error.

Of the processes that torchrun started, only the first speaks.
"""

import codecs
import io
import json
import math
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Characters by which a name from a file could steer a terminal or turn the order of letters; not newline and tab."""


def printable(text: str) -> str:
    """The text without control characters."""
    return _CONTROL.sub("", text)


class Unprinted(Exception):
    """Standard output takes nothing more; its cause says why."""


class _Output(io.TextIOWrapper):
    """Standard output: what can't be printed isn't taken for what can't be written to a file."""

    def write(self, text: str) -> int:
        with _unprinted():
            return super().write(text)

    def flush(self) -> None:
        with _unprinted():
            super().flush()


@contextmanager
def _unprinted() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python will try again to print the rest as it ends
        raise Unprinted from error


def open_streams() -> None:
    """Make the streams of this process safe to print to, where they are its own.

    One that is closed is opened, so that no file takes its number and receives what is printed: standard error to
    nowhere, standard output such that printing fails. A character that standard output can't show is replaced.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_WRONLY if number == 2 else os.O_RDONLY)
    if sys.stdout is sys.__stdout__:
        encoding = sys.stdout.encoding if sys.stdout else None
        sys.stdout = _Output(open(1, "wb", closefd=False), encoding, _PLAIN, line_buffering=os.isatty(1))  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _plain(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    characters = error.object[error.start : error.end]
    return "".join({"±": "+/-", "×": "x", "…": "..."}.get(character, "?") for character in characters), error.end


_PLAIN = "mapwise.plain"
codecs.register_error(_PLAIN, _plain)


_WIDEST = 10_000
"""Columns of a table that goes to no terminal."""


def speaks() -> bool:
    """Whether this process is the one that speaks; looked up here, since help comes without torch."""
    return os.environ.get("RANK", "0") == "0" or os.environ.get("WORLD_SIZE", "1") == "1"


def has_colours() -> bool:
    """Whether standard output shows colours: a terminal does, unless NO_COLOR is set or it is a plain one."""
    from rich.console import Console

    console = Console(file=sys.stdout)
    return console.is_terminal and not console.no_color and console.color_system is not None


def answer(content: dict[str, Any] | list[Any]) -> None:
    """One JSON object, or a list, on standard output; numbers that JSON can't say become null."""
    if speaks():
        text = json.dumps(content := _sayable(content), ensure_ascii=False)
        try:
            text.encode(sys.stdout.encoding or "utf-8")
        except UnicodeEncodeError:
            text = json.dumps(content)
        print(_CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text))


def show(*shown: Any) -> None:
    """Text or rich tables on standard output."""
    if not speaks():
        return
    for part in shown:
        if isinstance(part, str):
            print(printable(part))
        else:
            _show_table(part)


def _show_table(table: Any) -> None:
    from rich.console import Console
    from rich.segment import Segment, Segments

    # A file or a pipe has no width: nothing is to be folded to a terminal that isn't there.
    width = None if sys.stdout.isatty() else _WIDEST
    console = Console(file=sys.stdout, highlight=False, emoji=False, width=width)
    segments = console.render(table)
    console.print(Segments([Segment(printable(text), style, control) for text, style, control in segments]))


def show_sheet(sheet: object) -> None:
    """A CSV table on standard output; into a file or a pipe every character as it is."""
    if speaks():
        text = str(sheet)
        print(printable(text) if sys.stdout.isatty() else text)


def note(text: str) -> None:
    """A remark on standard error; nothing for an empty one."""
    if text and speaks():
        _print_error(text)


def complain(text: str) -> None:
    """What only this process knows went wrong, on standard error, whichever of several it is."""
    rank = "" if speaks() else f", process {os.environ['RANK']}"
    _print_error(f"mapwise{rank}: {text}")


def _print_error(text: str) -> None:
    with suppress(OSError):  # nobody can be told, and the work goes on
        print(printable(text), file=sys.stderr, flush=True)


def _sayable(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _sayable(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_sayable(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
