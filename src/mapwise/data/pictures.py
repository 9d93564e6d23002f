"""Pictures as they are meant to be seen: upright, on a white background, grey or RGB; and as arrays of one size."""

import errno
import importlib
import importlib.util
import io
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8

from mapwise.data.files import check_file

if TYPE_CHECKING:
    from PIL.Image import Image

LONGEST, MOST = 1 << 14, 50_000_000
"""Pixels of a side, and of a picture, that are read: a few bytes may unpack to gigabytes."""
_HEIF = (".heic", ".heif")
_NO_HEIF = "is a HEIC picture and pillow-heif is not installed (pip install pillow-heif)"
_GREY = ("1", "L", "LA", "La", "I", "F")
_TOGETHER = 1 << 22
"""Pixels that are changed at a time: copies of a whole picture take several times its memory."""


class Unreadable(Exception):
    """Why something is not a picture, as the end of a sentence that begins with its name."""


def picture(source: "Path | bytes | Image", near: int) -> "Image":
    """A picture in mode L, where it is stored in grey, or RGB: turned as its EXIF data say, laid on white where
    transparent, at its first frame where it moves, and 16 bits brought to 8.

    source: a file, the bytes of one, or an image.
    near: the pixels a side that it will be shrunk to; a JPEG is decoded at about twice that scale.

    Raises Unreadable for a file that isn't an image, or is truncated, and for a picture of too many pixels.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    encoded = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        if isinstance(source, Path):
            check_file(source)
            read_heif(source)
        with (
            warnings.catch_warnings(action="ignore"),  # odd metadata that Pillow can handle
            nullcontext(encoded) if isinstance(encoded, Image.Image) else Image.open(encoded) as image,
        ):
            if encoded is not image:
                image.draft(image.mode, (2 * near, 2 * near))  # several times faster
            _check_size(*image.size)
            if encoded is not image:
                ImageOps.exif_transpose(image, in_place=True)
                return _flat(image)
            return _flat(ImageOps.exif_transpose(image))
    except (MemoryError, Unreadable):
        raise
    except Image.DecompressionBombError:
        raise Unreadable(f"has too many pixels, and {_TOO_LARGE}") from None
    except UnidentifiedImageError:
        if not isinstance(source, Path):
            raise Unreadable("is not an image") from None
        if source.stat().st_size == 0:
            raise Unreadable("is empty") from None
        lacking = source.suffix.lower() in _HEIF and not importlib.util.find_spec("pillow_heif")
        raise Unreadable(_NO_HEIF if lacking else "is not an image") from None
    except FileNotFoundError:
        raise Unreadable("is not there") from None
    except IsADirectoryError:
        raise Unreadable("is a folder and no image") from None
    except PermissionError:
        raise Unreadable("may not be read by this user") from None
    except OSError as problem:
        if problem.errno == errno.EINVAL:
            raise Unreadable(f"is {problem.strerror} and no image file") from None
        raise Unreadable(_damage(problem)) from None
    except Exception as problem:  # Pillow's decoders raise nearly anything when a file is damaged
        raise Unreadable(_damage(problem)) from None


def read_heif(file: Path) -> None:
    """Let Pillow read HEIC pictures, which phones take, if the file is called one and pillow-heif is installed."""
    if file.suffix.lower() in _HEIF and importlib.util.find_spec("pillow_heif"):
        importlib.import_module("pillow_heif").register_heif_opener()


def _damage(problem: Exception) -> str:
    reason = " ".join(str(problem).split())[:200] or type(problem).__name__
    return f"is damaged or cut short ({reason})"


def open_picture(row: Any, place: int, near: int) -> "Image":
    """The picture of one row: a path, the bytes of a file, a Pillow image, or an array [H, W], [C, H, W] or [H, W, C].

    An array is of bytes or of 0..1.

    place: the row's number, by which a picture without a path is named.
    near:  as for `picture`.

    Raises ValueError, naming it, for a file or an array that isn't an image.
    """
    try:
        if isinstance(row, str | Path):
            return picture(Path(row).expanduser(), near)
        return picture(_of_array(row) if isinstance(row, np.ndarray) else row, near)
    except Unreadable as problem:
        if isinstance(row, str | Path):
            raise ValueError(f"{row} {problem}: replace it or leave it out, as --skip-bad does") from None
        raise ValueError(f"the picture of row {place} {problem}: replace it or leave it out") from None


def stretched(image: "Image", height: int, width: int) -> np.ndarray:
    """A picture in mode L or RGB stretched to this size, as bytes [1 or 3, height, width]."""
    from PIL import Image

    pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    return np.atleast_3d(pixels).transpose(2, 0, 1)


def ink(image: "Image", side: int) -> Float[np.ndarray, "S S"]:
    """Ink 1 on paper 0, float32."""

    grey = image.convert("L")
    paper = border(np.asarray(grey))
    shrunk = np.asarray(_squared(grey, round(paper), side), np.float32)
    dark = shrunk - paper if paper < 127.5 else paper - shrunk
    dark = dark.clip(min=0)
    most = dark.max()
    # A blank sheet holds no ink, however it is lit.
    scaled: np.ndarray = dark / most if most >= _FAINT else np.zeros_like(dark)
    return scaled


def inks(grey: UInt8[np.ndarray, "N S S"]) -> Float[np.ndarray, "N S S"]:
    """The same, bit for bit, of grey pictures that have the size already: all at once, in a twentieth of the time."""
    along = np.concatenate([grey[:, 0], grey[:, -1], grey[:, :, 0], grey[:, :, -1]], axis=1)
    paper = np.median(along, axis=1).astype(np.float32)[:, None, None]
    over = grey - paper
    dark = np.where(paper < 127.5, over, -over).clip(min=0)
    most = dark.max((1, 2), keepdims=True)
    scaled: np.ndarray = dark / np.where(most >= _FAINT, most, np.inf)
    return scaled


def _squared(grey: "Image", paper: int, side: int) -> "Image":
    """The picture in the middle of a square of paper, shrunk to side x side.

    Pillow shrinks along rows first, each by itself, so those of a large picture are laid on paper and shrunk a few at a
    time: the whole square of a long strip would be larger than the memory. The numbers are those of the square shrunk
    at once.
    """
    from PIL import Image

    width, height = grey.size
    across = max(width, height)
    if across * across <= _TOGETHER:
        square = grey
        if width != height:
            square = Image.new("L", (across, across), paper)
            square.paste(grey, ((across - width) // 2, (across - height) // 2))
        return square.resize((side, side), Image.Resampling.LANCZOS)
    shrunk = Image.new("L", (side, across), paper)  # paper alone stays paper
    for top, strip in _strips(grey, across):
        rows = Image.new("L", (across, strip.height), paper)
        rows.paste(strip, ((across - width) // 2, 0))
        rows = rows.resize((side, strip.height), Image.Resampling.LANCZOS)
        shrunk.paste(rows, (0, (across - height) // 2 + top))
    return shrunk.resize((side, side), Image.Resampling.LANCZOS)


def _strips(image: "Image", across: int) -> "Iterator[tuple[int, Image]]":
    """A few rows of pixels at a time, and where they begin.

    across: pixels that are needed for a row.
    """
    rows = max(1, _TOGETHER // across)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def of_channels(picture: np.ndarray, wanted: int) -> np.ndarray:
    """Bytes [1 or 3, H, W] as so many channels."""
    if picture.shape[0] == wanted:
        return picture
    if wanted == 3:
        return np.repeat(picture, 3, axis=0)
    # The weights of ITU-R 601, as Pillow's own conversion to grey.
    return np.round(np.tensordot([0.299, 0.587, 0.114], picture, axes=1)).astype(np.uint8)[None]


_TOO_LARGE = f"at most {LONGEST:,} a side and {MOST:,} in all are read"


def _check_size(width: int, height: int) -> None:
    """Raises Unreadable for a picture that is too large to be read."""
    if max(width, height) > LONGEST or width * height > MOST:
        raise Unreadable(f"has {width:,} x {height:,} pixels, and {_TOO_LARGE}")


def _flat(image: "Image") -> "Image":
    """The image in mode L or RGB: transparent parts on white, 16 bits brought to 8."""
    from PIL import Image

    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        plain = image.copy()
        plain.info = {}  # pixels alone, as below
        return plain
    deep = image.mode.startswith(("I", "F"))
    flat = Image.new("L" if deep or image.mode in _GREY else "RGB", image.size)
    multiplier, divisor = _scale(image) if deep else (1, 1)
    for top, strip in _strips(image, image.width):
        if deep:
            values = np.asarray(strip, dtype=np.float64) * multiplier / divisor
            part = Image.fromarray(np.clip(np.nan_to_num(values), 0, 255).round().astype(np.uint8))
        else:
            part = _on_white(strip).convert(flat.mode)
        flat.paste(part, (0, top))
    return flat


def _scale(image: "Image") -> tuple[int, int]:
    """The multiplier and the divisor that bring pixels of more than 8 bits to 0..255."""
    most = np.max([np.asarray(strip).max() for _, strip in _strips(image, image.width)])
    if image.mode.startswith("I;16") or (image.mode == "I" and most > 255):
        return 1, 257
    return (255, 1) if image.mode == "F" and most <= 1 else (1, 1)


def _on_white(image: "Image") -> "Image":
    from PIL import Image

    if not ("A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info):
        return image
    paper = Image.new("RGBA", image.size, "white")
    paper.alpha_composite(image.convert("RGBA"))
    return paper


def _of_array(row: np.ndarray) -> "Image":
    from PIL import Image

    values = row
    if values.ndim == 3 and values.shape[0] in (1, 3, 4) and values.shape[2] not in (1, 3, 4):
        values = values.transpose(1, 2, 0)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if not (values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (3, 4))) or 0 in values.shape:
        raise Unreadable(
            f"is an array of shape {row.shape} and no [H, W], [C, H, W] or [H, W, C] of 1, 3 or 4 channels"
        )
    _check_size(values.shape[1], values.shape[0])
    if values.dtype == np.bool_:
        values = values.astype(np.uint8) * 255
    elif values.dtype != np.uint8:
        values = values.astype(np.float64)
        if not np.isfinite(values).all():
            raise Unreadable("holds NaN or infinity")
        if values.min() < 0 or values.max() > 255:
            raise Unreadable(
                f"holds numbers from {values.min():.3g} to {values.max():.3g}, and bytes or 0..1 are needed"
            )
        values = (values * (255 if values.max() <= 1 else 1)).round().astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(values))


_FAINT = 16
"""Of 255: less is a stain."""


def border(values: np.ndarray) -> float:
    """The shade of the paper: the median of the pixels along the border."""
    return float(np.median(np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])))
