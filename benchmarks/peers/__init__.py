"""Other ways to the same meta-gradient, each written as its own documentation tells its users.

Every file of a peer has `meta_gradient(problem)`, which returns a function that computes the gradients, in the
order of the net's parameters, and the loss.
"""

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

from torch import Tensor, nn

Gradient = tuple[list[Tensor], Tensor]


@dataclass(frozen=True)
class Problem:
    """What every peer is given. A net of its own: most peers change the module they work with."""

    net: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]
    """(output, targets) -> the mean over rows"""
    tasks: tuple[tuple[Tensor, Tensor, Tensor, Tensor], ...]
    """support inputs and targets, query inputs and targets, of every task"""
    inner_steps: int
    inner_lr: float
    first_order: bool = False


PEERS = {"higher": "higher_maml", "torchopt": "torchopt_maml", "learn2learn": "learn2learn_maml"}


def installed() -> tuple[dict[str, ModuleType], dict[str, str]]:
    """The peers that can be imported, and why the others can't."""
    result, absent = {}, {}
    for name, module in PEERS.items():
        if importlib.util.find_spec(name) is None:
            absent[name] = "it is not installed (benchmarks/pages/speed.md says how)"
            continue
        try:
            result[name] = importlib.import_module(f"benchmarks.peers.{module}")
        except ImportError as error:
            absent[name] = str(error).splitlines()[0]
    return result, absent
