"""Random numbers from a key and a counter: the same bits under vmap, in chunks and in a loop.

The generator is splitmix64 (Steele, Lea, Flood 2014) in int64 arithmetic, which wraps like unsigned
arithmetic does. A key is an int64 scalar; the counter is the place in the array.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.autograd import Function
from torch.utils import _pytree as pytree

from mapwise.core.seeds import check_seed

_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_FIRST = 0xBF58476D1CE4E5B9 - (1 << 64)
_SECOND = 0x94D049BB133111EB - (1 << 64)
_VIEWS = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 13)
"""Whether vmap has a rule for `view` with a dtype, for sure."""
_WORDS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def _shift(bits: Tensor, by: int) -> Tensor:
    """A logical right shift; torch's own keeps the sign."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def _mix(bits: Tensor) -> Tensor:
    bits = (bits ^ _shift(bits, 30)) * _FIRST
    bits = (bits ^ _shift(bits, 27)) * _SECOND
    return bits ^ _shift(bits, 31)


def bits(key: Int64[Tensor, ""], shape: tuple[int, ...]) -> Tensor:
    """64 random bits for every place of an array of this shape, as int64."""
    counter = torch.arange(1, math.prod(shape) + 1, dtype=torch.int64, device=key.device).reshape(shape)
    # The key is mixed first: otherwise neighbouring keys would share shifted streams.
    return _mix(_mix(key + _GOLDEN) + counter * _GOLDEN)


def key_of(seed: int) -> Int64[Tensor, ""]:
    """The key of a seed; raises ValueError for what can't be one."""
    check_seed(seed)
    return torch.tensor(int(seed))


def fold(key: Int64[Tensor, ""], number: int | Int64[Tensor, ""]) -> Int64[Tensor, ""]:
    """Another key, for the purpose or step `number` of this key's owner; equal numbers give equal keys."""
    return _mix(_mix(key + _GOLDEN) ^ ((number + 1) * 0x2545F4914F6CDD1D & ((1 << 63) - 1)))


def uniform(key: Int64[Tensor, ""], shape: tuple[int, ...]) -> Float[Tensor, "..."]:
    """Uniform numbers in (0, 1), float32, never 0 or 1."""
    return (_shift(bits(key, shape), 41).to(torch.float32) + 0.5) * 2.0**-23


def normal(key: Int64[Tensor, ""], shape: tuple[int, ...]) -> Float[Tensor, "..."]:
    """Standard normal numbers, float32 (Box-Muller)."""
    pairs = uniform(key, (2, *shape))
    return torch.sqrt(-2 * torch.log(pairs[0])) * torch.cos(2 * math.pi * pairs[1])


def permutation(key: Int64[Tensor, ""], n: int) -> Int64[Tensor, "n"]:
    """The numbers 0..n-1 in random order."""
    return torch.argsort(bits(key, (n,)))


def digest(x: Any) -> Int64[Tensor, "N"]:
    """A number for every row of an array, or of a tree of arrays, from the row's bits alone.

    Equal rows have equal numbers in every place, so draws that use them don't depend on the order of rows.
    """
    return torch.stack([_of_bits(leaf, place) for place, leaf in enumerate(pytree.tree_leaves(x))]).sum(0)


def _of_bits(x: Tensor, place: int) -> Int64[Tensor, "N"]:
    rows = x.detach().reshape(len(x), math.prod(x.shape[1:]))
    if rows.is_floating_point():
        # Minus zero is zero with other bits.
        rows, word = rows + 0.0, _WORDS[rows.dtype.itemsize]
        rows = rows.view(word) if _VIEWS else _viewed(rows, word)
    counter = torch.arange(1, rows.shape[1] + 1, dtype=torch.int64, device=rows.device)
    return _mix(_mix(rows.long() + counter * _GOLDEN).sum(1) + place)


class _View(Function):
    """x.view(dtype), with the rule for vmap that torch 2.8 and earlier lack."""

    @staticmethod
    def forward(x: Tensor, dtype: torch.dtype) -> Tensor:
        return x.view(dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None], x: Tensor, dtype: torch.dtype) -> tuple[Tensor, int]:
        return _viewed(x.movedim(in_dims[0], 0).contiguous(), dtype), 0


_viewed: Callable[[Tensor, torch.dtype], Tensor] = _View.apply
