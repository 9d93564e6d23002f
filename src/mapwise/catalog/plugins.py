"""Rows that others add to the catalog: installed packages by entry points, and anyone as MODULE:NAME.

MODULE:NAME is looked up in modules that are imported already. A name in a file then runs no code by itself.
"""

import importlib.metadata
import inspect
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any, TypeVar

from mapwise.core.spelling import suggestion

Row = TypeVar("Row")


class Registry(MutableMapping[str, Row]):
    """Rows by name: the catalog's own, those of installed packages, and MODULE:NAME.

    group:  of the entry points that add rows, such as "mapwise.learners". They are read when a name is not the
            catalog's own, or when all are listed. A name of the catalog stays the catalog's.
    row_of: what an entry point or MODULE:NAME holds, and its name -> the row; raises ValueError for anything else.
    """

    def __init__(self, own: Mapping[str, Row], group: str, row_of: Callable[[Any, str], Row]):
        self._rows = dict(own)
        self._group = group
        self._row_of = row_of
        self._complete = False

    def __getitem__(self, name: str) -> Row:
        if name not in self._rows and not self._complete:
            for point in importlib.metadata.entry_points(group=self._group, name=name):
                self._rows[name] = self._row_of(point.load(), name)
        if name not in self._rows and ":" in name:
            self._rows[name] = self._row_of(imported(name), name)
        return self._rows[name]

    def __setitem__(self, name: str, row: Row) -> None:
        self._rows[name] = row

    def __delitem__(self, name: str) -> None:
        del self._rows[name]

    def __iter__(self) -> Iterator[str]:
        self._add_installed()
        return iter(self._rows)

    def __len__(self) -> int:
        self._add_installed()
        return len(self._rows)

    def _add_installed(self) -> None:
        """Those of all installed packages; one that can't be loaded is left out with a warning."""
        if self._complete:
            return
        self._complete = True
        for point in importlib.metadata.entry_points(group=self._group):
            if point.name in self._rows:
                continue
            try:
                self._rows[point.name] = self._row_of(point.load(), point.name)
            except Exception as error:  # whatever code of others raises
                warnings.warn(
                    f"{point.name} ({point.value}, entry point of {self._group}) is left out, since it can't be loaded "
                    f"({type(error).__name__}: {error}): update the package that brings it, or uninstall it",
                    stacklevel=3,
                )


def imported(name: str) -> Any:
    """What MODULE:NAME names; raises ValueError where the module isn't imported, or holds no such name."""
    module, _, attribute = name.partition(":")
    if module not in sys.modules:
        raise ValueError(
            f"{name} is code of the module {module}, which is not imported: give --import {module}, or import it first "
            "in Python"
        )
    held = sys.modules[module]
    if not hasattr(held, attribute):
        raise ValueError(f"the module {module} has no {attribute!r}: {suggestion(attribute, public_names(held))}")
    return getattr(held, attribute)


def public_names(module: Any) -> list[str]:
    """The names of classes and functions that a module defines."""
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
    return [name for name in own if not name.startswith("_")]


def first_line(value: Any) -> str:
    """The first line of a docstring, without its full stop; "" for none."""
    return (inspect.getdoc(value) or "").partition("\n")[0].rstrip(".")
