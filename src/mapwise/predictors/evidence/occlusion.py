"""Where in a picture an answer came from: one part after another is hidden, and the answer asked again.

Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 4.2; carried out by Captum.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mapwise.data.pictures import open_picture
from mapwise.predictors.evidence.votes import Region

if TYPE_CHECKING:
    from PIL.Image import Image

LARGEST = 448
"""Pixels a side; a larger picture is shrunk first, since no encoder here sees more."""
_ACROSS = 7  # windows side by side; each is moved by half of itself
_TOGETHER = 32  # pictures that are scored at a time

Scored = Callable[[Sequence[np.ndarray]], Float[np.ndarray, "N W"]]
"""Pictures, [H, W] or [H, W, 3] bytes, to the scores of every class."""


def region(row: Any, place: int, scored: Scored) -> Region:
    """The region of a picture that mattered: what is hidden takes the colour of the paper, the median along the border.

    row: a path, a Pillow image, or an array, as an encoder of pictures reads it.
    place: its number, by which a picture without a path is named.

    Raises ValueError when Captum is missing, and for a picture that can't be read.
    """
    try:
        from captum.attr import Occlusion
    except ImportError:
        raise ValueError('regions need Captum, which is not installed: pip install "mapwise[captum]"') from None
    whole = np.array(_shrunk(row, place))
    answer = int(scored([whole])[0].argmax())
    x = torch.as_tensor(whole.reshape(1, *whole.shape[:2], -1), dtype=torch.float32)  # [1, H, W, C]

    def lead(pictures: Tensor) -> Tensor:
        scores = scored(list(pictures.numpy().astype(np.uint8).reshape(-1, *whole.shape)))
        others = np.delete(scores, answer, axis=1)
        return torch.as_tensor(scores[:, answer] - others.max(1))

    sides = [max(1, round(side / _ACROSS)) for side in whole.shape[:2]]
    paper = torch.as_tensor(paper_of(whole), dtype=torch.float32).expand_as(x)
    fall = Occlusion(lead).attribute(
        x,
        sliding_window_shapes=(*sides, x.shape[3]),
        strides=(*(max(1, side // 2) for side in sides), x.shape[3]),
        baselines=paper,
        perturbations_per_eval=_TOGETHER,
    )
    hidden = Region(fall[0, :, :, 0].double().numpy(), 0.0, 0.0)
    leads = lead(torch.cat([x, torch.where(torch.as_tensor(hidden.top())[None, :, :, None], paper, x)]))
    return Region(hidden.fall, float(leads[0]), float(leads[1]))


def reddened(row: Any, place: int, hidden: Region) -> "Image":
    """The picture in grey, and the redder the more the answer's lead falls with a place hidden."""
    from PIL import Image

    grey = np.asarray(_shrunk(row, place).convert("L"), np.float64)[:, :, None]
    share = hidden.fall.clip(min=0) / max(float(hidden.fall.max()), np.finfo(np.float64).tiny)
    red = 0.6 * share[:, :, None]
    return Image.fromarray(((1 - red) * grey + red * np.array([255.0, 0, 0])).round().astype(np.uint8))


def _shrunk(row: Any, place: int) -> "Image":
    image = open_picture(row, place, LARGEST)
    image.thumbnail((LARGEST, LARGEST))
    return image


def paper_of(whole: np.ndarray) -> np.ndarray:
    """The colour of the paper of a picture, [H, W] or [H, W, C]: of each channel the median along the border."""
    edges = (whole[0], whole[-1], whole[:, 0], whole[:, -1])
    median: np.ndarray = np.median(np.concatenate([edge.reshape(len(edge), -1) for edge in edges]), axis=0)
    return median
