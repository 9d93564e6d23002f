"""Digits: scikit-learn's own 1,797 handwritten digits, eight pixels a side; needs no download."""

import numpy as np

from mapwise.data.rows import LabelledRows

SPLITS = {"train": "0123", "val": "456", "test": "789"}


def digits() -> LabelledRows:
    """The ten handwritten digits of scikit-learn, about 180 drawings each.

    x is uint8, [1797, 1, 8, 8], ink 255 on 0. Training has the digits 0-3, validation 4-6, testing 7-9.
    """
    x, labels = _drawings()
    splits = {split: list(chosen) for split, chosen in SPLITS.items()}
    return LabelledRows.of(x, labels, name="digits", splits=splits)


def digit_sets() -> LabelledRows:
    """The same drawings, all ten digits in every split: half of the drawings of each to train on, and twice a quarter.

    A class is a digit among the drawings of one split, such as "3 of train".
    """
    x, labels = _drawings()
    parts = np.empty(len(labels), dtype=object)
    for digit in range(10):
        rows = np.flatnonzero(labels == digit)
        ends = [len(rows) // 2, 3 * len(rows) // 4, len(rows)]
        for part, chosen in zip(SPLITS, np.split(rows, ends[:2]), strict=True):
            parts[chosen] = part
    names = np.array([f"{label} of {part}" for label, part in zip(labels, parts, strict=True)])
    splits = {part: [f"{digit} of {part}" for digit in range(10)] for part in SPLITS}
    return LabelledRows.of(x, names, name="small_mlps", splits=splits)


def _drawings() -> tuple[np.ndarray, np.ndarray]:
    """Ink 255 on 0, uint8 [1797, 1, 8, 8], and the digits."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    return np.round(loaded.images * (255 / 16)).astype(np.uint8)[:, None], loaded.target
