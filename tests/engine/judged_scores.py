"""Learners whose scores are known, to be evaluated."""

from dataclasses import dataclass, field, replace

import numpy as np
import torch

from mapwise.core.learner import Learner
from mapwise.core.scores import without_absent
from mapwise.core.source import About
from mapwise.core.spec import Spec
from mapwise.core.task import Examples, Task, present_classes
from mapwise.problems.classification import Classification

POOL = [f"kind {i:02d}" for i in range(12)]


@dataclass(frozen=True)
class Logits:
    """Tasks whose query inputs are the scores to be judged, so that the right answers are known.

    Ways are drawn from `fewest` to `ways`; rows of weight 0 are certain and wrong, so that counting one shows.
    """

    tasks: int = 16
    ways: int = 5
    fewest: int = 5
    queries: int = 12
    unweighted: bool = False
    visited: list[int] = field(default_factory=list)

    problem = Classification()
    part = "test"

    @property
    def inputs(self):
        return Spec((self.ways,))

    @property
    def outputs(self):
        return self.ways

    @property
    def about(self):
        return About("logits", self.part, str(self.ways), "1", self.queries, 0)

    def split(self, name):
        return replace(self)

    def drawn(self, step):
        random = np.random.default_rng(step)
        ways = random.integers(self.fewest, self.ways + 1, self.tasks)
        truth = np.stack([random.permutation(np.resize(np.arange(w), self.queries)) for w in ways])
        # To one decimal: ranks then have ties.
        x = np.round(random.standard_normal((self.tasks, self.queries, self.ways)), 1).astype(np.float32)
        x += np.eye(self.ways, dtype=np.float32)[truth]
        weight = np.ones((self.tasks, self.queries), np.float32)
        if self.unweighted:
            weight[:, self.ways :] = random.integers(0, 2, (self.tasks, self.queries - self.ways))
            wrong = np.eye(self.ways, dtype=np.float32)[(truth + 1) % ways[:, None]]
            x = np.where(weight[..., None] > 0, x, 50 * wrong)
        names = [[*random.permutation(POOL)[:w], *[""] * (self.ways - w)] for w in ways]
        return ways, truth, x, weight, names

    def __call__(self, step):
        self.visited.append(step)
        ways, truth, x, weight, _ = self.drawn(step)
        eye = torch.eye(self.ways)
        present = (torch.arange(self.ways)[None] < torch.from_numpy(ways)[:, None]).float()
        keys = torch.zeros(self.tasks, dtype=torch.int64)
        support = Examples(torch.zeros(self.tasks, self.ways, self.ways), eye * present[:, :, None], present, keys)
        query = Examples(torch.from_numpy(x), eye[torch.from_numpy(truth)], torch.from_numpy(weight), keys)
        return Task(support, query)

    def names(self, step):
        return [[str(name) for name in task] for task in self.drawn(step)[4]]


@dataclass(frozen=True)
class Reader(Learner):
    """Reads its scores off the query."""

    masked: bool = True

    def adapt(self, params, support):
        return {"present": present_classes(support)}

    def predict(self, params, fast, x):
        return without_absent(x, fast["present"]) if self.masked else x
