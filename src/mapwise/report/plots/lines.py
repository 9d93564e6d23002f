"""Lines with their bands: over training, against shots, steps, seconds and coverage."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mapwise.engine.results import Curve
from mapwise.predictors.evidence.held_out import Expected
from mapwise.problems import metric_named, metric_titled
from mapwise.report.plots.style import (
    COLOURS,
    FAINT,
    MARKERS,
    SOFT,
    add_legend,
    no_tick,
    one_axes,
    percent_axis,
    plain_tick,
    short,
    styled,
    thousands,
    to_svg,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def in_percent(quantity: str) -> bool:
    """Whether a quantity is drawn in per cent: the title of a metric that is a share."""
    metric = metric_titled(quantity)
    return metric is not None and metric.percent


def learning_curve(curves: Sequence[Curve], *, metric: str) -> str:
    """Lines over training steps. metric: a metric's title (those of 0..1 are drawn in per cent), or "loss"."""
    with styled():
        figure, axes = one_axes()
        for i, curve in enumerate(curves):
            colour = COLOURS[i % len(COLOURS)]
            x, y, band = _finite(curve)
            if len(y) > 200:
                # Thousands of noisy losses are a smear: they stay visible behind their moving mean.
                axes.plot(x, y, color=colour, linewidth=0.6, alpha=0.3)
                x, y = _moving_mean(x, y, max(5, len(y) // 50))
                axes.plot(x, y, color=colour, label=short(curve.label, 30))
            else:
                _banded(axes, x, y, band, colour, short(curve.label, 30))
                if len(y) == 1:
                    axes.plot(x, y, "o", color=colour)
        values = np.concatenate([_finite(curve)[1] for curve in curves])
        if in_percent(metric):
            percent_axis(axes)
        elif len(values) and values.min() > 0 and values.max() > 50 * values.min():
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(plain_tick)
            axes.yaxis.set_minor_formatter(no_tick)
        axes.set_xlabel("training steps")
        axes.set_ylabel(f"{metric} (%)" if in_percent(metric) else metric)
        axes.margins(x=0.01)
        axes.xaxis.set_major_formatter(thousands)
        add_legend(figure, axes)
        return to_svg(figure)


def against_shots(curves: Sequence[Curve], *, metric: str = "accuracy", chance: float | None = None) -> str:
    """The metric against support rows per class, on a logarithmic axis, with 95 % bands."""
    return _against(
        curves,
        "shots (support rows per class)" if metric == "accuracy" else "shots (support points)",
        metric,
        chance,
        logarithmic=True,
    )


def against_steps(curves: Sequence[Curve], *, metric: str = "accuracy", chance: float | None = None) -> str:
    """The metric against inner steps of adaptation, with 95 % bands."""
    return _against(curves, "inner steps of adaptation", metric, chance, logarithmic=False)


def against_seconds(curves: Sequence[Curve], *, chance: float | None = None) -> str:
    """Validation accuracy against processor seconds of training, many learners in one figure."""
    with styled():
        figure, axes = one_axes(width=820, height=520)
        for i, curve in enumerate(curves):
            x, y, band = _finite(curve)
            _banded(axes, x, y, band, COLOURS[i % len(COLOURS)], short(curve.label, 30), MARKERS[i % len(MARKERS)])
        if chance is not None:
            axes.axhline(chance, color=SOFT, linewidth=1, linestyle=(0, (4, 3)), label="chance")
        percent_axis(axes)
        axes.set(xlabel="processor seconds of training", ylabel="validation accuracy (%)")
        add_legend(figure, axes)
        return to_svg(figure)


def with_more_examples(more: Sequence[int], expected: Sequence[Expected], *, chance: float) -> str:
    """The accuracy to expect with so many further examples of each class, and its interval."""
    # By the square root, so that one more stands apart from none beside twenty.
    x = np.sqrt(more)
    accuracy, low, high = np.array(expected, dtype=float).T
    with styled():
        figure, axes = one_axes()
        axes.fill_between(x, low, high, color=COLOURS[0], alpha=0.2, linewidth=0)
        axes.axhline(chance, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
        _dotted(axes, x, accuracy)
        axes.annotate(
            "chance", (x[-1], chance), (0, 4), textcoords="offset points", color=SOFT, fontsize=10, ha="right"
        )
        axes.set_xticks(x, [f"{count} more" if count else "as it is" for count in more])
        axes.set(xlabel="examples of each class", ylabel="accuracy (%)", ylim=(0, 1.02))
        percent_axis(axes)
        return to_svg(figure)


def against_coverage(share: np.ndarray, accuracy: np.ndarray) -> str:
    """The accuracy of what is answered against the share that is, the rest being refused."""
    with styled():
        figure, axes = one_axes()
        _dotted(axes, share, accuracy)
        axes.set_xticks(share, [f"{100 * place:.0f}" for place in share])
        axes.set(xlabel="share answered (%)", ylabel="right of those answered (%)", ylim=(0, 1.02))
        axes.margins(x=0.06)
        percent_axis(axes)
        return to_svg(figure)


def interval(low: float, mean: float, high: float, mark: float | None, end: float) -> str:
    """A dot with its interval on a line from 0 to `end`, small enough for a table cell; `mark` is chance."""
    width, height, pad = 130, 20, 5

    def place(value: float) -> float:
        return round(pad + (width - 2 * pad) * min(max(value / end, 0.0), 1.0), 2)

    parts = [f'<line x1="{pad}" x2="{width - pad}" y1="10" y2="10" stroke="{FAINT}" stroke-width="2"/>']
    if mark is not None:
        at = place(mark)
        parts.append(f'<line x1="{at}" x2="{at}" y1="3" y2="17" stroke="{SOFT}" stroke-dasharray="2 2"/>')
    if math.isfinite(mean):
        if math.isfinite(low) and math.isfinite(high):
            span = f'x1="{place(low)}" x2="{place(high)}"'
            parts.append(f'<line {span} y1="10" y2="10" stroke="{COLOURS[0]}" stroke-width="3"/>')
        parts.append(f'<circle cx="{place(mean)}" cy="10" r="4" fill="{COLOURS[0]}"/>')
    return f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}">{"".join(parts)}</svg>'


def _dotted(axes: "Axes", x: np.ndarray, y: np.ndarray) -> None:
    """A line through points, which are whole where they lie on the edge."""
    axes.plot(x, y, color=COLOURS[0], marker="o", markersize=6.5, markeredgecolor="white", clip_on=False)


def _against(curves: Sequence[Curve], xlabel: str, metric: str, chance: float | None, logarithmic: bool) -> str:
    with styled():
        figure, axes = one_axes()
        ticks: set[float] = set()
        for i, curve in enumerate(curves):
            x, y, band = _finite(curve)
            ticks.update(float(value) for value in x)
            colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
            _banded(axes, x, y, band, colour, short(curve.label, 30), marker)
        if chance is not None:
            axes.axhline(chance, color=SOFT, linewidth=1, linestyle=(0, (4, 3)), label="chance")
        if logarithmic and ticks and min(ticks) > 0:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(plain_tick)
            axes.xaxis.set_minor_formatter(no_tick)
        if len(ticks) <= 12:
            places = sorted(ticks)
            axes.set_xticks(places, [f"{place:g}" for place in places])
            axes.set_xticks([], minor=True)
        percent, title = metric_named(metric).percent, metric_named(metric).title
        if percent:
            percent_axis(axes)
        else:
            axes.set_ylim(bottom=0)
        axes.set(xlabel=xlabel, ylabel=f"{title} (%)" if percent else title)
        add_legend(figure, axes)
        return to_svg(figure)


def _banded(
    axes: "Axes",
    x: np.ndarray,
    y: np.ndarray,
    band: np.ndarray | None,
    colour: str,
    label: str,
    marker: str | None = None,
) -> None:
    if band is not None:
        axes.fill_between(x, y - band, y + band, color=colour, alpha=0.2, linewidth=0)
    axes.plot(x, y, color=colour, label=label, marker=marker, markersize=6.5, markeredgecolor="white")


def _finite(curve: Curve) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    x, y = np.asarray(curve.x, dtype=float), np.asarray(curve.y, dtype=float)
    keep = np.isfinite(x) & np.isfinite(y)
    band = None if curve.ci95 is None else np.nan_to_num(np.asarray(curve.ci95, dtype=float)[keep])
    return x[keep], y[keep], band


def _moving_mean(x: np.ndarray, y: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    mean = np.convolve(y, np.ones(window) / window, mode="valid")
    start = (window - 1) // 2
    return x[start : start + len(mean)], mean
