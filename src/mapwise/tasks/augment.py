"""Augmentation: small changes to training images, pure functions of a key and of each row's place.

Every function takes x, [N, C, H, W], and an int64 key, and returns the same shape. The numbers of a row
depend on the key and on the row's place only, so the first rows of a longer batch come out the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from mapwise.core import random
from mapwise.core.spelling import suggestion
from mapwise.tasks.episodes import Augment

Images = Float[Tensor, "N C H W"]
Key = Int64[Tensor, ""]


def shift(x: Images, key: Key) -> Images:
    """Move every image by whole pixels, at most a fourteenth of its side (2 of 28), and fill with zeros."""
    n, _, height, width = x.shape
    reach = [max(1, round(side / 14)) for side in (height, width)]
    u = random.uniform(key, (n, 2))
    down, right = ((u[:, i] * (2 * reach[i] + 1)).long() for i in (0, 1))  # [N], 0 .. 2 reach
    padded = F.pad(x, (reach[1], reach[1], reach[0], reach[0]))
    rows = torch.arange(height, device=x.device)[None] + down[:, None]  # [N, H]
    columns = torch.arange(width, device=x.device)[None] + right[:, None]  # [N, W]
    each = torch.arange(n, device=x.device)[:, None, None]
    return padded[each, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()  # [N, C, H, W]


def flip(x: Images, key: Key) -> Images:
    """Mirror half of the images left to right."""
    mirrored = random.uniform(key, (x.shape[0], 1, 1, 1)) < 0.5
    return torch.where(mirrored, x.flip(-1), x)


def crop(x: Images, key: Key) -> Images:
    """Cut a window of 70 to 100 % of each side out of every image and bring it back to full size."""
    u = random.uniform(key, (x.shape[0], 4))
    size = 0.7 + 0.3 * u[:, :2]  # [N, 2], width and height of the window; the image is 1
    middle = (u[:, 2:] * 2 - 1) * (1 - size)  # the window stays inside the image, -1..1
    turn = torch.cat([torch.diag_embed(size), middle[:, :, None]], dim=2)  # [N, 2, 3]
    grid = F.affine_grid(turn.to(x.dtype), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def colour(x: Images, key: Key) -> Images:
    """Change brightness, contrast and, with three channels, saturation by up to 40 %; x must lie in 0..1."""
    change = 0.6 + 0.8 * random.uniform(key, (x.shape[0], 3, 1, 1, 1))
    x = (x * change[:, 0]).clamp(0, 1)
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    x = (mean + (x - mean) * change[:, 1]).clamp(0, 1)
    if x.shape[1] != 3:
        return x
    grey = x.mean(dim=1, keepdim=True)
    return (grey + (x - grey) * change[:, 2]).clamp(0, 1)


AUGMENTATIONS = {"shift": shift, "flip": flip, "crop": crop, "colour": colour}
"""name -> function; a name's place decides its random numbers, so new ones go to the end."""


@dataclass(frozen=True)
class Augmentation:
    """Several augmentations, one after the other."""

    names: tuple[str, ...]

    def __call__(self, x: Tensor, key: Tensor) -> Tensor:
        """Augment the rows, [N, C, H, W].

        Raises ValueError when the rows are not images.
        """
        if x.ndim != 4 and self.names:
            raise ValueError(
                f"{', '.join(self.names)} change images, and these rows have shape {tuple(x.shape[1:])} "
                "rather than (channels, height, width): leave the augmentation out"
            )
        for place, (name, change) in enumerate(AUGMENTATIONS.items()):
            if name in self.names:
                x = change(x, random.fold(key, place))
        return x


def augmentation(names: Sequence[str]) -> Augment:
    """The augmentation that does all of these: shift, flip, crop, colour. They are applied in that order.

    Raises ValueError for an unknown name, with the nearest known one.
    """
    for name in names:
        if name not in AUGMENTATIONS:
            raise ValueError(f"there is no augmentation {name!r}: {suggestion(name, AUGMENTATIONS)}")
    return Augmentation(tuple(names))
