"""Decoding of uploads, in a process of its own: whatever a picture does to its decoder, the server answers on."""

import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mapwise.data.photographs import look_like_photographs
from mapwise.data.pictures import open_picture

if TYPE_CHECKING:
    from mapwise.encoders.encoder import Encoder

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""That are decoded; SVG and PDF are programs, and others are rare."""
PREVIEW = 96
"""Pixels of the longer side of what people see of an example."""


class TooLarge(ValueError):
    """A picture of more pixels than are decoded."""


class NotPicture(ValueError):
    """What is no picture of a format that is decoded."""


class Decoded(NamedTuple):
    """A picture, as the numbers that its encoder reads, or as bytes [H, W] or [H, W, 3].

    preview:    a small PNG of it; empty where none is needed.
    photograph: whether it looks like one, where that was of interest.
    """

    array: np.ndarray
    preview: bytes = b""
    photograph: bool = False


def decoded(
    contents: Sequence[bytes],
    rows: "Encoder | None",
    side: int,
    pixels: int,
    previews: bool,
    photographs: bool = False,
) -> list[Decoded]:
    """Pictures of their files' bytes.

    rows:     what makes the numbers that an encoder reads; None: the pictures' own pixels.
    side, pixels: of a picture at most, which are looked at before it is decoded.
    previews: whether small copies are made too.
    photographs: whether they are looked at for being photographs.

    Raises TooLarge and NotPicture, naming the row.
    """
    answers = []
    for place, content in enumerate(contents):
        _check(content, place, side, pixels)
        image = open_picture(content, place, side)
        array = np.asarray(image) if rows is None else rows([image])[0]
        photograph = photographs and look_like_photographs([image])
        preview = b""
        if previews:
            image.thumbnail((PREVIEW, PREVIEW))
            file = io.BytesIO()
            image.save(file, "PNG")  # of pixels alone: nothing else of the upload stays
            preview = file.getvalue()
        answers.append(Decoded(array, preview, photograph))
    return answers


def _check(content: bytes, place: int, side: int, pixels: int) -> None:
    """Raises TooLarge and NotPicture by the head of a file."""
    from PIL import Image, UnidentifiedImageError

    name = f"the picture of row {place}"
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
    except Image.DecompressionBombError:
        raise TooLarge(f"{name} has too many pixels: shrink it first") from None
    except UnidentifiedImageError:
        raise NotPicture(f"{name} is no picture of the formats {', '.join(FORMATS)}: save it as one of them") from None
    except Exception:  # Pillow's decoders raise nearly anything when a file is damaged
        raise NotPicture(f"{name} is damaged or cut short: save it again") from None
    if max(width, height) > side or width * height > pixels:
        raise TooLarge(
            f"{name} has {width:,} x {height:,} pixels, and at most {side:,} a side and {pixels:,} in all are read: "
            "shrink it first"
        )
