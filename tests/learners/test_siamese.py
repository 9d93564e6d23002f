"""Siamese networks against numpy, pair by pair."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mapwise.core.task import Examples, Task
from mapwise.data.rows import LabelledRows
from mapwise.learners.metric.siamese import Siamese
from mapwise.nets import MLP
from mapwise.tasks.episodes import Episodes


def encoder() -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5)).double()
    module.output_shape = (5,)
    return module


def rows(labels: list[int], ways: int, seed: int = 0, weight: list[float] | None = None) -> Examples:
    x = torch.from_numpy(np.random.default_rng(seed).normal(size=(len(labels), 4)))
    counted = torch.ones(len(labels)) if weight is None else torch.tensor(weight)
    return Examples(x, F.one_hot(torch.tensor(labels), ways).double(), counted.double(), torch.tensor(0))


SUPPORT = rows([0, 1, 2, 0, 1, 0], ways=3)  # unequal shots
QUERY = rows([2, 1, 0, 1], ways=3, seed=1)
LEARNER = Siamese(encoder())


def params_of(learner: Siamese = LEARNER) -> dict:
    """Params with a head that has no equal weights, nor all of one sign."""
    head = torch.from_numpy(np.random.default_rng(2).normal(size=5))
    return {**learner.init(0), "head": {"weight": head, "bias": torch.tensor(0.7).double()}}


def pair_probabilities(params: dict) -> np.ndarray:
    """[Q, S], one pair at a time."""
    with torch.no_grad():
        u, v = (LEARNER.encoder(part.x).numpy() for part in (QUERY, SUPPORT))
    alpha, bias = params["head"]["weight"].numpy(), float(params["head"]["bias"])
    result = np.zeros((len(u), len(v)))
    for q in range(len(u)):
        for s in range(len(v)):
            result[q, s] = 1 / (1 + np.exp(-(sum(alpha[j] * abs(u[q, j] - v[s, j]) for j in range(5)) + bias)))
    return result


def test_scores_are_the_logits_of_numpys_mean_pair_probabilities():
    params = params_of()
    p, labels = pair_probabilities(params), SUPPORT.y.argmax(1).numpy()
    mean = np.stack([p[:, labels == k].mean(1) for k in range(3)], axis=1)
    scores = LEARNER.predict(params, LEARNER.adapt(params, SUPPORT), QUERY.x)
    assert np.allclose(scores.sigmoid().numpy(), mean, rtol=1e-12)


def test_the_objective_is_numpys_weighted_cross_entropy_of_all_pairs():
    params = params_of()
    p, total, weights = pair_probabilities(params), 0.0, 0.0
    for q, theirs in enumerate(QUERY.y.argmax(1).tolist()):
        for s, ours in enumerate(SUPPORT.y.argmax(1).tolist()):
            weight = 2 if theirs == ours else 1  # three ways
            total -= weight * np.log(p[q, s] if theirs == ours else 1 - p[q, s])
            weights += weight
    assert float(LEARNER.objective(params, Task(SUPPORT, QUERY)).detach()) == pytest.approx(total / weights, rel=1e-12)


def test_a_pair_is_the_same_from_either_side():
    params = params_of()
    one = LEARNER.pairs(params, LEARNER.adapt(params, SUPPORT), QUERY.x)
    other = LEARNER.pairs(params, LEARNER.adapt(params, QUERY), SUPPORT.x)
    assert torch.equal(one, other.T)
    assert torch.allclose(
        LEARNER.pairs(params, LEARNER.adapt(params, QUERY), QUERY.x).diagonal(), torch.tensor(0.7).double()
    )


def test_with_one_shot_the_scores_are_the_pairs():
    params = params_of()
    fast = LEARNER.adapt(params, rows([0, 1, 2], ways=3))
    assert torch.allclose(LEARNER.predict(params, fast, QUERY.x), LEARNER.pairs(params, fast, QUERY.x), rtol=1e-12)


def test_pairs_as_sure_as_a_float_can_be_still_have_finite_scores_and_slopes():
    params = params_of()
    for bias in (-500.0, 500.0):
        sure = {**params, "head": {**params["head"], "bias": torch.tensor(bias).double().requires_grad_()}}
        scores = LEARNER.predict(sure, LEARNER.adapt(sure, SUPPORT), QUERY.x)
        assert bool((scores.detach().sign() == np.sign(bias)).all()) and bool(scores.isfinite().all())
        (slope,) = torch.autograd.grad(LEARNER.criterion(scores, QUERY), sure["head"]["bias"])
        assert bool(slope.isfinite())


def test_an_absent_class_and_a_row_of_weight_0_change_nothing():
    padded = rows([0, 1, 2, 0, 1, 3], ways=4, weight=[1, 1, 1, 1, 1, 0])
    plain = Examples(padded.x[:5], padded.y[:5, :3], padded.weight[:5], padded.key)
    params = params_of()
    a, b = (LEARNER.predict(params, LEARNER.adapt(params, support), QUERY.x) for support in (padded, plain))
    assert torch.allclose(a[:, :3], b, rtol=1e-12)
    assert bool((a[:, 3] == torch.finfo(a.dtype).min / 2).all())
    wide = QUERY._replace(y=F.pad(QUERY.y, (0, 1)))
    losses = [LEARNER.objective(params, Task(padded, wide)), LEARNER.objective(params, Task(plain, QUERY))]
    assert torch.allclose(*losses, rtol=1e-12)


def test_more_ways_than_it_was_trained_with_need_nothing_new():
    params = params_of()
    for ways in (2, 9):
        fast = LEARNER.adapt(params, rows(list(range(ways)), ways))
        assert LEARNER.predict(params, fast, QUERY.x).shape == (4, ways)


def test_an_encoder_that_does_not_say_its_shape_is_refused():
    with pytest.raises(
        ValueError, match=r"the net \(Linear\) has no output_shape.* such as net.output_shape = \(64,\)"
    ):
        Siamese(nn.Linear(4, 5)).init(0)
    assert Siamese(MLP((4,), hidden=(6,))).init(0)["head"]["weight"].shape == (6,)


def test_frozen_statistics_are_measured_on_the_training_supports_and_used():
    x = np.random.default_rng(0).normal(2, 3, size=(60, 4)).astype(np.float32)
    source = Episodes(LabelledRows.of(x, np.repeat(np.arange(12), 5)), ways=3, shots=2, queries=1, tasks=2)
    learner = Siamese(MLP((4,), hidden=(6,), norm="frozen"))
    params = learner.measure(learner.init(0), source)
    seen = torch.cat([source(step).support.x.flatten(0, 1) for step in range(20)])
    hidden = seen @ params["encoder"]["body.1.weight"].T + params["encoder"]["body.1.bias"]
    assert torch.allclose(params["measured"]["body.2"][0], hidden.mean(0), rtol=1e-4, atol=1e-5)
    together = learner.embed(params, {}, seen)
    assert torch.allclose(learner.embed(params, {}, seen[:1]), together[:1], atol=1e-6)
    start = Siamese(MLP((4,), hidden=(6,))).init(0)
    assert Siamese(MLP((4,), hidden=(6,))).measure(start, source) is start
