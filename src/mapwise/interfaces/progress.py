"""The progress bars: on standard error, and only where a person can see them."""

import sys
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from mapwise.core.problem import Metric
from mapwise.data.modality import Modality
from mapwise.interfaces.printing import note, speaks

if TYPE_CHECKING:
    from mapwise.engine.loop import Progress


class Watched(Sequence[Any]):
    """Rows that take a while to read, such as pictures: going through them is shown. Silent without a terminal."""

    def __init__(self, rows: Sequence[Any], title: str) -> None:
        self.rows, self.title = rows, title

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: Any) -> Any:
        return self.rows[place]

    def __iter__(self) -> Iterator[Any]:
        if not _seen():
            yield from self.rows
            return
        from rich.console import Console
        from rich.progress import track

        yield from track(self.rows, self.title, console=Console(stderr=True), transient=True)


def watched(modality: Modality) -> Callable[[Any], Any]:
    """The same rows, whose reading is shown; rows of a table are read already."""
    return lambda rows: rows if modality == "table" else Watched(rows, f"reading {modality}")


class Bar:
    """Shows a training as it goes: loss, validation, tasks per second and time left. Silent without a terminal."""

    def __init__(self, title: str, metric: Metric) -> None:
        self.title, self.metric = title, metric
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
        if self.bar is None:
            return
        if self.line is None:
            self.line = self.bar.add_task(self.title, total=progress.steps, status="", completed=progress.step)
        validation = "" if progress.validation is None else f"  {self._said(progress.validation)}"
        status = f"loss {progress.loss:.3f}{validation}  {progress.tasks_per_second:,.0f} tasks/s"
        self.bar.update(self.line, completed=progress.step, status=status)

    def _said(self, value: float) -> str:
        return f"val {self.metric.short} {f'{100 * value:.1f} %' if self.metric.percent else f'{value:.3f}'}"


def _seen() -> bool:
    return sys.stderr.isatty() and speaks()


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
