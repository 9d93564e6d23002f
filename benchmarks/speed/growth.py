"""How time and peak memory of a meta-gradient grow with inner steps, with ways and with tasks.

    python -m benchmarks.speed.growth [--device cuda] [--quick] [--json FILE]

Every point is a process of its own, and its memory is the peak resident size less that before the first gradient;
on a GPU the allocator's counter is read instead.
"""

import argparse
import json
import subprocess
import sys
from typing import Any

from benchmarks import row
from benchmarks.row import Line, Row, Target
from benchmarks.side_by_side import Spread

STEPS = (1, 2, 4, 8, 16, 32)
WAYS = (5, 20, 60, 200, 1000)
TASKS = (1, 4, 16, 64, 256)
REMAT = 1.3
"""How many times its peak at 2 inner steps a rematerialised gradient may need at 32."""

Point = dict[str, Any]
SINUSOID: Point = {"learner": "maml", "net": "mlp", "steps": 5, "how": "vmap"}
IMAGES: Point = {"learner": "maml", "net": "conv4", "steps": 1, "how": "loop", "ways": 5, "queries": 15, "filters": 64}
TINY: Point = {"tasks": 1, "steps": 1, "ways": 2, "queries": 1, "filters": 2}
METRIC: Point = {"learner": "protonet", "net": "conv4", "how": "loop", "tasks": 1, "queries": 1, "filters": 64}


def benchmark(options: argparse.Namespace) -> Row:
    result = Row(
        "growth",
        "made-up images, sinusoid",
        "time and peak memory of one meta-gradient, every point in a fresh process; Conv4-64 on 28x28 images task by "
        "task, and a 40-40 MLP on sinusoids with all tasks at once; float32, second order",
    )
    small = {"filters": 8} if options.quick else {}
    steps, ways, tasks = ((1,), (5,), (1,)) if options.quick else (STEPS, WAYS, TASKS)

    peaks = {}
    lines: list[Line] = []
    for k in steps:
        line: Line = {"inner steps": k}
        for remat in (False, True):
            answer = "with remat, " if remat else ""
            one = measured({**IMAGES, **small, "tasks": 2, "steps": k, "remat": remat}, options)
            peaks[k, remat] = one["peak"]
            line |= {f"{answer}ms": one["ms"], f"{answer}peak MB": one["peak"]}
        lines.append(line)
    result.tables.append(("inner steps: MAML, Conv4, 2 tasks of 5-way 1-shot 15 queries", lines))
    low, high = peaks.get((2, True)), peaks.get((32, True))
    over = high / low if low and high else None
    result.targets.append(Target("peak memory with remat, 32 inner steps over 2", over, REMAT, False, "a smoke test"))

    lines = []
    for w in ways:
        one = measured({**METRIC, **small, "ways": w}, options)
        lines.append({"ways": w, "ms": one["ms"], "peak MB": one["peak"]})
    result.tables.append(("ways: ProtoNet, Conv4, one task of 1 shot and 1 query a class", lines))

    lines = []
    for t in tasks:
        images, curves = measured({**IMAGES, **small, "tasks": t}, options), measured({**SINUSOID, "tasks": t}, options)
        lines.append(
            {
                "tasks": t,
                "images, ms": images["ms"],
                "images, peak MB": images["peak"],
                "sinusoid, ms": curves["ms"],
                "sinusoid, peak MB": curves["peak"],
            }
        )
    result.tables.append(("tasks: MAML, 1 step on images task by task; 5 steps on sinusoids all at once", lines))
    return result


def measured(point: Point, options: argparse.Namespace) -> Line:
    """One point, in a process of its own."""
    asking = {
        **point,
        "threads": options.threads,
        "device": options.device,
        "rounds": options.rounds,
        "clock": options.clock,
    }
    command = [sys.executable, "-m", "benchmarks.speed.growth", "--point", json.dumps(asking)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(f"the point {point} failed: {(ran.stderr.strip().splitlines() or ['without a word'])[-1]}")
    text = json.loads(ran.stdout.splitlines()[-1])
    return {**text, "ms": Spread(*text["ms"])}


def gradient(asking: Point):
    """What computes the meta-gradient of a point."""
    from benchmarks.speed.ours import ours

    learner, source = asked_for(asking)
    params = {name: leaf.to(asking["device"]) for name, leaf in learner.init(0).items()}
    options = {"remat": True} if asking.get("remat") else {}
    return ours(learner, params, source(0), how=asking["how"], **options)


def point(asking: Point) -> Line:
    """Inside that process: milliseconds (median, lowest, highest) and peak megabytes."""
    import torch

    from benchmarks.side_by_side import CLOCKS, wait
    from mapwise.workflows.allocator import keep_freed_memory
    from mapwise.workflows.machine import resident

    keep_freed_memory()
    torch.set_num_threads(asking["threads"])
    # A tiny one first: what torch loads at the first gradient is not what this one needs.
    gradient({**asking, **TINY})()
    run = gradient(asking)
    device = asking["device"]
    before = resident(device, reset=True)
    spans, clock = [], CLOCKS[asking["clock"]]
    for _ in range(asking["rounds"] + 1):  # the first pays for caches
        start = clock()
        run()
        wait(device)
        spans.append(1000 * (clock() - start))
    return {"ms": list(Spread.of(spans[1:])), "peak": round(resident(device) - before, 1)}


def asked_for(asking: Point):
    """The learner and the source of a point."""
    from benchmarks.speed.sampling import made_up
    from mapwise.learners.metric.protonet import ProtoNet
    from mapwise.learners.optimization.maml import MAML
    from mapwise.nets.conv4 import Conv4
    from mapwise.nets.mlp import MLP
    from mapwise.tasks.episodes import Episodes
    from mapwise.tasks.sinusoid import Sinusoid

    if asking["net"] == "mlp":
        result = MAML(lambda: MLP((1,), 1, hidden=(40, 40)), asking["steps"], 0.01, loss="squared_error")
        return result, Sinusoid(tasks=asking["tasks"], device=asking["device"])
    ways = asking["ways"]
    source = Episodes(
        made_up(ways), ways=ways, shots=1, queries=asking["queries"], tasks=asking["tasks"], device=asking["device"]
    )
    shape, filters = (1, 28, 28), asking["filters"]
    if asking["learner"] == "protonet":
        return ProtoNet(lambda: Conv4(shape, filters=filters)), source
    return MAML(lambda: Conv4(shape, ways, filters=filters), asking["steps"], 0.1), source


def main(words: list[str]) -> int:
    if words[:1] == ["--point"]:
        print(json.dumps(point(json.loads(words[1]))))
        return 0
    return row.run(row.parser(__doc__), benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
