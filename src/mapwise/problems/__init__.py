"""What tasks may ask for, a file for each; problems are looked up by name, or by their metric's name or title."""

from collections.abc import Container

from mapwise.core.problem import Metric, Problem
from mapwise.problems.classification import Classification
from mapwise.problems.multilabel import Multilabel
from mapwise.problems.regression import Regression
from mapwise.problems.spans import Spans

PROBLEMS: dict[str, Problem] = {
    problem.name: problem for problem in (Classification(), Regression(), Multilabel(), Spans())
}
"""Every problem by its name."""


def metrics() -> dict[str, Metric]:
    """The metrics of all problems, by the metrics' names."""
    return {problem.metric.name: problem.metric for problem in PROBLEMS.values()}


def metric_named(name: str) -> Metric:
    """The metric of this name; raises ValueError for a name that no problem has."""
    return problem_of_metric([name]).metric


def metric_titled(title: str) -> Metric | None:
    """The metric with this title; None for any other quantity, such as a loss."""
    return next((metric for metric in metrics().values() if metric.title == title), None)


def problem_of_metric(names: Container[str]) -> Problem:
    """The first problem whose metric's name is in a container of names, such as a report's JSON.

    Raises ValueError when no metric's name is.
    """
    for problem in PROBLEMS.values():
        if problem.metric.name in names:
            return problem
    raise ValueError(f"there is no metric among these results: one of {', '.join(metrics())} is needed")
