"""Learners of a comparison beside each other: accuracy against time."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mapwise.engine.results import Contender
from mapwise.report.plots.style import COLOURS, INK, one_axes, styled, thousands, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def against_time(contenders: Sequence[Contender]) -> str:
    """Accuracy against seconds of training, every point with its interval and its name.

    A learner whose predictions depend on their neighbours is drawn open. One without training is left out.
    """
    from matplotlib.ticker import LogLocator

    points = [one for one in contenders if one.processor_seconds > 0]
    with styled():
        figure, axes = one_axes(width=820, height=520)
        for one in points:
            estimate, alone = (one.inductive or one.own).estimate, one.inductive is not None
            place = (one.processor_seconds, 100 * estimate.mean)
            axes.errorbar(*place, yerr=100 * estimate.ci95, color=COLOURS[0], linewidth=1.2, zorder=2)
            face = COLOURS[0] if alone else "white"
            axes.scatter(*place, s=42, color=face, edgecolor=COLOURS[0], linewidth=1.2, zorder=3)
        axes.set(xlabel="processor seconds of training", ylabel="test accuracy (%)")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(thousands)
        axes.xaxis.set_minor_locator(LogLocator(subs=(2, 3, 5)))  # the others' labels would touch
        axes.xaxis.set_minor_formatter(thousands)
        axes.margins(x=0.16, y=0.1)
        # A frame that doesn't depend on how wide a machine's fonts make the labels.
        figure.set_layout_engine("none")
        axes.set_position((0.07, 0.09, 0.92, 0.9))
        axes.xaxis.set_label_coords(0.5, -0.06)
        axes.yaxis.set_label_coords(-0.05, 0.5)
        places = [(one.processor_seconds, 100 * (one.inductive or one.own).estimate.mean) for one in points]
        _named(figure, axes, places, [one.name for one in points])
        return to_svg(figure)


def _named(figure: "Figure", axes: "Axes", places: Sequence[tuple[float, float]], names: Sequence[str]) -> None:
    """A name beside every point, where it hides neither a point nor another name; a line leads to one further off."""
    figure.draw_without_rendering()
    dots = [axes.transData.transform(place) for place in places]  # in pixels
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in dots]
    frame = axes.get_window_extent()
    for (x, y), place, name in sorted(zip(dots, places, names, strict=True), key=lambda one: -one[0][1]):
        wide, high = 6.4 * len(name), 11.0
        best = min(_around(wide, high), key=lambda at: _hidden(x, y, at, wide, high, taken, frame.extents))
        left, low = x + best[0], y + best[1]
        taken.append((left, low, left + wide, low + high))
        gap = (max(best[0], -best[0] - wide, 0.0), max(best[1], -best[1] - high, 0.0))
        line = {"arrowstyle": "-", "color": "#a9aaa8", "linewidth": 0.8, "shrinkA": 1, "shrinkB": 4}
        text: Any = {"textcoords": "offset pixels", "fontsize": 10, "color": INK}
        axes.annotate(name, place, (best[0], best[1] + 1.5), **text)
        if math.hypot(*gap) > 11:
            nearest = (min(max(best[0], 0.0), best[0] + wide), min(max(best[1], 0.0), best[1] + high))
            axes.annotate("", place, nearest, arrowprops=line, **text)


def _around(wide: float, high: float) -> Iterator[tuple[float, float]]:
    """Where a name may begin, from its point, in pixels: near ones first."""
    for far in (8, 18, 30, 44, 60, 80):
        yield from ((far, -high / 2), (-wide - far, -high / 2))
        yield from ((far, far - 4), (far, -far - 4), (-wide - far, far - 4), (-wide - far, -far - 4))
        yield from ((-wide / 2, far), (-wide / 2, -high - far))


def _hidden(
    x: float,
    y: float,
    at: tuple[float, float],
    wide: float,
    high: float,
    taken: Sequence[tuple[float, float, float, float]],
    frame: Sequence[float],
) -> float:
    """What a name there would hide of what is drawn, in square pixels; outside of the frame counts too."""
    left, low, right, top = x + at[0], y + at[1], x + at[0] + wide, y + at[1] + high
    outside = max(0.0, frame[0] - left) + max(0.0, right - frame[2]) + max(0.0, frame[1] - low) + max(0, top - frame[3])
    hidden = 100.0 * outside
    for box in taken:
        across, along = min(right, box[2]) - max(left, box[0]), min(top, box[3]) - max(low, box[1])
        hidden += max(0.0, across + 2) * max(0.0, along + 2)
    return hidden
