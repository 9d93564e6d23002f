"""Vectors that are to be sorted by their priorities."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from mapwise.core.fields import check_sizes
from mapwise.core.source import About
from mapwise.core.spec import Spec
from mapwise.core.task import Task
from mapwise.tasks.random_streams import random_stream
from mapwise.tasks.sequences import Sequences, count_range


@dataclass(frozen=True, eq=False)
class PrioritySort(Sequences):
    """Name the vectors of highest priority, the highest first, after the mark that ends their list.

    Graves, Wayne, Danihelka 2014, arXiv:1410.5401, section 4.5. How rows are laid out: see `Sequences`; the input of a
    row is `width` random bits, their priority, drawn evenly from -1 to 1, and the mark.

    tasks:   T, sequences in a batch.
    part:    "train", "val" or "test": streams of sequences that share no random numbers.
    device:  where the tasks are put.
    items:   vectors of a sequence: a number, or a range such as 10-20 from which every task draws its own.
    highest: how many of them are to be named; at most the fewest items.
    width:   bits of a vector.

    Raises ValueError for an unknown part, and for items, highest, a width, a number of tasks or a seed that can't be.

    >>> PrioritySort(items="20", tasks=4)(step=0).support.x.shape
    torch.Size([4, 37, 11])
    """

    name: ClassVar[str] = "priority_sort"

    items: str = field(default="20", kw_only=True)
    highest: int = field(default=16, kw_only=True)
    width: int = field(default=8, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(highest=self.highest, width=self.width)
        if self.highest > self.counts[0]:
            raise ValueError(
                f"highest is {self.highest} and a sequence may have {self.counts[0]} items: lower it, or raise items"
            )

    @property
    def counts(self) -> tuple[int, int]:
        """The fewest and the most items."""
        return count_range(self.items, "items", least=1)

    @property
    def about(self) -> About:
        """What the tasks are, for reports."""
        return self._about(self.items, self.highest)

    @property
    def inputs(self) -> Spec:
        """The bits, the priority, the mark, and the number of the answer."""
        return Spec((self.width + 3,))

    @property
    def outputs(self) -> int:
        """Bits of a vector."""
        return self.width

    def __call__(self, step: int) -> Task:
        """The batch of this step."""
        random = random_stream(self.seed, step, self.part)
        low, high = self.counts
        there = np.arange(high) < random.integers(low, high + 1, (self.tasks, 1))  # [T, high]
        vectors = random.integers(0, 2, (self.tasks, high, self.width)) * there[..., None]
        # As the learner reads them: two priorities that are the same to it have an order by their places.
        priority = random.uniform(-1, 1, (self.tasks, high)).astype(np.float32)
        read = np.zeros((self.tasks, high + 1, self.width + 2))
        read[:, :high, : self.width] = vectors
        read[:, :high, self.width] = priority * there
        read[:, high, -1] = 1  # the mark
        order = np.argsort(np.where(there, -priority, np.inf), axis=1, kind="stable")[:, : self.highest]
        answers = np.take_along_axis(vectors, order[..., None], axis=1)  # [T, highest, width]
        due = np.ones((self.tasks, self.highest))
        return self._task(random, read, np.pad(there, ((0, 0), (0, 1)), constant_values=True), answers, due)
