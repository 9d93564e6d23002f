"""Values of settings from texts and from TOML, by the type of the setting."""

import types
import typing
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError

from mapwise.runs.flags import flag


def typed(kind: Any, value: Any, address: str) -> Any:
    """A value as its setting takes it: "0.4", "8,4", "true", and "none" for None or for no words at all.

    Raises ValueError for a value of another type, naming the flag.
    """
    parts = typing.get_args(kind) if typing.get_origin(kind) in (types.UnionType, typing.Union) else (kind,)
    if isinstance(value, str) and value == "none" and type(None) in parts:
        value = None
    try:
        return TypeAdapter(_readable(kind), config=ConfigDict(coerce_numbers_to_str=True)).validate_python(value)
    except ValidationError as error:
        raise ValueError(f"{flag(address)} is {value!r}: {reason(error)}") from None


def reason(error: ValidationError) -> str:
    """What pydantic asks for instead, in its words; of a union, what each of its types asks for."""
    messages = (part["msg"].removeprefix("Value error, ").lower() for part in error.errors())
    return ", or ".join(dict.fromkeys(messages))


def _readable(kind: Any) -> Any:
    """The type, with a sequence also read from comma-separated words."""
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        return typing.Union[tuple(_readable(part) for part in typing.get_args(kind))]  # noqa: UP007
    return Annotated[kind, BeforeValidator(_words)] if origin in (tuple, list, Sequence) else kind


def _words(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return [] if value == "none" else [word.strip() for word in value.split(",") if word.strip()]
