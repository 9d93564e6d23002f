"""mapwise's meta-gradient beside its peers' and beside plain PyTorch: agreement first, then time."""

import argparse
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import peers
from benchmarks.peers import Problem, plain
from benchmarks.row import Line, Row
from benchmarks.side_by_side import Run, Spread, agree, interleaved, quickest, ratio
from benchmarks.speed.ours import chosen, ours
from mapwise.core import functional, tree
from mapwise.core.map_tasks import task_at, tasks_in
from mapwise.core.task import Task
from mapwise.core.tree import Params
from mapwise.learners.optimization.maml import MAML

TRIED = 4
"""Tasks on which everyone's layout is chosen, before anything is measured."""

CHECKED = 2
"""Tasks whose meta-gradients are compared in float64 before anything is timed."""

ROUNDING = 1e-2
"""What a compiled float32 gradient may differ by: it adds in another order, and five steps amplify that."""


@dataclass(frozen=True)
class Shape:
    """One meta-gradient, as mapwise and as plain modules compute it."""

    title: str
    learner: MAML
    params: Params
    tasks: Task
    nets: Mapping[str, nn.Module]
    """Plain nets of the same mathematics by their layout; everyone takes the one it is fastest with."""
    loss: Callable[[Tensor, Tensor], Tensor]

    def problem(self, layout: str, dtype: torch.dtype = torch.float32, tasks: Task | None = None) -> Problem:
        """The same for a peer."""
        leaves = [leaf.to(dtype) for leaf in tree.flatten(self.params).values()]
        channels_last = "channels last" in layout

        def plainly(x: Tensor) -> Tensor:
            x = x.to(dtype)
            return x.contiguous(memory_format=torch.channels_last) if channels_last else x

        batch = self.tasks if tasks is None else tasks
        each = [task_at(batch, i) for i in range(tasks_in(batch))]
        regression = self.loss is nn.functional.mse_loss
        target = (lambda y: y.to(dtype)) if regression else (lambda y: y.argmax(-1))
        return Problem(
            net=plain.with_weights(self.nets[layout], leaves),
            loss=self.loss,
            tasks=tuple((plainly(s.x), target(s.y), plainly(q.x), target(q.y)) for s, q in each),
            inner_steps=self.learner.inner_steps,
            inner_lr=self.learner.inner_lr,
            first_order=self.learner.first_order,
        )


@dataclass
class Measured:
    """The rounds of every contender of one shape, in seconds."""

    spans: dict[str, list[float]]
    layouts: dict[str, str]
    peers: list[str]

    def fastest(self, names: list[str]) -> str | None:
        """The contender with the lowest median."""
        present = [name for name in names if name in self.spans]
        return min(present, key=lambda name: Spread.of(self.spans[name]).median) if present else None

    @property
    def mine(self) -> list[str]:
        """mapwise's ways."""
        return [name for name in self.spans if name.startswith("mapwise")]

    def over(self, slow: str | None, quick: str | None) -> float | None:
        """How many times as long the first takes as the second."""
        return None if slow is None or quick is None else ratio(self.spans[slow], self.spans[quick]).median


FLOOR = "plain floor"


