"""MAML's meta-gradient on sinusoids beside its peers': a 40-40 MLP, 25 tasks, 10 shots, second order.

python -m benchmarks.speed.maml_sinusoid [--quick] [--json FILE]
"""

import argparse
import sys

from torch.nn.functional import mse_loss

from benchmarks import row
from benchmarks.peers import plain
from benchmarks.row import Row, Target
from benchmarks.speed.meta_gradients import Shape, measure
from mapwise.learners.optimization.maml import MAML
from mapwise.nets.mlp import MLP
from mapwise.tasks.sinusoid import Sinusoid

HIDDEN = (40, 40)


def shape(steps: int, tasks: int, device: str) -> Shape:
    learner = MAML(lambda: MLP((1,), 1, hidden=HIDDEN), inner_steps=steps, inner_lr=0.01, loss="squared_error")
    params = {name: leaf.to(device) for name, leaf in learner.init(0).items()}
    return Shape(
        title=f"{steps} step{'s' if steps > 1 else ''}, second order, {tasks} tasks",
        learner=learner,
        params=params,
        tasks=Sinusoid(shots=10, queries=10, tasks=tasks, device=device)(0),
        nets={"plain": plain.mlp(1, 1, HIDDEN)},
        loss=mse_loss,
    )


def benchmark(options: argparse.Namespace) -> Row:
    result = Row(
        "maml-sinusoid-speed",
        "sinusoid",
        "time of one meta-gradient; 40-40 ReLU MLP, 25 tasks of 10 support and 10 query points, float32",
    )
    for steps in (1,) if options.quick else (5, 1):
        measured = measure(
            shape(steps, 3 if options.quick else 25, options.device), options, result, compiled=options.compile
        )
        if steps == 5:
            peer = measured.fastest(["learn2learn", "torchopt"])
            answer = f"5 steps, speed over {peer or 'learn2learn or torchopt'}"
            for name, goal in (("mapwise, compiled", 40), ("mapwise", 6)):
                quick = name if name in measured.spans else None
                because = "neither is installed" if peer is None else "no compiled gradient"
                way = "compiled" if "compiled" in name else "uncompiled"
                result.targets.append(Target(f"{answer}, {way}", measured.over(peer, quick), goal, because=because))
    return result


def main(words: list[str]) -> int:
    parser = row.parser(__doc__)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True, help="measure compiled too")
    return row.run(parser, benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
