"""A problem of one's own, ranking, needs its own file and a line in the list: it is trained, judged and reported so."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from rich.console import Console

from mapwise.core.format import share
from mapwise.core.learner import WAIVABLE, Learner
from mapwise.core.losses import row_mean
from mapwise.core.problem import Metric, Problem, task_mean
from mapwise.core.scores import means
from mapwise.core.source import About, Source
from mapwise.core.spec import Spec
from mapwise.core.task import Examples, Task
from mapwise.engine.evaluate import evaluate
from mapwise.engine.figures import training_curves
from mapwise.engine.results import Findings, Paired, Report
from mapwise.engine.train import train
from mapwise.problems import PROBLEMS
from mapwise.report import table
from mapwise.report.run_page import run_page

TOP = 3


def ndcg(scores, relevance):
    """Normalised discounted cumulative gain of the first TOP items, [..., W] -> [...]; Jarvelin, Kekalainen 2002."""
    discount = 1 / torch.log2(torch.arange(2, TOP + 2, dtype=scores.dtype))

    def gain(order):
        return (torch.gather(relevance.to(scores.dtype), -1, order[..., :TOP]) * discount).sum(-1)

    return gain(scores.argsort(-1, descending=True)) / gain(relevance.argsort(-1, descending=True))


@dataclass(frozen=True)
class Ranking(Problem):
    """Every row is a user, and y the relevance of W items."""

    name: ClassVar[str] = "ranking"
    metric: ClassVar[Metric] = Metric("ndcg", "normalised discounted cumulative gain", "ndcg")
    columns: ClassVar = "targets"
    loss: ClassVar[str | None] = None
    task: ClassVar[str] = "{shots} users"
    asks: ClassVar[str] = "{shots} users, {queries} queries"
    figures_read: ClassVar[tuple[str, ...]] = ("ndcg_median",)

    def values(self, scores, y):
        return ndcg(means(scores), y)

    def nll(self, scores, y):
        return None

    def guess(self, support, query):
        popular = (support.y * support.weight[..., None]).sum(1, keepdim=True).expand_as(query.y)
        return torch.from_numpy(task_mean(self.values(popular, query.y), query.weight))

    def figures(self, tallies):
        return {"ndcg_median": 0.5}

    def cells(self, figures: Mapping[str, Any], values):
        return {"median": share(float(np.median(values)))}

    def opening(self, result):
        return f"Given {result.shots} users of a shop {result.seen}, {result.learner} ranks items at {result.headline}"


@dataclass(frozen=True, eq=False)
class Shops(Source):
    """Users who like the items that lie in their direction, in every shop another one."""

    tasks: int = 8
    seed: int = 0
    part: str = "train"

    problem: ClassVar[Problem] = Ranking()
    inputs: ClassVar[Spec] = Spec((2,))
    outputs: ClassVar[int] = 6

    @property
    def about(self):
        return About("shops", self.part, "", "10", 10, self.seed)

    def split(self, name):
        return self.with_(part=name)

    def names(self, step):
        return [[] for _ in range(self.tasks)]

    def __call__(self, step):
        random = np.random.default_rng([self.seed, step, {"train": 0, "val": 1, "test": 2}[self.part]])
        items = random.normal(size=(self.tasks, 6, 2))
        users = random.normal(size=(self.tasks, 20, 2))
        relevance = np.exp(users @ items.swapaxes(1, 2))
        x, y = torch.as_tensor(users).float(), torch.as_tensor(relevance).float()
        weight, key = torch.ones(self.tasks, 10), torch.zeros(self.tasks, dtype=torch.int64)
        return Task(Examples(x[:, :10], y[:, :10], weight, key), Examples(x[:, 10:], y[:, 10:], weight, key))


@dataclass(frozen=True)
class Directions(Learner):
    """Every item's direction is a ridge regression of the logarithm of its relevance on the users.

    Paper:   none.
    Fast:    {"items": [D, W]}.
    Loss:    minus the log-probability of items, by their relevance.
    Differs: nothing.

    Breaks `relabel`: items are no classes.
    """

    @property
    def keeps(self):
        return WAIVABLE - {"relabel"}

    @property
    def criterion(self):
        def loss(scores, rows):
            chances = rows.y / rows.y.sum(-1, keepdim=True)
            return row_mean(-(chances * torch.log_softmax(scores, -1)).sum(-1), rows.weight)

        return loss

    def init(self, seed):
        return {"log_ridge": torch.tensor(4.0)}

    def adapt(self, params, support):
        weighted = support.x * support.weight[:, None]
        ridge = params["log_ridge"].exp() * torch.eye(support.x.shape[1], dtype=support.x.dtype)
        return {"items": torch.linalg.solve(weighted.T @ support.x + ridge, weighted.T @ support.y.log())}

    def predict(self, params, fast, x):
        return x @ fast["items"]


@dataclass(frozen=True)
class Backwards(Directions):
    def predict(self, params, fast, x):
        return -super().predict(params, fast, x)


@pytest.fixture
def listed(monkeypatch):
    monkeypatch.setitem(PROBLEMS, "ranking", Ranking())


def test_the_gain_is_scikit_learns():
    from sklearn.metrics import ndcg_score

    random = np.random.default_rng(0)
    relevance, scores = random.random((9, 6)), random.normal(size=(9, 6))
    ours = ndcg(torch.as_tensor(scores), torch.as_tensor(relevance)).numpy()
    theirs = [ndcg_score(relevance[i : i + 1], scores[i : i + 1], k=TOP) for i in range(9)]
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_it_is_trained_judged_and_shown(listed):
    trained = train(Directions(), Shops(), steps=20, optimizer="Adam lr=0.1", validate_every=10, validation_episodes=8)
    assert trained.validation > 0.9 and float(trained.params["log_ridge"]) < 4
    good = evaluate(Directions(), trained.params, Shops(part="test"), episodes=40, name="directions")
    bad = evaluate(Backwards(), trained.params, Shops(part="test"), episodes=40, name="backwards")
    assert good.metric == "ndcg" and good.problem == Ranking() and not good.protocol.transductive
    assert good.estimate.mean > 0.9 and table.headline(good).endswith(" %")
    data = json.loads(json.dumps(good.to_json()))
    assert Report.from_json(data, good.values).protocol == good.protocol and data["ndcg_median"] == 0.5
    assert table.verdict(Paired.of(good, bad), "ndcg") == "better"
    curves = training_curves(trained.history, Ranking())
    html = run_page(Findings("shops", [good, bad], training=curves))
    assert "Given 10 users of a shop" in html and "normalised discounted cumulative gain" in html
    console = Console(width=160)
    with console.capture() as capture:
        console.print(table.accuracy_table([good, bad], title="shops"))
    assert "ndcg" in capture.get() and "10 users, 10 queries" in capture.get()


def test_the_laws_compare_it_with_its_own_guess(listed):
    from mapwise.laws.check import check

    verdicts = check(Directions(), Shops(), steps=20, lr=0.1)
    learns = next(verdict for verdict in verdicts if verdict.law.name == "learns")
    assert learns.holds and "normalised discounted cumulative gain" in learns.detail
    verdicts.raise_if_broken()
