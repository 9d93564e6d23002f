"""Warm processes for work that may take long or break: started anew, with a memory limit and a clock that kills."""

import asyncio
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import Any

from mapwise.interfaces.server.decoding import NotPicture, TooLarge
from mapwise.interfaces.server.problems import Refusal

_SPAWN = multiprocessing.get_context("spawn")  # a fork would copy threads' locks as they happen to be
_START = 60.0
"""Seconds that a process may take to be ready."""
_ERRORS: dict[str, type[Exception]] = {"TooLarge": TooLarge, "NotPicture": NotPicture, "ValueError": ValueError}


class Workers:
    """Processes that do one kind of work, each one job at a time.

    prepare: is called once in each.
    memory:  bytes that a process may take beyond what it holds when it is ready.
    nice:    by how much others come first.
    """

    def __init__(self, name: str, count: int, prepare: Callable[[], object], memory: int, nice: int = 0):
        self.name, self.kills, self.jobs = name, 0, 0
        self._settings = (prepare, memory, nice)
        self._free: SimpleQueue[_Worker | None] = SimpleQueue()
        self._threads = ThreadPoolExecutor(count, thread_name_prefix=name)
        self._lock, self._all, self._closed = threading.Lock(), set[_Worker](), False
        for _ in range(count):
            self._free.put(None)
        self._count = count

    async def start(self) -> None:
        """Start every process, so that the first request waits for none."""
        loop = asyncio.get_running_loop()
        workers = await asyncio.gather(*(loop.run_in_executor(self._threads, self._take) for _ in range(self._count)))
        for worker in workers:
            self._free.put(worker)

    async def run(self, seconds: float, work: Callable[..., Any], *given: Any) -> Any:
        """What a function of a module returns in one of the processes.

        Raises what it raises where that is a ValueError, and Refusal where it takes longer, or more memory.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, seconds, work, given)

    def _run(self, seconds: float, work: Callable[..., Any], given: tuple[Any, ...]) -> Any:
        worker = self._take()
        self.jobs += 1
        alive = False
        try:
            outcome, content = worker.ask(seconds, work, given)
            alive = True
        except TimeoutError:
            raise Refusal(422, f"it took longer than {seconds:g} seconds: give fewer rows, or smaller ones") from None
        except (EOFError, OSError):
            raise Refusal(413, "it took too much memory: give fewer rows, or smaller ones") from None
        finally:
            if not alive:
                self.kills += 1
                self._end(worker)
            self._free.put(worker if alive else None)
        if outcome == "":
            return content
        if outcome == "MemoryError":
            raise Refusal(413, "it took too much memory: give fewer rows, or smaller ones")
        if outcome in _ERRORS:
            raise _ERRORS[outcome](content)
        raise RuntimeError(f"{outcome} in a process for {self.name}: {content}")

    def _take(self) -> "_Worker":
        worker = self._free.get()
        if worker is None or not worker.process.is_alive():
            try:
                worker = _Worker(*self._settings)
            except BaseException:
                self._free.put(None)
                raise
            with self._lock:
                self._all.add(worker)
                closed = self._closed
            if closed:
                self._end(worker)
        return worker

    def _end(self, worker: "_Worker") -> None:
        with self._lock:
            self._all.discard(worker)
        worker.end()

    def close(self) -> None:
        """End every process."""
        with self._lock:
            workers, self._closed = list(self._all), True
        for worker in workers:
            worker.end()
        self._threads.shutdown(wait=False, cancel_futures=True)


class _Worker:
    """One process, and the pipe to it."""

    def __init__(self, prepare: Callable[[], object], memory: int, nice: int):
        self._ending = threading.Lock()
        self.link, theirs = _SPAWN.Pipe()
        self.process: BaseProcess = _SPAWN.Process(target=_serve, args=(theirs, prepare, memory, nice), daemon=True)
        self.process.start()
        theirs.close()
        with suppress(EOFError, OSError):
            if self.link.poll(_START) and self.link.recv() == "ready":
                return
        self.end()
        raise RuntimeError("a process didn't start")

    def ask(self, seconds: float, work: Callable[..., Any], given: tuple[Any, ...]) -> tuple[str, Any]:
        """The name of an error, or "", and what came of the work; raises TimeoutError, and EOFError for a dead one."""
        self.link.send((work, given))
        if not self.link.poll(seconds):
            raise TimeoutError
        outcome: tuple[str, Any] = self.link.recv()
        return outcome

    def end(self) -> None:
        """End the process at once; whoever calls it again waits until it has ended."""
        with self._ending:
            with suppress(OSError, ValueError):
                self.process.kill()
                self.process.join(5)
            if not self.link.closed:
                self.link.close()


def _serve(link: Connection, prepare: Callable[[], object], memory: int, nice: int) -> None:
    """Inside a process: one job after another until the pipe is closed."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches every process of it
    with suppress(OSError):
        os.nice(nice)
    prepare()
    _limit(memory)
    link.send("ready")
    while True:
        try:
            work, given = link.recv()
        except (EOFError, OSError):
            return
        try:
            outcome: tuple[str, Any] = ("", work(*given))
        except Exception as error:
            name = type(error).__name__ if not isinstance(error, ValueError) else _name_of(error)
            outcome = (name, str(error))
        link.send(outcome)


def _name_of(error: ValueError) -> str:
    name = type(error).__name__
    return name if name in _ERRORS else "ValueError"


def _limit(memory: int) -> None:
    """From now on this process gets no more memory than so much beyond what it has."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + memory, now + memory))


def ready_to_decode() -> None:
    """Load what decodes pictures."""
    import io

    from PIL import Image

    from mapwise.interfaces.server.decoding import decoded

    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "PNG")
    decoded([file.getvalue()], [""], None, 8, 64, previews=True)


def ready_to_fit() -> None:
    """Load what fits predictors, with one thread: the server's own threads come first."""
    import torch

    from mapwise.interfaces.server.state import evidence

    assert evidence
    torch.set_num_threads(1)
