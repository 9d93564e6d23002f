"""Decoding of uploads, in a process of its own: whatever a picture does to its decoder, the server answers on."""

import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mapwise.data.photographs import look_like_photographs
from mapwise.data.pictures import open_picture

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

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
    contents: Sequence[bytes | np.ndarray],
    names: Sequence[str],
    rows: "tuple[Encoder, int] | None",
    side: int,
    pixels: int,
    previews: bool,
    photographs: bool = False,
) -> list[Decoded]:
    """Pictures of their files' bytes, or arrays as the estimator takes them.

    names:    what errors call each.
    rows:     what makes the numbers that an encoder reads, and their pixels a side; None: the pictures' own pixels.
    side, pixels: of a picture at most, which are looked at before it is decoded.
    previews: whether small copies are made too.
    photographs: whether they are looked at for being photographs.

    Raises TooLarge and NotPicture, naming the picture.
    """
    return [
        _decoded(content, name, rows, (side, pixels), previews, photographs)
        for content, name in zip(contents, names, strict=True)
    ]


def _decoded(
    content: bytes | np.ndarray,
    name: str,
    rows: "tuple[Encoder, int] | None",
    bounds: tuple[int, int],
    previews: bool,
    photographs: bool,
) -> Decoded:
    """One of them; it is opened once, since its head takes as long as its pixels."""
    picture: Any = content
    if isinstance(content, bytes):
        image = _opened(content, name, *bounds)
        if rows is not None and not previews:
            image.draft(image.mode, (2 * rows[1], 2 * rows[1]))  # as a file of a command is read
            picture = image
    try:
        if rows is not None and not previews:
            return Decoded(rows[0]([picture])[0])
        whole = open_picture(picture, 0, bounds[0] if rows is None else rows[1])
        array = np.asarray(whole) if rows is None else rows[0]([whole])[0]
    except ValueError as error:
        raise NotPicture(str(error).replace("the picture of row 0", name)) from None
    photograph = photographs and look_like_photographs([whole])
    preview = b""
    if previews:
        file = io.BytesIO()
        whole.thumbnail((PREVIEW, PREVIEW))
        whole.save(file, "PNG")  # of pixels alone: nothing else of the upload stays
        preview = file.getvalue()
    return Decoded(array, preview, photograph)


def _opened(content: bytes, name: str, side: int, pixels: int) -> "ImageFile":
    """A picture whose pixels aren't decoded yet; raises TooLarge and NotPicture by the head of its file."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings(action="ignore"):
            image = Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError:
        raise TooLarge(f"{name} has too many pixels: shrink it first") from None
    except UnidentifiedImageError:
        raise NotPicture(f"{name} is no picture of the formats {', '.join(FORMATS)}: save it as one of them") from None
    except Exception:  # Pillow's decoders raise nearly anything when a file is damaged
        raise NotPicture(f"{name} is damaged or cut short: save it again") from None
    width, height = image.size
    if max(width, height) > side or width * height > pixels:
        raise TooLarge(
            f"{name} has {width:,} x {height:,} pixels, and at most {side:,} a side and {pixels:,} in all are read: "
            "shrink it first"
        )
    return image
