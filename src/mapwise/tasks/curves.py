"""Families of curves: every task is y = f(x) of its own, seen at a few points."""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch

from mapwise.core.problem import Problem
from mapwise.core.seeds import check_seed
from mapwise.core.source import About, Source
from mapwise.core.spec import Spec
from mapwise.core.task import Examples, Task
from mapwise.problems.regression import Regression
from mapwise.tasks.random_streams import PARTS, random_stream


@dataclass(frozen=True, eq=False)
class Curves(Source):
    """A family of curves, each given by a few numbers that are uniform in a range: what the sources of curves share.

    A source that extends this writes `name`, `ranges` and `y`. x is uniform in -5..5, support and query drawn alike and
    independently.

    shots, queries: points of a task to adapt to, and to be judged on.
    tasks:          T, curves in a batch.
    part:           "train", "val" or "test": streams of curves that share no random numbers.
    noise:          standard deviation of a Gaussian error on every y, support and query.
    device:         where the tasks are put.
    """

    inputs: ClassVar[Spec] = Spec((1,))
    """One number, x."""
    outputs: ClassVar[int] = 1
    """One target, y."""

    shots: int = 10
    queries: int = 10
    tasks: int = 25
    seed: int = 0
    part: str = "train"
    device: str = "cpu"
    noise: float = field(default=0.0, kw_only=True)

    problem: ClassVar[Problem] = Regression()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.part not in PARTS:
            raise ValueError(f"{self.name} has no split {self.part!r}: choose one of {', '.join(PARTS)}")
        # A range, which other sources take.
        shots: int | tuple[int, int] = cast(Any, self.shots)
        if isinstance(shots, tuple):
            low, high = shots
            raise ValueError(f"{self.name} takes one number of shots and {low}-{high} was given: give one, such as 10")
        for what, count in (("shots", self.shots), ("queries", self.queries), ("tasks", self.tasks)):
            if count < 1:
                raise ValueError(f"{what} is {count}: give a number from 1 up")
        check_seed(self.seed)
        if not 0 <= self.noise < np.inf:
            raise ValueError(f"noise is {self.noise}: give a standard deviation, 0 or larger")

    @property
    def name(self) -> str:
        """What the data is called in reports."""
        raise NotImplementedError

    @property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        """The smallest and the largest of each number that gives a curve."""
        raise NotImplementedError

    def y(self, x: np.ndarray, *numbers: np.ndarray) -> np.ndarray:
        """The curves of these numbers, [T, 1] each, at x [T, count]."""
        raise NotImplementedError

    @property
    def about(self) -> About:
        """What the tasks are, for reports."""
        return About(self.name, self.part, "", str(self.shots), self.queries, self.seed)

    def split(self, name: str) -> Self:
        """The same family over the curves of another split."""
        return replace(self, part=name)

    def names(self, step: int) -> list[list[str]]:
        """Regression has no class names: an empty list for every task."""
        return [[] for _ in range(self.tasks)]

    def curves(self, step: int) -> tuple[np.ndarray, ...]:
        """The numbers that give the curves of this step, [T] each, in the order of `ranges`."""
        random = random_stream(self.seed, step, self.part)
        return tuple(random.uniform(low, high, self.tasks) for low, high in self.ranges)

    def __call__(self, step: int) -> Task:
        """The batch of this step: support [T, shots, 1], query [T, queries, 1], float32."""
        curves = [numbers[:, None] for numbers in self.curves(step)]
        # A stream of its own: the curves of a step stay the same when shots or queries change.
        random = random_stream(self.seed, step, self.part, 1)
        keys = torch.from_numpy(random.integers(0, 2**63 - 1, self.tasks, dtype=np.int64)).to(self.device)
        # One draw of [T, count] for each role, the support's first: more queries leave the support as it was.
        return Task(*(self._points(random, curves, count, keys) for count in (self.shots, self.queries)))

    def _points(
        self, random: np.random.Generator, curves: list[np.ndarray], count: int, keys: torch.Tensor
    ) -> Examples:
        x = random.uniform(-5.0, 5.0, (self.tasks, count)).astype(np.float32)
        # Drawn even when unused, so that noise changes y and nothing else.
        y = self.y(x, *curves) + self.noise * random.standard_normal((self.tasks, count))  # [T, count]
        return Examples(
            torch.from_numpy(x[..., None]).to(self.device),
            torch.from_numpy(y.astype(np.float32)[..., None]).to(self.device),
            torch.ones((self.tasks, count), device=self.device),
            keys,
        )
