"""Low-rank adapters that tune a pretrained network on a few labelled rows (Hu et al. 2022)."""

import copy
import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from typing import Any, Self, TypeAlias, TypeGuard

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

Embed: TypeAlias = Callable[[nn.Module, Sequence[Any]], Float[Tensor, "N D"]]
"""Rows as a network embeds them, with gradients."""

RANK = 8
PASSES, FEWEST_STEPS = 6, 16
"""Epochs, and the least number of batches."""
BATCH = 16
RATE = 1e-3
"""The peak learning rate of AdamW, reached after a tenth of the steps and falling to zero."""
SHARPNESS = 20.0
"""What a cosine is multiplied by before the softmax."""
_DOWN, _UP = "/down", "/up"
_MOST_RANK = 256


@dataclass(frozen=True, eq=False)
class Adapter:
    """What is added to the weights of a network's linear layers: for each the product of two thin matrices.

    arrays: LAYER/down, [r, inputs], and LAYER/up, [outputs, r], float32, by the layer's dotted name.
    """

    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Self:
        """The adapter of an encoder's state; raises ValueError for an invalid state."""
        for name, array in state.items():
            layer = name.removesuffix(_DOWN).removesuffix(_UP)
            up, down = (state.get(layer + end) for end in (_UP, _DOWN))
            if layer in ("", name) or not (_is_matrix(up) and _is_matrix(down)):
                raise ValueError(f"{name!r} is no part of an adapter: each layer has two matrices")
            if up.shape[1] != down.shape[0] or not 0 < len(down) <= _MOST_RANK:
                raise ValueError(f"the matrices of {layer} are {up.shape} and {down.shape}, which can't be multiplied")
            if array.dtype != np.float32 or not np.isfinite(array).all():
                raise ValueError(f"{name} is {array.dtype}, or holds NaN")
        return cls(dict(state))

    @cached_property
    def digest(self) -> str:
        """Of all matrices; another adapter has another."""
        whole = hashlib.sha256()
        for name, array in sorted(self.arrays.items()):
            whole.update(f"{name} {array.shape} ".encode() + np.ascontiguousarray(array).tobytes())
        return whole.hexdigest()[:16]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Adapter) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def added_to(self, model: nn.Module) -> nn.Module:
        """A copy of the network with the products added to its weights; the network stays as it is.

        Raises ValueError for an adapter of another network.
        """
        moved = copy.deepcopy(model)
        layers = dict(moved.named_modules())
        for name, down in self.arrays.items():
            if not name.endswith(_DOWN):
                continue
            layer, up = name.removesuffix(_DOWN), self.arrays[name.removesuffix(_DOWN) + _UP]
            linear = layers.get(layer)
            if not isinstance(linear, nn.Linear) or linear.weight.shape != (len(up), down.shape[1]):
                raise ValueError(
                    f"the adapter moves {layer} by {len(up)} x {down.shape[1]} numbers, which the model doesn't have: "
                    "it is damaged, fit it again"
                )
            with torch.no_grad():
                linear.weight += torch.as_tensor(up) @ torch.as_tensor(down)
        return moved


def _is_matrix(part: object) -> TypeGuard[np.ndarray]:
    return isinstance(part, np.ndarray) and part.ndim == 2


def require_peft() -> None:
    """Raises ValueError, with the command that installs it, when peft is missing."""
    if find_spec("peft") is None:
        raise ValueError('tuning an encoder needs peft, which is not installed: pip install "mapwise[peft]"')


