"""Sequences that are to be repeated a number of times."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from mapwise.core.fields import check_sizes
from mapwise.core.source import About
from mapwise.core.spec import Spec
from mapwise.core.task import Task
from mapwise.tasks.random_streams import random_stream
from mapwise.tasks.sequences import Sequences, count_range

MEAN, DEVIATION = 5.5, 8.25**0.5
"""Of the numbers 1 to 10: a number of repeats is shown in these units whatever their range, and so means the same."""


@dataclass(frozen=True, eq=False)
class RepeatCopy(Sequences):
    """Repeat a sequence of random bit vectors as many times as the row behind it says, and then say that it ends.

    Graves, Wayne, Danihelka 2014, arXiv:1410.5401, section 4.2. How rows are laid out: see `Sequences`; the input of a
    row is `width` bits, and the number of repeats, (number - 5.5) / 2.87 in the last row that is read and 0 before it.
    The answers are the vectors, `repeats` times over, and one more: an answer is `width` bits, and the mark of the end.

    tasks:   T, sequences in a batch.
    part:    "train", "val" or "test": streams of sequences that share no random numbers.
    device:  where the tasks are put.
    length:  vectors of a sequence: a number, or a range such as 1-10 from which every task draws its own.
    repeats: how often the sequence is repeated, likewise.
    width:   bits of a vector.

    Raises ValueError for an unknown part, and for lengths, repeats, a width, a number of tasks or a seed that can't be.

    >>> RepeatCopy(length="1-3", repeats="1-2", tasks=4)(step=0).support.x.shape
    torch.Size([4, 11, 10])
    """

    name: ClassVar[str] = "repeat_copy"

    length: str = field(default="1-10", kw_only=True)
    repeats: str = field(default="1-10", kw_only=True)
    width: int = field(default=8, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.lengths, self.counts
        check_sizes(width=self.width)

    @property
    def lengths(self) -> tuple[int, int]:
        """The shortest and the longest sequence."""
        return count_range(self.length, "length", least=1)

    @property
    def counts(self) -> tuple[int, int]:
        """The fewest and the most repeats."""
        return count_range(self.repeats, "repeats", least=1)

    @property
    def about(self) -> About:
        """What the tasks are, for reports."""
        return self._about(f"{self.length} x {self.repeats}", self.lengths[1] * self.counts[1] + 1)

    @property
    def inputs(self) -> Spec:
        """The bits, the number of repeats, and the number of the answer."""
        return Spec((self.width + 2,))

    @property
    def outputs(self) -> int:
        """Bits of a vector, and the mark of the end."""
        return self.width + 1

    def __call__(self, step: int) -> Task:
        """The batch of this step."""
        random = random_stream(self.seed, step, self.part)
        high = self.lengths[1]
        length, repeats = (random.integers(low, high + 1, (self.tasks, 1)) for low, high in (self.lengths, self.counts))
        there = np.arange(high) < length  # [T, high]
        vectors = random.integers(0, 2, (self.tasks, high, self.width)) * there[..., None]
        read = np.zeros((self.tasks, high + 1, self.width + 1))
        read[:, :high, :-1] = vectors
        read[:, high, -1:] = (repeats - MEAN) / DEVIATION

        number = np.arange(high * self.counts[1] + 1)  # of an answer, from 0
        last = length * repeats  # [T, 1]
        due = number <= last
        answers = np.zeros((self.tasks, len(number), self.width + 1))
        answers[..., :-1] = vectors[np.arange(self.tasks)[:, None], number % length] * (number < last)[..., None]
        answers[..., -1] = number == last
        return self._task(random, read, np.pad(there, ((0, 0), (0, 1)), constant_values=True), answers, due)
