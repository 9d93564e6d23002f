"""Episodes: N-way K-shot tasks cut from labelled rows, one gather for a whole batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from mapwise.core.fields import check_whole, is_whole
from mapwise.core.problem import Problem
from mapwise.core.random import fold
from mapwise.core.renamed import renamed
from mapwise.core.seeds import check_seed, check_step
from mapwise.core.source import About, Source
from mapwise.core.spec import Spec
from mapwise.core.task import Examples, Task
from mapwise.data.rows import ALL, LabelledRows
from mapwise.problems.classification import Classification

Span = int | tuple[int, int]
"""A number, or an inclusive range from which each task draws its own."""
Augment = Callable[[Tensor, Tensor], Tensor]
"""(x [N, *input], key []) -> x of the same shape; a pure function."""


@renamed
@dataclass(frozen=True, eq=False)
class Episodes(Source):
    """Tasks of `ways` classes with `shots` support and `queries` query rows each.

    ways, shots: a number, or a range (5, 20) from which every task draws. Tasks smaller than the
                 largest are padded with absent classes and rows of weight 0, so they share a batch.
    queries:     query rows per class; None: min(15, rows of the smallest class - shots).
    tasks:       T, tasks in a batch.
    part:        the split whose classes are used; "all": every class.
    augment:     applied to training rows only; other splits drop it.
    shuffle_labels: deal the support's labels out at random within each task, a check that nothing leaks:
                 every learner must fall to chance.
    device:      where the rows live and the episodes are gathered.
    descriptions: rows that describe the same classes: the support is then `shots` of these of each class, and no
                 examples.

    Raises ValueError when a class has too few rows, or the split too few classes.
    """

    rows: LabelledRows
    ways: Span = 5
    shots: Span = 1
    queries: int | None = None
    tasks: int = 16
    seed: int = 0
    part: str = "train"
    augment: Augment | None = None
    shuffle_labels: bool = False
    device: str = "cpu"
    descriptions: LabelledRows | None = None

    problem: ClassVar[Problem] = Classification()

    def __post_init__(self) -> None:
        super().__post_init__()
        classes = self.rows.classes_of(self.part)
        check_whole("tasks", self.tasks, 1)
        check_seed(self.seed)
        fewest, most = _span(self.ways, "ways")
        if most > len(classes):
            raise ValueError(
                f"ways is {most} and the {self.part} split of {self.rows.name} "
                f"has {len(classes)} classes: {self._more_classes(most)}"
            )
        if fewest < 2:
            raise ValueError(f"ways is {fewest}: at least 2 classes are needed in a task")
        shots = _span(self.shots, "shots")[1]
        held = self._check_descriptions(shots)
        sizes = np.diff(self.rows.starts)[classes]
        smallest = int(sizes.argmin())
        spare = int(sizes[smallest]) - held
        queries = min(15, spare) if self.queries is None else self.queries
        if queries < 1 or queries > spare:
            name, have = self.rows.names[int(classes[smallest])], int(sizes[smallest])
            needed = f"{held} shots + {max(1, queries)} queries need" if held else f"{max(1, queries)} queries need"
            raise ValueError(
                f"class {name!r} has {have} rows, and {needed} {held + max(1, queries)}: lower shots or queries, or "
                "drop the class"
            )
        # Beside the field, not in it: another split works out its own default.
        object.__setattr__(self, "_queries", queries)
        # The rows move to where they are gathered once, not once a step.
        object.__setattr__(self, "_x", torch.from_numpy(self.rows.x).to(self.device))
        described = None if self.descriptions is None else torch.from_numpy(self.descriptions.x).to(self.device)
        object.__setattr__(self, "_described", described)

    def _check_descriptions(self, shots: int) -> int:
        """The rows of a class that its support takes from the queries': none where it is described.

        Raises ValueError for descriptions of other classes or of another shape, and for too few of a class.
        """
        if self.descriptions is None:
            return shots
        if self.descriptions.names != self.rows.names:
            raise ValueError("the descriptions are of other classes than the rows: describe every class of the rows")
        if self.descriptions.x.shape[1:] != self.rows.x.shape[1:]:
            raise ValueError(
                f"a description has shape {self.descriptions.x.shape[1:]} and a row {self.rows.x.shape[1:]}: embed "
                "both by one encoder"
            )
        fewest = int(np.diff(self.descriptions.starts).min())
        if fewest < shots:
            raise ValueError(f"shots is {shots} and a class has {fewest} descriptions: lower shots to {fewest}")
        return 0

    def _more_classes(self, ways: int) -> str:
        """What to do where the split has too few classes."""
        have, total = self.class_counts
        ways_out = [f"lower ways to at most {have}"] if have > 1 else []
        # Never of training classes: a model that was trained on them knows them.
        if self.part in ("val", "test") and ways <= total:
            ways_out.append(f"judge on all {total} classes, the split {ALL!r}, if nothing was trained on these data")
        return ", or ".join([*ways_out, "add classes"])

    @property
    def class_counts(self) -> tuple[int, int]:
        """The number of classes of the split, and of all classes of the rows."""
        return len(self.rows.classes_of(self.part)), len(self.rows.names)

    @property
    def about(self) -> About:
        """What the tasks are, for reports."""
        name = self.rows.name if self.descriptions is None else f"{self.rows.name} by descriptions"
        name = f"{name} with shuffled labels" if self.shuffle_labels else name
        return About(name, self.part, _text(self.ways), _text(self.shots), self.queries_per_class, self.seed)

    @property
    def remarks(self) -> Sequence[str]:
        """Remarks from reading the rows."""
        return self.rows.notes

    @property
    def inputs(self) -> Spec:
        """What one row is."""
        return Spec(tuple(self.rows.x.shape[1:]))

    @property
    def outputs(self) -> int:
        """W: the largest number of classes of a task."""
        return _span(self.ways, "ways")[1]

    def split(self, name: str) -> "Episodes":
        """The same episodes over the classes of another split; only training rows are augmented."""
        return replace(self, part=name, augment=self.augment if name in ("train", "trainval") else None)

    def names(self, step: int) -> list[list[str]]:
        """The class names of every task of this step; absent columns are named ""."""
        drawn = self._draw(step)
        return [
            [self.rows.names[c] if i < ways else "" for i, c in enumerate(classes)]
            for classes, ways in zip(drawn.classes.tolist(), drawn.ways.tolist(), strict=True)
        ]

    def __call__(self, step: int) -> Task:
        """The batch of this step: support [T, W * shots, *input], query [T, W * queries, *input]."""
        drawn = self._draw(step)
        tasks, ways, _ = drawn.support.shape
        keys = torch.from_numpy(drawn.keys).to(self.device)
        parts = []
        for rows, first, role in (
            (drawn.support, drawn.shots, 0),
            (drawn.query, np.full(tasks, self.queries_per_class), 1),
        ):
            count = rows.shape[2]
            index = torch.from_numpy(np.ascontiguousarray(rows).reshape(-1)).to(self.device)
            x = self.gather(index, described=role == 0 and self.descriptions is not None)
            if self.augment is not None:
                x = self.augment(x, fold(keys[0], role))
            x = x.reshape(tasks, ways * count, *self.inputs.shape)
            present = np.arange(ways)[None] < drawn.ways[:, None]  # [T, W]
            counted = np.arange(count)[None] < first[:, None]  # [T, count]
            weight = (present[:, :, None] & counted[:, None, :]).astype(np.float32).reshape(tasks, -1)
            y = np.broadcast_to(np.repeat(np.eye(ways, dtype=np.float32), count, axis=0), (tasks, ways * count, ways))
            if self.shuffle_labels and role == 0:
                y = np.take_along_axis(y, np.argsort(drawn.dealt, axis=1)[:, :, None], axis=1)
            parts.append(
                Examples(
                    x,
                    torch.from_numpy(y * weight[:, :, None]).to(self.device),
                    torch.from_numpy(weight).to(self.device),
                    keys,
                )
            )
        return Task(*parts)

    @property
    def queries_per_class(self) -> int:
        """Query rows per class, after the default is worked out."""
        queries: int = self._queries  # type: ignore[attr-defined]
        return queries

    def gather(self, index: Tensor, *, described: bool = False) -> Tensor:
        """The rows, or descriptions, at these places of the one array, float32 and scaled, [len(index), *input]."""
        whole: Tensor = self._described if described else self._x  # type: ignore[attr-defined]
        x = whole.index_select(0, index)
        return x.to(torch.float32).mul_(1 / 255) if x.dtype == torch.uint8 else x

    def _draw(self, step: int) -> "_Drawn":
        check_step(step)
        random = np.random.Generator(np.random.Philox(key=[self.seed, step]))
        fewest, ways = _span(self.ways, "ways")
        least, shots = _span(self.shots, "shots")
        among = self.rows.classes_of(self.part)
        chosen = without_replacement(random, np.full(self.tasks, len(among)), ways)  # [T, W]
        classes = among[chosen]
        sizes = np.diff(self.rows.starts)[classes]
        begins = self.rows.starts[classes][:, :, None]
        if self.descriptions is None:
            places = begins + without_replacement(random, sizes, shots + self.queries_per_class)
            support, query = places[:, :, :shots], places[:, :, shots:]
        else:
            query = begins + without_replacement(random, sizes, self.queries_per_class)
            starts = self.descriptions.starts
            described = without_replacement(random, np.diff(starts)[classes], shots)
            support = starts[classes][:, :, None] + described
        return _Drawn(
            classes=classes,
            support=support,
            query=query,
            ways=random.integers(fewest, ways + 1, self.tasks),
            shots=random.integers(least, shots + 1, self.tasks),
            keys=random.integers(0, 2**63 - 1, self.tasks, dtype=np.int64),
            dealt=random.random((self.tasks, ways * shots)),
        )


@dataclass(frozen=True)
class _Drawn:
    classes: np.ndarray  # [T, W]
    support: np.ndarray  # [T, W, shots], places in the one array, or among the descriptions
    query: np.ndarray  # [T, W, queries], places in the one array
    ways: np.ndarray  # [T]
    shots: np.ndarray  # [T]
    keys: np.ndarray  # [T]
    dealt: np.ndarray  # [T, W * shots], an order for shuffled labels


def without_replacement(random: np.random.Generator, sizes: np.ndarray, k: int) -> np.ndarray:
    """k different numbers below each size, in random order, [*sizes.shape, k] (Floyd's algorithm).

    Its work grows with k and not with the sizes: a class of a million rows costs as much as one of twenty.
    """
    picked = np.empty((*sizes.shape, k), dtype=np.int64)
    draws = random.random((k, *sizes.shape))
    for i in range(k):
        top = sizes - k + i
        drawn = (draws[i] * (top + 1)).astype(np.int64)
        taken = (picked[..., :i] == drawn[..., None]).any(axis=-1)
        picked[..., i] = np.where(taken, top, drawn)
    order = np.argsort(random.random(picked.shape), axis=-1)
    return np.take_along_axis(picked, order, axis=-1)


def _span(value: Span, what: str) -> tuple[int, int]:
    low, high = value if isinstance(value, tuple) else (value, value)
    if not (is_whole(low) and is_whole(high)) or low < 1 or low > high:
        raise ValueError(f"{what} is {value}: give a number from 1 up, or a range such as 5-20")
    return low, high


def _text(value: Span) -> str:
    low, high = _span(value, "span")
    return str(low) if low == high else f"{low}-{high}"
