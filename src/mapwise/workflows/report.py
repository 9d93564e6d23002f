"""mapwise report: everything a run has to show, as one HTML page."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from mapwise.core.capabilities import TakesSteps, with_steps
from mapwise.core.source import TaskSource
from mapwise.data.files import write_atomically
from mapwise.engine import figures as found_in
from mapwise.engine.folder import records_of
from mapwise.engine.results import Curve, Findings, Report
from mapwise.workflows.evaluate import BASELINE, Opened

PAGE, NUMBERS = "report.html", "report.json"
SHOTS = (1, 2, 5, 10)
STEPS = (0, 1, 2, 3, 5, 10)
DRAWN = 100
"""Points of a function that is drawn."""


def write_report(folder: Path, run: Opened, reports: list[Report], *, episodes: int) -> Path:
    """Write report.html and report.json into the run's folder; returns the page's path.

    reports:  the run's own first.
    episodes: of every point of the curves.
    """
    from mapwise.report.run_page import run_page

    own = reports[0]
    findings = Findings(
        title=f"{own.protocol.learner} on {own.protocol.source}",
        reports=reports,
        training=found_in.training_curves(records_of(folder), run.source.problem),
        against_shots=_against_shots(run, episodes),
        against_steps=_against_steps(run, episodes),
        episode=found_in.drawn_episode(run.learner, run.params, run.source),
        fits=found_in.function_fits(run.learner, run.params, _with(run.source, queries=DRAWN) or run.source),
        embedding=found_in.embedding_map(run.learner, run.params, _with(run.source, shots=5) or run.source),
        memory=found_in.memory_use(run.learner, run.params, run.source),
        settings={name: value for name, value in run.settings.to_file().items() if value not in (None, {}, ())},
    )
    html = run_page(findings)
    numbers = json.dumps(findings_json(findings), indent=1, ensure_ascii=False, default=float)
    write_atomically(folder / NUMBERS, lambda file: file.write(numbers.encode()))
    write_atomically(folder / PAGE, lambda file: file.write(html.encode()))
    return folder / PAGE


def findings_json(findings: Findings) -> dict[str, Any]:
    """The numbers of the page."""
    return {
        "title": findings.title,
        "reports": [report.to_json() for report in findings.reports],
        "training": [_curve(curve) for curve in findings.training],
        "against_shots": [_curve(curve) for curve in findings.against_shots],
        "against_steps": [_curve(curve) for curve in findings.against_steps],
        "settings": findings.settings,
    }


def _curve(curve: Curve) -> dict[str, Any]:
    ci95 = None if curve.ci95 is None else curve.ci95.tolist()
    return {"label": curve.label, "x": curve.x.tolist(), "y": curve.y.tolist(), "ci95": ci95}


def _against_shots(run: Opened, episodes: int) -> list[Curve]:
    sources = [(shots, source) for shots in SHOTS if (source := _with(run.source, shots=shots)) is not None]
    if len(sources) < 2:
        return []
    own = [(shots, run.learner, source) for shots, source in sources]
    curves = [found_in.measured_curve(run.settings.learner, own, run.params, episodes=episodes, how=run.how)]
    raw = run.raw()
    if raw is not None:
        points = [(shots, raw, source) for shots, source in sources]
        curves.append(found_in.measured_curve(BASELINE, points, raw.init(0), episodes=episodes))
    return curves


def _against_steps(run: Opened, episodes: int) -> list[Curve]:
    if not isinstance(run.learner, TakesSteps):
        return []
    points = [(steps, with_steps(run.learner, steps), run.source) for steps in STEPS]
    return [found_in.measured_curve(run.settings.learner, points, run.params, episodes=episodes, how=run.how)]


def _with(source: TaskSource, **counts: int) -> TaskSource | None:
    """The same source with other shots or queries; None where a class has too few rows, or there is no such thing."""
    changed: Any = source
    if not counts.keys() <= {field.name for field in fields(changed)}:
        return None
    try:
        return replace(changed, **counts)  # type: ignore[no-any-return]
    except ValueError:
        return None
