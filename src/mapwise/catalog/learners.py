"""Every learner by name: the rows that the files in `learners/` hold."""

from importlib import import_module
from pkgutil import iter_modules

from mapwise import learners
from mapwise.learners.row import LearnerRow

FIRST = ("optimization", "metric", "memory", "generation", "pretraining")
"""The order in which families are shown; others come behind them."""


def _rows() -> dict[str, LearnerRow]:
    families = [package.name for package in iter_modules(learners.__path__) if package.ispkg]
    rows: dict[str, LearnerRow] = {}
    for family in sorted(families, key=[*FIRST, *families].index):
        package = import_module(f"{learners.__name__}.{family}")
        for file in iter_modules(package.__path__, f"{package.__name__}."):
            rows |= getattr(import_module(file.name), "ROWS", {})
    return rows


LEARNERS: dict[str, LearnerRow] = _rows()
"""The learners by family and file."""
