"""A conditional neural process and a network that writes a head, as one would write them: all tasks as one batch.

Weights are given as mapwise names them, so that both compute the same.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = dict[str, dict[str, Tensor]]


def cnp_loss(weights: Weights, x: Tensor, y: Tensor, x_query: Tensor, y_query: Tensor, least: float) -> Tensor:
    """Minus the log-likelihood of the queries; rows are [T, N, D]."""
    features, options = _mlp(weights["encoder"], x), _mlp(weights["encoder"], x_query)
    r = _mlp(weights["h"], torch.cat([features, y], -1)).mean(1, keepdim=True)
    mean, raw = _mlp(weights["g"], torch.cat([options, r.expand(-1, options.shape[1], -1)], -1)).chunk(2, -1)
    scale = least + (1 - least) * F.softplus(raw)
    return -torch.distributions.Normal(mean, scale).log_prob(y_query).mean()


def hypernet_loss(weights: Weights, x: Tensor, y: Tensor, x_query: Tensor, y_query: Tensor, passes: int) -> Tensor:
    """The squared error of a net whose last layer is written from the support."""
    net = weights["net"]
    features, options = body(net, x), body(net, x_query)
    head = net["head.weight"].expand(len(x), -1, -1)  # [T, 1, D]
    bias = net["head.bias"].expand(len(x), -1)
    for _ in range(passes):
        missed = y - (features @ head.mT + bias[:, None])
        whole = _through(weights["reads"], torch.cat([features, missed], -1)).mean(1)
        numbers = _through(weights["writes"], whole)
        bias = bias + numbers[:, :1]
        head = head + numbers[:, None, 1:]
    return (options @ head.mT + bias[:, None] - y_query).square().mean()


def _mlp(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    z = body(weights, x)
    return F.linear(z, weights["head.weight"], weights["head.bias"]) if "head.weight" in weights else z


def body(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """All layers of an MLP but its head."""
    layers = sorted(int(name.split(".")[1]) for name in weights if name.startswith("body.") and name.endswith("weight"))
    for layer in layers:
        x = torch.relu(F.linear(x, weights[f"body.{layer}.weight"], weights[f"body.{layer}.bias"]))
    return x


def _through(layers: dict[str, dict[str, Tensor]], x: Tensor) -> Tensor:
    hidden = F.silu(F.linear(x, layers["first"]["weight"], layers["first"]["bias"]))
    return F.linear(torch.cat([hidden, x], -1), layers["last"]["weight"], layers["last"]["bias"])
