"""Task sources of a user's own, written for version 0.1.0: they say `kind = "classification"`, and have no problem."""

from typing import Any

from mapwise.core.fields import quote
from mapwise.core.problem import Problem
from mapwise.core.renamed import warn_renamed
from mapwise.core.source import TaskSource
from mapwise.core.task import Task


class _OlderSource:
    """Such a source, with its problem."""

    def __init__(self, source: Any, problem: Problem) -> None:
        self.source, self.problem = source, problem

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)

    def __call__(self, step: int) -> Task:
        task: Task = self.source(step)
        return task

    def split(self, name: str) -> "_OlderSource":
        return _OlderSource(self.source.split(name), self.problem)


def with_problem(source: Any) -> TaskSource:
    """The source, if it has a problem; else with the problem that it names as its kind, and a warning.

    Raises ValueError for what is no source, and for a kind that no problem has.
    """
    if not callable(source) or isinstance(source, type) or not (hasattr(source, "split") and hasattr(source, "about")):
        raise ValueError(f"source is {quote(source)}: give a source of tasks, such as mapwise.Episodes(rows)")
    if hasattr(source, "problem") or not hasattr(source, "kind"):
        current: TaskSource = source
        return current
    problems = {cls.name: cls for cls in Problem.__subclasses__()}
    if source.kind not in problems:
        raise ValueError(f"the source is of kind {source.kind!r}: give it a problem, such as mapwise.Classification()")
    warn_renamed(f"{type(source).__name__}.kind", f"problem = mapwise.{problems[source.kind].__name__}()", above=2)
    older: Any = _OlderSource(source, problems[source.kind]())
    return older  # type: ignore[no-any-return]
