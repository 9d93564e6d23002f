"""Functions drawn from a Gaussian process: every task is a smooth curve of its own, seen at a few points."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from mapwise.core.problem import Problem
from mapwise.core.renamed import renamed
from mapwise.core.scores import Gaussian
from mapwise.core.seeds import check_seed
from mapwise.core.source import About, Source
from mapwise.core.spec import Spec
from mapwise.core.task import Examples, Task
from mapwise.problems.regression import Regression
from mapwise.tasks.random_streams import PARTS, random_stream

KernelName = Literal["rbf", "periodic", "matern52"]


def _rbf(distance: Tensor, length: float) -> Tensor:
    return torch.exp(-0.5 * (distance / length) ** 2)


def _periodic(distance: Tensor, length: float) -> Tensor:
    return torch.exp(-2 * (torch.sin(math.pi * distance) / length) ** 2)  # period 1


def _matern52(distance: Tensor, length: float) -> Tensor:
    scaled = math.sqrt(5) * distance / length
    return (1 + scaled + scaled**2 / 3) * torch.exp(-scaled)


KERNELS: dict[str, Callable[[Tensor, float], Tensor]] = {"rbf": _rbf, "periodic": _periodic, "matern52": _matern52}

JITTER = 1e-6
"""Added to every variance, so that a covariance of any number of points can be factored in float64."""

# Purposes of random numbers, each a stream of its own.
_X, _VALUE, _ERROR, _COUNT, _KEY = range(5)


@renamed
@dataclass(frozen=True, eq=False)
class GaussianProcess(Source):
    """Fit a function drawn from a Gaussian process from a few of its points, x uniform in -2..2.

    Garnelo et al. 2018, arXiv:1807.01613, section 4.1: mean 0, variance 1, and a covariance that depends on the
    distance alone.

    shots:   points to adapt to, or a range from which every task draws its own; rows beyond those are padding of
             weight 0. 0 is none.
    queries: points of a task to be judged on.
    tasks:   T, functions in a batch.
    part:    "train", "val" or "test": functions that share no random numbers.
    device:  where the tasks are put.
    kernel:  "rbf", "periodic" (of period 1) or "matern52".
    length:  the kernel's length scale, in the units of x; of a periodic one, of sin(pi distance).
    noise:   standard deviation of a Gaussian error on every y, support and query.

    More shots leave the functions and the queries as they were, and come after the rows that there were.

    Raises ValueError for an unknown part or kernel, queries and tasks below 1, negative shots, seed and noise, and a
    length of 0 or less.

    >>> GaussianProcess(shots=(3, 10), queries=20, tasks=4)(step=0).support.x.shape
    torch.Size([4, 10, 1])
    """

    inputs: ClassVar[Spec] = Spec((1,))
    """One number, x."""
    outputs: ClassVar[int] = 1
    """One target, y."""

    shots: int | tuple[int, int] = (3, 10)
    queries: int = 30
    tasks: int = 16
    seed: int = 0
    part: str = "train"
    device: str = "cpu"
    kernel: KernelName = field(default="rbf", kw_only=True)
    length: float = field(default=0.4, kw_only=True)
    noise: float = field(default=0.0, kw_only=True)

    problem: ClassVar[Problem] = Regression()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.part not in PARTS:
            raise ValueError(f"the Gaussian process has no split {self.part!r}: choose one of {', '.join(PARTS)}")
        low, high = self._span
        if not 0 <= low <= high:
            raise ValueError(f"shots is {self.shots}: give a number from 0 up, or a range such as 3-10")
        for what, count in (("queries", self.queries), ("tasks", self.tasks)):
            if count < 1:
                raise ValueError(f"{what} is {count}: give a number from 1 up")
        check_seed(self.seed)
        if not 0 < self.length < math.inf:
            raise ValueError(f"length is {self.length}: give a length larger than 0")
        if not 0 <= self.noise < math.inf:
            raise ValueError(f"noise is {self.noise}: give a standard deviation, 0 or larger")

    @property
    def _span(self) -> tuple[int, int]:
        return self.shots if isinstance(self.shots, tuple) else (self.shots, self.shots)

    @property
    def name(self) -> str:
        """What the data is called in reports."""
        return f"gp {self.kernel}"

    @property
    def about(self) -> About:
        """What the tasks are, for reports."""
        low, high = self._span
        shots = str(low) if low == high else f"{low}-{high}"
        return About(self.name, self.part, "", shots, self.queries, self.seed)

    def split(self, name: str) -> "GaussianProcess":
        """The same family over the functions of another split."""
        return replace(self, part=name)

    def names(self, step: int) -> list[list[str]]:
        """Regression has no class names: an empty list for every task."""
        return [[] for _ in range(self.tasks)]

    def __call__(self, step: int) -> Task:
        """The batch of this step: support [T, shots, 1], query [T, queries, 1], float32."""
        low, high = self._span
        # The queries come first, so that the values of more support rows are drawn given those of fewer.
        counts = (self.queries, high)
        stream = partial(random_stream, self.seed, step, self.part)

        def drawn(draw: Callable[[np.random.Generator, tuple[int, int]], np.ndarray], purpose: int) -> Tensor:
            parts = (draw(stream(purpose, role), (n, self.tasks)).T for role, n in enumerate(counts))
            return torch.from_numpy(np.concatenate([*parts], 1))

        # Rounded first: a value belongs to the x that is handed out.
        x = drawn(lambda random, shape: random.uniform(-2.0, 2.0, shape), _X).float()  # [T, queries + high]
        values = drawn(np.random.Generator.standard_normal, _VALUE)[..., None]
        errors = drawn(np.random.Generator.standard_normal, _ERROR)[..., None]
        y = (self._factor(x.double()) @ values + self.noise * errors).float()  # [T, queries + high, 1]
        count = torch.from_numpy(stream(_COUNT).integers(low, high + 1, self.tasks))
        keys = torch.from_numpy(stream(_KEY).integers(0, 2**63 - 1, self.tasks, dtype=np.int64))
        weight = torch.ones(x.shape)
        weight[:, self.queries :] = (torch.arange(high) < count[:, None]).float()
        x, y, weight, keys = (leaf.to(self.device) for leaf in (x[..., None], y, weight, keys))
        q = self.queries
        return Task(
            Examples(x[:, q:], y[:, q:], weight[:, q:], keys), Examples(x[:, :q], y[:, :q], weight[:, :q], keys)
        )

    def posterior(self, support: Examples, x: Tensor) -> Gaussian:
        """The exact predictive distribution of one task's y at x, [Q, 1], given its support rows, in float64.

        No predictor has a higher log-likelihood on average over the functions of this family.
        """
        counted = support.weight > 0
        seen, y = support.x[counted, 0].double(), support.y[counted].double()
        factor = self._factor(seen, self.noise)
        cross = self._covariance(x[:, 0].double(), seen)  # [Q, S]
        mean = cross @ torch.cholesky_solve(y, factor)
        explained = torch.linalg.solve_triangular(factor, cross.T, upper=False).square().sum(0)  # [Q]
        least = JITTER + self.noise**2
        return Gaussian(mean, (1 + least - explained).clamp(min=least).sqrt()[:, None])

    def _covariance(self, a: Tensor, b: Tensor) -> Tensor:
        return KERNELS[self.kernel]((a[..., :, None] - b[..., None, :]).abs(), self.length)

    def _factor(self, x: Tensor, noise: float = 0.0) -> Tensor:
        """The Cholesky factor of the covariance of values at x with an error on each, [..., N, N]."""
        own = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
        factor: Tensor = torch.linalg.cholesky(self._covariance(x, x) + (JITTER + noise**2) * own)
        return factor
