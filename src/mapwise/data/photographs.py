"""Photographs and drawings, distinguished by their shades: an encoder is for one of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from mapwise.data.pictures import border, open_picture

MID_TONES = 0.25
"""The share of pixels between paper and ink from which a picture looks like a photograph."""
ASKED = 25
"""Pictures that are looked at."""
_NEAR = 64
"""Pixels a side, about: as many as tell shades apart."""
_FARTHEST = 99.5  # per cent of the pixels lie nearer to the paper than the ink


def look_like_photographs(pictures: Sequence[Any]) -> bool:
    """Whether more than half of these pictures look like photographs; of many, 25 are looked at.

    pictures: as an encoder of pictures reads them.

    Raises ValueError for a picture that can't be read.
    """
    places = np.unique(np.linspace(0, len(pictures) - 1, ASKED).astype(int))
    return bool(np.median([mid_tones(pictures[place], int(place)) for place in places]) > MID_TONES)


def mid_tones(picture: Any, place: int = 0) -> float:
    """The share of pixels whose shade is neither near the paper's nor near the ink's.

    Paper is the median along the border, ink what is farthest from it; between a quarter and three quarters of the way
    is neither.
    """
    image = open_picture(picture, place, _NEAR).convert("L")
    image.thumbnail((4 * _NEAR, 4 * _NEAR))
    shades: Float[np.ndarray, "H W"] = np.asarray(image, np.float64)
    apart = np.abs(shades - border(shades))
    way = apart / max(float(np.percentile(apart, _FARTHEST)), 1.0)
    return float(((way >= 0.25) & (way < 0.75)).mean())
