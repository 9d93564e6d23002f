"""Pictures of a request: files, or one array as NumPy saves it, which is looked at before it is believed."""

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Shaped
from numpy.lib import format as npy

from mapwise.interfaces.server.limits import Limits
from mapwise.interfaces.server.problems import Refusal

HEADER = 1_000
"""Bytes of an array's header."""
_TYPES = ("|u1", "<f4")
_CHANNELS = (1, 3, 4)
_PLAIN = re.compile(r"\w[\w .()+-]{0,99}")
"""A file's name that errors may repeat."""
_NEEDED = "save uint8 or float32 of shape [N, H, W], [N, C, H, W] or [N, H, W, C] with numpy.save"


@dataclass(frozen=True, eq=False)
class SentPictures:
    """Pictures as they were sent.

    contents: of N files, or an array [N, ...] as the estimator takes it.
    names:    what errors call each.
    """

    contents: Sequence[bytes] | Shaped[np.ndarray, "N ..."]
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.names)


def file_name(name: str, place: int) -> str:
    """What errors call a picture: by its file, or by its row where the file has no name that can be shown."""
    last = re.split(r"[/\\]", name)[-1]
    return f"the picture {last} (row {place})" if _PLAIN.fullmatch(last) else f"the picture of row {place}"


def array_of(content: bytes, limits: Limits) -> Shaped[np.ndarray, "N ..."]:
    """The array of a file of NumPy; raises Refusal for what is none, for other numbers, and for too large pictures."""
    begin = 10 + int.from_bytes(content[8:10], "little")
    try:
        shape, by_columns, dtype = _header(content[:begin])
    except Exception:  # NumPy raises nearly anything for a header that is none
        raise Refusal(422, f"the array is no file of NumPy, or its header is damaged: {_NEEDED}") from None
    is_whole = all(type(side) is int for side in shape) and len(shape) in (3, 4)
    if not is_whole or shape[0] < 0 or min(shape[1:]) < 1 or dtype.str not in _TYPES or by_columns:
        order = ", column by column" if by_columns else ""
        raise Refusal(422, f"the array is {str(dtype)[:40]} of shape {str(shape)[:80]}{order}: {_NEEDED}")
    height, width = _sides(shape)
    if max(height, width) > limits.side or height * width > limits.pixels:
        raise Refusal(
            413,
            f"the pictures have {width:,} x {height:,} pixels, and at most {limits.side:,} a side and "
            f"{limits.pixels:,} in all are read: shrink them first",
        )
    size = math.prod(shape) * dtype.itemsize
    if len(content) - begin != size:
        raise Refusal(
            422,
            f"the array of shape {shape} needs {size:,} bytes and has {len(content) - begin:,}: send all of it",
        )
    array: np.ndarray = np.frombuffer(content, dtype, offset=begin).reshape(shape)
    return array


@lru_cache(64)
def _header(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """What the head of a file of NumPy says: it is the same for all arrays of one size; raises anything for no head."""
    file = io.BytesIO(head)
    if npy.read_magic(file) != (1, 0) or len(head) > HEADER:
        raise ValueError
    shape, by_columns, dtype = npy.read_array_header_1_0(file, max_header_size=HEADER)
    return shape, by_columns, dtype


def _sides(shape: Sequence[int]) -> tuple[int, int]:
    """The height and the width of the pictures of an array, as `data.pictures` understands it."""
    if len(shape) == 4 and not (shape[1] in _CHANNELS and shape[3] not in _CHANNELS):
        return shape[1], shape[2]
    return shape[-2], shape[-1]
