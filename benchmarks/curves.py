"""Gradient-based learners beside maml on Omniglot, 5-way 1-shot, given the same time: their curves, and where they end.

    python benchmarks/curves.py --data DATA [--seconds 120] [--only LEARNER ...] [--quick] [--json FILE]

Every learner takes the rates that `mapwise bench glyphs` chose for it (benchmarks/results/glyphs) and as many steps as
fit into the same processor time, measured over its first steps. All are judged on the same test episodes, by the
statistics of the support and by those of the queries. A run's folder is kept in --runs, and a row that is finished is
not made again; a figure of the curves is written beside the JSON.
"""

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

import row
from mapwise.catalog import LEARNERS
from mapwise.core.outcome import Curve, Estimate
from mapwise.interfaces.bench import Bench, base_settings, judged
from mapwise.interfaces.search import settings_with
from mapwise.interfaces.tune import train_command
from mapwise.report.plots import against_seconds, standalone
from mapwise.run import RunSettings
from record import portable
from row import Line, Row

CHOSEN = Path(__file__).resolve().parent / "results" / "glyphs"
AGAINST = "maml"
CLOSED_FORM = "r2d2"
"""The one learner of the family that takes no gradient steps."""
POINTS = 5
"""Of a curve."""
TIMED = 8
"""Steps that say how long a step takes; the first one is left out."""


def found(asked: argparse.Namespace) -> Row:
    bench = Bench("omniglot", net_options={"filters": 64, "down": "stride"}, validation_episodes=60, episodes=300)
    if asked.quick:
        bench = Bench("omniglot", net_options={"filters": 4, "down": "stride"}, validation_episodes=4, episodes=8)
    names = asked.only or [
        name for name, one in LEARNERS.items() if one.family == "optimization" and name != CLOSED_FORM
    ]
    made = {name: ended(asked, bench, name) for name in dict.fromkeys([AGAINST, *names])}
    result = Row(
        "omniglot-curves",
        "omniglot",
        f"Conv4-{bench.net_options['filters']} (stride 2), {bench.ways}-way {bench.shots}-shot, {bench.queries} "
        f"queries a class, {asked.seconds:.0f} processor seconds of training for every learner, {bench.tasks} tasks "
        "a step unless its recipe says otherwise, the rates chosen on glyphs, one seed; judged on the same "
        f"{bench.episodes:,} test episodes",
        learner="none: curves",
    )
    result.tables.append((f"where they end, and the paired difference to {AGAINST} in points", _ends(made)))
    result.tables.append(("validation accuracy (%) after a share of the time", _curves(made)))
    result.notes += [f"`{one['command']}`" for one in made.values()]
    if asked.json is not None:
        curves = [_curve(name, one) for name, one in made.items()]
        figure = standalone(against_seconds(curves, chance=1 / bench.ways))
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.with_suffix(".svg").write_text(figure, encoding="utf-8")
    asked.rounds = None
    return result


def ended(asked: argparse.Namespace, bench: Bench, learner: str) -> dict[str, Any]:
    """What one learner's training and its judgment gave, JSON-ready; from its file where that is there."""
    kept: Path = asked.runs / f"{learner}.json"
    if not kept.exists():
        run = trained(asked, bench, learner)
        _, own, by_rows = judged(bench, run, Path("runs", "curves", learner), asked.threads)
        records = _records(run)
        settings = RunSettings.read(run)
        one = {
            "command": portable(f"{train_command(settings)} --out {run}"),
            "tasks": settings.steps * settings.tasks,
            "processor_seconds": records[-1]["processor_seconds"],
            "curve": [[one["processor_seconds"], one["validation"]] for one in records if "validation" in one],
            "own": own.values.tolist(),
            "alone": not own.protocol.transductive,
            "by_rows": by_rows.values.tolist() if by_rows else None,
        }
        kept.write_text(json.dumps(one), encoding="utf-8")
    return dict(json.loads(kept.read_text(encoding="utf-8")))


def trained(asked: argparse.Namespace, bench: Bench, learner: str) -> Path:
    """The folder of one training, which took about the seconds asked for."""
    chosen = json.loads((CHOSEN / f"{learner}.json").read_text(encoding="utf-8"))["bench"]["chosen"]
    base = base_settings(bench, learner, asked.threads).model_copy(update={"data": str(asked.data)})
    settings = settings_with(base, chosen)
    # A task holds as many rows of a class, whichever part of them is support.
    settings = settings.model_copy(update={"queries": bench.rows - int(settings.shots)})
    whole: Path = asked.runs / learner
    if not (whole / "best.safetensors").exists():
        timing = asked.runs / f"{learner}-timing"
        if not (timing / "best.safetensors").exists():
            _train(settings, timing, steps=TIMED, validate_every=TIMED, validation_episodes=2)
        first, *_, last, _validated = _records(timing)
        step = (last["processor_seconds"] - first["processor_seconds"]) / (last["step"] - first["step"])
        steps = 2 * POINTS if asked.quick else max(POINTS, round(asked.seconds / step))
        # The same way of mapping, so that steps take the time that was measured.
        settings = settings.model_copy(update={"how": RunSettings.read(timing).how})
        _train(settings, whole, steps=steps, validate_every=-(-steps // POINTS))
    return whole


def _train(settings: RunSettings, folder: Path, **sizes: int) -> None:
    words = shlex.split(train_command(settings.model_copy(update=sizes)))[1:]
    if (folder / "last.safetensors").exists():
        words = ["train", "--resume"]
    else:
        words += ["--out"]
    command = [sys.executable, "-m", "mapwise", *words, str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(ran.stderr.strip())


def _records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def _ends(made: dict[str, dict[str, Any]]) -> list[Line]:
    lines = list[Line]()
    for name, one in made.items():
        line: Line = {"learner": name, "tasks seen": one["tasks"], "processor s": round(one["processor_seconds"])}
        for title, part in (("inductive", "own" if one["alone"] else None), ("transductive", "by_rows")):
            values = None if part is None or one[part] is None else 100 * np.array(one[part])
            reference = made[AGAINST][part] if part else None
            line[f"{title}, %"] = None if values is None else _said(values)
            paired = values is not None and reference is not None and name != AGAINST
            line[f"{title}, points"] = _said(values - 100 * np.array(reference)) if paired else None
        lines.append(line)
    return lines


def _curves(made: dict[str, dict[str, Any]]) -> list[Line]:
    return [
        {"learner": name}
        | {f"{place}/{POINTS}": round(100 * value, 1) for place, (_, value) in enumerate(one["curve"], start=1)}
        for name, one in made.items()
    ]


def _curve(name: str, one: dict[str, Any]) -> Curve:
    x, y = zip(*one["curve"], strict=True)
    return Curve(name, np.array(x), np.array(y))


def _said(values: np.ndarray) -> str:
    estimate = Estimate.of(values)
    return f"{estimate.mean:.1f} ± {estimate.ci95:.1f}"


def main(words: list[str]) -> int:
    parser = row.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds omniglot/")
    parser.add_argument("--seconds", type=float, default=120, help="processor time of every training (default 120)")
    parser.add_argument("--only", nargs="+", metavar="LEARNER", help="these learners, and maml")
    parser.add_argument("--runs", type=Path, default=Path("runs/curves"))
    return row.run(parser, found, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
