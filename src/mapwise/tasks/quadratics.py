"""Random quadratics: every task is a problem to optimise, the squared distance of W theta from y."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

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
class Quadratics(Source):
    """Minimise |W theta - y|^2, W [D, D] and y [D] standard normal.

    Andrychowicz et al. 2016, arXiv:1606.04474, section 3.1, where D is 10.

    The rows of a task are those of W, and y their targets; a linear net without a bias is theta. Support and query are
    the same rows, since the problem is what a learned optimizer is judged on: the mean squared error is the objective
    by D.

    tasks:     T, problems in a batch.
    part:      "train", "val" or "test": problems that share no random numbers.
    device:    where the tasks are put.
    dimension: D, the number of unknowns.

    Raises ValueError for an unknown part, counts below 1 and a negative seed.

    >>> Quadratics(tasks=4)(step=0).support.x.shape
    torch.Size([4, 10, 10])
    """

    outputs: ClassVar[int] = 1
    """One target, a number of y."""
    problem: ClassVar[Problem] = Regression()

    tasks: int = 16
    seed: int = 0
    part: str = "train"
    device: str = "cpu"
    dimension: int = field(default=10, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.part not in PARTS:
            raise ValueError(f"quadratics have no split {self.part!r}: choose one of {', '.join(PARTS)}")
        for what, count in (("tasks", self.tasks), ("dimension", self.dimension)):
            if count < 1:
                raise ValueError(f"{what} is {count}: give a number from 1 up")
        check_seed(self.seed)

    @property
    def inputs(self) -> Spec:
        """A row of W."""
        return Spec((self.dimension,))

    @property
    def about(self) -> About:
        """What the tasks are, for reports."""
        return About("quadratics", self.part, "", str(self.dimension), self.dimension, self.seed)

    def split(self, name: str) -> Self:
        """The same family over the problems of another split."""
        return replace(self, part=name)

    def names(self, step: int) -> list[list[str]]:
        """There are no class names: an empty list for every task."""
        return [[] for _ in range(self.tasks)]

    def __call__(self, step: int) -> Task:
        """The batch of this step: support and query [T, D, D], float32."""
        random = random_stream(self.seed, step, self.part)
        rows = random.standard_normal((self.tasks, self.dimension, self.dimension + 1)).astype(np.float32)
        keys = random.integers(0, 2**63 - 1, self.tasks, dtype=np.int64)
        x, y = (torch.from_numpy(part.copy()).to(self.device) for part in (rows[..., :-1], rows[..., -1:]))
        weight = torch.ones((self.tasks, self.dimension), device=self.device)
        examples = Examples(x, y, weight, torch.from_numpy(keys).to(self.device))
        return Task(examples, examples)
