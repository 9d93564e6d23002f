"""A meta-gradient of the neural Turing machine beside the same machine as a plain module: copying, batches of 32.

python -m benchmarks.speed.ntm_copy [--quick] [--json FILE]
"""

import argparse
import sys
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks import row
from benchmarks.peers.plain_ntm import PlainNTM, with_params
from benchmarks.row import Line, Row, Target
from benchmarks.side_by_side import Spread, agree, interleaved, ratio
from benchmarks.speed.ours import ours
from mapwise.core import tree
from mapwise.core.task import Task
from mapwise.learners.memory.ntm import NTM
from mapwise.tasks.sequences import Copy


def plain(learner: NTM, params: tree.Params, tasks: Task) -> Callable[[], list[Tensor]]:
    """The gradients of the same loss by the module, in the order of its parameters."""
    like = params["out"]["weight"]
    net = PlainNTM(
        learner.inputs - 1,
        learner.outputs,
        units=learner.units,
        slots=learner.slots,
        width=learner.width,
        reads=learner.reads,
        writes=learner.writes,
        reach=learner.reach,
    ).to(like)
    net = with_params(net, params, learner.width, learner.reach)
    x, y = tasks.support.x[..., :-1], tasks.query.y
    weights = list(net.parameters())

    def run() -> list[Tensor]:
        answer = net(x)[:, -y.shape[1] :]
        return list(torch.autograd.grad(F.binary_cross_entropy_with_logits(answer, y), weights))

    return run


def benchmark(options: argparse.Namespace) -> Row:
    length, sizes = ("2", {"units": 8, "slots": 8, "width": 4}) if options.quick else ("20", {})
    source = Copy(length=length, tasks=2 if options.quick else 32, device=options.device)
    learner = NTM(source.inputs.shape[0], source.outputs, **sizes)
    params = tree.map(lambda leaf: leaf.to(options.device), learner.init(0))
    tasks = source(0)
    result = Row(
        "ntm-speed",
        "copy",
        f"time of one meta-gradient; {source.tasks} sequences of {length} vectors and as many answers, a controller of "
        f"{learner.units} units, {learner.slots} slots of {learner.width} numbers, float32",
    )

    double = tree.map(torch.Tensor.double, params)
    few = Task(*(rows._replace(x=rows.x.double(), y=rows.y.double(), weight=rows.weight.double()) for rows in tasks))
    mine = dict(zip(tree.flatten(double), ours(learner, double, few, how="vmap")()[0], strict=True))
    theirs = plain(learner, double, few)()
    # The output's weight and bias stand last, and the loss reaches them first; the controller's stand first.
    apart = agree(
        "the machine as a module",
        [theirs[-2], theirs[-1], theirs[0], theirs[1]],
        [mine[name] for name in ("out/weight", "out/bias", "lstm/input", "lstm/recurrent")],
    )
    result.notes.append(f"float64 gradients agree before timing, relative difference {apart:.0e}")

    contenders = {"mapwise": ours(learner, params, tasks, how="vmap"), "a plain module": plain(learner, params, tasks)}
    spans = interleaved(
        contenders,
        rounds=options.rounds,
        seconds=0.0 if options.quick else 0.5,
        device=options.device,
        clock=options.clock,
    )
    lines: list[Line] = [
        {
            "contender": name,
            "ms": Spread.of(times).times(1000),
            "ms a row": Spread.of(times).times(1000 / tasks.support.x.shape[1]),
            "over the module": ratio(times, spans["a plain module"]),
        }
        for name, times in spans.items()
    ]
    result.tables.append((f"copying {length} vectors, {source.tasks} sequences", lines))
    over = ratio(spans["mapwise"], spans["a plain module"]).median
    result.targets.append(Target("time over the plain module's", over, 3, at_least=False))
    return result


def main(words: list[str]) -> int:
    return row.run(row.parser(__doc__), benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
