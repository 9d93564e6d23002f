"""JSON of answers: compact, with numbers of numpy, and null for what JSON can't say."""

import json
import math
from typing import Any

import numpy as np


def json_text(content: Any) -> str:
    """The JSON of an answer."""
    try:
        return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
    except ValueError:
        return json.dumps(_finite(content), ensure_ascii=False, separators=(",", ":"), default=_plain)


def json_bytes(content: Any) -> bytes:
    """The same in UTF-8, whatever the strings hold."""
    return json_text(content).encode("utf-8", "replace")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is nothing that JSON says")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    number = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(number, float) and not math.isfinite(number) else number
