"""The names of version 0.1.0 that have changed: each works in this version, and warns with its new name.

A class with an old name or an old keyword is decorated with `@renamed`, a function with an old keyword with
`@renamed_keywords`, and a module has `__getattr__ = moved(__name__)`.
"""

import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial, wraps
from importlib import import_module
from importlib.machinery import ModuleSpec
from operator import attrgetter
from types import ModuleType
from typing import Any, TypeVar, cast

RENAMED: dict[str, dict[str, str]] = {
    # class -> old attribute -> the path of the new one; or MODULE:FUNCTION of the object, with () for a property
    "Source": {"kind": "problem.name"},
    "Report": {"kind": "problem", "sights": "instances"},
    "Protocol": {"kind": "problem.name"},
    "Verdict": {"kept": "holds"},
    "NTM": {"through": "trace"},
    "FittedPredictor": {"kind": "problem"},
    "Predictor": {
        "report": "predictors.diagnostics.cross_validation:report()",
        "explain": "predictors.diagnostics.explanation:explain",
        "which_next": "predictors.diagnostics.which_next:which_next",
        "unknown_of": "predictors.diagnostics.novelty:unknown",
        "export_onnx": "predictors.onnx:export_onnx",
    },
    "TargetPredictor": {"error": "predictors.diagnostics.cross_validation:deviation()"},
}
_SOURCES = ("AssociativeRecall", "Copy", "Episodes", "GaussianProcess", "Lines", "Sinusoid", "Stream")
_FIGURES = ("nll", "bits", "coverage", "ece", "auc", "classes", "reliability", "calibrated", "chance")
KEYWORDS: dict[str, dict[str, str]] = {
    # class or function -> old keyword -> the new one; NAME.KEY for an entry of a dict, "" for one that is left out
    "Report": {**{name: f"figures.{name}" for name in _FIGURES}, "sights": "figures.instances"},
    "Report.from_json": {"found": "report"},
    **{name: {"kind": ""} for name in _SOURCES},
}
MOVED: dict[str, dict[str, str]] = {
    # module -> name -> the module it is in now, with the name where that is another
    "core.losses": {"means": "core.scores", "present_classes": "core.task", "without_absent": "core.scores"},
    "core.task": dict.fromkeys(("About", "Source", "TaskShape", "TaskSource", "inputs_of"), "core.source"),
    "catalog": {
        "LearnerRow": "learners.row:earlier_row",
        "LEARNERS": "catalog.learners",
        "SOURCES": "catalog.sources",
        "NETS": "catalog.nets",
        "ENCODERS": "catalog.encoders",
        "HEADS": "catalog.heads",
    },
}
MODULES = {
    # a module -> what it is called now
    "tasks.digits": "data.digits",
    "tasks.glyphs": "data.glyphs",
    "tasks.images": "data.images",
    "tasks.omniglot": "data.omniglot",
    "tasks.rows": "data.rows",
    "tasks.table": "data.tables",
}
HOUSE = "mapwise"

C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])


def warn_renamed(old: str, new: str, *, above: int = 1) -> None:
    """Warn that a name is another now, at the line that used it.

    above: functions between that line and this one.
    """
    text = f"{old} is now {new}; the old name works in this version and goes with the next"
    warnings.warn(text, DeprecationWarning, stacklevel=above + 2)


class _Renamed:
    """An attribute by its old name."""

    def __init__(self, old: str, new: str) -> None:
        self.old, self.new = old, new

    def __get__(self, part: Any, owner: type) -> Any:
        if part is None:
            return self
        module, _, function = self.new.rpartition(":")
        warn_renamed(f"{owner.__name__}.{self.old}", f"{HOUSE}.{module}.{function}" if module else function)
        if not module:
            return attrgetter(function)(part)
        run = partial(getattr(import_module(f"{HOUSE}.{module}"), function.removesuffix("()")), part)
        return run() if function.endswith("()") else run


def renamed(cls: C) -> C:
    """Give a class its old attributes, and its constructor its old keywords."""
    for old, new in RENAMED.get(cls.__name__, {}).items():
        setattr(cls, old, _Renamed(old, new))
    if cls.__name__ in KEYWORDS:
        cls.__init__ = _with_old_keywords(cls.__init__, cls.__name__)  # type: ignore[misc]
    return cls


def renamed_keywords(function: F) -> F:
    """Give a function its old keywords."""
    return _with_old_keywords(function, function.__qualname__)


def _with_old_keywords(function: F, name: str) -> F:
    @wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        for old in KEYWORDS[name].keys() & options.keys():
            new, value = KEYWORDS[name][old], options.pop(old)
            warn_renamed(f"{old}= of {name}", f"{new}=" if new else "its problem, which needs no keyword")
            keyword, _, key = new.partition(".")
            if keyword:
                options[keyword] = {**options.get(keyword, {}), key: value} if key else value
        return function(*args, **options)

    return cast(F, call)


def moved(module: str) -> Callable[[str], Any]:
    """The `__getattr__` of a module, some of whose names are elsewhere now."""
    homes = MOVED[module.removeprefix(f"{HOUSE}.")]

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, _, other = homes[name].partition(":")
        warn_renamed(f"{module}.{name}", f"{HOUSE}.{home}.{name}")
        return getattr(import_module(f"{HOUSE}.{home}"), other or name)

    return find


class _Finder:
    """Finds a module by its old name."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        home, _, rest = name.partition(".")
        return ModuleSpec(name, self) if home == HOUSE and rest in MODULES else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        new = f"{HOUSE}.{MODULES[spec.name.partition('.')[2]]}"
        warn_renamed(spec.name, new)
        module = ModuleType(spec.name)
        vars(module)["__getattr__"] = partial(getattr, import_module(new))
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: its names are those of the new one."""


sys.meta_path.append(_Finder())
