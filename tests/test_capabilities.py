"""What a learner can do besides adapting and predicting is asked of it in one way, and holds behind a predictor."""

import numpy as np
import pytest
import torch

from mapwise.core.embedding import placed
from mapwise.core.task import Examples
from mapwise.predictors.trained_learner import TrainedLearner
from mapwise.run import LearnerSettings

NO_BASE = ["supervised", "simpleshot", "finetune", "proto_maml"]
"""Learners that embed rows and share no base class with the metric learners."""


def behind_a_predictor(name: str, **fields) -> TrainedLearner:
    settings = LearnerSettings(
        learner=name,
        fields=fields,
        net="conv4",
        net_options={"filters": 4, "norm": "group"},
        shape=("classification", (1, 16, 16), 5),
    )
    return TrainedLearner.of(settings, settings.made().init(0), None)


def drawings(rows: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, 1, 16, 16)).astype(np.float32)


@pytest.mark.xfail(strict=True, reason="only subclasses of EmbeddingLearner are measured where they compare rows")
@pytest.mark.parametrize("name", NO_BASE)
def test_rows_are_measured_where_the_learner_compares_them(name):
    learner, params = behind_a_predictor(name).behind
    x = torch.as_tensor(behind_a_predictor(name).embedded(drawings(6)))
    support = Examples(x, torch.eye(3).repeat(2, 1), torch.ones(6), torch.tensor(0))
    fast = learner.adapt(params, support)
    expected = learner.embed(params, fast, x)
    found = placed(learner, params, fast, x)
    assert found.shape == (6, 4)
    torch.testing.assert_close(found, expected)


@pytest.mark.xfail(strict=True, reason="only subclasses of EmbeddingLearner embed each row once")
@pytest.mark.parametrize(("name", "fields"), [("supervised", {}), ("simpleshot", {}), ("finetune", {"body_lr": 0.0})])
def test_a_row_is_embedded_once_where_nothing_moves_its_embedding(name, fields):
    whole = behind_a_predictor(name, **fields)
    assert whole.row_shape == (4,)
    assert whole.embedded(drawings(3)).shape == (3, 4)


@pytest.mark.parametrize("name", ["finetune", "proto_maml"])
def test_a_row_stays_raw_where_a_task_moves_its_embedding(name):
    whole = behind_a_predictor(name)
    assert whole.row_shape == (1, 16, 16)
    assert whole.embedded(drawings(3)).shape == (3, 1, 16, 16)
