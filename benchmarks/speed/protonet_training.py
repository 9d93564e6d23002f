"""A training step of ProtoNet beside plain PyTorch: 60-way 1-shot 5 queries, Conv4-64, sampling included.

python -m benchmarks.speed.protonet_training [--data FOLDER] [--device cuda] [--quick] [--json FILE]
"""

import argparse
import os
import sys
from itertools import count

import torch

from benchmarks import row
from benchmarks.peers import plain
from benchmarks.row import Line, Row, Target
from benchmarks.side_by_side import Spread, agree, interleaved, quickest, ratio
from benchmarks.speed.maml_conv4 import ORDERS
from benchmarks.speed.ours import chosen, ours
from benchmarks.speed.sampling import made_up, rows
from mapwise.core import tree
from mapwise.core.map_tasks import task_at
from mapwise.core.source import TaskSource
from mapwise.learners.metric.protonet import ProtoNet
from mapwise.nets.conv4 import Conv4
from mapwise.tasks.episodes import Episodes

WAYS, SHOTS, QUERIES, FILTERS = 60, 1, 5, 64


def learner_of(filters: int = FILTERS) -> ProtoNet:
    return ProtoNet(lambda: Conv4((1, 28, 28), filters=filters, norm="frozen"))


def training_step(learner: ProtoNet, params: tree.Params, source: TaskSource, clock: str):
    """What a training does at every step: sample, differentiate, move."""
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in params.items()}
    optimizer = torch.optim.Adam(list(leaves.values()), lr=1e-3)
    how = chosen(learner, params, source(0), clock=clock)
    steps = count()

    def run() -> None:
        gradients, _ = ours(learner, leaves, source(next(steps)), how=how)()
        for leaf, gradient in zip(leaves.values(), gradients, strict=True):
            leaf.grad = gradient
        optimizer.step()

    return run


def benchmark(options: argparse.Namespace) -> Row:
    ways, filters = (5, 8) if options.quick else (WAYS, FILTERS)
    labelled = made_up(20) if options.quick else rows(options.data)
    source = Episodes(labelled, ways=ways, shots=SHOTS, queries=QUERIES, tasks=1, device=options.device)
    learner = learner_of(filters)
    params = {name: leaf.to(options.device) for name, leaf in learner.init(0).items()}
    tasks = source(0)
    support, query = task_at(tasks, 0)
    task = (support.x, support.y.argmax(-1), query.x, query.y.argmax(-1))
    x = torch.cat([support.x, query.x])  # [rows, 1, 28, 28]

    def net(layout: str, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
        order, _, channels = layout.rpartition(", ")
        product = plain.conv4(
            1, None, filters=filters, features=0, order=order, channels_last=channels == "channels last"
        )
        return plain.with_weights(product, [leaf.to(dtype) for leaf in params.values()])

    def floor(layout: str):
        # The cheapest loss there is: the floor is of the net alone.
        return plain.forward_backward(net(layout), lambda z, y: (z**2).mean(), x, x)

    layouts = [f"{order}, channels {place}" for order in ORDERS for place in ("first", "last")]
    layouts = layouts[:1] if options.quick else layouts
    floors = quickest({layout: floor(layout) for layout in layouts}, device=options.device, clock=options.clock)
    by_hand = quickest(
        {layout: plain.protonet(net(layout), [task]) for layout in layouts}, device=options.device, clock=options.clock
    )

    result = Row(
        "protonet-training-speed",
        source.about.source,
        f"time of one training step; {ways}-way {SHOTS}-shot {QUERIES} queries, one task a step, Conv4-{filters}, "
        "float32; sampling and Adam included for mapwise, neither for plain PyTorch",
    )
    double = tree.map(torch.Tensor.double, params)
    few = tasks._replace(
        support=tasks.support._replace(x=tasks.support.x.double(), y=tasks.support.y.double()),
        query=tasks.query._replace(x=tasks.query.x.double(), y=tasks.query.y.double()),
    )
    wanted, _ = ours(learner, double, few, how="loop")()
    theirs, _ = plain.protonet(
        net(by_hand, torch.float64), [tuple(t.double() if t.is_floating_point() else t for t in task)]
    )()
    apart = agree("ProtoNet by hand", theirs, wanted)
    result.notes.append(f"float64 gradients agree before timing, relative difference {apart:.0e}")

    contenders = {
        "mapwise, whole step": training_step(learner, params, source, options.clock),
        "mapwise, gradient alone": ours(
            learner, params, tasks, how=chosen(learner, params, tasks, clock=options.clock)
        ),
        "plain ProtoNet by hand, gradient alone": plain.protonet(net(by_hand), [task]),
        f"plain floor, {len(x)} rows": floor(floors),
    }
    spans = interleaved(
        contenders,
        rounds=options.rounds,
        seconds=0.0 if options.quick else 0.5,
        device=options.device,
        clock=options.clock,
    )
    whole, _, _, lowest = spans
    lines: list[Line] = [
        {
            "contender": name,
            "layout": {lowest: floors, "plain ProtoNet by hand, gradient alone": by_hand}.get(name, ""),
            "ms": Spread.of(times).times(1000),
            "over the floor": ratio(times, spans[lowest]),
        }
        for name, times in spans.items()
    ]
    result.tables.append((f"{ways}-way {SHOTS}-shot {QUERIES} queries", lines))
    over = ratio(spans[whole], spans[lowest]).median
    result.targets.append(Target("whole step: time over the floor's", over, 1.15, at_least=False))
    return result


def main(words: list[str]) -> int:
    parser = row.parser(__doc__)
    parser.add_argument("--data", default=os.environ.get("MAPWISE_DATA"), help="the data root that holds omniglot")
    return row.run(parser, benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
