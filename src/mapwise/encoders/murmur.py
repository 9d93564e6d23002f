"""MurmurHash3 of many byte strings at once."""

import numpy as np
from jaxtyping import Int64, UInt8, UInt32

_FIRST, _SECOND = np.uint32(0xCC9E2D51), np.uint32(0x1B873593)
_TAILS = np.array([0, 0xFF, 0xFFFF, 0xFFFFFF], np.uint32)
"""What of a block's four bytes belongs to a string that ends after 0 to 3 of them."""


def murmur3(
    data: UInt8[np.ndarray, "B"], start: Int64[np.ndarray, "N"], end: Int64[np.ndarray, "N"]
) -> UInt32[np.ndarray, "N"]:
    """MurmurHash3_x86_32 with seed 0 of each data[start:end], which may overlap.

    Source: Appleby, MurmurHash3, 2011 (public domain).
    """
    padded = np.concatenate([data, np.zeros(4, np.uint8)]).astype(np.uint32)
    # The block that begins at each byte, little-endian.
    block = padded[:-3] | padded[1:-2] << 8 | padded[2:-1] << 16 | padded[3:] << 24
    length = end - start
    blocks = length >> 2
    hashes: np.ndarray = np.zeros(len(start), np.uint32)
    mixed = _mixed(block)
    longer, k = np.flatnonzero(blocks), 0
    while len(longer):
        h = hashes[longer] ^ mixed[start[longer] + 4 * k]
        hashes[longer] = _rotated(h, 13) * np.uint32(5) + np.uint32(0xE6546B64)
        k += 1
        longer = longer[blocks[longer] > k]
    hashes ^= _mixed(block[start + 4 * blocks] & _TAILS[length & 3])
    hashes ^= length.astype(np.uint32)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        hashes = (hashes ^ hashes >> shift) * np.uint32(factor)
    hashes ^= hashes >> 16
    return hashes


def _mixed(block: UInt32[np.ndarray, "N"]) -> UInt32[np.ndarray, "N"]:
    return _rotated(block * _FIRST, 15) * _SECOND


def _rotated(bits: UInt32[np.ndarray, "N"], places: int) -> UInt32[np.ndarray, "N"]:
    return bits << places | bits >> (32 - places)
