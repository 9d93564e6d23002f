"""Letters as pictures: typeset by FreeType, then bent, thickened and smudged as a hand would."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

FACES = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSans-BoldOblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSansMono-Oblique",
    "DejaVuSansMono-BoldOblique",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-Italic",
    "DejaVuSerif-BoldItalic",
)
"""The faces a drawing may begin from; the first has every letter we use."""

EXTENT = 0.66
"""The longer side of a letter before its warp, as a share of the picture."""
_CANVAS = 72  # pixels; holds the widest letter of the widest face at the sizes of _SIZES, with its stroke
_SIZES = (20, 28, 40, 56)  # pixels; a letter is set in the size that brings its longer side nearest to _WISH
_WISH = 32
_BEND = 4  # a drawing is bent by displacements on a grid of this many points a side
_NUMBERS = 10 + 2 * _BEND * _BEND  # random numbers a drawing takes, before its grain


def charmaps() -> dict[str, frozenset[int]]:
    """The code points that every face has a glyph for."""
    from matplotlib.ft2font import FT2Font

    return {face: frozenset(FT2Font(str(_path(face))).get_charmap()) for face in FACES}


@dataclass(frozen=True)
class Typesetter:
    """Sets single letters in any of the faces; holds the opened fonts."""

    fonts: dict[tuple[str, int], object]

    @classmethod
    def opened(cls) -> "Typesetter":
        """A typesetter with every face open in every size."""
        from PIL import ImageFont

        return cls(
            {
                # BASIC: one letter needs no shaping, and Pillow builds differ in whether they can shape.
                (face, size): ImageFont.truetype(str(_path(face)), size, layout_engine=ImageFont.Layout.BASIC)
                for face in FACES
                for size in _SIZES
            }
        )

    def size_for(self, letter: str) -> int | None:
        """The size in which this letter is about 32 pixels long; None when its glyph is empty."""
        left, top, right, bottom = self.fonts[FACES[0], 40].getbbox(letter)  # type: ignore[attr-defined]
        longest = max(right - left, bottom - top)
        if longest <= 0:
            return None
        return min(_SIZES, key=lambda size: abs(np.log(longest * size / 40 / _WISH)))

    def set(self, letter: str, face: str, size: int, stroke: int) -> tuple[np.ndarray, np.ndarray]:
        """The letter centred on a canvas, uint8 [72, 72], ink 255, and its width and height in pixels."""
        from PIL import Image, ImageDraw

        image = Image.new("L", (2 * _CANVAS, 2 * _CANVAS))
        ImageDraw.Draw(image).text(
            (_CANVAS // 2, 3 * _CANVAS // 2),
            letter,
            fill=255,
            font=self.fonts[face, size],  # type: ignore[arg-type]
            anchor="ls",
            stroke_width=stroke,
        )
        box = image.getbbox()
        canvas = np.zeros((_CANVAS, _CANVAS), np.uint8)
        if box is None:
            return canvas, np.zeros(2, np.float32)
        ink = np.asarray(image.crop(box))[:_CANVAS, :_CANVAS]
        height, width = ink.shape
        top, left = (_CANVAS - height) // 2, (_CANVAS - width) // 2
        canvas[top : top + height, left : left + width] = ink
        return canvas, np.array([width, height], np.float32)


def clean(typesetter: Typesetter, letters: Sequence[str], face: str, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Every letter plain, upright, centred and brought to one size, and again stretched to fill a square.

    Returns two [letters, size, size], 0..1, and the letters' width over height, [letters].
    """
    sizes = [typesetter.size_for(letter) or 40 for letter in letters]
    pairs = [typesetter.set(letter, face, wish, 0) for letter, wish in zip(letters, sizes, strict=True)]
    canvases = torch.from_numpy(np.stack([canvas for canvas, _ in pairs])).to(torch.float32) / 255
    extents = torch.from_numpy(np.stack([extent for _, extent in pairs])).clamp(min=1)  # [letters, 2]
    none = torch.zeros(len(letters), 2)
    longest = extents.amax(1, keepdim=True).expand(-1, 2)
    whole, filled = (_sample(canvases, torch.diag_embed(e), none, None, size) for e in (longest, extents))
    return whole, filled, extents[:, 0] / extents[:, 1]


