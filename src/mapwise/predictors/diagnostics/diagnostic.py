"""A diagnostic: what a predictor can say about raw rows besides what they are.

A file beside this one that holds `DIAGNOSTIC = Diagnostic(function, ...)` adds one: the estimator has it as
`FewShotClassifier.diagnose("FUNCTION", X)`. Its command stands in `interfaces/cli/diagnostics.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, Protocol

from mapwise.catalog.rows import named
from mapwise.predictors import diagnostics


class Finding(Protocol):
    """What a diagnostic says about one row."""

    @property
    def row(self) -> int:
        """The place of the row among those that were given."""
        ...

    @property
    def reason(self) -> str:
        """In words, a line or several, without the row."""
        ...

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        ...


@dataclass(frozen=True)
class Diagnostic:
    """A diagnostic of predictors of classes.

    run: run(predictor, X, options, names) -> findings, in the order to be shown; names are those of the classes,
         where they are called otherwise. `mapwise list` shows the first line of its docstring.
    key: what holds the findings in JSON.
    """

    run: Callable[..., Sequence[Finding]]
    key: str


@cache
def every_diagnostic() -> dict[str, Diagnostic]:
    """Every diagnostic by the name of its function."""
    modules = [import_module(file.name) for file in iter_modules(diagnostics.__path__, f"{diagnostics.__name__}.")]
    return {part.run.__name__: part for module in modules if (part := getattr(module, "DIAGNOSTIC", None))}


def diagnostic_named(name: str) -> Diagnostic:
    """The diagnostic whose function has this name; raises ValueError for a name that isn't there."""
    diagnostic: Diagnostic = named(every_diagnostic(), name, "diagnostic")
    return diagnostic
