"""Seeds are whole numbers from 0 that fit into 64 bits, with a sign. Needs no torch."""

from numbers import Integral

LARGEST_SEED = 2**63 - 1


def check_seed(seed: object) -> None:
    """Raises ValueError for what can't be a seed."""
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= int(seed) <= LARGEST_SEED:
        raise ValueError(f"seed is {seed!r}: give a whole number from 0 up, below 2**63")
