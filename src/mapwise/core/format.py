"""Single numbers as people read them."""

import math

ABSENT = "–"


def share(value: float | None, digits: int = 1) -> str:
    """A fraction in per cent; a dash when there is none."""
    return ABSENT if value is None or not math.isfinite(value) else f"{100 * value:.{digits}f} %"


def plain(value: float | None, digits: int = 3) -> str:
    """A number with fixed decimals; a dash when there is none."""
    return ABSENT if value is None or not math.isfinite(value) else f"{value:.{digits}f}"
