"""Small learners and tasks that the tests of the engine train."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.utils import _pytree as pytree

from mapwise.core import tree
from mapwise.core.learner import Learner
from mapwise.core.source import About
from mapwise.core.spec import Spec
from mapwise.core.task import Examples, Task
from mapwise.data.digits import digits
from mapwise.engine.train import train
from mapwise.learners.metric.protonet import ProtoNet
from mapwise.learners.optimization.maml import MAML
from mapwise.nets import MLP
from mapwise.problems.regression import Regression
from mapwise.tasks.episodes import Episodes
from mapwise.tasks.sinusoid import Sinusoid

TASKS = 7


def sine_net():
    return MLP((1,), 1, hidden=(6, 6), activation="tanh")


def digit_net():
    return MLP((1, 8, 8), None, hidden=(12,), norm="batch", activation="tanh")


def double(tree_: Any) -> Any:
    return pytree.tree_map(lambda leaf: leaf.double() if leaf.is_floating_point() else leaf, tree_)


def maml():
    learner = MAML(net=sine_net, inner_steps=2, inner_lr=0.05, loss="squared_error")
    return learner, double(learner.init(0)), double(Sinusoid(shots=4, queries=5, tasks=TASKS)(0))


def protonet():
    learner = ProtoNet(encoder=digit_net)
    return learner, double(learner.init(0)), double(Episodes(digits(), ways=3, shots=2, queries=3, tasks=TASKS)(0))


LEARNERS = {"maml": maml, "protonet": protonet}


def hardest(losses):
    """Nearly all weight on the largest loss."""
    return torch.softmax(5 * losses, 0)


def single(tree_: Any) -> Any:
    return pytree.tree_map(lambda leaf: leaf.float() if leaf.is_floating_point() else leaf, tree_)


def long_ways(a, b):
    """The distance of two gradients, relative to the length of the second."""
    a, b = tree.flatten(a), tree.flatten(b)
    far = sum(float((a[path] - leaf).square().sum()) for path, leaf in b.items())
    return math.sqrt(far / sum(float(leaf.square().sum()) for leaf in b.values()))


# Training, on tasks whose every number is known beforehand.


def constants(tasks: int, target: float = 3.0) -> Task:
    ones = torch.ones(tasks, 1)
    rows = Examples(ones[..., None], target * ones[..., None], ones, torch.zeros(tasks, dtype=torch.int64))
    return Task(rows, rows)


@dataclass(frozen=True)
class Constant:
    """Every task asks for the number 3; the test split may not be opened."""

    tasks: int = 2
    part: str = "train"
    opened: list[str] = field(default_factory=list)

    problem = Regression()
    inputs = Spec((1,))
    outputs = 1

    @property
    def about(self):
        return About("constant", self.part, "", "1", 1, 0)

    def __call__(self, step):
        return constants(self.tasks)

    def split(self, name):
        self.opened.append(name)
        if name == "test":
            raise AssertionError("the test split was opened")
        return replace(self, part=name)

    def names(self, step):
        return [[] for _ in range(self.tasks)]


@dataclass(frozen=True)
class Walk(Learner):
    """Answers its one weight, which training raises by the learning rate at every step."""

    power: float = 1.0
    moments: list[float] = field(default_factory=list)

    def init(self, seed):
        return {"w": torch.zeros(())}

    def at(self, progress):
        self.moments.append(progress)
        return self

    def adapt(self, params, support):
        return {"w": params["w"]}

    def predict(self, params, fast, x):
        return fast["w"] * x

    def objective(self, params, task):
        return -self.power * params["w"]

    def measure(self, params, source):
        return {**params, "measured": {"from": torch.tensor(float(len(source.part)))}}


def walk(steps=6, **settings):
    return train(
        Walk(),
        Constant(),
        steps=steps,
        **{"optimizer": "SGD lr=1.0", "validate_every": 1, "how": "loop", "validation_episodes": 3, **settings},
    )
