"""Every learner by name: the rows that the files in `learners/` hold."""

import dataclasses
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from mapwise import learners
from mapwise.catalog.plugins import Registry, first_line
from mapwise.core.learner import Learner
from mapwise.learners.row import FIXED, MOVING, LearnerRow

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


def learner_row_of(value: Any, name: str) -> LearnerRow:
    """The row of a learner's class, whose network is inductive by default; a LearnerRow stays as it is.

    Raises ValueError for anything else.
    """
    if isinstance(value, LearnerRow):
        return value
    if not (isinstance(value, type) and issubclass(value, Learner) and dataclasses.is_dataclass(value)):
        raise ValueError(f"{name} is no learner: give a dataclass that extends mapwise.Learner, or a LearnerRow")
    moves = any(field.name == "net" for field in dataclasses.fields(value))
    return LearnerRow(value, "", first_line(value), nets=MOVING if moves else FIXED)


LEARNERS = Registry(_rows(), "mapwise.learners", learner_row_of)
"""The learners by family and file, then those that installed packages add."""
