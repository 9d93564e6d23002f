"""glibc's memory thresholds, for commands that run long.

A training step frees and asks again for the same large tensors. By default glibc hands blocks of this
size back to the kernel at once, and every step then pays for clearing the same pages: keeping them made
a step of a convolutional network 1.5 to 1.9 times as fast. The process keeps the memory of its largest
step until it ends, which suits a command and not a library: only commands call this.
"""

import ctypes
import platform
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4  # malloc.h
_LARGEST = 2**31 - 1  # mallopt takes an int


def keep_freed_memory() -> bool:
    """Ask glibc to keep freed memory for the next step; whether it agreed. Elsewhere nothing happens."""
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    # Some versions refuse a threshold above half a heap; never using mmap then has the same effect.
    agreed = mallopt(_MMAP_THRESHOLD, 1 << 30) or mallopt(_MMAP_MAX, 0)
    return bool(agreed and mallopt(_TRIM_THRESHOLD, _LARGEST) and mallopt(_TOP_PAD, 256 << 20))
