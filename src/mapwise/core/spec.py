"""What the rows of a source are: their shapes, and the type of their numbers."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from mapwise.core.fields import check_fields


@dataclass(frozen=True)
class Spec:
    """One input of every row.

    shape:      without any leading axis; [L] for L token ids.
    dtype:      the type of its numbers as torch spells it, such as "float32" or "int64".
    vocabulary: how many token ids there are, each from 0 to vocabulary - 1; None for numbers that are no ids.

    Raises ValueError for a shape, a type or a vocabulary that can't be.

    >>> Spec((12,), "int64", vocabulary=1000)
    Spec(shape=(12,), dtype='int64', vocabulary=1000)
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    vocabulary: int | None = None

    def __post_init__(self) -> None:
        shape: Any = self.shape
        if isinstance(shape, list):
            object.__setattr__(self, "shape", tuple(shape))
        check_fields(self)
        if any(size < 0 for size in self.shape):
            raise ValueError(f"shape is {self.shape}: give sizes from 0 up")
        if str(getattr(torch, self.dtype, None)) != f"torch.{self.dtype}":
            raise ValueError(
                f"dtype is {self.dtype!r}: give a type of numbers by torch's name, such as float32 or int64"
            )
        if self.vocabulary is not None and (self.vocabulary < 1 or "int" not in self.dtype):
            raise ValueError(
                f"vocabulary is {self.vocabulary} of {self.dtype}: give a number from 1 up, and token ids as int64"
            )


Inputs: TypeAlias = Spec | dict[str, Spec]
"""Rows of one tensor, or of a dict of tensors by name."""


def is_plain(inputs: Inputs) -> bool:
    """Whether rows are one tensor of float32."""
    return isinstance(inputs, Spec) and inputs.dtype == "float32"


def described(inputs: Inputs) -> str:
    """The inputs in words."""
    if isinstance(inputs, dict):
        return "dicts of " + ", ".join(f"{name}: {described(spec)}" for name, spec in inputs.items())
    ids = "" if inputs.vocabulary is None else f", {inputs.vocabulary} token ids"
    return f"{inputs.dtype} of shape {inputs.shape}{ids}"


def plain_shape(inputs: Inputs, reader: str) -> tuple[int, ...]:
    """The shape of rows that are one tensor of float32.

    Raises ValueError for any others, which the reader can't read.
    """
    if isinstance(inputs, Spec) and is_plain(inputs):
        return inputs.shape
    raise ValueError(
        f"{reader} takes rows of one float32 tensor and these are {described(inputs)}: train a learner with a module "
        "of your own, in Python"
    )
