"""mapwise demo: a learner trained on drawn letters in about a minute, judged on alphabets it has never seen."""

import time
from pathlib import Path
from typing import Any

from mapwise.engine.folder import BEST, LAST, METRICS
from mapwise.engine.results import Paired, Report
from mapwise.runs.settings import SETTINGS, RunSettings
from mapwise.workflows.display import SILENT, Display
from mapwise.workflows.evaluate import Judging, Opened, opened
from mapwise.workflows.report import write_report
from mapwise.workflows.train import train_run

FOLDER = Path("runs/demo")
COMMAND = "mapwise demo"
RECIPE = RunSettings(
    learner="protonet",
    source="glyphs",
    # A strided step took a third of the time of a pooled one: many more steps fit into the minute.
    net_options={"down": "stride"},
    # As many classes in an episode as the time allows: hard episodes teach most.
    ways="60",
    shots="1",
    queries=2,
    tasks=1,
    test_ways="5",
    test_shots="1",
    test_queries=5,
    steps=1000,
    optimizer="Adam lr=0.003",
    schedule="cosine",
    validate_every=200,
    validation_episodes=50,
    select="last",
    how="loop",
)
"""A fixed number of steps, so that the demo gives the same numbers every time."""

EPISODES = 500
CURVE_EPISODES = 60
BETTER_BY = 0.20
"""How much the demo must beat the nearest mean of raw pixels by, at one shot."""


def run_demo(display: Display = SILENT) -> tuple[dict[str, Any], list[Report]]:
    """Train, judge and write the report: what came of it as one JSON-ready object, and the reports.

    Raises ValueError when runs/demo holds a run of another command.
    """
    began = time.perf_counter()
    _clear(FOLDER)
    display.note("training on letters of 8 alphabets (about a minute) ...")
    settings = RECIPE.stamped(COMMAND)
    train_run(settings, FOLDER, display=display)
    display.note("judging on 5 alphabets it has never seen ...")
    one = opened(FOLDER, Judging(EPISODES))
    five = opened(FOLDER, Judging(EPISODES, changes={"test_shots": "5"}))
    reports = [report for run, shots in ((one, 1), (five, 5)) for report in _judged(run, shots)]
    page = write_report(FOLDER, one, reports, episodes=CURVE_EPISODES)
    pair = Paired.of(reports[0], reports[1])
    passed = pair.difference.mean >= BETTER_BY
    seconds = time.perf_counter() - began
    result = {
        "passed": passed,
        "run": str(FOLDER),
        "page": str(page),
        "seconds": round(seconds, 1),
        "better_by": pair.difference.mean,
        "better_by_ci95": pair.difference.ci95,
        "reports": [report.to_json() for report in reports],
    }
    return result, reports


def _judged(run: Opened, shots: int) -> list[Report]:
    command = f"mapwise eval {FOLDER} --episodes {EPISODES} --seed 0" + (f" --shots {shots}" if shots > 1 else "")
    own = run.judge(EPISODES, command=command)
    beside = run.baseline(EPISODES, command=command)
    assert beside is not None
    return [own, beside]


def _clear(folder: Path) -> None:
    """Make room for a new demo where an earlier one was."""
    if (folder / SETTINGS).exists() and RunSettings.read(folder).command != COMMAND:
        raise ValueError(f"{folder} holds a run of another command: move it away, since the demo writes there")
    for name in (SETTINGS, LAST, BEST, METRICS):
        (folder / name).unlink(missing_ok=True)
