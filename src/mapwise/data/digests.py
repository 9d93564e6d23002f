"""The content of a raw row, byte for byte: it identifies an example, wherever it comes from."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from mapwise.data.files import read_bytes
from mapwise.data.inputs import nonempty
from mapwise.data.modality import Modality
from mapwise.data.pictures import open_picture

MOST_BYTES = 1 << 28
"""Of a picture's file."""


def text_content(text: str, place: int) -> bytes:
    """The text in UTF-8; raises ValueError for one without letters."""
    return nonempty(text, place).encode("utf-8", "replace")


def picture_content(row: Any, place: int) -> bytes:
    """The bytes of the file, or the pixels; raises ValueError for a file that can't be read, and for odd arrays."""
    if isinstance(row, bytes):
        return row
    if isinstance(row, str | Path):
        try:
            return read_bytes(Path(row).expanduser(), MOST_BYTES)
        except OSError:
            open_picture(row, place, 1)  # says why
            raise ValueError(f"{row} holds more than {MOST_BYTES >> 20} MB: shrink the picture first") from None
    image = open_picture(row, place, 1)
    return f"{image.mode} {image.size} ".encode() + image.tobytes()


def cells_content(columns: Mapping[str, np.ndarray], place: int) -> bytes:
    """The cells of one row of a table, by the names of their columns, as texts."""
    return json.dumps([[name, str(columns[name][place])] for name in sorted(columns)]).encode()


def digests(reads: Modality, rows: Sequence[Any] | np.ndarray | Mapping[str, np.ndarray]) -> Int64[np.ndarray, "N"]:
    """The first eight bytes of the SHA-256 of every raw row's content.

    Raises ValueError for a row that can't be read, naming it.
    """
    if isinstance(rows, Mapping):
        count = len(next(iter(rows.values()), ()))
        contents = (cells_content(rows, place) for place in range(count))
    elif reads == "table":  # as a matrix
        contents = (np.ascontiguousarray(row).tobytes() for row in rows)
    else:
        content = {"texts": text_content, "pictures": picture_content}[reads]
        contents = (content(rows[place], place) for place in range(len(rows)))
    numbers = [int.from_bytes(hashlib.sha256(one).digest()[:8], "big", signed=True) for one in contents]
    return np.asarray(numbers, dtype=np.int64)


def together(each: Int64[np.ndarray, "N"]) -> str:
    """One digest for all rows, in any order: two predictors with the same digest were fitted on the same examples."""
    return hashlib.sha256(np.sort(each).astype(">i8").tobytes()).hexdigest()[:16]
