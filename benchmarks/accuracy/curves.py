"""Gradient-based learners beside maml on Omniglot, 5-way 1-shot, given the same time: their curves, and where they end.

    python -m benchmarks.accuracy.curves --data DATA [--seconds 120] [--only LEARNER ...] [--quick] [--json FILE]

Every learner takes the rates that `mapwise bench glyphs` chose for it (benchmarks/results/glyphs) and as many steps as
fit into the same processor time, measured over its first steps. All are judged on the same test episodes, by the
statistics of the support and by those of the queries. A run's folder is kept in --runs, and a row that is finished is
not made again; a figure of the curves is written beside the JSON.
"""

import argparse
import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import row
from benchmarks.kept_runs import finished, records, with_interval
from benchmarks.record import portable
from benchmarks.row import Line, Row
from mapwise.catalog.learners import LEARNERS
from mapwise.engine.results import Curve
from mapwise.report.plots import against_seconds, standalone
from mapwise.runs.settings import SETTINGS, RunSettings
from mapwise.workflows.comparison.bench import Bench, base_settings, judged

CHOSEN = Path(__file__).resolve().parents[1] / "results" / "glyphs"
AGAINST = "maml"
CLOSED_FORM = "r2d2"
"""The one learner of the family that takes no gradient steps."""
POINTS = 5
"""Of a curve."""
TIMED = 8
"""Steps that say how long a step takes; the first one is left out."""


def benchmark(options: argparse.Namespace) -> Row:
    bench = Bench(options.source, net_options={"filters": 64, "down": "stride"}, validation_episodes=60, episodes=300)
    if options.quick:
        bench = Bench(options.source, net_options={"filters": 4, "down": "stride"}, validation_episodes=4, episodes=8)
    names = options.only or [
        name for name, one in LEARNERS.items() if one.family == "optimization" and name != CLOSED_FORM
    ]
    by_name = {name: ended(options, bench, name) for name in dict.fromkeys([AGAINST, *names])}
    result = Row(
        f"{options.source}-curves",
        options.source,
        f"Conv4-{bench.net_options['filters']} (stride 2), {bench.ways}-way {bench.shots}-shot, {bench.queries} "
        f"queries a class, {options.seconds:.0f} processor seconds of training for every learner, {bench.tasks} tasks "
        "a step unless its recipe says otherwise, the rates chosen on glyphs, one seed; judged on the same "
        f"{bench.episodes:,} test episodes",
        learner="none: curves",
    )
    result.tables.append((f"where they end, and the paired difference to {AGAINST} in points", _ends(by_name)))
    result.tables.append(("validation accuracy (%) after a share of the time", _curves(by_name)))
    result.notes += [f"`{one['command']}`" for one in by_name.values()]
    if options.json is not None:
        curves = [_curve(name, one) for name, one in by_name.items()]
        figure = standalone(against_seconds(curves, chance=1 / bench.ways))
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.with_suffix(".svg").write_text(figure, encoding="utf-8")
    options.rounds = None
    return result


def ended(options: argparse.Namespace, bench: Bench, learner: str) -> dict[str, Any]:
    """What one learner's training and its judgment gave, JSON-ready; from its file where that is there."""
    result: Path = options.runs / f"{learner}.json"
    if not result.exists():
        run = trained(options, bench, learner)
        _, own, by_rows = judged(bench, run, Path("runs", "curves", learner), options.threads)
        message = records(run)
        settings = RunSettings.read(run)
        one = {
            "command": portable(shlex.join([*settings.words(), "--out", str(run)])),
            "tasks": settings.steps * settings.tasks,
            "processor_seconds": message[-1]["processor_seconds"],
            "curve": [[at["processor_seconds"], at["validation"]] for at in message if "validation" in at],
            "own": own.values.tolist(),
            "alone": not own.protocol.transductive,
            "by_rows": by_rows.values.tolist() if by_rows else None,
        }
        result.write_text(json.dumps(one), encoding="utf-8")
    return dict(json.loads(result.read_text(encoding="utf-8")))


def trained(options: argparse.Namespace, bench: Bench, learner: str) -> Path:
    """The folder of one training, which took about the seconds asked for."""
    chosen = json.loads((CHOSEN / f"{learner}.json").read_text(encoding="utf-8"))["bench"]["chosen"]
    base = replace(base_settings(bench, learner, options.threads), data=options.data and str(options.data))
    settings = base.with_values(chosen)
    # A task holds as many rows of a class, whichever part of them is support.
    settings = replace(settings, queries=bench.rows - int(settings.shots))
    whole: Path = options.runs / learner
    if not (whole / SETTINGS).exists():
        timing = _train(
            settings, options.runs / f"{learner}-timing", steps=TIMED, validate_every=TIMED, validation_episodes=2
        )
        first, *_, last, _validated = records(timing)
        step = (last["processor_seconds"] - first["processor_seconds"]) / (last["step"] - first["step"])
        steps = 2 * POINTS if options.quick else max(POINTS, round(options.seconds / step))
        # The same way of mapping, so that steps take the time that was measured.
        how = RunSettings.read(timing).how
        settings = replace(settings, how=how, steps=steps, validate_every=-(-steps // POINTS))
    return _train(settings, whole)


def _train(settings: RunSettings, folder: Path, **sizes: int) -> Path:
    return finished(folder, settings.with_values(sizes).words()[2:])


def _ends(result: dict[str, dict[str, Any]]) -> list[Line]:
    lines = list[Line]()
    for name, one in result.items():
        line: Line = {"learner": name, "tasks seen": one["tasks"], "processor s": round(one["processor_seconds"])}
        for title, part in (("inductive", "own" if one["alone"] else None), ("transductive", "by_rows")):
            values = None if part is None or one[part] is None else 100 * np.array(one[part])
            reference = result[AGAINST][part] if part else None
            line[f"{title}, %"] = None if values is None else with_interval(values, 1)
            paired = values is not None and reference is not None and name != AGAINST
            line[f"{title}, points"] = with_interval(values - 100 * np.array(reference), 1) if paired else None
        lines.append(line)
    return lines


def _curves(result: dict[str, dict[str, Any]]) -> list[Line]:
    return [
        {"learner": name}
        | {f"{place}/{POINTS}": round(100 * value, 1) for place, (_, value) in enumerate(one["curve"], start=1)}
        for name, one in result.items()
    ]


def _curve(name: str, one: dict[str, Any]) -> Curve:
    x, y = zip(*one["curve"], strict=True)
    return Curve(name, np.array(x), np.array(y))


def main(words: list[str]) -> int:
    parser = row.parser(__doc__)
    parser.add_argument("--source", default="omniglot", help="of images (default omniglot)")
    parser.add_argument("--data", type=Path, help="the folder that holds omniglot/")
    parser.add_argument("--seconds", type=float, default=120, help="processor time of every training (default 120)")
    parser.add_argument("--only", nargs="+", metavar="LEARNER", help="these learners, and maml")
    parser.add_argument("--runs", type=Path, default=Path("runs/curves"))
    return row.run(parser, benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
