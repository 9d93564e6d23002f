"""What sources share that draw their tasks themselves: the splits, and a stream of random numbers for each."""

import numpy as np

from mapwise.core.seeds import check_step

PARTS = ("train", "val", "test")


def random_stream(seed: int, step: int, part: str, purpose: int = 0, role: int = 0) -> np.random.Generator:
    """Numbers for one step of a split; those of another step, split, purpose or role share none with them."""
    check_step(step)
    # Philox counts up from the lowest word of its 256-bit counter: streams that differ in the higher words never meet.
    counter = [0, role, purpose, PARTS.index(part)]
    return np.random.Generator(np.random.Philox(key=[seed, step], counter=counter))
