"""Processes that train together: each takes its share of every meta-batch, and all take the same step.

A rank is one of these processes; rank 0 is the first. Every rank holds all params and goes through the
same code, and the methods of `Ranks` are the only places where they meet: each must be reached by all
ranks, in the same order. A process by itself is `ALONE`, for which every method does nothing.
"""

import datetime
import importlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import safetensors.torch
import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils import _pytree as pytree

from mapwise.core import tree
from mapwise.core.map_tasks import tasks_in
from mapwise.core.tree import Tree

T = TypeVar("T")

PATIENCE = datetime.timedelta(minutes=30)
"""The time a rank waits for another that neither answers nor is known to be gone."""


class LostRank(ConnectionError):
    """Another rank is gone: no step can be taken without its share of the tasks."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"another process of this training is gone ({reason}): start all of them again and resume the run"
        )
        self.reason = reason


class RaisedOnFirst(ValueError):
    """An error that rank 0 raises for all ranks, with its own words."""


@dataclass(frozen=True)
class Ranks:
    """The processes that train together, as one of them sees it.

    rank:  which of them this is, from 0.
    world: how many there are.

    Every method that needs all ranks raises LostRank when one of them is gone.
    """

    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world:
            raise ValueError(f"rank is {self.rank} of {self.world}: ranks are numbered from 0 to their number less 1")

    @classmethod
    @contextmanager
    def started(cls) -> Iterator["Ranks"]:
        """The processes that torchrun started, connected for the time of a with block; ALONE without torchrun.

        Tensors on a CPU travel by gloo and those on a GPU by nccl. Raises LostRank when the others don't come.
        """
        if _world() == 1:
            yield ALONE
            return
        # Torch imports this at its first vmap, and it then holds on to the group there is, in the defaults of its
        # functions: the group's threads would outlive it, and end one exit in a hundred by SIGABRT.
        importlib.import_module("torch.distributed.nn.functional")
        # Both where both can be: words and flags stay on the CPU, whatever the run's device.
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
        _meet(lambda: dist.init_process_group(backend, timeout=PATIENCE))
        try:
            yield cls(dist.get_rank(), dist.get_world_size())
        except LostRank:
            # Over nccl, taking leave could wait for the rank that is gone; the process ends anyway.
            if backend == "gloo":
                dist.destroy_process_group()
            raise
        except BaseException:
            dist.destroy_process_group()
            raise
        dist.destroy_process_group()

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, which reads and writes the run's folder and prints."""
        return self.rank == 0

    def span(self, total: int) -> tuple[int, int]:
        """Start and end of this rank's part of so many things; parts are as equal as possible."""
        return total * self.rank // self.world, total * (self.rank + 1) // self.world

    def share(self, batch: Any) -> Any:
        """This rank's tasks of a batch: the same number for every rank, in their order.

        Raises ValueError when the batch can't be shared out evenly.
        """
        total = tasks_in(batch)
        if total % self.world:
            counts = ", ".join(str(n) for n in range(1, total + 1) if total % n == 0)
            raise ValueError(
                f"a meta-batch of {total} tasks can't be shared out evenly over {self.world} processes: "
                f"take a number of tasks that {self.world} divides, or so many processes: {counts}"
            )
        if self.world == 1:
            return batch
        low, high = self.span(total)
        return pytree.tree_map(lambda leaf: leaf[low:high], batch)

    def gather(self, values: Tensor) -> Tensor:
        """The values of all ranks, in their order along the leading axis; every rank gives the same shape."""
        if self.world == 1:
            return values
        parts = [torch.empty_like(values) for _ in range(self.world)]
        _meet(lambda: dist.all_gather(parts, values.contiguous()))
        return torch.cat(parts)

    def sum(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The sum over all ranks of each tensor, with the same bits on every rank."""
        if self.world == 1:
            return list(tensors)
        summed = list(tensors)
        # One message for all tensors and not one each: what a message costs is mostly the wait.
        for kind in dict.fromkeys((tensor.dtype, tensor.device) for tensor in tensors):
            places = [i for i, tensor in enumerate(tensors) if (tensor.dtype, tensor.device) == kind]
            flat = torch.cat([tensors[i].reshape(-1) for i in places])
            _meet(partial(dist.all_reduce, flat))
            parts = torch.split(flat, [tensors[i].numel() for i in places])
            for i, part in zip(places, parts, strict=True):
                summed[i] = part.view(tensors[i].shape)
        return summed

    def either(self, flag: bool) -> bool:
        """Whether it is true on any rank."""
        return flag if self.world == 1 else bool(self.gather(torch.tensor([flag])).any())

    def agree(self, value: T) -> T:
        """Rank 0's value, which must be JSON-ready; the others' values are ignored."""
        if self.world == 1:
            return value
        message = self._broadcast(json.dumps(value).encode(), 0)
        if self.leads:
            return value
        heard: T = json.loads(message)
        return heard

    def hand_out(self, tensors: Tree) -> Tree:
        """Rank 0's tree of tensors, on the device of this rank's tree."""
        if self.world == 1:
            return tensors
        own = tree.flatten(tensors)
        # cloned: views of one tensor may not share memory in the message
        leaves = {path: leaf.detach().cpu().clone().contiguous() for path, leaf in own.items()} if self.leads else {}
        # safetensors forgets the order of its tensors, and ranks must add up theirs in the same one.
        paths = self.agree(list(leaves))
        message = self._broadcast(safetensors.torch.save(leaves), 0)
        if self.leads:
            return tensors
        device = next((leaf.device for leaf in own.values()), torch.device("cpu"))
        heard = safetensors.torch.load(message)
        return tree.unflatten({path: heard[path].to(device) for path in paths})

    @contextmanager
    def alike(self) -> Iterator[None]:
        """An error of any rank inside the block ends it on all ranks: none waits for one that has failed.

        Rank 0 raises it, naming the rank when it isn't its own; the others raise RaisedOnFirst. Ranks must not
        communicate inside.
        """
        if self.world == 1:
            yield
            return
        error: Exception | None = None
        try:
            yield
        except Exception as problem:
            error = problem
        failed = self.gather(torch.tensor([error is not None])).nonzero().flatten().tolist()
        if not failed:
            return
        first = int(failed[0])
        reason = self._broadcast(str(error).encode(), first).decode()
        if not self.leads:
            raise RaisedOnFirst(reason) from error
        raise error if error is not None else ValueError(f"process {first} of {self.world}: {reason}")

    def first(self, work: Callable[[], T]) -> T:
        """The result of work that only rank 0 does; its error, if any, ends all ranks."""
        result: Any = None
        with self.alike():
            if self.leads:
                result = work()
        done: T = self.agree(result)
        return done

    def _broadcast(self, message: bytes, by: int) -> bytes:
        """The message of one rank, on every rank."""
        length = torch.tensor([len(message)])
        _meet(lambda: dist.broadcast(length, by))
        data = torch.empty(int(length), dtype=torch.uint8)
        if self.rank == by and message:
            data.copy_(torch.frombuffer(bytearray(message), dtype=torch.uint8))
        _meet(lambda: dist.broadcast(data, by))
        return data.numpy().tobytes()


ALONE = Ranks()
"""A process by itself."""


def local_device(device: str) -> str:
    """The device of this process: of several that torchrun started, each takes a GPU of its machine for itself.

    Raises ValueError when the machine has fewer GPUs than processes.
    """
    if _world() == 1 or torch.device(device).type != "cuda":
        return device
    place, count = _number("LOCAL_RANK", 0), torch.cuda.device_count()
    if place >= count:
        raise ValueError(
            f"this machine has {count} GPUs and its process {place} needs one of its own: "
            f"start at most {count} processes here, or leave out --device"
        )
    return f"cuda:{place}"


def usable_device(device: str) -> str:
    """The device of this process, on which something was computed; raises ValueError where nothing can be."""
    try:
        local = local_device(device)
        torch.zeros(1, device=local).item()  # which the device "meta" can't
    except ValueError:
        raise
    except Exception as error:  # of many kinds, by the kind of device
        reason = (str(error).splitlines() or [type(error).__name__])[0].partition(". ")[0][:200]
        raise ValueError(
            f"the device {device!r} can't be used here ({reason}): give another, such as --device cpu"
        ) from None
    return local


def _world() -> int:
    """How many processes torchrun started; a lone WORLD_SIZE is another tool's."""
    return _number("WORLD_SIZE", 1) if "RANK" in os.environ else 1


def _number(name: str, otherwise: int) -> int:
    text = os.environ.get(name, "")
    if text and not text.isdecimal():
        raise ValueError(f"the environment variable {name} is {text!r}: start the processes with torchrun, or unset it")
    return int(text) if text else otherwise


def _meet(meeting: Callable[[], object]) -> None:
    """Run an operation that needs the other ranks; torch.distributed's error for a lost rank becomes LostRank."""
    reason = ""
    try:
        meeting()
    except RuntimeError as error:
        # Of "[.../pair.cc:538] Read error [::1]:29500: Connection closed by peer. This is typically ..." the middle.
        text = re.sub(r"^\[\S+:\d+\] ", "", " ".join(str(error).split()))
        reason = text.partition(". ")[0].rstrip(".:") or type(error).__name__
    if reason:
        raise LostRank(reason)  # out here, since torch's error holds on to the group, whose threads are to end
