"""Settings as the words of a command line, and back: flags, types, defaults and values.

Nothing here needs torch, so that help comes at once.
"""

import inspect
import re
import types
import typing
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

if TYPE_CHECKING:
    from pydantic import ValidationError


def field_meanings(part: Any) -> dict[str, str]:
    """The meanings that a class or a function documents as lines "name: meaning", its own before inherited ones."""
    meanings: dict[str, str] = {}
    for owner in reversed(part.__mro__) if isinstance(part, type) else [part]:
        last = ""
        for line in inspect.cleandoc(owner.__doc__ or "").splitlines():
            begins = re.match(r"([a-z_][a-z_0-9, ]*):\s+(\S.*)", line)
            if begins:
                last = begins[1]
                for name in last.split(","):
                    meanings[name.strip()] = begins[2]
            elif last and line.startswith("  "):
                for name in last.split(","):
                    meanings[name.strip()] += f" {line.strip()}"
            else:
                last = ""
    return meanings


def flag(address: str) -> str:
    """The flag of a setting: --inner-lr for inner_lr."""
    return f"--{address.replace('_', '-')}"


def plain_type(kind: Any) -> str:
    """A type in the words of a command line."""
    if isinstance(kind, type):
        return {"str": "text", "bool": "true or false"}.get(kind.__name__, kind.__name__)
    text = re.sub(r"collections\.abc\.|typing\.", "", str(kind))
    if text.startswith("Literal"):
        return " or ".join(re.findall(r"'([^']*)'", text))
    if "Literal" in text:
        return " or ".join([*re.findall(r"'([^']*)'", text), *(["none"] if "None" in text else [])])
    if "Callable" in text:
        return "text"
    inner = re.match(r"(?:tuple|list|Sequence)\[(\w+)", text)
    if inner:
        return f"{ {'str': 'texts'}.get(inner[1], inner[1] + 's') }, comma-separated".replace("  ", " ").strip()
    return text.replace(" | None", " or none")


def plain_value(value: Any) -> Any:
    """A default in the words of a command line."""
    if isinstance(value, (tuple, list)):
        return ",".join(str(part) for part in value)
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else value


def typed(kind: Any, value: Any, address: str) -> Any:
    """A value as its setting takes it: "0.4", "8,4", "true", and "none" for None or for no words at all.

    Raises ValueError for a value of another type, naming the flag.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    parts = typing.get_args(kind) if typing.get_origin(kind) in (types.UnionType, typing.Union) else (kind,)
    if isinstance(value, str) and value == "none" and type(None) in parts:
        value = None
    try:
        return TypeAdapter(_readable(kind), config=ConfigDict(coerce_numbers_to_str=True)).validate_python(value)
    except ValidationError as error:
        raise ValueError(f"{flag(address)} is {value!r}: {reason(error)}") from None


def reason(error: "ValidationError") -> str:
    """What pydantic asks for instead, in its words; of a union, what each of its types asks for."""
    messages = (part["msg"].removeprefix("Value error, ").lower() for part in error.errors())
    return ", or ".join(dict.fromkeys(messages))


def _readable(kind: Any) -> Any:
    """The type, with a sequence also read from comma-separated words."""
    from pydantic import BeforeValidator

    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        return typing.Union[tuple(_readable(part) for part in typing.get_args(kind))]  # noqa: UP007
    return Annotated[kind, BeforeValidator(_words)] if origin in (tuple, list, Sequence) else kind


def _words(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return [] if value == "none" else [word.strip() for word in value.split(",") if word.strip()]
