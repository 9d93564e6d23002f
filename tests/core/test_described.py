"""Descriptions are rows behind every support: of weight 0 they change nothing, and alone they are the support."""

import numpy as np
import pytest
import torch
from torch import nn

import mapwise as mw
from mapwise.core.capabilities import Embeds
from mapwise.core.families.described import Described, described_params, joined_support
from mapwise.core.task import Examples
from mapwise.learners.pretraining.logistic import Logistic

KEY = torch.zeros((), dtype=torch.int64)
LEARNERS = {
    "protonet": mw.ProtoNet(nn.Flatten),
    "ridge": mw.R2D2(nn.Flatten, ridge=1.0),
    "logistic": Logistic(nn.Flatten),
}


def rows(seed, columns, weight=1.0):
    generator = torch.Generator().manual_seed(seed)
    y = torch.eye(3, dtype=torch.float64)[torch.tensor(columns, dtype=torch.int64)]
    x = torch.randn(len(columns), 4, generator=generator, dtype=torch.float64)
    return Examples(x, y, torch.full((len(columns),), weight, dtype=torch.float64), KEY)


QUERY = rows(9, [0] * 5).x
NOTHING = rows(0, [])


def scores(learner, support, descriptions):
    params = described_params(learner.init(0), descriptions)
    whole = Described(learner)
    return whole.predict(params, whole.adapt(params, support), QUERY)


def plain(learner, support):
    return learner.predict(learner.init(0), learner.adapt(learner.init(0), support), QUERY)


@pytest.mark.parametrize("name", LEARNERS)
def test_descriptions_are_further_rows_of_the_support(name):
    learner, support, known = LEARNERS[name], rows(1, [0, 1, 2, 0]), rows(2, [0, 1, 2], 2.0)
    torch.testing.assert_close(scores(learner, support, known), plain(learner, joined_support(support, known)))
    assert joined_support(support, known).weight.tolist() == [1, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("name", LEARNERS)
def test_descriptions_of_weight_zero_change_nothing(name):
    learner, support = LEARNERS[name], rows(1, [0, 1, 2, 0])
    torch.testing.assert_close(scores(learner, support, rows(2, [0, 1, 2], 0.0)), plain(learner, support))


@pytest.mark.parametrize("name", LEARNERS)
def test_without_an_example_descriptions_are_the_support(name):
    known = rows(2, [0, 1, 2])
    torch.testing.assert_close(scores(LEARNERS[name], NOTHING, known), plain(LEARNERS[name], known))


def test_a_described_learner_compares_rows_where_its_learner_does():
    learner = Described(LEARNERS["protonet"])
    params = described_params(learner.learner.init(0), rows(2, [0, 1, 2]))
    fast = learner.adapt(params, rows(1, [0, 1, 2]))
    assert isinstance(learner, Embeds) and np.array_equal(learner.embed(params, fast, QUERY), QUERY)
    assert "relabel" not in learner.keeps and learner.over_embedded(params) is None
