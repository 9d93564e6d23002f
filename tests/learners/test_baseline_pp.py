"""Baseline++: cosines of unit rows and unit weights, in training as in fitting, against numpy and torch's SGD."""

import copy
from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mapwise.catalog.learners import LEARNERS
from mapwise.core.task import Examples, Task
from mapwise.learners.pretraining.finetune import Finetune
from mapwise.learners.pretraining.supervised import Supervised


def net(classes: int = 7) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, classes)).double()


def rows(labels: list[int], ways: int, seed: int = 0) -> Examples:
    x = torch.from_numpy(np.random.default_rng(seed).normal(size=(len(labels), 4)))
    return Examples(x, F.one_hot(torch.tensor(labels), ways).double(), torch.ones(len(x)).double(), torch.tensor(0))


SUPPORT = rows([0, 1, 2, 0, 1, 0], ways=3)  # unequal shots
QUERY = rows([2, 1, 0, 1], ways=3, seed=1)
BATCH = rows([0, 6, 3, 3], ways=7)
STEPS, RATE, SCALE = 9, 0.5, 5.0  # a rate is exact in float32
LEARNER = Finetune(net(), head="cosine", body_lr=0.0, tune_steps=STEPS, head_lr=RATE, scale=SCALE)


def features(x: torch.Tensor) -> torch.Tensor:
    return LEARNER.net[:2](x)


def unit(z: np.ndarray) -> np.ndarray:
    return z / np.linalg.norm(z, axis=-1, keepdims=True)


@dataclass(frozen=True)
class UnitWeightsOnly(Finetune):
    def _scores(self, head, z, scale):
        return scale * z @ F.normalize(head["weight"], dim=-1).T


@dataclass(frozen=True)
class UnitRowsOnly(Finetune):
    def _scores(self, head, z, scale):
        return scale * F.normalize(z, dim=-1) @ head["weight"].T


@dataclass(frozen=True)
class FitsAtAnotherScale(Finetune):
    def _scores(self, head, z, scale):
        return super()._scores(head, z, scale / 6)


def with_(fault: type[Finetune]) -> Finetune:
    return fault(**{field.name: getattr(LEARNER, field.name) for field in fields(LEARNER)})


def scores_lie_within_the_scale(learner: Finetune) -> None:
    params = learner.init(0)
    far = SUPPORT._replace(x=50 * SUPPORT.x)
    for support in (SUPPORT, far):
        scores = learner.predict(params, learner.adapt(params, support), 50 * QUERY.x)
        assert float(scores.abs().max()) <= SCALE * (1 + 1e-12)


def the_head_takes_the_steps_of_torchs_sgd(learner: Finetune) -> None:
    params = learner.init(0)
    z, labels = features(SUPPORT.x).detach(), SUPPORT.y.argmax(1)
    means = torch.stack([z[labels == c].mean(0) for c in range(3)])
    head = nn.Parameter(means / means.norm(dim=1, keepdim=True))
    optimizer = torch.optim.SGD([head], lr=RATE)
    for _ in range(STEPS):
        optimizer.zero_grad()
        cosine = (z @ head.T) / z.norm(dim=1)[:, None] / head.norm(dim=1)
        F.cross_entropy(SCALE * cosine, labels).backward()
        optimizer.step()
    fast = learner.adapt(params, SUPPORT)
    assert torch.allclose(fast["head"]["weight"], head, rtol=1e-9, atol=1e-12)
    expected = SCALE * unit(features(QUERY.x).detach().numpy()) @ unit(head.detach().numpy()).T
    assert np.allclose(learner.predict(params, fast, QUERY.x).numpy(), expected, rtol=1e-9, atol=1e-12)


def test_scores_lie_within_the_scale():
    scores_lie_within_the_scale(LEARNER)


def test_the_new_head_takes_the_steps_of_torchs_sgd_at_the_scale_of_training():
    the_head_takes_the_steps_of_torchs_sgd(LEARNER)


