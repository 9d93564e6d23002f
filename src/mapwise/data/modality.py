"""What raw rows are, before any encoder reads them."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import numpy as np

Modality = Literal["table", "texts", "pictures"]
"""Columns by name, strings, or pictures."""

Columns: TypeAlias = Mapping[str, np.ndarray]
"""A table: the [N] cells of each column by its name; see `cells.numbers` for what a cell is."""
