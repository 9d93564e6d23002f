"""Labels that stand at every token: how they are judged, and which learners answer by token."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

import mapwise as mw
from mapwise.catalog.learners import LEARNERS
from mapwise.core import tree
from mapwise.core.task import Examples, Task
from mapwise.learners.row import BLUEPRINTS
from own_sources import GROUPS, KINDS, LENGTH, VOCABULARY, Bag, Tags, leaves


class Constant(mw.Learner):
    """It has learned a score for every word and class."""

    takes_tokens = True

    def init(self, seed):
        return {"scores": torch.randn(VOCABULARY, GROUPS, generator=torch.Generator().manual_seed(seed))}

    def adapt(self, params, support):
        return {}

    def predict(self, params, fast, x):
        return params["scores"][x]


def test_a_task_of_tokens_is_judged_by_the_mean_over_those_that_count():
    learner, source = Constant(), Tags(tasks=3)
    params = learner.init(0)
    report = mw.evaluate(learner, params, source, episodes=3)
    query = source(0).query
    right = (params["scores"][query.x].argmax(-1) == query.y.argmax(-1)) & (query.weight > 0)
    expected = [float(right[i].sum() / query.weight[i].sum()) for i in range(3)]
    np.testing.assert_allclose(report.values, expected, rtol=1e-6)
    nats = -(query.y * torch.log_softmax(params["scores"][query.x], -1)).sum(-1)
    each = [(nats[i] * query.weight[i]).sum() / query.weight[i].sum() for i in range(3)]
    assert report.nll == pytest.approx(float(sum(each) / 3), rel=1e-5)
    loss = learner.objective(params, task_of(source(0), 0))
    assert float(loss) == pytest.approx(float(each[0]), rel=1e-5)
    assert sum(report.classes.rows) == int(query.weight.sum())


def task_of(batch, index):
    return Task(*(Examples(*(leaf[index] for leaf in part)) for part in batch))


def test_a_prototype_is_the_mean_of_the_tokens_that_count():
    learner, (support, query) = KINDS["tokens"].learner("protonet"), task_of(Tags(tasks=1)(0), 0)
    params = learner.init(0)
    z = learner.encoder(support.x)
    fast = learner.adapt(params, support)
    own = z[(support.y[..., 1] > 0) & (support.weight > 0)].mean(0)
    torch.testing.assert_close(fast["prototypes"][0, 1], own)
    scores = learner.predict(params, fast, query.x)
    assert scores.shape == (len(query.y), LENGTH, GROUPS)
    torch.testing.assert_close(scores[..., 1], -((learner.encoder(query.x) - own) ** 2).sum(-1))
    # A sentence of one word has one token, and is no plain row.
    short = support._replace(x=support.x[:, :1], y=support.y[:, :1], weight=support.weight[:, :1])
    assert learner.predict(params, learner.adapt(params, short), query.x[:, :1]).shape == (len(query.y), 1, GROUPS)


def test_answers_for_rows_where_tokens_are_asked_are_refused():
    @dataclass(frozen=True)
    class First(Constant):
        def predict(self, params, fast, x):
            return params["scores"][x[:, 0]]

    with pytest.raises(ValueError, match=r"the scores of a task are \[6, 3\] and its labels \[6, 5, 3\]: predict"):
        mw.evaluate(First(), First().init(0), Tags(), episodes=3)
    pooled = mw.ProtoNet(Bag())
    with pytest.raises(ValueError, match=r"the encoder gives \[8\] for a row and every token has a label"):
        mw.evaluate(pooled, pooled.init(0), Tags(), episodes=3)


BY_TOKEN = {
    "abml", "anil", "boil", "fomaml", "imaml", "learned_optimizer", "maml", "maml_pp", "meta_lstm", "meta_sgd",
    "prox", "protonet", "protonet_cosine", "reptile", "vampire",
}  # fmt: skip


def catalog_learner(name, kind):
    row = LEARNERS[name]
    make = (lambda: kind.module(GROUPS)) if BLUEPRINTS.get(row.blueprint) else kind.module
    sizes = {"inputs": LENGTH, "outputs": GROUPS}
    return row.build(make if row.blueprint else None, {} if row.blueprint else sizes)


OF_TAGS = {name for name, row in LEARNERS.items() if row.columns == ("tags",)}
"""For spans alone, whose columns are more than classes."""


OF_RUNS = {name for name, row in LEARNERS.items() if row.of_runs}


@pytest.mark.parametrize("name", sorted(LEARNERS.keys() - {"nearest_mean"} - OF_TAGS - OF_RUNS))
def test_a_learner_of_the_catalog_answers_by_token_or_refuses_in_a_sentence(name):
    source = Tags(tasks=2)
    learner = catalog_learner(name, KINDS["tokens" if name in BY_TOKEN else "ids"])
    params = learner.init(0)
    assert learner.takes_tokens == (name in BY_TOKEN)
    if not learner.takes_tokens:
        refused = (
            lambda: mw.train(learner, source, steps=1),
            lambda: mw.evaluate(learner, params, source, episodes=1),
            lambda: mw.meta_gradient(learner, params, source(0)),
            lambda: mw.check(learner, source),
        )
        for call in refused:
            with pytest.raises(ValueError, match=r"^\w+ gives one answer for a row and here every token has a label"):
                call()
        return
    learner = learner.at(0.5)
    (gradient, loss), (looped, _) = (mw.meta_gradient(learner, params, source(0), how=how) for how in ("vmap", "loop"))
    torch.testing.assert_close(leaves(gradient), leaves(looped), rtol=1e-3, atol=1e-5)
    step = 0.01 / max(float(leaves(gradient).norm()), 1e-6)
    lower = tree.map(lambda leaf, part: leaf - step * part, params, gradient)
    assert mw.meta_gradient(learner, lower, source(0), how="vmap")[1] < loss


@pytest.mark.parametrize("kind", ["dicts", "ids"])
@pytest.mark.parametrize(
    "name", sorted(name for name, row in LEARNERS.items() if row.takes("classification") and row.blueprint)
)
def test_a_learner_of_the_catalog_reads_such_rows_by_a_module_of_ones_own(name, kind):
    source = replace(KINDS[kind].source, tasks=2)
    learner = catalog_learner(name, KINDS[kind])
    params, tasks = learner.init(0), source(0)
    (gradient, loss), (looped, _) = (mw.meta_gradient(learner, params, tasks, how=how) for how in ("vmap", "loop"))
    torch.testing.assert_close(leaves(gradient), leaves(looped), rtol=1e-3, atol=1e-5)
    assert bool(torch.isfinite(loss)) and bool((leaves(gradient) != 0).any())
    assert learner.measure(params, source).keys() >= params.keys()
    report = mw.evaluate(learner, learner.measure(params, source), source, episodes=2)
    assert np.isfinite(report.values).all()
