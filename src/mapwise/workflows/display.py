"""How a workflow is followed while it works."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from mapwise.core.problem import Metric
from mapwise.engine.loop import Progress


class Display(Protocol):
    """Something that shows remarks and progress."""

    def note(self, text: str) -> None:
        """A remark on what is being done."""

    def bar(self, title: str, metric: Metric) -> AbstractContextManager[Callable[[Progress], None]]:
        """What is called after every step of a training."""


class Silent:
    """A display that shows nothing."""

    def note(self, text: str) -> None:
        """Nothing is shown."""

    def bar(self, title: str, metric: Metric) -> AbstractContextManager[Callable[[Progress], None]]:
        """Nothing is shown."""
        return nullcontext(lambda progress: None)


SILENT = Silent()
