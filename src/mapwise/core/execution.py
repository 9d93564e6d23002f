"""The words for how tasks are computed. Needs no torch, so that a command line can read them before it is loaded."""

from typing import Literal, TypeAlias

How: TypeAlias = Literal["vmap", "loop"] | int
"""All tasks at once, one after another, or so many at a time."""

Precision: TypeAlias = Literal["full", "bfloat16"]
"""What a net computes in: the type of its weights, or 16 bits where torch's autocast thinks them enough."""
