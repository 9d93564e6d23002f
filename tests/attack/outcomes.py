"""Hostile cases, each tried through a public door under a time limit, and counted by what came of them.

A table is a list of cases; `tried` runs one, and `counts` adds them up. What is right a case says itself: its
`right` is given what the door returned.
"""

import contextlib
import io
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from mapwise.interfaces.cli import main

RIGHT, SENTENCE, TRACEBACK, HANG, WRONG = "answered right", "one sentence", "traceback", "hang", "wrong"
SECONDS = 10
"""Longer is a hang."""


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
    try:
        with _limit(seconds):
            answer = case.door()
    except Hang:
        return HANG, ""
    except Refusal as refusal:
        text = str(refusal).strip()
        return (SENTENCE if text.startswith("mapwise: ") and "\n" not in text else TRACEBACK), text
    except (ValueError, OSError) as error:
        return (TRACEBACK if "\n" in str(error) or not str(error) else SENTENCE), str(error)
    except Exception:
        return TRACEBACK, traceback.format_exc()[-500:]
    return (RIGHT if case.right(answer) else WRONG), repr(answer)[:200]


def counts(cases: Iterable[Case]) -> tuple[Counter[str], list[str]]:
    """How often each outcome was, and a line for each case that ended neither right nor in a sentence."""
    outcomes: Counter[str] = Counter()
    faults = []
    for case in cases:
        outcome, words = tried(case)
        outcomes[outcome] += 1
        if outcome not in (RIGHT, SENTENCE):
            faults.append(f"{case.name}: {outcome}: {words}")
    return outcomes, faults


def table(rows: dict[str, Counter[str]]) -> str:
    """The counts of several tables, as Markdown."""
    columns = (RIGHT, SENTENCE, TRACEBACK, HANG, WRONG)
    lines = ["| cases | number | " + " | ".join(columns) + " |", "|---|" + "---|" * (1 + len(columns))]
    for name, outcomes in rows.items():
        cells = [str(outcomes.total()), *(str(outcomes[column]) for column in columns)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


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
