"""The processes of a training: how they begin, and how Ctrl-C ends them."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mapwise.engine.ranks import LostRank, Ranks, ToldByFirst
from mapwise.workflows.errors import Untold


@contextmanager
def ranks_started() -> Iterator[Ranks]:
    """The processes that torchrun started; what the first tells of, the others don't repeat."""
    try:
        with Ranks.started() as ranks:
            yield ranks
    except ToldByFirst:
        raise Untold from None


@contextmanager
def interrupts(ranks: Ranks) -> Iterator[Callable[[], None]]:
    """Ctrl-C waits for the end of the step under way, so that the state saved is whole; a second one doesn't.

    So does the signal by which torchrun ends its processes: when one of them is gone, the others learn of
    it within that step, and still say so.

    Yields what raises KeyboardInterrupt once it was asked for.
    """
    asked = False

    def hear(number: int, frame: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    def stop_if_asked() -> None:
        if asked:
            raise KeyboardInterrupt

    # A process told to ignore Ctrl-C (as by nohup) goes on ignoring it, and only the main thread may listen.
    listening = threading.current_thread() is threading.main_thread()
    if not listening or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield stop_if_asked
        return
    heard = [signal.SIGINT] if ranks.world == 1 else [signal.SIGINT, signal.SIGTERM]
    before = [signal.signal(number, hear) for number in heard]
    ends = False
    try:
        yield stop_if_asked
    except LostRank:
        ends = True  # and is not to be ended before it has said why
        raise
    finally:
        for number, handler in zip(heard, before, strict=True):
            signal.signal(number, signal.SIG_IGN if ends else handler)
