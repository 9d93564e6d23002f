"""A meta-gradient of cnp, hypernet and mann beside the same networks written plainly, all tasks as one batch.

    python benchmarks/plainly.py [--quick] [--json FILE]

None differentiates through a step, so that what is compared is the price of two functions written for one task.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

import mapwise as mw
import row
from mapwise.core import tree
from mapwise.core.learner import Learner
from mapwise.core.stream import is_stream
from mapwise.core.task import Task
from mapwise.nets import MLP
from mapwise.tasks.glyphs import glyphs
from ours import chosen, ours
from peers.plain_generators import cnp_loss, hypernet_loss
from peers.plain_mann import mann_loss
from row import Line, Row, Target
from side_by_side import Spread, agree, interleaved, ratio

SLOWEST = 3.0


def plain(loss: Callable[..., Tensor], params: tree.Params, tasks: Task) -> Callable[[], list[Tensor]]:
    """The gradients of the loss with regard to the same weights, in their order."""
    flat = {name: leaf.detach().requires_grad_() for name, leaf in tree.flatten(params).items()}
    queries = () if is_stream(tasks) else (tasks.query.x, tasks.query.y)
    given = (tasks.support.x, tasks.support.y, *queries)

    def run() -> list[Tensor]:
        return list(torch.autograd.grad(loss(tree.unflatten(flat), *given), list(flat.values())))

    return run


def found(asked: argparse.Namespace) -> Row:
    tasks, width = (2, 8) if asked.quick else (16, 128)
    cnp = mw.CNP(partial(MLP, (1,), None, hidden=(width,)), loss="gaussian", width=width)
    hypernet = mw.HyperNet(partial(MLP, (1,), 1, hidden=(40, 40)), hidden=width, passes=2, loss="squared_error")
    mann = mw.MANN(
        partial(MLP, (1, 20, 20), None, hidden=(width,)), **({"units": 8, "slots": 8} if asked.quick else {})
    )
    machine = partial(mann_loss, heads=mann.heads, slots=mann.slots, width=mann.width, decay=mann.decay)
    streams = mw.Stream(glyphs(size=20), ways=5, tasks=tasks, length=10 if asked.quick else 50)
    contests: dict[str, tuple[Learner, Callable[..., Tensor], Task]] = {
        "cnp": (cnp, partial(cnp_loss, least=cnp.least_scale), mw.GaussianProcess(shots=10, tasks=tasks)(0)),
        "hypernet": (hypernet, partial(hypernet_loss, passes=2), mw.Sinusoid(shots=5, queries=10, tasks=tasks)(0)),
        "mann": (mann, machine, streams(0)),
    }
    result = Row(
        "plainly",
        "gp, sinusoid, glyphs stream",
        f"time of one meta-gradient; {tasks} tasks: cnp of {width} units on 10 points of functions, hypernet writing "
        f"the head of a 40-40 MLP in two passes from 5 points, mann on streams of {streams.length} rows; float32",
    )
    lines: list[Line] = []
    for name, (learner, loss, batch) in contests.items():
        params = learner.init(0)
        if name == "hypernet":  # it begins by writing nothing, of which gradients say little
            params["writes"]["last"] = tree.map(lambda leaf: 0.1 * torch.randn_like(leaf), params["writes"]["last"])
        double = tree.map(Tensor.double, params)
        few = Task(
            *(rows._replace(x=rows.x.double(), y=rows.y.double(), weight=rows.weight.double()) for rows in batch)
        )
        apart = agree(name, plain(loss, double, few)(), ours(learner, double, few, how="vmap")()[0])
        how = chosen(learner, params, batch, clock=asked.clock)
        contenders = {"mapwise": ours(learner, params, batch, how=how), "plain": plain(loss, params, batch)}
        spans = interleaved(
            contenders, rounds=asked.rounds, seconds=0.0 if asked.quick else 0.3, device=asked.device, clock=asked.clock
        )
        over = ratio(spans["mapwise"], spans["plain"])
        lines.append(
            {
                "learner": name,
                "mapwise, ms": Spread.of(spans["mapwise"]).times(1000),
                "plainly, ms": Spread.of(spans["plain"]).times(1000),
                "over the plain one": over,
            }
        )
        result.targets.append(Target(f"time of {name} over the plain one's", over.median, SLOWEST, at_least=False))
        result.notes.append(f"{name}: float64 gradients agree before timing, relative difference {apart:.0e}")
    result.tables.append(("one meta-gradient", lines))
    return result


if __name__ == "__main__":
    sys.exit(row.run(row.parser(__doc__), found, sys.argv[1:]))
