"""What settings and arguments may hold, by their types. Needs no torch."""

import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from numbers import Integral, Real
from typing import Any, Literal

LARGEST = 2**63 - 1
"""Of a whole number; torch and numpy take no larger one."""
_SHOWN = 80
"""Letters of a value in an error."""


def check_fields(settings: Any) -> None:
    """Raises ValueError for the first field of a dataclass that holds no value of its type.

    Whole numbers, numbers, truths, texts, choices, tuples and classes are looked at, and what is called must be
    callable; NaN and infinity are no numbers, and True is none either. A field's default is right whatever it is.
    """
    cls: Any = type(settings)
    for name, (hint, default) in _hints_of_fields(cls).items():
        value = getattr(settings, name)
        if value is not default:
            _check(name, value, hint)


def check_arguments(function: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Raises ValueError, as `check_fields` does, for the first argument of a function that is of another type.

    arguments: by their names; any others are passed over.
    """
    for name, hint in _hints(function).items():
        if name in arguments:
            _check(name, arguments[name], hint)


def check_whole(name: str, value: object, least: int | None = None) -> None:
    """Raises ValueError for what is no whole number, or below the least."""
    if not is_whole(value):
        raise ValueError(f"{name} is {quote(value)}: give a whole number")
    assert isinstance(value, Integral)
    if least is not None and value < least:
        raise ValueError(f"{name} is {quote(value)}: give {least} or more")


def check_sizes(least: int = 1, **sizes: int | Sequence[int] | None) -> None:
    """Raises ValueError for the first number below the least, alone or in a list; None is passed over."""
    for name, size in sizes.items():
        if min(size if isinstance(size, Sequence) else [least if size is None else size], default=least) < least:
            raise ValueError(f"{name} is {quote(size)}: give {least} or more")


def check_one_of(name: str, value: object, values: Sequence[Any]) -> None:
    """Raises ValueError for what is none of these values, of the same type."""
    if not _is_one_of(value, values):
        raise ValueError(f"{name} is {quote(value)}: give {' or '.join(map(repr, values))}")


def check_flag(name: str, value: object) -> None:
    """Raises ValueError for anything but True and False."""
    if not _is_flag(value):
        raise ValueError(f"{name} is {quote(value)}: give True or False")


def check_text(name: str, value: object, example: str = "") -> None:
    """Raises ValueError for anything but a string."""
    if not isinstance(value, str):
        raise ValueError(f"{name} is {quote(value)}: give a text{f', such as {example!r}' if example else ''}")


def is_whole(value: object) -> bool:
    """Whether this is a whole number that fits into 64 bits, with a sign."""
    return not isinstance(value, bool) and isinstance(value, Integral) and -LARGEST <= int(value) <= LARGEST


def is_number(value: object) -> bool:
    """Whether this is a real number, and finite as one of float64."""
    try:
        return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(float(value))
    except OverflowError:
        return False


def quote(value: object) -> str:
    """A value as an error shows it: on one line, and not too long; without what it holds where that may be much."""
    if isinstance(value, str | bytes | int | float | complex | tuple | list | dict | set | type(None)):
        try:
            text = " ".join(repr(value).split())
        except ValueError:  # a whole number of thousands of digits
            text = "a whole number of very many digits"
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return f"the class {value.__name__}" if isinstance(value, type) else f"of type {type(value).__name__}"


def _is_flag(value: object) -> bool:
    return isinstance(value, bool) or (type(value).__name__ in ("bool_", "bool") and type(value).__module__ == "numpy")


def _is_one_of(value: object, values: Sequence[Any]) -> bool:
    return any(type(value) is type(one) and value == one for one in values)


def _check(name: str, value: object, hint: Any) -> None:
    if not _fits(value, hint):
        raise ValueError(f"{name} is {quote(value)}: give {_described(hint)}")


@lru_cache(maxsize=256)
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except Exception:  # of a user's own class: a name that only a type checker sees
        return {}


@lru_cache(maxsize=256)
def _hints_of_fields(cls: type) -> dict[str, tuple[Any, Any]]:
    """The type and the default of every field."""
    hints = _hints(cls)
    return {field.name: (hints[field.name], field.default) for field in fields(cls) if field.name in hints}


def _options(hint: Any) -> list[Any]:
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return [hint]
    return [part for one in typing.get_args(hint) for part in _options(one)]


def _fits(value: object, hint: Any) -> bool:
    # Lists and not generators here and above: one that Ctrl-C interrupts is closed with a warning.
    return any([_fits_one(value, option) for option in _options(hint)])  # noqa: C419


def _fits_one(value: object, option: Any) -> bool:
    """Whether a value is of this type; True for types that nothing here can tell."""
    origin, args = typing.get_origin(option), typing.get_args(option)
    if option in _CHECKS:
        return _CHECKS[option](value)
    if origin is Literal:
        return _is_one_of(value, args)
    if origin is tuple:
        inner = args[:1] * len(value) if isinstance(value, tuple) and args[1:] == (...,) else args
        return isinstance(value, tuple) and len(value) == len(inner) and all(map(_fits, value, inner))
    if origin is Sequence:
        return isinstance(value, list | tuple | range) and all(_fits(part, args[0]) for part in value)
    if origin is not None:
        option = origin
    return not isinstance(option, type) or getattr(option, "_is_protocol", False) or isinstance(value, option)


def _described(hint: Any) -> str:
    *others, last = dict.fromkeys(word for option in _options(hint) for word in _words(option))
    return f"{', '.join(others)} or {last}" if others else last


def _words(option: Any) -> Sequence[str]:
    return list(map(repr, typing.get_args(option))) if typing.get_origin(option) is Literal else [_word(option)]


def _word(option: Any) -> str:
    origin, args = typing.get_origin(option), typing.get_args(option)
    if option in _NAMES:
        return _NAMES[option]
    if origin in (tuple, Sequence):
        return f"{'a tuple' if origin is tuple else 'a list'}, each {_described(args[0])}"
    name = (origin or option).__name__
    example = f", such as {option.made_by}" if hasattr(option, "made_by") else ""
    return "a function" if name == "Callable" else f"{'an' if name[0] in 'AEIOU' else 'a'} {name}{example}"


_CHECKS: dict[Any, Callable[[Any], bool]] = {
    int: is_whole,
    float: is_number,
    bool: _is_flag,
    type(None): lambda value: value is None,
    Any: lambda value: True,
}
_NAMES: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "a text",
    type(None): "None",
    Any: "anything",
}
