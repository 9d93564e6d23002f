"""MAML's meta-gradient on images beside its peers' and beside plain PyTorch: Conv4-64, 28x28, 5-way 1-shot.

python -m benchmarks.speed.maml_conv4 [--threads 2] [--device cuda] [--quick] [--json FILE]
"""

import argparse
import sys

from torch.nn.functional import cross_entropy

from benchmarks import row
from benchmarks.peers import plain
from benchmarks.row import Row, Target
from benchmarks.speed.meta_gradients import FLOOR, Measured, Shape, measure
from benchmarks.speed.sampling import made_up
from mapwise.learners.optimization.maml import MAML
from mapwise.nets.conv4 import Conv4
from mapwise.tasks.episodes import Episodes

WAYS, SHOTS, QUERIES, TASKS = 5, 1, 15, 16
ORDERS: tuple[plain.Order, ...] = ("relu, pool", "pool, relu")
SHAPES = ((5, False), (1, False), (5, True), (1, True))
"""Steps, and whether in first order."""
OVER_FLOOR = {(5, False): 2.0, (1, False): 1.3, (5, True): 1.15}


def shape(
    steps: int, first_order: bool, tasks: int, filters: int, device: str, orders: tuple[plain.Order, ...] = ORDERS
) -> Shape:
    learner = MAML(
        lambda: Conv4((1, 28, 28), WAYS, filters=filters), inner_steps=steps, inner_lr=0.1, first_order=first_order
    )
    source = Episodes(made_up(WAYS * 4), ways=WAYS, shots=SHOTS, queries=QUERIES, tasks=tasks, device=device)
    nets = {
        f"{order}, {'channels last' if last else 'channels first'}": plain.conv4(
            1, WAYS, filters=filters, features=filters, order=order, channels_last=last
        )
        for order in orders
        for last in (False, True)[: len(orders)]
    }
    return Shape(
        title=f"{steps} step{'s' if steps > 1 else ''}, {'first' if first_order else 'second'} order, {tasks} tasks",
        learner=learner,
        params={name: leaf.to(device) for name, leaf in learner.init(0).items()},
        tasks=source(0),
        nets=nets,
        loss=cross_entropy,
    )


def benchmark(options: argparse.Namespace) -> Row:
    result = Row(
        "maml-conv4-speed",
        "made-up images",
        "time of one meta-gradient; Conv4-64 with batch statistics, 28x28, 5-way 1-shot 15 queries, 16 tasks, float32; "
        "everyone in the layout it is fastest with, of ReLU and pooling in either order and channels first or last",
    )
    for steps, first_order in ((1, False), (1, True)) if options.quick else SHAPES:
        tasks, filters, orders = (2, 8, ORDERS[:1]) if options.quick else (TASKS, 64, ORDERS)
        one = shape(steps, first_order, tasks, filters, options.device, orders)
        measured = measure(one, options, result, compiled=options.compile)
        result.targets += targets(steps, first_order, measured, options.device)
    return result


def targets(steps: int, first_order: bool, measured: Measured, device: str) -> list[Target]:
    """What this shape is to reach: over the peers, and over the floor."""
    mine = measured.fastest(measured.mine)
    results = []
    answer = f"{steps} step{'s' if steps > 1 else ''}, {'first' if first_order else 'second'} order"
    if (steps, first_order) == (5, False):
        peer = measured.fastest(measured.peers)
        goal = 1.25
        if device.startswith("cuda"):
            peer, goal = measured.fastest(["learn2learn", "higher"]), 10
        results.append(
            Target(
                f"{answer}: speed over {peer or 'the fastest peer'}",
                measured.over(peer, mine),
                goal,
                because="no peer is installed",
            )
        )
    if (steps, first_order) in OVER_FLOOR:
        over = measured.over(mine, FLOOR)
        results.append(Target(f"{answer}: time over the floor's", over, OVER_FLOOR[steps, first_order], at_least=False))
    return results


def main(words: list[str]) -> int:
    parser = row.parser(__doc__)
    # Off: on a CPU the compiler takes minutes for each shape, and convolutions gain nothing from it.
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=False, help="measure compiled too")
    return row.run(parser, benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
