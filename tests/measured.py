"""Code and commands in a process of their own: what they leave behind, how long they take, and their peak of memory."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any, NamedTuple

SECONDS, MEGABYTES = 10, 1000
"""What a case may take: longer is a hang, more is too much."""
_PEAK = """
import atexit, sys
def peak(path=sys.argv.pop(1)):
    import re
    with open("/proc/self/status") as status, open(path, "w") as file:
        file.write(re.search(r"VmHWM:\\s*(\\d+)", status.read())[1])
atexit.register(peak)
"""
_COMMAND = "from mapwise.interfaces.cli import main\nmain()"


class Measured(NamedTuple):
    """What a process left behind.

    code:    its exit code; None where it was stopped at the limit.
    seconds: of the process, the start of Python included.
    peak:    megabytes that were resident at once; None where that is unknown.
    """

    code: int | None
    out: str
    err: str
    seconds: float
    peak: float | None


def measured(code: str, *words: object, limit: float = 3 * SECONDS, stdin: IO[Any] | int | None = None) -> Measured:
    """Python code in a process of its own; `words` are its arguments, and it is stopped after `limit` seconds."""
    with tempfile.TemporaryDirectory() as folder:
        peak = Path(folder, "peak")
        start = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-c", _PEAK + code, str(peak), *map(str, words)],
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=limit)
            ended: int | None = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            (out, err), ended = process.communicate(), None
        kilobytes = peak.read_text() if peak.exists() else ""
        return Measured(ended, out, err, time.monotonic() - start, int(kilobytes) / 1000 if kilobytes else None)


def command(*words: object, limit: float = 3 * SECONDS, stdin: IO[Any] | int | None = None) -> Measured:
    """A command of mapwise in a process of its own."""
    return measured(_COMMAND, *words, limit=limit, stdin=stdin)
