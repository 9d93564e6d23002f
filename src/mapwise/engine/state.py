"""What a training carries from one step to the next, and how it stands in a checkpoint."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mapwise.core import tree
from mapwise.core.tree import Params
from mapwise.engine.optimizer import optimizer_of, schedule_of


class State:
    """What a run carries from one step to the next; all of it goes into the last checkpoint."""

    def __init__(self, params: Params, optimizer: str, schedule: str | None, steps: int, warmup: int) -> None:
        learned = {name: leaf for name, leaf in params.items() if name != "measured"}
        self.leaves = {path: leaf.detach().clone().requires_grad_() for path, leaf in tree.flatten(learned).items()}
        self.optimizer = optimizer_of(optimizer, list(self.leaves.values()))
        self.schedule = schedule_of(schedule, self.optimizer, steps, warmup)
        groups = [] if self.optimizer is None else self.optimizer.param_groups
        # Known from the settings alone, so a warm-up has nothing to keep in a checkpoint.
        self.warm_rates = [group["lr"] for group in groups]
        self.warmup = warmup
        self.step = 0
        self.best: float | None = None
        self.best_step = 0
        self.stale = 0
        self.validation: float | None = None
        self.sum, self.count = 0.0, 0
        self._warm_up()

    def params(self) -> Params:
        """The current params, sharing memory with the optimizer's."""
        return tree.unflatten(dict(self.leaves))

    @property
    def rate(self) -> float:
        """The rate of the coming step; 0 when nothing is learned."""
        return float(self.optimizer.param_groups[0]["lr"]) if self.optimizer is not None else 0.0

    def update(self, gradient: Params, clip: float | None) -> None:
        """One step of the optimizer, and the rate of the next one."""
        if self.optimizer is not None:
            for path, slope in tree.flatten(gradient).items():
                self.leaves[path].grad = slope
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(list(self.leaves.values()), clip)
            self.optimizer.step()
            # The first step after a warm-up has the rate the schedule begins with, which it has reached.
            if self.schedule is not None and self.step >= self.warmup:
                self.schedule.step()
        self.step += 1
        self._warm_up()

    def _warm_up(self) -> None:
        """The rate of a step of the warm-up."""
        if self.optimizer is not None and self.step < self.warmup:
            for group, rate in zip(self.optimizer.param_groups, self.warm_rates, strict=True):
                group["lr"] = rate * ((self.step + 1) / self.warmup)

    _PLAIN = ("step", "best", "best_step", "stale", "validation", "sum", "count")

    def as_file(self) -> tuple[tree.Tree, dict[str, Any]]:
        """Tensors, and everything else as JSON."""
        tensors: tree.Tree = {"params": self.params()}
        about: dict[str, Any] = {name: getattr(self, name) for name in self._PLAIN}
        if self.optimizer is not None:
            state = self.optimizer.state_dict()
            per_leaf = {str(i): entry for i, entry in state["state"].items()}
            tensors["optimizer"] = {
                i: {name: v for name, v in entry.items() if isinstance(v, Tensor)} for i, entry in per_leaf.items()
            }
            about["optimizer"] = {
                "leaves": list(self.leaves),
                "groups": state["param_groups"],
                "plain": {
                    i: {name: v for name, v in entry.items() if not isinstance(v, Tensor)}
                    for i, entry in per_leaf.items()
                },
            }
        if self.schedule is not None:
            plain = (int, float, str, bool, list, type(None))
            about["schedule"] = {n: v for n, v in self.schedule.state_dict().items() if isinstance(v, plain)}
        return tensors, about

    def restore(self, path: Path, tensors: tree.Tree, about: dict[str, Any]) -> None:
        """Take up what `as_file` wrote."""
        saved = tree.flatten(tensors.get("params", {}))
        if saved.keys() != self.leaves.keys() or any(saved[p].shape != leaf.shape for p, leaf in self.leaves.items()):
            raise ValueError(f"the weights in {path} are of another net than this run's: resume with the same settings")
        with torch.no_grad():
            for name, leaf in self.leaves.items():
                leaf.copy_(saved[name])
        try:
            for name in self._PLAIN:
                setattr(self, name, about[name])
            if self.optimizer is not None:
                # torch knows leaves by their place, and params that come from a file may stand in another order.
                place = {path: i for i, path in enumerate(self.leaves)}
                here = [place[path] for path in about["optimizer"].get("leaves", self.leaves)]
                entries = {here[int(i)]: dict(plain) for i, plain in about["optimizer"]["plain"].items()}
                for i, found in tensors.get("optimizer", {}).items():
                    entries.setdefault(here[int(i)], {}).update(found)
                self.optimizer.load_state_dict({"state": entries, "param_groups": about["optimizer"]["groups"]})
            if self.schedule is not None:
                self.schedule.load_state_dict(about["schedule"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path} lacks {error}, so no run can go on from it: train the run again") from None
