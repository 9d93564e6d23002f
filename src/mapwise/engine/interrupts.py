"""Ctrl-C that waits for the end of the step under way."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mapwise.engine.ranks import ALONE, LostRank, Ranks


@contextmanager
def interrupts(ranks: Ranks = ALONE) -> Iterator[Callable[[], None]]:
    """Within, the first Ctrl-C is only noted, so that a step is finished and saved; a second one interrupts at once.

    With several ranks, the same holds for the signal with which torchrun ends its processes: when one of them is gone,
    the others learn of it within that step, and can still report it.

    Yields a function that raises KeyboardInterrupt once there was a signal.
    """
    noted = False

    def note(number: int, frame: Any) -> None:
        nonlocal noted
        if noted:
            raise KeyboardInterrupt
        noted = True

    def raise_noted() -> None:
        if noted:
            raise KeyboardInterrupt

    # A process that ignores Ctrl-C (as under nohup) goes on ignoring it, and only the main thread may listen.
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield raise_noted
        return
    signals = [signal.SIGINT] if ranks.world == 1 else [signal.SIGINT, signal.SIGTERM]
    before = [signal.signal(number, note) for number in signals]
    ends = False
    try:
        yield raise_noted
    except LostRank:
        ends = ranks.world > 1  # the process ends by this error, and not by a signal before it has reported it
        raise
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, signal.SIG_IGN if ends else handler)
