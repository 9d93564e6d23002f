"""SupervisedSource: all base classes at once, for pretraining an encoder as a plain classifier."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch

from mapwise.core import random
from mapwise.core.problem import Problem
from mapwise.core.source import About, Source
from mapwise.core.spec import Spec
from mapwise.core.task import Examples, Task
from mapwise.problems.classification import Classification
from mapwise.tasks.episodes import Episodes


@dataclass(frozen=True, eq=False)
class SupervisedSource(Source):
    """One task of all training classes: no support, and a shuffled batch of rows as query.

    Every row comes once in an epoch; a batch may end one epoch and begin the next.

    episodes: the few-shot tasks to pretrain for. Their rows, seed, augmentation and device are used here,
              and `split` hands them out for "val" and "test", where the classes are others.
    batch:    query rows in a step.

    Raises ValueError when batch is less than 1.
    """

    episodes: Episodes
    batch: int = 128

    problem: ClassVar[Problem] = Classification()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch < 1:
            raise ValueError(f"batch is {self.batch}: at least 1 row is needed in a batch")
        rows = self.episodes.rows
        classes = rows.classes_of(self.episodes.part)
        sizes = np.diff(rows.starts)[classes]
        columns = np.repeat(np.arange(len(classes)), sizes)  # [rows of the split]
        first = np.cumsum(sizes) - sizes
        places = np.arange(len(columns)) + np.repeat(rows.starts[classes] - first, sizes)
        object.__setattr__(self, "_columns", columns)
        object.__setattr__(self, "_places", places)

    @property
    def about(self) -> About:
        """What the tasks are, for reports: no shots, and queries are the rows of a batch."""
        return About(
            self.episodes.rows.name, self.episodes.part, str(self.outputs), "0", self.batch, self.episodes.seed
        )

    @property
    def inputs(self) -> Spec:
        """What one row is."""
        return self.episodes.inputs

    @property
    def outputs(self) -> int:
        """W: the number of all base classes."""
        return self.class_counts[0]

    @property
    def class_counts(self) -> tuple[int, int]:
        """The number of classes of the split, and of all classes of the rows."""
        return self.episodes.class_counts

    def split(self, name: str) -> "SupervisedSource | Episodes":
        """All base classes for "train"; few-shot episodes for the other splits, whose classes are unseen."""
        if name == self.episodes.part:
            return self
        other = self.episodes.split(name)
        return replace(self, episodes=other) if name == "train" else other

    def names(self, step: int) -> list[list[str]]:
        """The names of all base classes, as one task."""
        rows = self.episodes.rows
        return [[rows.names[c] for c in rows.classes_of(self.episodes.part)]]

    def __call__(self, step: int) -> Task:
        """The batch of this step: support [1, 0, *input], query [1, batch, *input]."""
        drawn = self._drawn(step)
        device = self.episodes.device
        key = random.fold(torch.tensor(self.episodes.seed), step).to(device)
        x = self.episodes.gather(torch.from_numpy(self._places[drawn]).to(device))  # type: ignore[attr-defined]
        if self.episodes.augment is not None:
            x = self.episodes.augment(x, key)
        columns = torch.from_numpy(self._columns[drawn]).to(device)  # type: ignore[attr-defined]
        y = torch.nn.functional.one_hot(columns, self.outputs).to(torch.float32)
        keys = key[None]
        query = Examples(x[None], y[None], torch.ones(1, self.batch, device=device), keys)
        support = Examples(query.x[:, :0], query.y[:, :0], query.weight[:, :0], keys)
        return Task(support, query)

    def _drawn(self, step: int) -> np.ndarray:
        """Which rows of the split come in this step, [batch]."""
        count = len(self._columns)  # type: ignore[attr-defined]
        position = step * self.batch + np.arange(self.batch)
        drawn = np.empty(self.batch, np.int64)
        for epoch in range(int(position[0]) // count, int(position[-1]) // count + 1):
            here = position // count == epoch
            drawn[here] = _shuffled(count, self.episodes.seed, epoch)[position[here] % count]
        return drawn


@lru_cache(maxsize=2)  # the epochs at the two ends of a batch; what is kept can always be made again
def _shuffled(count: int, seed: int, epoch: int) -> np.ndarray:
    order = np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(count)
    order.setflags(write=False)
    return order
