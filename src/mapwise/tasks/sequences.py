"""Sequences of random bits that are read to the end before they are queried: tests of a memory."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
import torch

from mapwise.core.fields import check_sizes
from mapwise.core.problem import Problem
from mapwise.core.renamed import renamed
from mapwise.core.seeds import check_seed
from mapwise.core.source import About, Source
from mapwise.core.spec import Spec
from mapwise.core.task import Examples, Task
from mapwise.problems.multilabel import Multilabel
from mapwise.tasks.random_streams import PARTS, random_stream


@dataclass(frozen=True, eq=False)
class Sequences(Source):
    """A family of sequences: a task is one of them, its support is the sequence and its query asks for the answers.

    The support rows are the sequence in its order, and after it one silent row for every answer: rows without any
    input, numbered 1, 2, ... in their last column, which is 0 in all others. In the silent row k the k-th answer is
    due, and the query row that asks for it has the number k in the same column and is silent, too. The support's y is
    zero and reveals nothing of an answer. Shorter sequences have rows of weight 0 where a longer one has its rows;
    learners skip these.

    tasks:  T, sequences in a batch.
    part:   "train", "val" or "test": streams of sequences that share no random numbers.
    device: where the tasks are put.
    """

    tasks: int = 32
    seed: int = 0
    part: str = "train"
    device: str = "cpu"

    problem: ClassVar[Problem] = Multilabel()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.part not in PARTS:
            raise ValueError(f"{self.name} has no split {self.part!r}: choose one of {', '.join(PARTS)}")
        if self.tasks < 1:
            raise ValueError(f"tasks is {self.tasks}: give a number from 1 up")
        check_seed(self.seed)

    @property
    def name(self) -> str:
        """What the data is called in reports."""
        raise NotImplementedError

    def split(self, name: str) -> Self:
        """The same family over the sequences of another split."""
        return replace(self, part=name)

    def names(self, step: int) -> list[list[str]]:
        """Bits have no class names: an empty list for every task."""
        return [[] for _ in range(self.tasks)]

    def _about(self, length: str, answers: int) -> About:
        return About(self.name, self.part, "", length, answers, self.seed)

    def _task(
        self, random: np.random.Generator, read: np.ndarray, there: np.ndarray, answers: np.ndarray, due: np.ndarray
    ) -> Task:
        """The batch of these sequences.

        read:    [T, R, C], the rows that are read; there: [T, R], 1 for a row and 0 for padding.
        answers: [T, A, W], bits; due: [T, A], 1 for an answer and 0 for padding.
        """
        tasks, count, bits = answers.shape
        silent = np.zeros((tasks, count, read.shape[2] + 1))
        silent[:, :, -1] = np.arange(1, count + 1)
        x = np.concatenate([np.pad(read, ((0, 0), (0, 0), (0, 1))), silent], 1)  # [T, R + A, C + 1]
        keys = random.integers(0, 2**63 - 1, tasks, dtype=np.int64)

        def rows(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> Examples:
            parts = [torch.from_numpy(part.astype(np.float32)).to(self.device) for part in (x, y, weight)]
            return Examples(parts[0], parts[1], parts[2], torch.from_numpy(keys).to(self.device))

        return Task(
            rows(x, np.zeros((*x.shape[:2], bits)), np.concatenate([there, due], 1)), rows(silent, answers, due)
        )


@renamed
@dataclass(frozen=True, eq=False)
class Copy(Sequences):
    """Repeat a sequence of random bit vectors after the mark that ends it.

    Graves, Wayne, Danihelka 2014, arXiv:1410.5401, section 4.1. How rows are laid out: see `Sequences`; the input of a
    row is `width` bits, and the mark.

    tasks:  T, sequences in a batch.
    part:   "train", "val" or "test": streams of sequences that share no random numbers.
    device: where the tasks are put.
    length: vectors of a sequence: a number, or a range such as 1-20 from which every task draws its own.
    width:  bits of a vector.

    Raises ValueError for an unknown part, and for a length, a width, a number of tasks or a seed that can't be.

    >>> Copy(length="1-20", tasks=4)(step=0).support.x.shape
    torch.Size([4, 41, 10])
    """

    name: ClassVar[str] = "copy"

    length: str = field(default="1-20", kw_only=True)
    width: int = field(default=8, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.lengths
        check_sizes(width=self.width)

    @property
    def lengths(self) -> tuple[int, int]:
        """The shortest and the longest sequence."""
        return count_range(self.length, "length", least=1)

    @property
    def about(self) -> About:
        """What the tasks are, for reports."""
        return self._about(self.length, self.lengths[1])

    @property
    def inputs(self) -> Spec:
        """The bits, the mark, and the number of the answer."""
        return Spec((self.width + 2,))

    @property
    def outputs(self) -> int:
        """Bits of a vector."""
        return self.width

    def __call__(self, step: int) -> Task:
        """The batch of this step."""
        random = random_stream(self.seed, step, self.part)
        low, high = self.lengths
        length = random.integers(low, high + 1, (self.tasks, 1))
        there = np.arange(high) < length  # [T, high]
        vectors = random.integers(0, 2, (self.tasks, high, self.width)) * there[..., None]
        read = np.zeros((self.tasks, high + 1, self.width + 1))
        read[:, :high, :-1] = vectors
        read[:, high, -1] = 1  # the mark
        return self._task(random, read, np.pad(there, ((0, 0), (0, 1)), constant_values=True), vectors, there)


@renamed
@dataclass(frozen=True, eq=False)
class AssociativeRecall(Sequences):
    """Recall the item that came after the one that is shown again.

    Graves, Wayne, Danihelka 2014, arXiv:1410.5401, section 4.3: an item is a few bit vectors with a mark before it;
    then one of them, but not the last, is shown again between two marks of another kind. How rows are laid out: see
    `Sequences`; the input of a row is `width` bits, and the two marks.

    tasks:   T, sequences in a batch.
    part:    "train", "val" or "test": streams of sequences that share no random numbers.
    device:  where the tasks are put.
    items:   items of a sequence: a number, or a range such as 2-6 from which every task draws its own.
    vectors: of an item.
    width:   bits of a vector.

    Raises ValueError for an unknown part, and for items, vectors, a width, a number of tasks or a seed that can't be.

    >>> AssociativeRecall(items="2-6", tasks=4)(step=0).support.x.shape
    torch.Size([4, 32, 9])
    """

    name: ClassVar[str] = "associative_recall"

    items: str = field(default="2-6", kw_only=True)
    vectors: int = field(default=3, kw_only=True)
    width: int = field(default=6, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.counts
        check_sizes(vectors=self.vectors, width=self.width)

    @property
    def counts(self) -> tuple[int, int]:
        """The fewest and the most items."""
        return count_range(self.items, "items", least=2)

    @property
    def about(self) -> About:
        """What the tasks are, for reports."""
        return self._about(self.items, self.vectors)

    @property
    def inputs(self) -> Spec:
        """The bits, the two marks, and the number of the answer."""
        return Spec((self.width + 3,))

    @property
    def outputs(self) -> int:
        """Bits of a vector."""
        return self.width

    def __call__(self, step: int) -> Task:
        """The batch of this step."""
        random = random_stream(self.seed, step, self.part)
        low, high = self.counts
        count = random.integers(low, high + 1, self.tasks)
        items = random.integers(0, 2, (self.tasks, high, self.vectors, self.width))
        shown = random.integers(0, count - 1)  # [T]
        batch = np.arange(self.tasks)

        stretch = self.vectors + 1  # rows of an item with the mark before it
        held = np.arange(high) < count[:, None]  # [T, high]
        listed = np.zeros((self.tasks, high, stretch, self.width + 2))
        listed[:, :, 0, self.width] = held
        listed[:, :, 1:, : self.width] = items * held[:, :, None, None]
        again = np.zeros((self.tasks, self.vectors + 2, self.width + 2))
        again[:, [0, -1], self.width + 1] = 1
        again[:, 1:-1, : self.width] = items[batch, shown]
        read = np.concatenate([listed.reshape(self.tasks, high * stretch, -1), again], 1)
        there = np.repeat(held, stretch, axis=1)  # [T, high * stretch]
        there = np.pad(there, ((0, 0), (0, self.vectors + 2)), constant_values=True)
        due = np.ones((self.tasks, self.vectors))
        return self._task(random, read, there, items[batch, shown + 1], due)


def count_range(text: str | int, what: str, *, least: int) -> tuple[int, int]:
    """ "5" or "5-20" as the fewest and the most; raises ValueError for anything else, and for fewer than the least."""
    low, dash, high = str(text).partition("-")
    numbers = (low, high if dash else low)
    if not all(number.isdecimal() for number in numbers) or not least <= int(numbers[0]) <= int(numbers[1]):
        raise ValueError(f"{what} is {text!r}: give a number such as 5 or a range such as 5-20, from {least} up")
    return int(numbers[0]), int(numbers[1])
