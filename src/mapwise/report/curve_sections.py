"""The parts of a run's page that hold lines: how it learned, and what more examples and more steps do."""

import math
from collections.abc import Sequence

import numpy as np

from mapwise.core.format import share
from mapwise.engine.results import Curve, Findings, Report
from mapwise.problems import metrics
from mapwise.report import html, plots


def training_section(curves: Sequence[Curve]) -> str:
    """Losses and accuracies have different units, so each unit has its own figure."""
    groups: dict[str, list[Curve]] = {}
    for curve in curves:
        if len(curve.x) and np.isfinite(np.asarray(curve.y, dtype=float)).any():
            groups.setdefault(_unit(curve.label), []).append(curve)
    figures = []
    for unit, mine in groups.items():
        labels = " and ".join(curve.label for curve in mine)
        alt = f"{labels} over training steps: {_course(mine, unit)}."
        noisy = any(len(curve.x) > 200 for curve in mine)
        caption = f"{html.capital(labels)}." + (" Faint: every step; bold: moving mean." if noisy else "")
        figures.append(
            html.figure(plots.learning_curve(mine, metric=unit), alt, caption, _curve_numbers(mine, unit, "step"))
        )
    return html.section("How it learned", html.grid(figures)) if figures else ""


def _unit(label: str) -> str:
    """What a line of a training is measured in: the title of the metric it names, or "loss"."""
    return next((metric.title for name, metric in metrics().items() if name in label), "loss")


def with_more_section(findings: Findings, own: Report) -> str:
    """The metric against shots and against inner steps."""
    unit, metric = own.problem.metric.title, own.metric
    figures = []
    shots = [curve for curve in findings.against_shots if len(curve.x)]
    if shots:
        alt = f"{html.capital(unit)} against shots: {_course(shots, unit)}."
        svg = plots.against_shots(shots, metric=metric, chance=own.chance)
        caption = f"{html.capital(unit)} with more examples, and its 95 % interval: {_labels(shots)}."
        figures.append(html.figure(svg, alt, caption, _curve_numbers(shots, unit, "shots")))
    steps = [curve for curve in findings.against_steps if len(curve.x)]
    if steps:
        alt = f"{html.capital(unit)} against inner steps: {_course(steps, unit)}."
        svg = plots.against_steps(steps, metric=metric, chance=own.chance)
        caption = f"{html.capital(unit)} with more steps of adaptation, and its 95 % interval: {_labels(steps)}."
        figures.append(html.figure(svg, alt, caption, _curve_numbers(steps, unit, "inner steps")))
    return html.section("With more to learn from", html.grid(figures)) if figures else ""


def _course(curves: Sequence[Curve], unit: str) -> str:
    """Where each line begins and ends, in words."""
    parts = []
    for curve in curves:
        y = np.asarray(curve.y, dtype=float)
        x = np.asarray(curve.x, dtype=float)[np.isfinite(y)]
        y = y[np.isfinite(y)]
        if len(y):
            parts.append(f"{curve.label} from {_value(y[0], unit)} at {x[0]:g} to {_value(y[-1], unit)} at {x[-1]:g}")
    return ", ".join(parts)


def _curve_numbers(curves: Sequence[Curve], unit: str, xname: str) -> str:
    """The lines' numbers; of a long line the places spread evenly over it."""
    rows = []
    for curve in curves:
        count = len(curve.x)
        for i in sorted({round(k) for k in np.linspace(0, count - 1, min(count, 25))}):
            ci = math.nan if curve.ci95 is None else float(curve.ci95[i])
            shown = _value(float(curve.y[i]), unit)
            if math.isfinite(ci):
                shown += f" ± {100 * ci:.1f}" if plots.in_percent(unit) else f" ± {ci:.2g}"
            place = f"{float(curve.x[i]):,.6g}"
            rows.append(f"<tr>{html.cell(curve.label, '')}{html.cell(place, 'n')}{html.cell(shown, 'n')}</tr>")
    return html.as_table([("line", ""), (xname, "n"), (unit, "n")], rows, f"{unit} against {xname}")


def _value(value: float, unit: str) -> str:
    if not math.isfinite(value):
        return "not finite"
    return share(value) if plots.in_percent(unit) else f"{value:.4g}"


def _labels(curves: Sequence[Curve]) -> str:
    return ", ".join(curve.label for curve in curves)