def learned(
    model: nn.Module,
    embed: Embed,
    rows: Sequence[Any],
    columns: Int64[np.ndarray, "N"],
    weight: Float[np.ndarray, "N"],
) -> Adapter:
    """The adapter that brings rows near the other rows of their class, and away from those of other classes.

    The loss is a leave-one-out prototype loss: each row is classified against the class means, its own left out of its
    class, so that memorising single rows gains nothing. It is the cross-entropy of sharpened cosines, weighted by row.
    Means use the latest embedding of every row. All other weights are frozen and there is no dropout, so the same rows
    give the same adapter.

    Paper:   Hu et al. 2022, arXiv:2106.09685, eq. 3, with alpha = r. The loss is that of prototypical networks
             (Snell, Swersky, Zemel 2017, arXiv:1703.05175), its prototypes held in a memory (Wu et al. 2018,
             arXiv:1805.01978).
    Differs: all linear layers are moved, not those of attention alone.

    Raises ValueError for a network without linear layers, and when peft isn't installed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        tuning = _Tuning(model, embed, rows, torch.as_tensor(columns), torch.as_tensor(weight))
        while tuning.done < tuning.steps:
            for batch in torch.split(torch.randperm(len(rows)), BATCH):
                tuning.step(batch)
    return tuning.adapter()


def seconds_for(model: nn.Module, embed: Embed, rows: Sequence[Any]) -> float:
    """About how many seconds `learned` takes for these rows, estimated from a step; raises ValueError as that does."""
    every = max(1, len(rows) // BATCH)
    some = [rows[place] for place in range(0, len(rows), every)][:BATCH]
    with torch.random.fork_rng(devices=[]):
        tuning = _Tuning(model, embed, some, torch.arange(len(some)), torch.ones(len(some)))
        start = time.monotonic()
        tuning.step(torch.arange(len(some)))
        return _steps(len(rows)) * (time.monotonic() - start)


def _steps(rows: int) -> int:
    batches = math.ceil(rows / BATCH)
    return batches * max(PASSES, math.ceil(FEWEST_STEPS / batches))


class _Tuning:
    """A copy of a network with adapters beside its linear layers, while these are learned."""

    def __init__(self, model: nn.Module, embed: Embed, rows: Sequence[Any], y: Tensor, weight: Tensor) -> None:
        require_peft()
        from peft import LoraConfig, inject_adapter_in_model

        # What extends a linear layer may be used otherwise than by calling it.
        self.layers = [name for name, layer in model.named_modules() if type(layer) is nn.Linear]
        if not self.layers:
            raise ValueError(
                "the model has no linear layers that could be tuned: take another model, or another learner"
            )
        about = LoraConfig(r=RANK, lora_alpha=RANK, lora_dropout=0.0, target_modules=self.layers)
        self.model = inject_adapter_in_model(about, copy.deepcopy(model)).eval()
        self.embed, self.rows, self.weight = embed, rows, (weight / weight.mean()).float()
        self.y = F.one_hot(y).float()  # [N, W]
        moved = [leaf.requires_grad_(".lora_" in name) for name, leaf in self.model.named_parameters()]
        self.optimizer = torch.optim.AdamW([leaf for leaf in moved if leaf.requires_grad], weight_decay=0.0)
        with torch.no_grad():
            self.seen = torch.cat(
                [self._embedded(batch) for batch in torch.split(torch.arange(len(rows)), BATCH)]
            )  # [N, D]
        self.done, self.steps = 0, _steps(len(rows))

    def _embedded(self, batch: Int64[Tensor, "B"]) -> Float[Tensor, "B D"]:
        return F.normalize(self.embed(self.model, [self.rows[place] for place in batch.tolist()]), dim=1)

    def step(self, batch: Int64[Tensor, "B"]) -> float:
        """Once down the loss of these rows, which was so much."""
        z, y, weight = self._embedded(batch), self.y[batch], self.weight[batch]
        sums = (self.y * self.weight[:, None]).T @ self.seen  # [W, D]
        without = y @ sums - weight[:, None] * self.seen[batch]
        alone = (y @ self.y.sum(0) == 1)[:, None]  # the only row of its class has but itself to lie near to
        own = (z * F.normalize(torch.where(alone, y @ sums, without), dim=1)).sum(1, keepdim=True)
        scores = torch.where(y > 0, own, z @ F.normalize(sums, dim=1).T)
        loss = (weight * F.cross_entropy(SHARPNESS * scores, y, reduction="none")).mean()
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        begun, left = (self.done + 1) / max(1, self.steps // 10), 1 - self.done / self.steps
        self.optimizer.param_groups[0]["lr"] = RATE * min(1.0, begun) * left
        self.optimizer.step()
        self.seen[batch] = z.detach()
        self.done += 1
        return loss.item()

    def adapter(self) -> Adapter:
        """The learned adapter; a layer that no row reaches, such as an unused pooler, is left out."""
        layers = dict(self.model.named_modules())
        arrays: dict[str, np.ndarray] = {}
        for name in self.layers:
            up, down = (getattr(layers[name], part)["default"].weight.detach() for part in ("lora_B", "lora_A"))
            if up.any():
                arrays |= {name + _UP: up.numpy().copy(), name + _DOWN: down.numpy().copy()}
        return Adapter(arrays)
