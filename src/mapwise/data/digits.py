"""Digits: scikit-learn's own 1,797 handwritten digits, eight pixels a side; needs no download."""

import numpy as np

from mapwise.data.rows import LabelledRows

SPLITS = {"train": "0123", "val": "456", "test": "789"}


def digits() -> LabelledRows:
    """The ten handwritten digits of scikit-learn, about 180 drawings each.

    x is uint8, [1797, 1, 8, 8], ink 255 on 0. Training has the digits 0-3, validation 4-6, testing 7-9.
    """
    from sklearn.datasets import load_digits

    loaded = load_digits()
    x = np.round(loaded.images * (255 / 16)).astype(np.uint8)[:, None]  # [R, 1, 8, 8]
    splits = {split: list(chosen) for split, chosen in SPLITS.items()}
    return LabelledRows.of(x, loaded.target, name="digits", splits=splits)
