"""Facts that are measured once for a learner and its inputs: the fastest way to map tasks, and that the params fit."""

from collections.abc import Callable, Hashable
from dataclasses import fields
from typing import Any

from mapwise.core import tree
from mapwise.core.execution import How
from mapwise.core.learner import MOMENT, Learner, check_params
from mapwise.core.task import Task
from mapwise.core.tree import Params
from mapwise.engine.compiled import form

MOST = 64
"""Entries of each memory; the oldest is forgotten first."""

# Values hold the objects that keys name by id, so that no id is reused while it is in a key.
_ways: dict[Hashable, tuple[How, Any]] = {}
_fitting: dict[Hashable, Any] = {}


def remembered_way(
    learner: Learner, params: Params, tasks: Task, settings: tuple[Any, ...], measure: Callable[[], How]
) -> How:
    """The way of mapping that was measured for this learner, inputs of this form and these settings; measured if new.

    A learner at another moment of training is the same one.
    """
    key = (_identity(learner), form((params, tasks)), tuple(map(_value, settings)))
    if key not in _ways:
        _keep(_ways, key, (measure(), (learner, settings)))
    return _ways[key][0]


def check_names(learner: Learner, params: Params | Any) -> None:
    """Compare the names of params with those of the learner's initial ones, once.

    Raises ValueError as `check_params` does.
    """
    if not isinstance(params, dict):
        check_params(learner, params)
    names = frozenset(tree.flatten({name: leaf for name, leaf in params.items() if name != "measured"}))
    key = (_identity(learner, numbers=False), names)
    if key in _fitting:
        return
    check_params(learner, params)
    _keep(_fitting, key, learner)


def _identity(learner: Learner, *, numbers: bool = True) -> Hashable:
    """The identity of a learner, also among learners that compare equal: all fields except the moment of training."""
    moments = {field.name for field in fields(learner) if field.metadata == MOMENT}
    held = {name: value for name, value in vars(learner).items() if name not in moments}
    if not numbers:  # which a schedule may change at every step
        held = {name: value for name, value in held.items() if not isinstance(value, (int, float))}
    return type(learner), tuple((name, _value(value)) for name, value in held.items())


def _value(value: Any) -> Hashable:
    return type(value), value if isinstance(value, (str, int, float, type(None))) else id(value)


def _keep(memory: dict[Hashable, Any], key: Hashable, value: Any) -> None:
    if len(memory) >= MOST:
        memory.pop(next(iter(memory)))
    memory[key] = value
