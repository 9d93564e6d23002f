"""Settings in a TOML file, under a schema version and with a digest."""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from mapwise.data.files import read_bytes, write_atomically

Settings = TypeVar("Settings")


def write_toml(settings: Mapping[str, Any], path: Path) -> None:
    """Write settings, whole or not at all; raises OSError when the file can't be written."""
    text = "".join(f"{name} = {_toml(value)}\n" for name, value in settings.items() if value is not None)
    write_atomically(path, lambda file: file.write((text + _digest_line(text)).encode()))


def read_toml(kind: type[Settings], path: Path, schema: int, again: str, *, last: str) -> Settings:
    """The settings of a file; raises ValueError for a damaged or changed file, and for another schema version.

    again: what to do when the file can't be restored.
    last:  a setting near the end that every file has, also those of earlier versions, which have no digest.
    """
    try:
        text = read_bytes(path, _MOST).decode()
        values = tomllib.loads(text)
    except FileNotFoundError:
        raise
    except OSError as problem:
        raise ValueError(f"{path} can't be read ({problem.strerror}): restore it, or {again}") from None
    except (ValueError, RecursionError) as error:  # of a value that goes too deep, or has too many digits
        raise ValueError(f"{path} is damaged ({error}): restore it, or {again}") from None
    version = values.get("schema_version")
    if version != schema:
        raise ValueError(
            f"{path} has schema version {version} and this mapwise reads {schema}: "
            f"use the mapwise version that wrote it, or {again}"
        )
    if values.pop("digest", None) is not None:
        body, name, value = text.rpartition(_DIGEST)
        if name + value != _digest_line(body):
            raise ValueError(
                f"{path} was changed since it was written: undo the change, or {again}; if the change is meant, take "
                "the line of the digest out"
            )
    if last not in values:
        raise ValueError(f"{path} was cut short: restore it, or {again}")
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{part}: " for part in (".".join(str(part) for part in first["loc"]),) if part)
        raise ValueError(f"{path}: {where}{first['msg']}; restore it, or {again}") from None


_DIGEST = "digest = "
_MOST = 1 << 20
"""Bytes of a file."""


def _digest_line(text: str) -> str:
    """The last line of a file, which tells whether the lines before it are as they were written."""
    return f'{_DIGEST}"{hashlib.sha256(text.encode()).hexdigest()}"\n'


def _toml(value: Any) -> str:
    """A TOML value; JSON's strings, numbers and lists are TOML's too."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items() if v is not None) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    return json.dumps(value)
