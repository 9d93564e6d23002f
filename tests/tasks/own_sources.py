"""Sources of one's own whose rows are dicts or integers, with modules that read them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import nn

import mapwise as mw
from mapwise.core import tree
from mapwise.core.problem import Problem
from mapwise.core.source import About, Source
from mapwise.core.spec import Inputs
from mapwise.core.task import Examples, Task
from mapwise.tasks.random_streams import random_stream

GROUPS, WORDS, LENGTH = 3, 6, 5
VOCABULARY = 1 + GROUPS * WORDS
"""Words in groups, and 0 for padding."""


@dataclass(frozen=True, eq=False)
class Own(Source):
    """Tasks of three classes, the columns of which are dealt out anew for every task."""

    tasks: int = 8
    seed: int = 0
    part: str = "train"
    shots: int = 4
    queries: int = 6
    problem: ClassVar[Problem] = mw.Classification()
    outputs: ClassVar[int] = GROUPS

    @property
    def about(self):
        return About(type(self).__name__.lower(), self.part, str(GROUPS), str(self.shots), self.queries, self.seed)

    def split(self, name):
        return self.with_(part=name)

    def names(self, step):
        return [[f"class {column}" for column in range(GROUPS)] for _ in range(self.tasks)]

    def __call__(self, step):
        random = random_stream(self.seed, step, self.part)
        column = np.argsort(random.random((self.tasks, GROUPS)), axis=1)  # [T, groups]
        keys = torch.from_numpy(random.integers(0, 2**63 - 1, self.tasks))
        return Task(*(self.rows(random, column, count, keys) for count in (self.shots, self.queries)))

    def rows(self, random, column, count, keys):
        """Rows of every group, with one label each."""
        groups = np.tile(np.arange(GROUPS), (self.tasks, count))  # [T, N]
        y = np.eye(GROUPS, dtype=np.float32)[np.take_along_axis(column, groups, 1)]
        x = self.drawn(random, groups)
        return Examples(x, torch.from_numpy(y), torch.ones(y.shape[:2]), keys)


@dataclass(frozen=True, eq=False)
class Birds(Own):
    """A picture with a bright row or column, and two attributes: only together do they tell the three groups."""

    inputs: ClassVar[Inputs] = {"picture": mw.Spec((1, 4, 4)), "attributes": mw.Spec((2,))}

    def drawn(self, random, groups):
        picture = 0.3 * random.normal(size=(*groups.shape, 1, 4, 4))
        picture[groups == 0, :, 1] += 1
        attributes = 0.3 * random.normal(size=(*groups.shape, 2))
        attributes[groups == 1, 0] += 1
        return {"picture": torch.from_numpy(picture).float(), "attributes": torch.from_numpy(attributes).float()}


@dataclass(frozen=True, eq=False)
class Bags(Own):
    """Three word ids, all of one group."""

    inputs: ClassVar[Inputs] = mw.Spec((3,), "int64", VOCABULARY)

    def drawn(self, random, groups):
        return torch.from_numpy(1 + groups[..., None] * WORDS + random.integers(0, WORDS, (*groups.shape, 3)))


@dataclass(frozen=True, eq=False)
class Tags(Own):
    """Sentences of three to five words, each tagged by its group; the rest is padding."""

    inputs: ClassVar[Inputs] = mw.Spec((LENGTH,), "int64", VOCABULARY)

    def rows(self, random, column, count, keys):
        groups = random.integers(0, GROUPS, (self.tasks, count, LENGTH))
        groups[:, 0, :GROUPS] = np.arange(GROUPS)  # no tag is absent from a support
        there = np.arange(LENGTH) < random.integers(3, LENGTH + 1, (self.tasks, count, 1))
        words = (1 + groups * WORDS + random.integers(0, WORDS, groups.shape)) * there
        tags = np.take_along_axis(column[:, None].repeat(count, 1), groups, 2)
        y = np.eye(GROUPS, dtype=np.float32)[tags] * there[..., None]  # [T, N, L, W]
        return Examples(torch.from_numpy(words), torch.from_numpy(y), torch.from_numpy(there.astype(np.float32)), keys)


@dataclass(frozen=True, eq=False)
class Pitches(Tags):
    """The same sentences with a number for every word: that of its group in this task."""

    problem: ClassVar[Problem] = mw.Regression()
    outputs: ClassVar[int] = 1

    def names(self, step):
        return [[] for _ in range(self.tasks)]

    def rows(self, random, column, count, keys):
        rows = super().rows(random, column, count, keys)
        return rows._replace(y=rows.y @ torch.tensor([[-1.0], [0.0], [1.0]]))


class Both(nn.Module):
    """Reads pictures with attributes."""

    output_shape = (8,)

    def __init__(self, outputs=None):
        super().__init__()
        self.picture, self.attributes = nn.Linear(16, 8), nn.Linear(2, 8)
        self.head = nn.Identity() if outputs is None else nn.Linear(8, outputs)

    def forward(self, x):
        return self.head(torch.tanh(self.picture(x["picture"].flatten(1)) + self.attributes(x["attributes"])))


class Words(nn.Module):
    """Reads ids, word by word: [N, L] -> [N, L, outputs]."""

    output_shape = (LENGTH, 8)

    def __init__(self, outputs=None):
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, 8)
        self.inner = nn.Linear(8, 8)
        self.head = nn.Identity() if outputs is None else nn.Linear(8, outputs)

    def forward(self, x):
        return self.head(torch.tanh(self.inner(self.embedded(x))))

    def embedded(self, x):
        return self.words(x)


class Bag(Words):
    """Reads ids, whatever their order: [N, L] -> [N, outputs]."""

    output_shape = (8,)

    def embedded(self, x):
        return self.words(x).mean(1)


@dataclass(frozen=True)
class Kind:
    """A source with a module that reads its rows."""

    source: Own
    module: Callable[..., nn.Module]
    fields: dict = field(default_factory=dict)

    def learner(self, name):
        if name == "maml":
            return mw.MAML(self.module(self.source.outputs), inner_steps=2, inner_lr=0.5, **self.fields)
        return mw.ProtoNet(self.module())

    @staticmethod
    def of(source, module, **fields):
        def built(outputs=None):
            torch.manual_seed(0)
            return module(outputs)

        return Kind(source, built, fields)


KINDS = {
    "dicts": Kind.of(Birds(), Both),
    "ids": Kind.of(Bags(), Bag),
    "tokens": Kind.of(Tags(), Words),
    "numbers of tokens": Kind.of(Pitches(), Words, loss="squared_error"),
}


def leaves(params):
    return torch.cat([leaf.flatten() for leaf in tree.flatten(params).values()])