def measure(shape: Shape, options: argparse.Namespace, row: Row, *, compiled: bool, seconds: float = 0.2) -> Measured:
    """Check, then time, everyone on one shape; the table goes into the row.

    Raises RuntimeError when a peer disagrees, or when a compiled gradient is none.
    """
    result, absent = peers.installed()
    for name, reason in absent.items():
        remark = f"{name} is left out: {reason}"
        if remark not in row.notes:
            row.notes.append(remark)
    makers = {name: module.meta_gradient for name, module in result.items()} | {FLOOR: plain.floor}
    few = _cut(shape.tasks, TRIED)
    layouts = {
        name: quickest(
            {layout: make(shape.problem(layout, tasks=few)) for layout in shape.nets},
            device=options.device,
            clock=options.clock,
        )
        for name, make in makers.items()
    }
    compare(shape, {name: (makers[name], layouts[name]) for name in result}, row)

    how = chosen(shape.learner, shape.params, shape.tasks, clock=options.clock)
    mine = ours(shape.learner, shape.params, shape.tasks, how=how)
    contenders: dict[str, Run] = {"mapwise": mine}
    layouts["mapwise"] = f"{how}" if isinstance(how, str) else f"{how} tasks at a time"
    compiling = 0.0
    if compiled:
        quick = ours(shape.learner, shape.params, shape.tasks, how=how, compile=True)
        start = time.perf_counter()
        gradients, _ = _never_uncompiled(quick)
        compiling = time.perf_counter() - start
        agree("mapwise, compiled", gradients, mine()[0], within=ROUNDING)
        contenders["mapwise, compiled"] = quick
        layouts["mapwise, compiled"] = layouts["mapwise"]
    contenders |= {name: make(shape.problem(layouts[name])) for name, make in makers.items()}
    spans = interleaved(
        contenders,
        rounds=options.rounds,
        seconds=0.0 if options.quick else seconds,
        device=options.device,
        clock=options.clock,
    )
    measured = Measured(spans, layouts, list(result))

    rows = plain.rows_of(shape.problem(layouts[FLOOR]))
    lines: list[Line] = []
    for name, times in spans.items():
        line: Line = {
            "contender": f"{name}, {rows:,} rows" if name == FLOOR else name,
            "layout": layouts[name],
            "ms": Spread.of(times).times(1000),
            "over the floor": ratio(times, spans[FLOOR]),
            "over mapwise": ratio(times, spans["mapwise"]),
        }
        if "mapwise, compiled" in spans:
            line["over compiled"] = ratio(times, spans["mapwise, compiled"])
        lines.append(line)
    row.tables.append((shape.title, lines))
    row.notes.append(
        f"{shape.title}: {share_of_peak(shape, min(Spread.of(spans[name]).median for name in measured.mine), options)}"
    )
    if compiling:
        saved = Spread.of(spans["mapwise"]).median - Spread.of(spans["mapwise, compiled"]).median
        pays = f"pays after {compiling / saved:,.0f} steps" if saved > 0 else "doesn't pay"
        row.notes.append(f"{shape.title}: compiling took {compiling:.0f} s and {pays}")
    return measured


def _never_uncompiled(run: Callable[[], peers.Gradient]) -> peers.Gradient:
    """The first call of what was to be compiled; raises RuntimeError where the engine says that it was not."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*uncompiled")
        try:
            return run()
        except RuntimeWarning as told:
            raise RuntimeError(f"compile fell back ({told}): its time would be of something else") from None


def share_of_peak(shape: Shape, seconds: float, options: argparse.Namespace) -> str:
    """How much arithmetic a meta-gradient is, and how fast that is beside one large matrix product."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the counter sees the operations of its own thread alone
    with FlopCounterMode(display=False) as counted:
        ours(shape.learner, shape.params, shape.tasks, how="loop")()
    torch.set_num_threads(threads)
    work = counted.get_total_flops()
    side = 256 if options.quick else 8192 if options.device.startswith("cuda") else 2048
    a = torch.randn(side, side, device=options.device)
    product = interleaved({"product": lambda: a @ a}, rounds=3, device=options.device, clock=options.clock)["product"]
    peak = 2 * side**3 / min(product)
    return (
        f"{work / 1e9:.3g} GFLOP in matrix products and convolutions; mapwise does {work / seconds / 1e9:.3g} GFLOP/s, "
        f"which is {work / seconds / peak:.0%} of what one product of {side}x{side} matrices reaches"
    )


def compare(
    shape: Shape, contenders: Mapping[str, tuple[Callable[[Problem], Run], str]], row: Row, *, checked: int = CHECKED
) -> None:
    """Every contender's float64 meta-gradient of some tasks is mapwise's, to 1e-6; raises RuntimeError otherwise."""
    params = tree.map(Tensor.double, shape.params)
    few = _cut(shape.tasks, checked, torch.float64)
    wanted, _ = ours(shape.learner, params, few, how="loop")()
    apart = {}
    vmapped, _ = ours(shape.learner, params, few, how="vmap")()
    apart["mapwise under vmap"] = agree("mapwise under vmap", vmapped, wanted)
    for name, (make, layout) in contenders.items():
        gradients, _ = make(shape.problem(layout, torch.float64, few))()
        apart[name] = agree(name, gradients, wanted)
    # The floor has no meta-gradient to compare: its net is compared instead.
    for layout in shape.nets:
        problem = shape.problem(layout, torch.float64, few)
        x = problem.tasks[0][0]
        apart["the plain net"] = agree(
            "the plain net", [problem.net(x)], [functional.apply(shape.learner.net, params, x)]
        )
    answer = ", ".join(f"{name} {value:.0e}" for name, value in apart.items())
    row.notes.append(f"{shape.title}: float64 gradients agree before timing, largest relative difference {answer}")


def _cut(tasks: Task, count: int, dtype: torch.dtype = torch.float32) -> Task:
    result: Task = pytree.tree_map(
        lambda leaf: leaf[:count].to(dtype) if leaf.is_floating_point() else leaf[:count], tasks
    )
    return result
