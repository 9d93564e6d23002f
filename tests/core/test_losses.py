"""Losses equal those of torch, over the rows that count and the classes that are there."""

import pytest
import torch
from torch.nn import functional as F

from mapwise.core import losses
from mapwise.core.scores import Gaussian, Scores, without_absent
from mapwise.core.task import present_classes
from small_tasks import drawn, rows_of


def test_losses_equal_those_of_torch():
    scores, targets = drawn(6, 3), drawn(6, 3, seed=1)
    labels = torch.tensor([0, 2, 1, 1, 0, 2])
    y = F.one_hot(labels, 3).double()
    assert torch.allclose(losses.cross_entropy(scores, rows_of(scores, y)), F.cross_entropy(scores, labels))
    assert torch.allclose(losses.squared_error(scores, rows_of(scores, targets)), F.mse_loss(scores, targets))
    expected = F.binary_cross_entropy_with_logits(scores, y)
    assert torch.allclose(losses.binary_cross_entropy(scores, rows_of(scores, y)), expected)
    scale = targets.exp()
    density = torch.distributions.Normal(scores, scale).log_prob(targets)
    result = losses.gaussian(Gaussian(scores, scale), rows_of(scores, targets))
    assert torch.allclose(result, -density.sum(-1).mean())


@pytest.mark.parametrize("name", ["cross_entropy", "squared_error", "binary_cross_entropy", "gaussian"])
def test_a_loss_is_the_mean_over_the_rows_that_count(name):
    loss = losses.LOSSES[name]
    scores, y = drawn(5, 3), F.one_hot(torch.tensor([0, 1, 2, 0, 1]), 3).double()
    weight = torch.tensor([1.0, 0, 1, 0, 1]).double()

    def at(s: torch.Tensor) -> Scores:
        return Gaussian(s, torch.ones_like(s)) if name == "gaussian" else s

    result = weight > 0
    expected = loss(at(scores[result]), rows_of(scores[result], y[result]))
    assert torch.allclose(loss(at(scores), rows_of(scores, y, weight)), expected)
    assert float(loss(at(scores), rows_of(scores, y, 0 * weight))) == 0


def test_an_absent_class_changes_no_loss_and_no_gradient():
    labels = torch.tensor([0, 2, 0])
    support = rows_of(drawn(3, 2), F.one_hot(labels, 3).double())
    present = present_classes(support)
    assert present.tolist() == [1, 0, 1]
    assert present_classes(support._replace(weight=torch.tensor([1.0, 0, 1]))).tolist() == [1, 0, 0]
    scores = drawn(3, 3).requires_grad_()
    loss = losses.cross_entropy(without_absent(scores, present), support)
    narrow = scores.detach()[:, [0, 2]].requires_grad_()
    expected = F.cross_entropy(narrow, torch.tensor([0, 1, 0]))
    assert torch.allclose(loss, expected)
    (gradient,) = torch.autograd.grad(loss, scores)
    (wanted,) = torch.autograd.grad(expected, narrow)
    assert torch.allclose(gradient[:, [0, 2]], wanted) and torch.equal(gradient[:, 1], torch.zeros(3).double())


def test_an_unknown_loss_is_refused_and_a_function_is_itself():
    with pytest.raises(ValueError, match="there is no loss 'hinge': give one of cross_entropy"):
        losses.loss_named("hinge")
    assert losses.loss_named(F.mse_loss) is F.mse_loss
