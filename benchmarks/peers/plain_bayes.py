"""Written heads that are drawn, and a posterior by gradient steps, as one would write them: all tasks as one batch.

Weights are given as mapwise names them, so that both compute the same; so is the noise where gradients are compared.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.peers.plain_generators import body


def versa_loss(
    weights: dict[str, Any],
    x: Tensor,
    y: Tensor,
    x_query: Tensor,
    y_query: Tensor,
    *,
    samples: int,
    log_variance: float,
    noise: Tensor | None = None,
) -> Tensor:
    """Minus the log of the queries' mean probability over drawn heads; rows are [T, N, ...].

    noise: [T, L, W, D + 1]; None: drawn.
    """
    z, options = body(weights["encoder"], x.flatten(2)), body(weights["encoder"], x_query.flatten(2))
    written = y.mT @ z / y.sum(1)[:, :, None]  # [T, W, D]
    layers = weights["inference"]
    for name in ("body.1", "body.3"):
        written = F.elu(F.linear(written, layers[f"{name}.weight"], layers[f"{name}.bias"]))
    mean, spread = F.linear(written, layers["head.weight"], layers["head.bias"]).chunk(2, -1)  # [T, W, D + 1]
    if noise is None:
        noise = torch.randn(len(mean), samples, *mean.shape[1:])
    heads = mean[:, None] + ((log_variance + spread) / 2).exp()[:, None] * noise  # [T, L, W, D + 1]
    logits = torch.einsum("tqd,tlwd->tqlw", F.pad(options, (0, 1), value=1.0), heads)
    together = logits.log_softmax(-1).logsumexp(2) - torch.tensor(samples).log()
    return -(y_query * together).sum(-1).mean()


def abml_loss(
    weights: dict[str, Any],
    x: Tensor,
    y: Tensor,
    x_query: Tensor,
    y_query: Tensor,
    *,
    steps: int,
    lr: float,
    draws: int,
    samples: int,
    inner_kl: float,
    outer_kl: float,
    hyper_prior: float,
    rate: float,
    within: Tensor | None = None,
    after: Tensor | None = None,
) -> Tensor:
    """The bound of support and query for squared errors; every task's weights are one row of [T, P].

    within, after: noise of the steps, [T, K, S, P], and of the prediction, [T, L, P]; None: drawn.
    """
    shapes = {name: weights["mean"][name].shape for name in sorted(weights["mean"])}
    prior_mean, prior_log = (
        torch.cat([weights[part][name].reshape(-1) for name in shapes]) for part in ("mean", "log_sigma")
    )
    tasks, size = len(x), len(prior_mean)
    within = torch.randn(tasks, steps, draws, size) if within is None else within
    after = torch.randn(tasks, samples, size) if after is None else after

    def errors(drawn: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """The mean squared error of every task, [T], of nets drawn as [T, L, P]."""
        nets = dict(zip(shapes, drawn.split([shape.numel() for shape in shapes.values()], -1), strict=True))
        z = x[:, None]
        for name in ("body.1", "body.3", "head"):
            layer = nets[f"{name}.weight"].unflatten(-1, shapes[f"{name}.weight"])
            z = z @ layer.mT + nets[f"{name}.bias"][:, :, None]
            z = z if name == "head" else torch.relu(z)
        return (z - y[:, None]).square().mean((1, 2, 3))

    def divergence(mean: Tensor, log_sigma: Tensor) -> Tensor:
        ratio = log_sigma - prior_log
        apart = (mean - prior_mean) * (-prior_log).exp()
        return (0.5 * ((2 * ratio).exp() + apart**2 - 1) - ratio).sum(-1)

    mean, log_sigma = prior_mean.expand(tasks, -1), prior_log.expand(tasks, -1)
    for step in range(steps):
        drawn = mean[:, None] + log_sigma.exp()[:, None] * within[:, step]
        bound = (errors(drawn, x, y) + inner_kl * divergence(mean, log_sigma)).sum()
        slopes = torch.autograd.grad(bound, [mean, log_sigma], create_graph=True)
        mean, log_sigma = mean - lr * slopes[0], log_sigma - lr * slopes[1]
    drawn = mean[:, None] + log_sigma.exp()[:, None] * after
    share = x.shape[1] / (x.shape[1] + x_query.shape[1])
    bound = share * errors(drawn, x, y) + (1 - share) * errors(drawn, x_query, y_query)
    surprise = (prior_mean**2 / 2 + rate * (-2 * prior_log).exp()).sum()
    return (bound + outer_kl * divergence(mean, log_sigma)).mean() + hyper_prior * surprise
