"""The processes of a training: how they begin and end, and which of them reports an error."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mapwise.engine.ranks import RaisedOnFirst, Ranks
from mapwise.workflows.errors import Untold


@contextmanager
def ranks_started() -> Iterator[Ranks]:
    """The processes that torchrun started; what the first tells of, the others don't repeat."""
    try:
        if "TORCHELASTIC_RUN_ID" in os.environ:
            end_with_parent()
        with Ranks.started() as ranks:
            yield ranks
    except RaisedOnFirst:
        raise Untold from None


_OFTEN = 0.5
"""Seconds between two looks at the parent."""


def end_with_parent() -> None:
    """From now on this process ends with the one that started it, however that ends.

    Otherwise it would train on, and write into a folder that the command, begun again, writes into as well.
    """
    parent, process = os.getppid(), multiprocessing.parent_process()

    def alive() -> bool:
        # Where a parent ends, POSIX gives its children another, and its end of multiprocessing's pipe is closed.
        return os.getppid() == parent and (process is None or process.is_alive())

    threading.Thread(target=_watch, args=(alive,), daemon=True).start()


def _watch(alive: Callable[[], bool]) -> None:
    while alive():
        time.sleep(_OFTEN)
    os._exit(1)
