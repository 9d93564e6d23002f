"""Params and torch's optimizer over them, as the state of a loop."""

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mapwise.core import tree
from mapwise.core.tree import Params, Tree
from mapwise.engine.optimizer import optimizer_of, schedule_of
from mapwise.engine.state import Consumed


@dataclass
class _Memory:
    """What torch changes in place, and the number of the state that it holds; None in the middle of a step."""

    leaves: dict[str, Tensor]
    optimizer: torch.optim.Optimizer | None
    schedule: Any
    number: int | None = 0

    def load(self, leaves: dict[str, Tensor], content: dict[str, Any], schedule: dict[str, Any] | None) -> None:
        """Hold what a file holds, as copies."""
        with torch.no_grad():
            for path, leaf in self.leaves.items():
                leaf.copy_(leaves[path])
        if self.optimizer is not None:
            self.optimizer.load_state_dict(copy.deepcopy(content))
        if self.schedule is not None:
            self.schedule.load_state_dict(copy.deepcopy(schedule))

    def try_step(self) -> None:
        """Take a step without a gradient; raises ValueError where none can be taken from this state."""
        if self.optimizer is None:
            return
        for leaf in self.leaves.values():
            leaf.grad = torch.zeros_like(leaf)
        try:
            self.optimizer.step()  # and not the schedule, which may have come to its end
        except Exception as error:  # whatever torch makes of content that it doesn't check
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise ValueError(f"its optimizer can't take a step ({reason}): train the run again") from None
        finally:
            self.optimizer.zero_grad()
        if not all(bool(leaf.isfinite().all()) for leaf in self.leaves.values()):
            raise ValueError("a step of its optimizer leads to NaN or infinity: train the run again")


@dataclass(frozen=True)
class OptimizerState:
    """Params under one of torch's optimizers, which works in place: a step consumes the state it is taken from.

    warmup:     number of first steps in which the rate rises linearly.
    warm_rates: where it rises to, by group of params; known from the settings, so a checkpoint doesn't hold them.
    rate:       of the step that led here; 0 when nothing is learned.
    """

    memory: _Memory
    warmup: int
    warm_rates: tuple[float, ...]
    number: int = 0
    rate: float = 0.0

    @classmethod
    def of(
        cls, params: Params, optimizer: str, schedule: str | None = None, *, steps: int = 0, warmup: int = 0
    ) -> "OptimizerState":
        """A copy of params, except what is measured, before the first of so many steps.

        Raises ValueError for an optimizer or a schedule that torch lacks, or an option that they don't take.
        """
        learned = {name: leaf for name, leaf in params.items() if name != "measured"}
        leaves = {path: leaf.detach().clone().requires_grad_() for path, leaf in tree.flatten(learned).items()}
        rule = optimizer_of(optimizer, list(leaves.values()))
        moves = schedule_of(schedule, rule, steps, warmup)
        rates = tuple(group["lr"] for group in rule.param_groups) if rule is not None else ()
        state = cls(_Memory(leaves, rule, moves), warmup, rates)
        state._warm_up(0)
        return state

    @property
    def params(self) -> Params:
        """The current params, sharing memory with the optimizer's."""
        return tree.unflatten(dict(self._held().leaves))

    def updated(self, gradient: Params, step: int, clip: float | None = None) -> "OptimizerState":
        """The state after a step down this gradient, which may be clipped to a norm; the first step is step 0."""
        memory = self._held()
        if memory.optimizer is None:
            return self
        memory.number = None  # until the step is whole there is no state
        rate = float(memory.optimizer.param_groups[0]["lr"])
        for path, leaf in tree.flatten(gradient).items():
            memory.leaves[path].grad = leaf
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(list(memory.leaves.values()), clip)
        memory.optimizer.step()
        # The first step after a warm-up has the rate the schedule begins with, which it has reached.
        if memory.schedule is not None and step >= self.warmup:
            memory.schedule.step()
        self._warm_up(step + 1)
        memory.number = self.number + 1
        return replace(self, number=self.number + 1, rate=rate)

    def to_file(self) -> tuple[Tree, dict[str, Any]]:
        """Tensors, and everything else as JSON."""
        memory = self._held()
        tensors: Tree = {"params": self.params}
        about: dict[str, Any] = {}
        if memory.optimizer is not None:
            saved = memory.optimizer.state_dict()
            per_leaf = {str(i): entry for i, entry in saved["state"].items()}
            tensors["optimizer"] = {
                i: {name: v for name, v in entry.items() if isinstance(v, Tensor)} for i, entry in per_leaf.items()
            }
            about["optimizer"] = {
                "leaves": list(memory.leaves),
                "groups": saved["param_groups"],
                "plain": {
                    i: {name: v for name, v in entry.items() if not isinstance(v, Tensor)}
                    for i, entry in per_leaf.items()
                },
            }
        if memory.schedule is not None:
            plain = (int, float, str, bool, list, type(None))
            about["schedule"] = {n: v for n, v in memory.schedule.state_dict().items() if isinstance(v, plain)}
        return tensors, about

    def of_file(self, tensors: Tree, about: dict[str, Any]) -> "OptimizerState":
        """What `to_file` wrote, in the place of this state, which it consumes."""
        memory = self._held()
        leaves = memory.leaves
        saved = tree.flatten(tensors.get("params", {}))
        if tree.forms(saved) != tree.forms(dict(leaves)):
            raise ValueError("its weights are of another net than this run's: resume with the same settings")
        memory.number = None
        content: dict[str, Any] = {}
        if memory.optimizer is not None:
            # torch knows leaves by their place, and params that come from a file may stand in another order.
            place = {path: i for i, path in enumerate(leaves)}
            here = [place[path] for path in about["optimizer"].get("leaves", leaves)]
            moments = tensors.get("optimizer", {})
            plain = about["optimizer"]["plain"]
            places = {str(i): place for i, place in enumerate(here)}
            if len(set(here)) < len(leaves) or not places.keys() >= {*plain, *moments}:
                raise ValueError("its optimizer is of other weights: resume with the same settings")
            entries = {place: {**plain.get(i, {}), **moments.get(i, {})} for i, place in places.items()}
            used = {place: entry for place, entry in entries.items() if entry}
            content = {"state": used, "param_groups": about["optimizer"]["groups"]}
        if memory.schedule is not None:
            schedule = about["schedule"]
            if not (isinstance(schedule["last_epoch"], int) and len(schedule["base_lrs"]) == len(self.warm_rates)):
                raise ValueError("its schedule is of another kind: resume with the same settings")
        memory.load(saved, content, about.get("schedule"))
        # What torch believes of a file shows only in a step: one is tried, and taken back.
        memory.try_step()
        memory.load(saved, content, about.get("schedule"))
        memory.number = self.number + 1
        return replace(self, number=self.number + 1)

    def _held(self) -> _Memory:
        if self.memory.number != self.number:
            raise Consumed("a step was taken from this state, in place: use the state that the step returned")
        return self.memory

    def _warm_up(self, step: int) -> None:
        """The rate of a step of the warm-up."""
        if self.memory.optimizer is not None and step < self.warmup:
            for group, rate in zip(self.memory.optimizer.param_groups, self.warm_rates, strict=True):
                group["lr"] = rate * ((step + 1) / self.warmup)
