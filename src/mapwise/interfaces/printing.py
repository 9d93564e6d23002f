"""Where words go: the answer to standard output, everything else to standard error.

Of the processes that torchrun started, only the first speaks.
"""

import json
import math
import os
import sys
from typing import Any


def speaks() -> bool:
    """Whether this process is the one that speaks; looked up here, since help comes without torch."""
    return os.environ.get("RANK", "0") == "0" or os.environ.get("WORLD_SIZE", "1") == "1"


def answer(found: dict[str, Any]) -> None:
    """One JSON object on standard output; numbers that JSON can't say become null."""
    if speaks():
        print(json.dumps(_sayable(found), ensure_ascii=False))


def show(*shown: Any) -> None:
    """Text or rich tables on standard output."""
    if not speaks():
        return
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    if not sys.stdout.isatty():
        # A file or a pipe has no width: nothing is to be folded to a terminal that isn't there.
        console = Console(file=sys.stdout, highlight=False, width=160)
    for part in shown:
        console.print(part, markup=False) if isinstance(part, str) else console.print(part)


def note(text: str) -> None:
    """A remark on standard error."""
    if speaks():
        print(text, file=sys.stderr, flush=True)


def complain(text: str) -> None:
    """What only this process knows went wrong, on standard error, whichever of several it is."""
    rank = "" if speaks() else f", process {os.environ['RANK']}"
    print(f"mapwise{rank}: {text}", file=sys.stderr, flush=True)


def _sayable(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _sayable(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_sayable(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
