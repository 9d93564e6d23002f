"""Supervised and Finetune, against plain torch modules and optimizers."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mapwise.core import tree
from mapwise.core.task import Examples, Task
from mapwise.data.rows import LabelledRows
from mapwise.learners.pretraining.finetune import Finetune
from mapwise.learners.pretraining.supervised import Supervised
from mapwise.nets import MLP
from mapwise.tasks.episodes import Episodes
from mapwise.tasks.supervised import SupervisedSource


def net() -> nn.Module:
    """A classifier of 7 base classes."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 7)).double()


def rows(labels: list[int], ways: int, seed: int = 0) -> Examples:
    x = torch.from_numpy(np.random.default_rng(seed).normal(size=(len(labels), 4)))
    y = F.one_hot(torch.tensor(labels, dtype=torch.int64), ways).double()
    return Examples(x, y, torch.ones(len(labels)).double(), torch.tensor(0))


SUPPORT = rows([0, 1, 2, 0, 1], ways=3)
QUERY = rows([2, 1, 0, 1], ways=3, seed=1)


def tuned(module: nn.Module, steps: int, head_lr: float, body_lr: float) -> tuple[nn.Module, nn.Linear]:
    """What the literature does: a new head on a copy of the encoder, both moved by torch.optim.SGD."""
    body = copy.deepcopy(module[:2])
    head = nn.Linear(6, 3).double()
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    groups = [{"params": head.parameters(), "lr": head_lr}, {"params": body.parameters(), "lr": body_lr}]
    optimizer = torch.optim.SGD(groups, lr=0.0)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(head(body(SUPPORT.x)), SUPPORT.y.argmax(1)).backward()
        optimizer.step()
    return body, head


@pytest.mark.parametrize("body_lr", [0.05, 0.0])
def test_finetuning_takes_the_steps_of_torchs_sgd(body_lr):
    learner = Finetune(net(), tune_steps=7, head_lr=0.5, body_lr=body_lr)
    params = learner.init(0)
    fast = learner.adapt(params, SUPPORT)
    body, head = tuned(learner.net, 7, 0.5, body_lr)
    assert torch.allclose(fast["head"]["weight"], head.weight, rtol=1e-12)
    assert torch.allclose(fast["head"]["bias"], head.bias, rtol=1e-12)
    if body_lr:
        assert fast["body"].keys() == {"0.weight", "0.bias"}
        assert all(torch.allclose(fast["body"][name], p, rtol=1e-12) for name, p in body.named_parameters())
    assert torch.allclose(learner.predict(params, fast, QUERY.x), head(body(QUERY.x)), rtol=1e-10)


def test_without_a_rate_the_encoder_stays_as_it_is_even_after_a_file():
    learner = Finetune(net(), tune_steps=3, body_lr=0.0)
    params = learner.init(0)
    fast = learner.adapt(params, SUPPORT)
    assert fast["body"] == {}
    expected = learner.net[:2](QUERY.x)
    assert torch.equal(learner.embed(params, fast, QUERY.x), expected)
    # A branch without leaves is not in a file.
    loaded = tree.unflatten(tree.flatten(fast))
    assert "body" not in loaded
    assert torch.equal(learner.predict(params, loaded, QUERY.x), learner.predict(params, fast, QUERY.x))


def test_without_steps_a_new_head_prefers_no_class():
    learner = Finetune(net(), tune_steps=0)
    params = learner.init(0)
    assert torch.equal(learner.predict(params, learner.adapt(params, SUPPORT), QUERY.x), torch.zeros(4, 3).double())


def test_a_class_that_is_absent_changes_no_step():
    learner = Finetune(net(), tune_steps=5)
    params = learner.init(0)
    narrow = learner.adapt(params, SUPPORT)
    padded = SUPPORT._replace(y=torch.cat([SUPPORT.y, torch.zeros(5, 1).double()], 1))
    wide = learner.adapt(params, padded)
    assert torch.allclose(wide["head"]["weight"][:3], narrow["head"]["weight"], rtol=1e-12)
    assert torch.equal(wide["head"]["weight"][3], torch.zeros(6).double())


def test_pretraining_is_plain_cross_entropy_over_base_classes():
    learner = Supervised(net())
    batch = rows([0, 6, 3, 3], ways=7)
    empty = Examples(batch.x[:0], batch.y[:0], batch.weight[:0], batch.key)
    live = tree.map(lambda leaf: leaf.requires_grad_(), learner.init(0))
    loss = learner.objective(live, Task(empty, batch))
    expected = F.cross_entropy(learner.net(batch.x), torch.tensor([0, 6, 3, 3]))
    assert torch.allclose(loss, expected)
    result = torch.autograd.grad(loss, list(live.values()))
    wanted = torch.autograd.grad(expected, list(learner.net.parameters()))
    assert all(torch.allclose(a, b) for a, b in zip(result, wanted, strict=True))


def test_a_supervised_encoder_takes_the_class_whose_mean_has_the_largest_cosine():
    learner = Supervised(net(), scale=4.0)
    params = learner.init(0)
    z, q = (learner.net[:2](part.x).detach().numpy() for part in (SUPPORT, QUERY))
    labels = SUPPORT.y.argmax(1).numpy()
    means = np.stack([z[labels == c].mean(0) for c in range(3)])
    expected = 4 * (q @ means.T) / np.linalg.norm(q, axis=1)[:, None] / np.linalg.norm(means, axis=1)
    result = learner.predict(params, learner.adapt(params, SUPPORT), QUERY.x)
    assert np.allclose(result.numpy(), expected, rtol=1e-12)


def test_frozen_statistics_are_measured_on_the_training_batches():
    x = np.random.default_rng(0).normal(2, 3, size=(60, 4)).astype(np.float32)
    episodes = Episodes(LabelledRows.of(x, np.repeat(np.arange(12), 5)), ways=2, shots=1, queries=1, tasks=2)
    source = SupervisedSource(episodes, batch=40)
    learner = Supervised(MLP((4,), source.outputs, hidden=(6,), norm="frozen"))
    params = learner.measure(learner.init(0), source)
    training = torch.cat([source(step).query.x[0] for step in range(40)])
    hidden = training @ params["body.1.weight"].T + params["body.1.bias"]
    expected = torch.stack([hidden.mean(0), hidden.var(0, correction=0)])
    assert torch.allclose(params["measured"]["body.2"], expected, rtol=1e-4, atol=1e-5)


def test_a_net_of_a_single_layer_has_no_features_to_keep():
    learner = Supervised(nn.Linear(4, 7).double())
    with pytest.raises(ValueError, match="a single layer"):
        learner.adapt(learner.init(0), SUPPORT)
