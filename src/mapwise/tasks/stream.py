"""Streams of labelled rows: a few classes in random order, each row predicted before its label is seen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch

from mapwise.core.problem import Problem
from mapwise.core.random import fold
from mapwise.core.renamed import renamed
from mapwise.core.seeds import check_step
from mapwise.core.source import About, Source
from mapwise.core.spec import Spec
from mapwise.core.task import Examples, Task
from mapwise.data.rows import LabelledRows
from mapwise.problems.classification import Classification
from mapwise.tasks.episodes import Augment, Episodes, Span, without_replacement


@renamed
@dataclass(frozen=True, eq=False)
class Stream(Source):
    """Streams of `length` rows of `ways` classes, whose columns are dealt out anew for every stream.

    Santoro, Bartunov, Botvinick, Wierstra, Lillicrap 2016, section 4.2. A task is one stream: its rows are the support,
    in their order, and there is no query, since every row is a query until its label is seen.

    ways:    classes of a stream.
    tasks:   T, streams in a batch.
    part:    the split whose classes are used; "all": every class.
    augment: applied to training rows only; other splits drop it.
    shuffle_labels: deal a stream's labels out at random among its rows, a check that nothing leaks.
    device:  where the rows live and the streams are gathered.
    length:  rows of a stream. Each is of any class with equal probability, until a class has come as often as the
             split's smallest class has rows: earlier rows don't reveal which class comes next.

    Raises ValueError for a length that the classes can't fill, and as Episodes does.

    >>> Stream(glyphs(), ways=5, tasks=16)(step=0).support.x.shape
    torch.Size([16, 50, 1, 28, 28])
    """

    rows: LabelledRows
    ways: int = 5
    tasks: int = 16
    seed: int = 0
    part: str = "train"
    augment: Augment | None = None
    shuffle_labels: bool = False
    device: str = "cpu"
    length: int = field(default=50, kw_only=True)

    problem: ClassVar[Problem] = Classification()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ways < 2 or self.length < self.ways:
            raise ValueError(
                f"length is {self.length} and ways is {self.ways}: give 2 classes or more, and at least as many rows"
            )
        among = self.rows.classes_of(self.part)
        most = int(np.diff(self.rows.starts)[among].min(initial=self.length))
        if most * self.ways < self.length:
            raise ValueError(
                f"a class of the {self.part} split of {self.rows.name} has {most} rows, so {self.ways} classes may "
                f"not fill a stream of {self.length}: shorten the stream, or drop the class"
            )
        # Beside the field, as the split's classes decide it.
        object.__setattr__(self, "_most", most)
        # Anything else that can be wrong with a split or its classes is checked by the episodes.
        object.__setattr__(self, "_episodes", self._as_episodes())

    def _as_episodes(self) -> Episodes:
        return Episodes(
            self.rows, self.ways, 1, None, self.tasks, self.seed, self.part, self.augment, device=self.device
        )

    @property
    def episodes(self) -> Episodes:
        """Episodes of 1 shot of the same classes, for learners that train on episodes."""
        episodes: Episodes = self._episodes  # type: ignore[attr-defined]
        return episodes

    @property
    def most(self) -> int:
        """How often a class can come in a stream."""
        most: int = self._most  # type: ignore[attr-defined]
        return most

    @property
    def class_counts(self) -> tuple[int, int]:
        """The number of classes of the split, and of all classes of the rows."""
        return self.episodes.class_counts

    @property
    def about(self) -> About:
        """What the tasks are, for reports; shots are the earlier rows of a row's class, queries a class's mean rows."""
        name = f"{self.rows.name} stream" + (" with shuffled labels" if self.shuffle_labels else "")
        return About(name, self.part, str(self.ways), f"0-{self.most - 1}", self.length // self.ways, self.seed)

    @property
    def remarks(self) -> Sequence[str]:
        """Remarks from reading the rows."""
        return self.rows.notes

    @property
    def inputs(self) -> Spec:
        """What one row is."""
        return self.episodes.inputs

    @property
    def outputs(self) -> int:
        """W: the number of classes of a stream."""
        return self.ways

    def split(self, name: str) -> "Stream":
        """The same streams over the classes of another split; only training rows are augmented."""
        return replace(self, part=name, augment=self.augment if name in ("train", "trainval") else None)

    def names(self, step: int) -> list[list[str]]:
        """The class names of every stream of this step, by their columns."""
        return [[self.rows.names[c] for c in classes] for classes in self._draw(step).classes.tolist()]

    def __call__(self, step: int) -> Task:
        """The batch of this step: support [T, length, *input] in the streams' order, query [T, 0, *input]."""
        drawn = self._draw(step)
        keys = torch.from_numpy(drawn.keys).to(self.device)
        x = self.episodes.gather(torch.from_numpy(drawn.rows.reshape(-1)).to(self.device))
        if self.augment is not None:
            x = self.augment(x, fold(keys[0], 0))
        x = x.reshape(self.tasks, self.length, *self.inputs.shape)
        y = torch.from_numpy((drawn.columns[..., None] == np.arange(self.ways)).astype(np.float32)).to(self.device)
        rows = Examples(x, y, torch.ones(self.tasks, self.length, device=self.device), keys)
        return Task(rows, Examples(x[:, :0], y[:, :0], rows.weight[:, :0], keys))

    def _draw(self, step: int) -> "_Drawn":
        check_step(step)
        random = np.random.Generator(np.random.Philox(key=[self.seed, step]))
        among = self.rows.classes_of(self.part)
        # In random order, so a class has another column in every stream.
        classes = among[without_replacement(random, np.full(self.tasks, len(among)), self.ways)]  # [T, W]
        places = without_replacement(random, np.diff(self.rows.starts)[classes], self.most)  # [T, W, most]
        chances = random.random((self.length, self.tasks))
        tasks, left = np.arange(self.tasks), np.full((self.tasks, self.ways), self.most)
        columns, rows = np.empty((2, self.tasks, self.length), np.int64)
        for number, chance in enumerate(chances):
            there = (left > 0).cumsum(1)  # [T, W]; the classes with rows left, counted
            column = (there > (chance * there[:, -1])[:, None]).argmax(1)
            left[tasks, column] -= 1
            instance = self.most - 1 - left[tasks, column]
            columns[:, number] = column
            rows[:, number] = self.rows.starts[classes[tasks, column]] + places[tasks, column, instance]
        keys = random.integers(0, 2**63 - 1, self.tasks, dtype=np.int64)
        if self.shuffle_labels:  # drawn last: the rows and their order are those of the stream with its own labels
            columns = np.take_along_axis(columns, np.argsort(random.random(columns.shape), axis=1), axis=1)
        return _Drawn(classes=classes, rows=rows, columns=columns, keys=keys)


@dataclass(frozen=True)
class _Drawn:
    classes: np.ndarray  # [T, W]
    rows: np.ndarray  # [T, length], places in the one array, in the streams' order
    columns: np.ndarray  # [T, length], the class of each row
    keys: np.ndarray  # [T]


def streamed(
    read: Callable[[int], LabelledRows],
    ways: Span = 5,
    tasks: int = 16,
    seed: int = 0,
    augment: Augment | None = None,
    shuffle_labels: bool = False,
    device: str = "cpu",
    part: str = "train",
    *,
    length: int = 50,
    size: int = 28,
) -> Stream:
    """Streams of pictures of any size.

    read:   pictures of so many pixels a side.
    length: rows of a stream, each of any of its classes.
    size:   pixels a side of a picture; 20 in the paper.

    Raises ValueError for a range of ways, and as Stream does.
    """
    if not isinstance(ways, int):
        raise ValueError(f"ways is {ways}: give one number, since every stream has the same columns")
    return Stream(read(size), ways, tasks, seed, part, augment, shuffle_labels, device, length=length)
