"""Seeds and steps are whole numbers from 0 that fit into 64 bits, with a sign. Needs no torch."""

from mapwise.core.fields import LARGEST, is_whole, quote

LARGEST_SEED = LARGEST


def check_seed(seed: object) -> None:
    """Raises ValueError for what can't be a seed."""
    _check("seed", seed)


def check_step(step: object) -> None:
    """Raises ValueError for what can't be a step of a source."""
    _check("step", step)


def _check(name: str, value: object) -> None:
    if not is_whole(value) or int(value) < 0:  # type: ignore[call-overload]
        raise ValueError(f"{name} is {quote(value)}: give a whole number from 0 up, below 2**63")
