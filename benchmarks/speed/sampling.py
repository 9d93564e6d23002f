"""How many episodes a minute are cut from one array, and what share of a training step that takes.

    python -m benchmarks.speed.sampling [--data FOLDER] [--quick] [--json FILE]

With --data (or MAPWISE_DATA) the rows are Omniglot's; without, a made-up array of the same form.
"""

import argparse
import os
import sys
import time

from benchmarks import row
from benchmarks.row import Line, Row, Target
from benchmarks.side_by_side import Spread, interleaved

EPISODES = 400_000
"""A minute, on one core."""
SHARE = 2.0
"""Per cent of a training step."""
BATCHES = (16, 64, 256)
SECONDS = 1.0
"""Of every round."""


def rows(data: str | None):
    """Omniglot's rows, or as many made-up ones."""
    from mapwise.data.omniglot import omniglot

    return made_up(6492, training=4112) if data is None else omniglot(data)


def made_up(classes: int, training: int | None = None):
    """Random images of Omniglot's form, 20 of each class; `training` classes (default: all) are for training."""
    import numpy as np

    from mapwise.data.rows import LabelledRows

    drawings = 20
    return LabelledRows(
        x=np.random.default_rng(0).integers(0, 256, (classes * drawings, 1, 28, 28), np.uint8),
        starts=np.arange(classes + 1) * drawings,
        names=tuple(f"class {c}" for c in range(classes)),
        splits={"train": np.arange(classes if training is None else training)},
        name="made up, of Omniglot's form",
    )


def episodes_a_minute(source, seconds: float) -> tuple[float, float]:
    """As many as a loop over the source's steps makes: in a minute of one core's work, and of the clock's."""
    done, step = 0, 0
    start, worked = time.perf_counter(), time.process_time()
    while (spent := time.perf_counter() - start) < seconds:
        task = source(step)
        done += task.support.x.shape[0]
        step += 1
    return 60 * done / (time.process_time() - worked), 60 * done / spent


def benchmark(options: argparse.Namespace) -> Row:
    from mapwise.tasks.episodes import Episodes

    labelled = made_up(20) if options.quick else rows(options.data)
    result = Row(
        "sampling",
        labelled.name,
        "five-way 1-shot 15-query episodes, float32 28x28 images scaled to 0..1, in a minute of one thread's processor "
        "time; and the share of a training step, by the clock",
    )
    lines: list[Line] = []
    seconds = 0.05 if options.quick else SECONDS
    for tasks in BATCHES:
        source = Episodes(labelled, ways=5, shots=1, queries=15, tasks=tasks, device=options.device)
        episodes_a_minute(source, seconds / 5)  # the first batches pay for fresh memory
        # Others at work take their share of the clock's minutes, so the figure is per minute of this process's work.
        rates = [episodes_a_minute(source, seconds) for _ in range(options.rounds)]
        lines.append(
            {
                "tasks a batch": tasks,
                "episodes a minute": Spread.of([worked for worked, _ in rates]),
                "by the clock": Spread.of([clock for _, clock in rates]),
            }
        )
    result.tables.append(("episodes a minute", lines))
    best = max(line["episodes a minute"].median for line in lines)
    result.targets.append(Target("episodes a minute on one core", best, EPISODES))
    shares = [share(name, *product, options) for name, product in steps(labelled, options).items()]
    result.tables.append(("share of a training step", shares))
    for line in shares:
        what = f"sampling, per cent of a step of {line['training']}"
        result.targets.append(Target(what, line["sampling, %"].median, SHARE, at_least=False))
    return result


def steps(labelled, options: argparse.Namespace) -> dict[str, tuple]:
    """The learner and the source of the trainings whose steps are looked at."""
    from mapwise.learners.metric.protonet import ProtoNet
    from mapwise.learners.optimization.maml import MAML
    from mapwise.nets.conv4 import Conv4
    from mapwise.tasks.episodes import Episodes

    filters, ways, tasks = (8, 5, 2) if options.quick else (64, 60, 16)
    metric = ProtoNet(lambda: Conv4((1, 28, 28), filters=filters, norm="frozen"))
    stepping = MAML(lambda: Conv4((1, 28, 28), 5, filters=filters, norm="support"), inner_steps=1)
    return {
        f"ProtoNet, {ways}-way 1-shot 5 queries": (
            metric,
            Episodes(labelled, ways=ways, shots=1, queries=5, tasks=1, device=options.device),
        ),
        f"MAML, 1 step, {tasks} tasks of 5-way 1-shot 15 queries": (
            stepping,
            Episodes(labelled, ways=5, shots=1, queries=15, tasks=tasks, device=options.device),
        ),
    }


def share(name: str, learner, source, options: argparse.Namespace) -> Line:
    """Sampling and the gradient of what was sampled, in turn."""
    from itertools import count

    from benchmarks.speed.ours import chosen, ours

    params = {path: leaf.to(options.device) for path, leaf in learner.init(0).items()}
    tasks, at = source(0), count()
    contenders = {
        "sampling": lambda: source(next(at)),
        "gradient": ours(learner, params, tasks, how=chosen(learner, params, tasks, clock=options.clock)),
    }
    spans = interleaved(
        contenders,
        rounds=options.rounds,
        seconds=0.0 if options.quick else 0.3,
        device=options.device,
        clock=options.clock,
    )
    both = zip(spans["sampling"], spans["gradient"], strict=True)
    return {
        "training": name,
        "sampling, ms": Spread.of(spans["sampling"]).times(1000),
        "gradient, ms": Spread.of(spans["gradient"]).times(1000),
        "sampling, %": Spread.of([100 * sampling / (sampling + gradient) for sampling, gradient in both]),
    }


def main(words: list[str]) -> int:
    parser = row.parser(__doc__)
    parser.add_argument("--data", default=os.environ.get("MAPWISE_DATA"), help="the data root that holds omniglot")
    return row.run(parser, benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