@pytest.mark.parametrize("fault", [UnitWeightsOnly, UnitRowsOnly])
def test_rows_or_weights_of_any_length_leave_the_scale(fault):
    with pytest.raises(AssertionError):
        scores_lie_within_the_scale(with_(fault))


@pytest.mark.parametrize("fault", [UnitWeightsOnly, UnitRowsOnly, FitsAtAnotherScale])
def test_a_wrong_formula_takes_other_steps(fault):
    with pytest.raises(AssertionError):
        the_head_takes_the_steps_of_torchs_sgd(with_(fault))


def test_training_is_cross_entropy_of_scaled_cosines_without_a_bias():
    empty = Examples(BATCH.x[:0], BATCH.y[:0], BATCH.weight[:0], BATCH.key)
    params = LEARNER.init(0)
    assert params.keys() == {"0.weight", "0.bias", "2.weight"}
    cosine = unit(features(BATCH.x).detach().numpy()) @ unit(params["2.weight"].numpy()).T
    expected = F.cross_entropy(torch.from_numpy(SCALE * cosine), BATCH.y.argmax(1))
    assert torch.allclose(LEARNER.objective(params, Task(empty, BATCH)), expected, rtol=1e-12)
    # The scale of training is that of fitting: there is one.
    assert LEARNER.cosine_scale(params) == SCALE


@pytest.mark.parametrize(("classes", "scale"), [(7, 2.0), (200, 2.0), (201, 10.0)])
def test_the_scale_is_2_and_10_above_200_base_classes_in_training_and_fitting(classes, scale):
    learner = Finetune(net(classes), head="cosine", body_lr=0.0, tune_steps=0)
    params = learner.init(0)
    assert learner.cosine_scale(params) == scale
    scores = learner.predict(params, learner.adapt(params, SUPPORT), SUPPORT.x[2:3])
    assert float(scores[0, 2]) == pytest.approx(scale)  # the only row of its class
    assert Supervised(net(classes)).cosine_scale(Supervised(net(classes)).init(0)) == 10


def test_without_steps_it_is_the_supervised_classifier_by_cosines():
    learner, other = replace(LEARNER, tune_steps=0), Supervised(net(), head="cosine", scale=SCALE)
    params = learner.init(0)
    expected = other.predict(params, other.adapt(params, SUPPORT), QUERY.x)
    # Means of rows, not of unit rows: their directions are what counts.
    assert torch.allclose(learner.predict(params, learner.adapt(params, SUPPORT), QUERY.x), expected, rtol=1e-12)


def test_the_encoder_may_be_tuned_with_the_head():
    learner = replace(LEARNER, body_lr=0.125)
    params = learner.init(0)
    fast = learner.adapt(params, SUPPORT)
    body, labels = copy.deepcopy(learner.net[:2]), SUPPORT.y.argmax(1)
    z = features(SUPPORT.x).detach()
    head = nn.Parameter(F.normalize(torch.stack([z[labels == c].mean(0) for c in range(3)])))
    groups = [{"params": [head], "lr": RATE}, {"params": body.parameters(), "lr": 0.125}]
    optimizer = torch.optim.SGD(groups, lr=0.0)
    for _ in range(STEPS):
        optimizer.zero_grad()
        F.cross_entropy(SCALE * F.normalize(body(SUPPORT.x)) @ F.normalize(head).T, labels).backward()
        optimizer.step()
    assert torch.allclose(fast["head"]["weight"], head, rtol=1e-9, atol=1e-12)
    assert all(torch.allclose(fast["body"][name], p, rtol=1e-9, atol=1e-12) for name, p in body.named_parameters())


def test_the_row_keeps_the_encoder_as_it_is():
    learner = LEARNERS["baseline_pp"].build(net())
    assert (learner.head, learner.body_lr, learner.scale) == ("cosine", 0.0, None)
    assert learner.over_embedded(learner.init(0)) is not None


def test_a_last_layer_that_is_not_linear_is_refused():
    with pytest.raises(ValueError, match="needs one weight a class"):
        Finetune(nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6)), head="cosine").init(0)
