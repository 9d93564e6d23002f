"""Pictures as they are meant to be seen: upright, on a white background, grey or RGB; and as arrays of one size."""

import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    from PIL.Image import Image

_GREY = ("1", "L", "LA", "La", "I", "F")


class Unreadable(Exception):
    """Why something is not a picture, as the end of a sentence that begins with its name."""


def picture(source: "Path | Image", near: int) -> "Image":
    """A picture in mode L, where it is stored in grey, or RGB: turned as its EXIF data say, laid on white where
    transparent, at its first frame where it moves, and 16 bits brought to 8.

    near: the pixels a side that it will be shrunk to; a JPEG is decoded at about twice that scale.

    Raises Unreadable for a file that isn't an image, or is truncated.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with (
            warnings.catch_warnings(),
            Image.open(source) if isinstance(source, Path) else nullcontext(source) as image,
        ):
            warnings.simplefilter("ignore")  # odd metadata that Pillow can handle
            if isinstance(source, Path):
                image.draft(image.mode, (2 * near, 2 * near))  # several times faster
            return _flat(ImageOps.exif_transpose(image))
    except MemoryError:
        raise
    except UnidentifiedImageError:
        empty = isinstance(source, Path) and not source.stat().st_size
        raise Unreadable("is empty" if empty else "is not an image") from None
    except FileNotFoundError:
        raise Unreadable("is not there") from None
    except IsADirectoryError:
        raise Unreadable("is a folder and no image") from None
    except PermissionError:
        raise Unreadable("may not be read by this user") from None
    except Exception as problem:  # Pillow's decoders raise nearly anything when a file is damaged
        reason = " ".join(str(problem).split()) or type(problem).__name__
        raise Unreadable(f"is damaged or cut short ({reason})") from None


def open_picture(row: Any, place: int, near: int) -> "Image":
    """The picture of one row: a path, a Pillow image, or an array [H, W], [C, H, W] or [H, W, C] of bytes or of 0..1.

    place: the row's number, by which a picture without a path is named.
    near:  as for `picture`.

    Raises ValueError, naming it, for a file or an array that isn't an image.
    """
    try:
        if isinstance(row, str | Path):
            return picture(Path(row).expanduser(), near)
        return picture(_of_array(row) if isinstance(row, np.ndarray) else row, near)
    except Unreadable as problem:
        where = str(row) if isinstance(row, str | Path) else f"the picture of row {place}"
        raise ValueError(f"{where} {problem}: replace it or leave it out") from None


def stretched(image: "Image", height: int, width: int) -> np.ndarray:
    """A picture in mode L or RGB stretched to this size, as bytes [1 or 3, height, width]."""
    from PIL import Image

    pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    return np.atleast_3d(pixels).transpose(2, 0, 1)


def ink(image: "Image", side: int) -> Float[np.ndarray, "S S"]:
    """Ink 1 on paper 0, float32."""
    from PIL import Image

    grey = image.convert("L")
    width, height = grey.size
    border = _border(np.asarray(grey))
    if width != height:
        square = Image.new("L", (max(width, height),) * 2, round(border))
        square.paste(grey, ((square.width - width) // 2, (square.height - height) // 2))
        grey = square
    shrunk = np.asarray(grey.resize((side, side), Image.Resampling.LANCZOS), np.float32)
    dark = shrunk - border if border < 127.5 else border - shrunk
    dark = dark.clip(min=0)
    most = dark.max()
    # A blank sheet holds no ink, however it is lit.
    scaled: np.ndarray = dark / most if most >= _FAINT else np.zeros_like(dark)
    return scaled


def of_channels(picture: np.ndarray, wanted: int) -> np.ndarray:
    """Bytes [1 or 3, H, W] as so many channels."""
    if picture.shape[0] == wanted:
        return picture
    if wanted == 3:
        return np.repeat(picture, 3, axis=0)
    # The weights of ITU-R 601, as Pillow's own conversion to grey.
    return np.round(np.tensordot([0.299, 0.587, 0.114], picture, axes=1)).astype(np.uint8)[None]


def _flat(image: "Image") -> "Image":
    """The image in mode L or RGB: transparent parts on white, 16 bits brought to 8."""
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        values = np.asarray(image, dtype=np.float64)
        if image.mode.startswith("I;16") or (image.mode == "I" and values.max() > 255):
            values = values / 257
        elif image.mode == "F" and values.max() <= 1:
            values = values * 255
        return Image.fromarray(np.clip(np.nan_to_num(values), 0, 255).round().astype(np.uint8))
    grey = image.mode in _GREY
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        see_through = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        paper.alpha_composite(see_through)
        image = paper
    return image.convert("L" if grey else "RGB")


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


def _border(values: np.ndarray) -> float:
    """The shade of the paper: the median of the pixels along the border."""
    return float(np.median(np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])))
