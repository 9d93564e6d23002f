"""What tasks may ask for, one file each; a problem is known by its name and by its metric's name."""

from mapwise.core.problem import Metric, Problem
from mapwise.problems.classification import Classification
from mapwise.problems.multilabel import Multilabel
from mapwise.problems.regression import Regression

PROBLEMS: dict[str, Problem] = {problem.name: problem for problem in (Classification(), Regression(), Multilabel())}
"""Every problem by its name."""

METRICS: dict[str, Metric] = {problem.metric.name: problem.metric for problem in PROBLEMS.values()}
"""Their metrics, by the metrics' names."""


def problem_of_metric(names: object) -> Problem:
    """The first problem whose metric's name is in a container of names, such as a report's JSON.

    Raises ValueError when there is none.
    """
    for problem in PROBLEMS.values():
        if problem.metric.name in names:  # type: ignore[operator]
            return problem
    raise ValueError(f"there is no metric among these results: one of {', '.join(METRICS)} is needed")
