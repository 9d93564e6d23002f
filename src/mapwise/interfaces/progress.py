"""What a person sees of a work that takes a while: bars at a terminal, a line every ten seconds elsewhere."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from mapwise.core.problem import Metric
from mapwise.data.modality import Modality
from mapwise.interfaces.printing import note, speaks

if TYPE_CHECKING:
    from mapwise.engine.loop import Progress

EVERY = 10.0
"""Seconds between two lines where standard error is no terminal."""


class Work:
    """Shows the stage of a command, how far it is and how long it has taken, on standard error.

    At a terminal it is a bar that leaves nothing behind, elsewhere a line every ten seconds.
    """

    def __init__(self, stage: str) -> None:
        self.text, self.done, self.total = stage, 0, 0
        self.began = time.monotonic()
        self.over = threading.Event()
        self.bar: Any = None
        self.line: Any = None

    def __enter__(self) -> Self:
        if _seen():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn())
            console = Console(stderr=True)
            self.bar = Progress(
                *columns, TextColumn("{task.fields[status]}"), TimeElapsedColumn(), console=console, transient=True
            )
            self.line = self.bar.add_task(self.text, total=None, status="")
            self.bar.start()
        elif speaks():
            threading.Thread(target=self._lines, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        if self.bar is not None:
            with suppress(OSError):  # nobody can be told, and the work goes on
                self.bar.stop()

    def stage(self, text: str, total: int = 0) -> None:
        """What is done from now on, and of how many parts it is; 0 where that isn't known."""
        self.text, self.done, self.total = text, 0, total
        if self.bar is not None:
            status = f"0/{total:,}" if total else ""
            self.bar.update(self.line, description=text, total=total or None, completed=0, status=status)

    def step(self) -> None:
        """Another part is done."""
        self.done += 1
        if self.bar is not None:
            self.bar.update(self.line, completed=self.done, status=f"{self.done:,}/{self.total:,}")

    def steps(self, text: str) -> Callable[[Sequence[Any]], Sequence[Any]]:
        """Parts -> the same parts; going through them is a stage of this name."""
        return lambda parts: Watched(parts, text, self)

    def reading(self, modality: Modality) -> Callable[[Any], Any]:
        """The same rows, whose reading is shown; rows of a table are read already."""
        return lambda rows: rows if modality == "table" else Watched(rows, f"reading {modality}", self)

    def _lines(self) -> None:
        while not self.over.wait(EVERY):
            far = f", {self.done:,} of {self.total:,}" if self.total else ""
            note(f"{self.text}{far}, {time.monotonic() - self.began:.0f} s so far")


class Watched(Sequence[Any]):
    """Parts of a work, such as pictures to be read: going through them is shown."""

    def __init__(self, parts: Sequence[Any], title: str, work: Work) -> None:
        self.parts, self.title, self.work = parts, title, work

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, place: Any) -> Any:
        return self.parts[place]

    def __iter__(self) -> Iterator[Any]:
        before = self.work.text
        self.work.stage(self.title, len(self.parts))
        for part in self.parts:
            yield part
            self.work.step()
        self.work.stage(before)


class Bar:
    """Shows a training as it goes: loss, validation, tasks per second and time left.

    Where standard error is no terminal, a line every ten seconds.
    """

    def __init__(self, title: str, metric: Metric) -> None:
        self.title, self.metric = title, metric
        self.shown = time.monotonic()
        self.bar: Any = None
        self.line: Any = None

    def __enter__(self) -> "Bar":
        if _seen():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[status]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def __call__(self, progress: "Progress") -> None:
        """Take up where the training stands."""
        validation = "" if progress.validation is None else f"  {self._describe(progress.validation)}"
        status = f"loss {progress.loss:.3f}{validation}  {progress.tasks_per_second:,.0f} tasks/s"
        if self.bar is None:
            if time.monotonic() - self.shown >= EVERY:
                self.shown = time.monotonic()
                note(f"{self.title}: step {progress.step:,} of {progress.steps:,}  {status}")
            return
        if self.line is None:
            self.line = self.bar.add_task(self.title, total=progress.steps, status="", completed=progress.step)
        self.bar.update(self.line, completed=progress.step, status=status)

    def _describe(self, value: float) -> str:
        return f"val {self.metric.short} {f'{100 * value:.1f} %' if self.metric.percent else f'{value:.3f}'}"


def _seen() -> bool:
    # A command of a Jupyter cell has a terminal that can't move its cursor: each frame of a bar would be a line.
    return sys.stderr.isatty() and "JPY_PARENT_PID" not in os.environ and speaks()


class Terminal:
    """The display of a workflow at a terminal.

    remarks: whether remarks are shown; bars are wherever a person can see them.
    """

    def __init__(self, *, remarks: bool = True) -> None:
        self.remarks = remarks

    def note(self, text: str) -> None:
        """A remark on standard error."""
        if self.remarks:
            note(text)

    def bar(self, title: str, metric: Metric) -> Bar:
        """A progress bar for one training."""
        return Bar(title, metric)