def draw_letter(
    typesetter: Typesetter, letter: str, faces: Sequence[str], size: int, uniform: np.ndarray
) -> np.ndarray:
    """Drawings of one letter by different hands, uint8 [drawings, size, size], ink 255.

    faces:   the faces that have the letter.
    uniform: [drawings, _NUMBERS + size * size], random numbers in 0..1: a drawing is a pure function of its row.
    """
    n = len(uniform)
    wish = typesetter.size_for(letter) or 40
    set_once: dict[tuple[str, int], tuple[np.ndarray, np.ndarray]] = {}
    canvases = np.empty((n, _CANVAS, _CANVAS), np.uint8)
    longest = np.empty(n, np.float32)
    bold = np.empty(n, np.float32)
    for i in range(n):
        face = faces[int(uniform[i, 0] * len(faces))]
        bold[i] = "Bold" in face
        stroke = int(uniform[i, 1] < 0.45 and not bold[i])
        if (face, stroke) not in set_once:
            set_once[face, stroke] = typesetter.set(letter, face, wish, stroke)
        canvases[i], extent = set_once[face, stroke]
        longest[i] = extent.max()
    numbers = torch.from_numpy(uniform[:, 2:_NUMBERS].astype(np.float32)) * 2 - 1  # -1..1
    angle, shear = numbers[:, 0] * 0.28, numbers[:, 1] * 0.28  # radians, and a share of the height
    wide, high = torch.exp(numbers[:, 2] * 0.2), torch.exp(numbers[:, 3] * 0.2)
    shift = numbers[:, 4:6] * 0.12  # of half the picture
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    turn = torch.stack([cos, -sin, sin, cos], 1).reshape(n, 2, 2)
    slant = torch.stack([1 / wide, shear / high, zero, 1 / high], 1).reshape(n, 2, 2)
    bend = numbers[:, 8:].reshape(n, 2, _BEND, _BEND) * 0.14
    onto = slant @ turn * torch.from_numpy(longest)[:, None, None]
    ink = _sample(torch.from_numpy(canvases).to(torch.float32) / 255, onto, shift, bend, size)
    # A soft picture cut at another height has thinner or thicker strokes.
    soft = F.avg_pool2d(F.pad(ink[:, None], (1, 1, 1, 1)), 3, 1)[:, 0] * 0.5 + ink * 0.5
    cut = (0.36 + 0.16 * torch.from_numpy(bold) + 0.13 * numbers[:, 6])[:, None, None]
    grain = torch.from_numpy(uniform[:, _NUMBERS:].astype(np.float32)).reshape(n, size, size) - 0.5
    pressed = ((soft - cut) * 3 + 0.5).clamp(0, 1) * (0.8 + 0.2 * numbers[:, 7].abs())[:, None, None]
    return ((pressed + 0.12 * grain * (pressed + 0.3)).clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def numbers_of(size: int) -> int:
    """How many random numbers one drawing takes."""
    return _NUMBERS + size * size


def _sample(canvases: Tensor, onto: Tensor, shift: Tensor, bend: Tensor | None, size: int) -> Tensor:
    """Look up every pixel of the pictures, [n, size, size], on the canvases, [n, 72, 72].

    onto:  [n, 2, 2], from a place in a picture to pixels of the letter.
    shift: [n, 2], where the letter's middle comes to lie, in -1..1.
    bend:  [n, 2, rows, columns], displacements in the same unit.
    """
    axis = (torch.arange(size, dtype=torch.float32) + 0.5) * 2 / size - 1
    place = torch.stack([axis[None].expand(size, size), axis[:, None].expand(size, size)], -1)  # x, y in -1..1
    place = place[None] - shift[:, None, None]  # [n, size, size, 2]
    if bend is not None:
        smooth = F.interpolate(bend, (size, size), mode="bicubic", align_corners=True)
        place = place + smooth.permute(0, 2, 3, 1)
    grid = torch.einsum("nij,nrcj->nrci", onto / (EXTENT * _CANVAS), place)
    return F.grid_sample(canvases[:, None], grid, mode="bilinear", align_corners=False)[:, 0]


def _path(face: str) -> Path:
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{face}.ttf"
