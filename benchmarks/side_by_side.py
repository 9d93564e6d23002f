"""Times contenders side by side: in turn, round after round, so that a busy moment of the machine meets them all."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

Run = Callable[[], Any]
Clock = Callable[[], float]

ROUNDS = 7
"""Of the published figures; fewer than five are a smoke test."""

ALIKE = 1e-6
"""Largest relative difference between two float64 gradients that are to be the same."""


class Spread(NamedTuple):
    """The median of some rounds, and the lowest and highest of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def times(self, factor: float) -> "Spread":
        """In another unit."""
        return Spread(*(value * factor for value in self))


CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "processor": time.process_time}
"""The processor's clock leaves out what others on the machine took; it is one of work and not of time, so it is for one
thread on a CPU."""


def interleaved(
    contenders: Mapping[str, Run],
    *,
    rounds: int = ROUNDS,
    seconds: float = 0.2,
    device: str = "cpu",
    clock: str = "wall",
) -> dict[str, list[float]]:
    """Seconds a call of every contender, one figure for each round.

    A round times all contenders, each for about `seconds` and at least once, and begins with another
    one than the round before. The first calls pay for caches and are not counted.
    """
    calls = {}
    for name, run in contenders.items():
        _timed(run, 1, device, CLOCKS[clock])
        calls[name] = max(1, round(seconds / _timed(run, 1, device, CLOCKS[clock])))
    spans: dict[str, list[float]] = {name: [] for name in contenders}
    order = list(contenders)
    for _ in range(rounds):
        for name in order:
            spans[name].append(_timed(contenders[name], calls[name], device, CLOCKS[clock]))
        order = order[1:] + order[:1]
    return spans


def ratio(above: Sequence[float], below: Sequence[float]) -> Spread:
    """How many times as long `above` takes as `below`, round by round."""
    return Spread.of([a / b for a, b in zip(above, below, strict=True)])


def quickest(runs: Mapping[str, Run], *, device: str = "cpu", clock: str = "wall") -> str:
    """The name of the run that takes the shortest; for choosing a layout before anything is measured."""
    if len(runs) == 1:
        return next(iter(runs))
    spans = interleaved(runs, rounds=3, seconds=0.0, device=device, clock=clock)
    return min(spans, key=lambda name: min(spans[name]))


def difference(result: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """The largest relative difference of two lists of tensors, tensor by tensor, by their norms."""
    if [one.shape for one in result] != [one.shape for one in wanted]:
        return float("inf")
    result, wanted = [one.detach() for one in result], [one.detach() for one in wanted]
    whole = torch.sqrt(sum(((one.double() ** 2).sum() for one in wanted), torch.zeros((), device=wanted[0].device)))
    # A tensor that is zero but for rounding, next to the others, has no digits to compare.
    floors = [one.double().norm().clamp(min=1e-4 * float(whole)) for one in wanted]
    return max(
        float((a.double() - b.double()).norm() / floor) for a, b, floor in zip(result, wanted, floors, strict=True)
    )


def agree(name: str, result: Sequence[Tensor], wanted: Sequence[Tensor], *, within: float = ALIKE) -> float:
    """The relative difference; raises RuntimeError, which stops the benchmark, where it is larger than `within`."""
    apart = difference(result, wanted)
    if not apart <= within:
        raise RuntimeError(
            f"{name} computes something else than mapwise (relative difference {apart:.1e}, at most {within:.0e}): "
            "nothing is timed before they agree"
        )
    return apart


def _timed(run: Run, calls: int, device: str, clock: Clock) -> float:
    gc.collect()  # nobody pays for what the one before left behind
    wait(device)
    start = clock()
    for _ in range(calls):
        run()
    wait(device)
    return (clock() - start) / calls


def wait(device: str) -> None:
    """Until the device has done what it was asked for."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
