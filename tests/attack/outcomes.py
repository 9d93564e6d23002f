"""Hostile cases, each tried through a public door under a time limit, and counted by what came of them.

A table is a list of cases; `tried` runs one, and `counts` adds them up. What is right a case says itself: its
`right` is given what the door returned.

A sentence is what a command says in one line, and of a call an error that mapwise itself raises, in one line: what a
library under it raises is a traceback. Only what the system says of a path, which names it, is a sentence, too.
"""

import contextlib
import dis
import io
import re
import signal
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import mapwise
from mapwise.interfaces.cli import main

RIGHT, SENTENCE, TRACEBACK, HANG, WRONG = "right", "sentence", "traceback", "hang", "wrong"
LARGE = "over 1 GB"
SECONDS, MEGABYTES = 10, 1000
"""Longer is a hang; more, in this process at once, is too large."""
PACKAGE = Path(mapwise.__file__).parent


@dataclass(frozen=True)
class Case:
    """One hostile thing.

    name:  what it is.
    door:  what a user would call.
    right: whether what the door returned is right; never, where a refusal is due.
    """

    name: str
    door: Callable[[], Any]
    right: Callable[[Any], bool] = lambda answer: False


class Hang(BaseException):
    """Raised inside a case at its time limit; no `except Exception` catches it."""


class Refusal(Exception):
    """What a command said on standard error before it ended with exit code 1 or 2."""


def command(*words: object) -> str:
    """The standard output of a command in this process; raises Refusal where it failed."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main([str(word) for word in words])
    except SystemExit as ended:
        if ended.code:
            raise Refusal(err.getvalue()) from None
    return out.getvalue()


def tried(case: Case, seconds: float = SECONDS) -> tuple[str, str]:
    """What came of a case, and in what words: the sentence, or the end of the traceback."""
    gradients = torch.is_grad_enabled()
    try:
        with _limit(seconds), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answer = case.door()
    except Hang:
        return HANG, ""
    except Refusal as refusal:
        text = str(refusal).strip()
        # What nothing foresaw is said to be a fault of mapwise.
        foreseen = text.startswith("mapwise: ") and "\n" not in text and "fault of mapwise" not in text
        return (SENTENCE if foreseen else TRACEBACK), text
    except Exception as error:
        return (SENTENCE, str(error)) if is_sentence(error) else (TRACEBACK, traceback.format_exc()[-500:])
    finally:
        torch.set_grad_enabled(gradients)  # a case that is stopped may be anywhere
    return (RIGHT if case.right(answer) else WRONG), repr(answer)[:200]


def is_sentence(error: Exception) -> bool:
    """Whether an error is one that a user can cause, in one line, and raised by mapwise itself."""
    if not isinstance(error, ValueError | TypeError | OSError | KeyError) or "\n" in str(error) or not str(error):
        return False
    if isinstance(error, OSError) and error.strerror and error.filename:
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or not Path(trace.tb_frame.f_code.co_filename).is_relative_to(PACKAGE):
        return False
    # By a statement that raises, and not by what Python made of a wrong type.
    return trace.tb_frame.f_code.co_code[trace.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def counts(cases: Iterable[Case]) -> tuple[Counter[str], list[str]]:
    """How often each outcome was, and a line for each case that ended neither right nor in a sentence."""
    outcomes: Counter[str] = Counter()
    faults = []
    for case in cases:
        with _peak() as peak:
            outcome, words = tried(case)
        outcomes[outcome] += 1
        if outcome not in (RIGHT, SENTENCE):
            faults.append(f"{case.name}: {outcome}: {words}")
        if peak.megabytes > MEGABYTES:
            outcomes[LARGE] += 1
            faults.append(f"{case.name}: {peak.megabytes:,.0f} MB")
    return outcomes, faults


def table(rows: dict[str, Counter[str]]) -> str:
    """The counts of several tables, as Markdown."""
    columns = (RIGHT, SENTENCE, TRACEBACK, HANG, WRONG, LARGE)
    lines = ["| cases | number | " + " | ".join(columns) + " |", "|---|" + "---|" * (1 + len(columns))]
    for name, outcomes in rows.items():
        cells = [str(total(outcomes)), *(str(outcomes[column]) for column in columns)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def total(outcomes: Counter[str]) -> int:
    """How many cases were counted."""
    return outcomes.total() - outcomes[LARGE]


@dataclass
class Peak:
    """The memory that a block took beyond what there was before it; 0 where the system doesn't say."""

    megabytes: float = 0.0


@contextlib.contextmanager
def _peak() -> Iterator[Peak]:
    peak = Peak()
    with contextlib.suppress(OSError):  # a system that keeps no such mark
        Path("/proc/self/clear_refs").write_text("5")  # the mark falls to what is resident now
    before = _resident("VmRSS")
    yield peak
    peak.megabytes = _resident("VmHWM") - before


def _resident(mark: str) -> float:
    try:
        match = re.search(rf"{mark}:\s*(\d+)", Path("/proc/self/status").read_text())
    except OSError:
        return 0.0
    return int(match[1]) / 1000 if match else 0.0


@contextlib.contextmanager
def _limit(seconds: float) -> Iterator[None]:
    def late(*_: object) -> None:
        raise Hang

    if not hasattr(signal, "SIGALRM"):  # no limit on this platform
        yield
        return
    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


if __name__ == "__main__":
    sys.exit("run tests/attack/report.py, which tries every table")
