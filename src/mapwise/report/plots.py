"""Figures: each function takes numbers and returns one SVG, ready to stand inside a page.

The SVGs carry no namespace, no date and no reference to anything outside them, and the same numbers
give the same bytes. Text stays text, so that it can be searched, and takes the font of the page.
"""

import base64
import io
import math
import re
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from statistics import NormalDist
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from mapwise.core.held_out import Expected
from mapwise.engine.results import (
    Contender,
    Curve,
    EmbeddingMap,
    Episode,
    FunctionFit,
    MemoryUse,
    Search,
    Trial,
)
from mapwise.problems import metric_named, metric_titled
from mapwise.problems.classification import ClassFigures
from mapwise.problems.regression import LEVELS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1f2329"
SOFT = "#5b6470"
FAINT = "#e6e3dc"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b5568f", "#b97700", "#3f9fd8", "#4b4b4b")
"""Okabe and Ito's colours, which people with any colour vision tell apart, darkened where paper needs it."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
RIGHT, WRONG = "#00694d", "#c24e00"

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$x$"
    "axes.edgecolor": "#a9aaa8",
    "axes.linewidth": 0.8,
    "axes.labelcolor": SOFT,
    "axes.labelsize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "xtick.color": "#a9aaa8",
    "ytick.color": "#a9aaa8",
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 10.5,
    "legend.handlelength": 1.6,
    "lines.linewidth": 2,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "mapwise",
}


def short(name: str, width: int) -> str:
    """The name in at most `width` characters, its middle left out: the end tells look-alikes apart."""
    name = " ".join(name.split())
    if len(name) <= width:
        return name
    tail = 3 * (width - 1) // 5
    return f"{name[: width - 1 - tail]}…{name[len(name) - tail :]}"


def in_percent(quantity: str) -> bool:
    """Whether a quantity is drawn in per cent: the title of a metric that is a share."""
    metric = metric_titled(quantity)
    return metric is not None and metric.percent


def learning_curve(curves: Sequence[Curve], *, metric: str) -> str:
    """Lines over training steps. metric: a metric's title (those of 0..1 are drawn in per cent), or "loss"."""
    with _styled():
        figure, axes = _one_axes()
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
            _percent_axis(axes)
        elif len(values) and values.min() > 0 and values.max() > 50 * values.min():
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(_plain)
            axes.yaxis.set_minor_formatter(_nothing)
        axes.set_xlabel("training steps")
        axes.set_ylabel(f"{metric} (%)" if in_percent(metric) else metric)
        axes.margins(x=0.01)
        axes.xaxis.set_major_formatter(_thousands)
        _legend(figure, axes)
        return _svg(figure)


def against_shots(curves: Sequence[Curve], *, metric: str = "accuracy", chance: float | None = None) -> str:
    """The metric against support rows per class, on a logarithmic axis, with 95 % bands."""
    return _against(
        curves,
        "shots (support rows per class)" if metric == "accuracy" else "shots (support points)",
        metric,
        chance,
        logarithmic=True,
    )


def with_more_examples(more: Sequence[int], expected: Sequence[Expected], *, chance: float) -> str:
    """The accuracy to expect with so many further examples of each class, and its interval."""
    # By the square root, so that one more stands apart from none beside twenty.
    x = np.sqrt(more)
    accuracy, low, high = np.array(expected, dtype=float).T
    with _styled():
        figure, axes = _one_axes()
        axes.fill_between(x, low, high, color=COLOURS[0], alpha=0.2, linewidth=0)
        axes.axhline(chance, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
        _dotted(axes, x, accuracy)
        axes.annotate(
            "chance", (x[-1], chance), (0, 4), textcoords="offset points", color=SOFT, fontsize=10, ha="right"
        )
        axes.set_xticks(x, [f"{count} more" if count else "as it is" for count in more])
        axes.set(xlabel="examples of each class", ylabel="accuracy (%)", ylim=(0, 1.02))
        _percent_axis(axes)
        return _svg(figure)


def against_coverage(share: np.ndarray, accuracy: np.ndarray) -> str:
    """The accuracy of what is answered against the share that is, the rest being refused."""
    with _styled():
        figure, axes = _one_axes()
        _dotted(axes, share, accuracy)
        axes.set_xticks(share, [f"{100 * place:.0f}" for place in share])
        axes.set(xlabel="share answered (%)", ylabel="right of those answered (%)", ylim=(0, 1.02))
        axes.margins(x=0.06)
        _percent_axis(axes)
        return _svg(figure)


def _dotted(axes: "Axes", x: np.ndarray, y: np.ndarray) -> None:
    """A line through points, which are whole where they lie on the edge."""
    axes.plot(x, y, color=COLOURS[0], marker="o", markersize=6.5, markeredgecolor="white", clip_on=False)


def against_steps(curves: Sequence[Curve], *, metric: str = "accuracy", chance: float | None = None) -> str:
    """The metric against inner steps of adaptation, with 95 % bands."""
    return _against(curves, "inner steps of adaptation", metric, chance, logarithmic=False)


def against_seconds(curves: Sequence[Curve], *, chance: float | None = None) -> str:
    """Validation accuracy against processor seconds of training, many learners in one figure."""
    with _styled():
        figure, axes = _one_axes(width=820, height=520)
        for i, curve in enumerate(curves):
            x, y, band = _finite(curve)
            _banded(axes, x, y, band, COLOURS[i % len(COLOURS)], short(curve.label, 30), MARKERS[i % len(MARKERS)])
        if chance is not None:
            axes.axhline(chance, color=SOFT, linewidth=1, linestyle=(0, (4, 3)), label="chance")
        _percent_axis(axes)
        axes.set(xlabel="processor seconds of training", ylabel="validation accuracy (%)")
        _legend(figure, axes)
        return _svg(figure)


def reliability(bins: np.ndarray, after: np.ndarray | None = None) -> str:
    """Accuracy against confidence.

    bins:  [B, 3], confidence, accuracy and share of rows of each bin.
    after: the same after a temperature, drawn as open points.
    """
    bins = _known_bins(bins)
    with _styled():
        figure, axes = _one_axes(height=380)
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=(0, (4, 3)), label="confidence = accuracy")
        axes.vlines(bins[:, 0], np.minimum(bins[:, 0], bins[:, 1]), bins[:, :2].max(1), color=WRONG, linewidth=1.5)
        sizes = 25 + 250 * bins[:, 2]
        axes.scatter(bins[:, 0], bins[:, 1], s=sizes, color=COLOURS[0], edgecolor="white", linewidth=0.8, zorder=3)
        if after is not None:
            x, y, mass = _known_bins(after).T
            colour = COLOURS[1]
            axes.scatter(x, y, s=25 + 250 * mass, facecolors="none", edgecolors=colour, linewidth=1.4, zorder=4)
            axes.text(0.03, 0.88, "open: after a temperature", color=colour, fontsize=10)
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="confidence (%)", ylabel="share that was right (%)")
        axes.set_aspect("equal")
        axes.grid(True, axis="both")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(np.linspace(0, 1, 6), labels=[str(n) for n in range(0, 101, 20)])
        axes.text(0.03, 0.95, "too modest", color=SOFT, fontsize=10)
        axes.text(0.98, 0.03, "too confident", color=SOFT, fontsize=10, ha="right")
        return _svg(figure)


def _known_bins(bins: np.ndarray) -> np.ndarray:
    bins = np.asarray(bins, dtype=float)
    known: np.ndarray = bins[np.isfinite(bins).all(1) & (bins[:, 2] > 0)]
    return known


def confused(figures: ClassFigures, most: int = 20) -> list[str]:
    """The classes of the most frequent mistakes, at most `most`, those mistaken for each other side by side."""
    names: list[str] = []
    wrong = [(rows, pair) for pair, rows in figures.confusions.items() if pair[0] != pair[1] and rows > 0]
    for _, pair in sorted(wrong, key=lambda entry: (-entry[0], entry[1])):
        new = [name for name in pair if name not in names]
        if len(names) + len(new) <= most:
            names += new
    return names


def confusion_matrix(figures: ClassFigures, most: int = 20) -> str:
    """Which class was taken for which: the most confused ones, in per cent of each true class's queries.

    Right answers, on the diagonal, stay grey, and so all colour is mistakes.

    Raises ValueError when nothing was mistaken for anything.
    """
    names = confused(figures, most)
    if not names:
        raise ValueError("there is no mistake among the confusions: draw this figure only when `confused` is not empty")
    rows = dict(zip(figures.names, np.asarray(figures.rows, dtype=float), strict=True))
    recall = dict(zip(figures.names, np.asarray(figures.recall, dtype=float), strict=True))
    shares = np.array([[figures.confusions.get((t, p), 0) / max(1.0, rows.get(t, 0.0)) for p in names] for t in names])
    off = shares.copy()
    np.fill_diagonal(off, np.nan)
    n = len(names)
    with _styled():
        from matplotlib.colors import Colormap, LinearSegmentedColormap

        ramp: Colormap = LinearSegmentedColormap.from_list("mistakes", ["#fdf3ea", "#f2b27e", "#d55e00", "#7a2f00"])
        ramp = ramp.with_extremes(bad="#edebe6")
        cell = 36 if n <= 12 else 30
        figure, axes = _one_axes(width=max(330, 240 + cell * n), height=max(280, 165 + cell * n))
        top = max(float(np.nanmax(off)), 1e-9) if n > 1 else 1.0
        axes.pcolormesh(np.ma.masked_invalid(off), cmap=ramp, vmin=0, vmax=top, edgecolors="white", linewidth=1.5)
        for i, true in enumerate(names):
            for j in range(n):
                value = recall.get(true, math.nan) if i == j else shares[i, j]
                if math.isfinite(value) and value > 0:
                    shade = SOFT if i == j else ("white" if value > 0.55 * top else INK)
                    shown = f"{100 * value:.0f}" if value >= 0.0095 else f"{100 * value:.1f}".lstrip("0")
                    axes.text(j + 0.5, i + 0.5, shown, ha="center", va="center", fontsize=9, color=shade)
        axes.set_xticks(np.arange(n) + 0.5, [short(name, 20) for name in names], rotation=60, ha="right")
        axes.tick_params(axis="x", size=0)
        for label in axes.get_xticklabels():
            label.set_rotation_mode("anchor")
        axes.set_yticks(np.arange(n) + 0.5, [short(name, 28) for name in names])
        axes.set(xlabel="named as", ylabel="really is")
        axes.invert_yaxis()
        axes.grid(False)
        for spine in axes.spines.values():
            spine.set_visible(False)
        return _svg(figure)


def embedding(found: EmbeddingMap) -> str:
    """One unseen task in two dimensions: queries small, support large and outlined, classes by colour and shape."""
    points, support = np.asarray(found.points, dtype=float), np.asarray(found.support, dtype=bool)
    names = list(dict.fromkeys(found.names))
    labels = np.array([names.index(name) for name in found.names])
    width = 30 if len(names) <= 12 else 18
    with _styled():
        figure, axes = _one_axes(height=380 + 17 * math.ceil(min(len(names), 24) / 2))
        for i, name in enumerate(names):
            colour, marker = COLOURS[i % len(COLOURS)], MARKERS[(i + i // len(COLOURS)) % len(MARKERS)]
            mine = labels == i
            for kind, size, edge, wide, order in ((False, 26, "white", 0.5, 2), (True, 150, INK, 1.6, 3)):
                at = points[mine & (support == kind)]
                axes.scatter(at[:, 0], at[:, 1], s=size, c=colour, marker=marker, edgecolors=edge, linewidths=wide,
                             alpha=1.0 if kind else 0.85, zorder=order)  # fmt: skip
            if i < 24:
                axes.scatter([], [], s=42, c=colour, marker=marker, label=short(name, width))
        axes.set(xticks=[], yticks=[], xlabel="first direction of the embedding", ylabel="second direction")
        axes.set_aspect("equal", adjustable="datalim")
        axes.grid(False)
        for spine in axes.spines.values():
            spine.set_color(FAINT)
            spine.set_visible(True)
        _legend(figure, axes, always=True)
        return _svg(figure)


def function_fit(fit: FunctionFit) -> str:
    """One regression task: the true function, the prediction, and the support it was made from.

    With a scale, the central intervals of every level are bands, and the truth is the single points that they may hold.
    """
    order = np.argsort(np.ravel(fit.query_x), kind="stable")
    x, truth, predicted = (np.ravel(values)[order] for values in (fit.query_x, fit.query_y, fit.predicted))
    with _styled():
        figure, axes = _one_axes()
        if fit.scale is None:
            axes.plot(x, truth, color="#8a8f96", linewidth=1.6, linestyle=(0, (5, 2)), label="the truth")
        else:
            scale = np.ravel(fit.scale)[order]
            for level in reversed(LEVELS):
                reach = NormalDist().inv_cdf(0.5 + float(level) / 200) * scale
                axes.fill_between(x, predicted - reach, predicted + reach, color=COLOURS[0], alpha=0.14, linewidth=0)
            axes.plot(x, truth, ".", color=INK, markersize=4, label="the truth")
        axes.plot(x, predicted, color=COLOURS[0], label="predicted")
        axes.scatter(np.ravel(fit.support_x), np.ravel(fit.support_y), s=64, color=COLOURS[1], edgecolor=INK,
                     linewidth=1.2, zorder=3, label=f"support ({np.size(fit.support_x)})")  # fmt: skip
        axes.set(xlabel="input x", ylabel="target y")
        _legend(figure, axes, always=True)
        return _svg(figure)


def slots_used(use: MemoryUse, least: float = 0.1) -> np.ndarray:
    """The slots between those that some head ever gave this weight, along the shorter way around the ring."""
    slots = use.reads.shape[2]
    largest = np.concatenate([use.reads, use.writes], 1).max((0, 1))  # [N]
    used = np.flatnonzero(largest >= least)
    if not len(used):
        return np.arange(slots)
    # The widest gap between neighbours on the ring is what is left out.
    gaps = np.diff(np.append(used, used[0] + slots))
    first = used[(int(gaps.argmax()) + 1) % len(used)]
    return np.asarray((first + np.arange(slots - int(gaps.max()) + 1)) % slots)


def memory_use(use: MemoryUse) -> str:
    """One sequence from left to right: what was shown, due and said, and where the heads wrote and read.

    A wrong bit is crossed out.
    """
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    slots = slots_used(use)

    def heads(what: str, weights: np.ndarray) -> list[tuple[str, np.ndarray]]:
        several = weights.shape[1] > 1
        return [(f"{what} {i + 1}" if several else what, weights[:, i, slots]) for i in range(weights.shape[1])]

    panels = [("shown", use.shown), ("due", use.due), ("said", use.said)]
    bits = len(panels)
    panels += heads("writes", use.writes) + heads("reads", use.reads)
    # Bits are few and slots may be many: none so small that it is lost, none so large that it hides the others.
    tall = [
        max(46, 9 * panel.shape[1]) if i < bits else min(max(70, 8 * len(slots)), 240)
        for i, (_, panel) in enumerate(panels)
    ]
    with _styled():
        figure = Figure(figsize=(820 / 72, (sum(tall) + 12 * len(tall) + 50) / 72), dpi=72, layout="constrained")
        drawn = figure.subplots(len(panels), 1, sharex=True, height_ratios=tall, squeeze=False)[:, 0]
        begin = int(np.isfinite(use.due).all(1).argmax()) - 0.5
        for i, (axes, (name, panel)) in enumerate(zip(drawn, panels, strict=True)):
            colour = INK if i < bits else COLOURS[1] if name.startswith("writes") else COLOURS[0]
            ramp = LinearSegmentedColormap.from_list(name, ["#ffffff", colour]).with_extremes(bad="#f1efea")
            axes.imshow(
                np.ma.masked_invalid(panel.T), cmap=ramp, vmin=0, vmax=1, aspect="auto", interpolation="nearest"
            )
            axes.axvline(begin, color=SOFT, linewidth=1)
            axes.set_ylabel(name, rotation=0, ha="right", va="center")
            axes.grid(False)
            if i < bits:
                axes.set_yticks([])
            else:
                places = np.unique(np.linspace(0, len(slots) - 1, min(len(slots), 6)).round().astype(int))
                axes.set_yticks(places, [str(slots[place]) for place in places])
            if name == "said":
                rows, columns = np.nonzero(np.isfinite(use.due) & ((use.said > 0.5) != (use.due > 0.5)))
                axes.scatter(rows, columns, marker="x", s=26, color=WRONG, linewidth=1.4)
        drawn[-1].set_xlabel("rows of the sequence")
        _whole_numbers(drawn[-1])
        return _svg(figure)


def search_history(found: Search) -> str:
    """Every trial's validation in the order they ran, and the best so far."""
    with _styled():
        figure, axes = _one_axes()
        _trials(axes, found, [float(trial.number) for trial in found.trials])
        done = [trial for trial in found.trials if trial.state == "complete" and _known(trial)]
        if done:
            better = np.minimum if metric_named(found.metric).lower_is_better else np.maximum
            best = better.accumulate([_height(trial, found) for trial in done])
            x = [trial.number for trial in done] + [max(trial.number for trial in found.trials)]
            axes.step(
                x, [*best, best[-1]], where="post", color=COLOURS[0], linewidth=1.5, label="best so far", zorder=1
            )
        _search_axis(axes, found)
        axes.set_xlabel("trial")
        _whole_numbers(axes)
        _legend(figure, axes, always=True)
        return _svg(figure)


def search_slice(found: Search, name: str) -> str:
    """The validation of every trial against one of the settings that were searched."""
    texts = [trial.values.get(name) for trial in found.trials]
    kinds = list(dict.fromkeys(text for text in texts if isinstance(text, str)))
    with _styled():
        figure, axes = _one_axes(height=280)
        places = [math.nan if v is None else float(kinds.index(v) if isinstance(v, str) else v) for v in texts]
        _trials(axes, found, places)
        if kinds:
            axes.set_xticks(range(len(kinds)), [short(kind, 18) for kind in kinds])
            axes.set_xlim(-0.5, len(kinds) - 0.5)
        elif name in found.logarithmic:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(_plain)
            axes.xaxis.set_minor_formatter(_nothing)
        elif all(isinstance(value, int) for value in texts if value is not None):
            _whole_numbers(axes)
        _search_axis(axes, found)
        axes.set_xlabel(name)
        _legend(figure, axes, always=True)
        return _svg(figure)


def importances(shares: dict[str, float]) -> str:
    """How much each setting moved the validation, in per cent of all, the largest on top."""
    names = sorted(shares, key=lambda name: shares[name])
    with _styled():
        figure, axes = _one_axes(height=90 + 34 * len(names))
        values = [100 * shares[name] for name in names]
        bars = axes.barh(range(len(names)), values, color=COLOURS[0], height=0.62)
        axes.bar_label(bars, [f"{value:.0f} %" for value in values], padding=4, color=SOFT, fontsize=10)
        axes.set_yticks(range(len(names)), [short(name, 28) for name in names])
        axes.set(xlim=(0, 1.12 * max([*values, 1.0])), xlabel="share of what moved the validation (%)")
        axes.grid(False)
        return _svg(figure)


_STATES = (("complete", COLOURS[0], COLOURS[0], "o"), ("pruned", "none", COLOURS[1], "s"))


def _trials(axes: "Axes", found: Search, places: Sequence[float]) -> None:
    """A mark for every trial that was validated, filled where it was completed."""
    best = found.best
    for state, face, edge, marker in _STATES:
        mine = [i for i, trial in enumerate(found.trials) if trial.state == state and _known(trial)]
        if mine:
            x, y = [places[i] for i in mine], [_height(found.trials[i], found) for i in mine]
            axes.scatter(
                x, y, s=38, facecolors=face, edgecolors=edge, marker=marker, linewidths=1.3, label=state, zorder=3
            )
    if best is not None:
        at = places[found.trials.index(best)]
        axes.scatter(
            [at],
            [_height(best, found)],
            s=150,
            facecolors="none",
            edgecolors=INK,
            linewidths=1.4,
            label="the best",
            zorder=4,
        )


def _known(trial: Trial) -> bool:
    return trial.validation is not None and math.isfinite(trial.validation)


def search_top(found: Search) -> float:
    """The height from which trials are drawn at the upper edge: an error that ran away would flatten all others."""
    values = [float(trial.validation or 0.0) for trial in found.trials if _known(trial)]
    return 10 * float(np.median(values)) if values and not metric_named(found.metric).percent else math.inf


def _height(trial: Trial, found: Search) -> float:
    return min(float(trial.validation or 0.0), search_top(found))


def _search_axis(axes: "Axes", found: Search) -> None:
    values = [_height(trial, found) for trial in found.trials if _known(trial)]
    metric = metric_named(found.metric)
    if metric.percent:
        _percent_axis(axes)
        axes.set_ylabel(f"validation {metric.title} (%)")
        return
    if values and min(values) > 0 and max(values) > 20 * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(_plain)
        axes.yaxis.set_minor_formatter(_nothing)
    axes.set_ylabel(f"validation {metric.title}")


def against_time(contenders: Sequence[Contender]) -> str:
    """Accuracy against seconds of training, every point with its interval and its name.

    A learner whose predictions depend on their neighbours is drawn open. One without training is left out.
    """
    points = [one for one in contenders if one.processor_seconds > 0]
    with _styled():
        figure, axes = _one_axes(width=820, height=520)
        for one in points:
            estimate, alone = (one.inductive or one.own).estimate, one.inductive is not None
            place = (one.processor_seconds, 100 * estimate.mean)
            axes.errorbar(*place, yerr=100 * estimate.ci95, color=COLOURS[0], linewidth=1.2, zorder=2)
            face = COLOURS[0] if alone else "white"
            axes.scatter(*place, s=42, color=face, edgecolor=COLOURS[0], linewidth=1.2, zorder=3)
        axes.set(xlabel="processor seconds of training", ylabel="test accuracy (%)")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(_thousands)
        axes.xaxis.set_minor_formatter(_thousands)
        axes.margins(x=0.16, y=0.1)
        places = [(one.processor_seconds, 100 * (one.inductive or one.own).estimate.mean) for one in points]
        _named(figure, axes, places, [one.name for one in points])
        return _svg(figure)


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
        far = math.hypot(*gap) > 11
        line = {"arrowstyle": "-", "color": "#a9aaa8", "linewidth": 0.8, "shrinkA": 1, "shrinkB": 4}
        axes.annotate(
            name,
            place,
            (best[0], best[1] + 1.5),
            textcoords="offset pixels",
            fontsize=10,
            color=INK,
            arrowprops=line if far else None,
        )


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


def standalone(svg: str) -> str:
    """A figure as a file of its own, on white."""
    named = svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" style="background:#fff" ', 1)
    return named.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif") + "\n"


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


def episode(found: Episode, *, classes: int = 10, shots: int = 5, width: int = 900) -> str:
    """One task drawn out: a row for every class, its support first, then its queries and what they were named.

    classes, shots: at most so many are drawn, the first ones; of the queries as many as fit `width` pixels.
    A right answer has a tick, a wrong one a cross and a heavy frame; the number is the confidence.
    """
    names = list(dict.fromkeys([*found.support_names, *found.query_names]))
    tiles = _tiles([np.asarray(found.support_x), np.asarray(found.query_x)])
    known, asked = len(found.support_names), len(found.query_names)
    per_class = [[i for i in range(known) if found.support_names[i] == name] for name in names]
    drawn, left, room = _columns(found, shots, width)
    height = 28
    parts = [_label(0, 11, "SUPPORT", SOFT, 10), _label(left, 11, "QUERIES, AND WHAT THEY WERE NAMED", SOFT, 10)]
    columns = max([min(room, found.query_names.count(name)) for name in names[:classes]], default=1)
    full = max(left + columns * SLOT, left + 245)
    for name, rows in zip(names[:classes], per_class, strict=False):
        title = f"<title>{escape(printable(name))}</title>"
        parts.append(f"<g>{title}{_label(0, height + 9, short(name, full // 8), INK, 12.5, 600)}</g>")
        top = height + 18
        for k, i in enumerate(rows[:drawn]):
            parts.append(_placed(tiles[i], k * STEP, top, INK, 1.6))
        if len(rows) > drawn:
            parts.append(_label(0, top + TILE + 13, f"and {len(rows) - drawn} more", SOFT, 10))
        queries = [i for i in range(asked) if found.query_names[i] == name]
        for k, i in enumerate(queries[:room]):
            parts.append(_query(found, i, tiles[known + i], left + k * SLOT, top))
        height = top + TILE + 44
    if len(names) > 1 or asked:
        parts.append(f'<line x1="{left - 18}" x2="{left - 18}" y1="28" y2="{height - 14}" stroke="{FAINT}"/>')
    body = "".join(parts)
    size = f'viewBox="-2 0 {full + 4} {height}" width="{full + 4}" height="{height}"'
    return f'<svg {size} font-family="sans-serif">{body}</svg>'


def drawn_out(found: Episode, *, classes: int = 10, shots: int = 5, width: int = 900) -> tuple[int, int, int, int]:
    """How much of an episode `episode` draws: classes drawn, of how many, queries drawn, of how many."""
    names = list(dict.fromkeys([*found.support_names, *found.query_names]))
    room = _columns(found, shots, width)[2]
    queries = sum(min(room, found.query_names.count(name)) for name in names[:classes])
    return min(classes, len(names)), len(names), queries, len(found.query_names)


TILE = 56
STEP, SLOT = TILE + 8, TILE + 26
"""From one support tile to the next, and from one query, with its words, to the next."""


def _columns(found: Episode, shots: int, width: int) -> tuple[int, int, int]:
    """Support tiles in a row, the place where the queries begin, and how many of them have room."""
    most = max((found.support_names.count(name) for name in found.support_names), default=0)
    drawn = min(shots, most)
    left = drawn * STEP + 28
    return drawn, left, max(1, min(8, (width - left) // SLOT))


def _query(found: Episode, i: int, tile: str, x: float, y: float) -> str:
    right = found.predicted[i] == found.query_names[i]
    colour = RIGHT if right else WRONG
    mark = "M0 4.5 L3 7.5 L8 1" if right else "M0.5 0.5 L7.5 7.5 M7.5 0.5 L0.5 7.5"
    told = f"{found.query_names[i]}, named {found.predicted[i]}, confidence {100 * float(found.confidence[i]):.0f} %"
    below = y + TILE + 14
    return (
        f"<g><title>{escape(printable(told))}</title>{_placed(tile, x, y, colour, 1 if right else 3)}"
        f'<path d="{mark}" transform="translate({x} {below - 8})" fill="none" stroke="{colour}" stroke-width="2"/>'
        f"{_label(x + 12, below, f'{100 * float(found.confidence[i]):.0f} %', colour, 11, 600)}"
        f"{_label(x, below + 13, short(found.predicted[i], 12), SOFT if right else colour, 10)}</g>"
    )


def _label(x: float, y: float, text: str, colour: str, size: float, weight: int = 400) -> str:
    style = f'font-size="{size}" font-weight="{weight}" fill="{colour}"'
    return f'<text x="{x}" y="{y}" {style}>{escape(printable(text))}</text>'


def _placed(tile: str, x: float, y: float, colour: str, wide: float) -> str:
    grown, side = wide / 2, TILE + wide
    frame = f'x="{-grown}" y="{-grown}" width="{side}" height="{side}" stroke="{colour}" stroke-width="{wide}"'
    return f'<g transform="translate({x} {y})">{tile}<rect {frame} fill="none" rx="2"/></g>'


def _tiles(arrays: Sequence[np.ndarray]) -> list[str]:
    """Every row as a small picture; the rows share one scale, so that they can be compared."""
    rows = [row for array in arrays for row in array]
    if not rows:
        return []
    every = np.stack(rows).astype(np.float64)
    every = np.nan_to_num(every, nan=0.0, posinf=0.0, neginf=0.0)
    if every.ndim == 4 and every.shape[1] in (1, 3):
        low, high = every.min(), every.max()
        if low < -1e-3 or high > 1 + 1e-3:  # normalised pixels: back to 0..1
            every = (every - low) / (high - low)
        # Grey is ink, dark on light; colours are as they are.
        light = 1 - every.repeat(3, 1) if every.shape[1] == 1 else every
        return [_image(np.moveaxis(row, 0, -1)) for row in np.clip(light, 0, 1)]
    return [_bars(row) for row in _pooled(every.reshape(len(every), -1), 24)]


def _image(pixels: np.ndarray) -> str:
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, np.round(255 * pixels).astype(np.uint8), format="png")
    uri = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    crisp = ' style="image-rendering:pixelated"' if max(pixels.shape[:2]) <= TILE // 2 else ""
    return f'<image width="{TILE}" height="{TILE}" href="{uri}"{crisp}/>'


def _bars(values: np.ndarray) -> str:
    """Values in -1..1 as thin bars from a line: up for more than 0, down for less."""
    low = -1.0 if values.min() < 0 else 0.0
    zero = TILE - 4 if low == 0 else TILE / 2
    reach = (TILE - 8) if low == 0 else (TILE - 8) / 2
    wide = (TILE - 8) / len(values)
    parts = [f'<rect width="{TILE}" height="{TILE}" fill="#fff"/>']
    for i, value in enumerate(values):
        size = max(abs(value) * reach, 0.5)
        y = zero - size if value >= 0 else zero
        box = f'x="{4 + i * wide:.2f}" y="{y:.2f}" width="{max(wide * 0.75, 0.8):.2f}" height="{size:.2f}"'
        parts.append(f'<rect {box} fill="{COLOURS[0] if value >= 0 else COLOURS[1]}"/>')
    return "".join(parts)


def _pooled(rows: np.ndarray, most: int) -> np.ndarray:
    """At most `most` columns, neighbours averaged; each scaled by its largest, as features differ in unit."""
    if rows.shape[1] > most:
        rows = np.stack([part.mean(1) for part in np.array_split(rows, most, axis=1)], 1)
    largest: np.ndarray = np.maximum(np.abs(rows).max(0), 1e-12)
    return np.asarray(rows / largest)


def _against(curves: Sequence[Curve], xlabel: str, metric: str, chance: float | None, logarithmic: bool) -> str:
    with _styled():
        figure, axes = _one_axes()
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
            axes.xaxis.set_major_formatter(_plain)
            axes.xaxis.set_minor_formatter(_nothing)
        if len(ticks) <= 12:
            places = sorted(ticks)
            axes.set_xticks(places, [f"{place:g}" for place in places])
            axes.set_xticks([], minor=True)
        percent, title = metric_named(metric).percent, metric_named(metric).title
        if percent:
            _percent_axis(axes)
        else:
            axes.set_ylim(bottom=0)
        axes.set(xlabel=xlabel, ylabel=f"{title} (%)" if percent else title)
        _legend(figure, axes)
        return _svg(figure)


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


def _percent_axis(axes: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    low, high = axes.get_ylim()
    axes.set_ylim(max(low, 0.0), min(high, 1.005) if high > 1 else high)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))

    def shown(value: float, place: float) -> str:
        return f"{100 * value:.4g}"

    axes.yaxis.set_major_formatter(shown)


def _whole_numbers(axes: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))


def _thousands(value: float, place: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:g}"


def _plain(value: float, place: float) -> str:
    """For logarithmic axes, whose own labels are mathematics, which the style switches off."""
    return f"{value:g}"


def _nothing(value: float, place: float) -> str:
    return ""


def _legend(figure: "Figure", axes: "Axes", always: bool = False) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) > 1 or (always and labels):
        columns = 1 if max(len(label) for label in labels) > 32 else min(len(labels), 2 + (len(labels) < 5))
        if sum(len(label) for label in labels) > 42:
            columns = min(columns, 2)
        figure.legend(handles, labels, loc="outside upper left", ncols=columns, columnspacing=1.4)


def _one_axes(width: float = 460, height: float = 300) -> "tuple[Figure, Axes]":
    """A figure of so many pixels; the page shows them one to one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained")
    return figure, figure.add_subplot()


@contextmanager
def _styled() -> Iterator[None]:
    import matplotlib

    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # The page's fonts draw the letters that matplotlib's own one lacks.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        yield


def _svg(figure: "Figure") -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    root = ElementTree.fromstring(printable(buffer.getvalue()))
    # Several figures stand in one page, so their ids must differ: each takes a prefix from its content.
    prefix = f"f{zlib.crc32(buffer.getvalue().encode('utf-8')):08x}"
    used = set(re.findall(r"""(?:url\(|href=")#([^)"]+)""", buffer.getvalue()))
    _bare(root, prefix, used)
    width, height = (float(value) for value in root.attrib["viewBox"].split()[2:])
    root.attrib.pop("version", None)
    root.attrib.update(width=f"{width:g}", height=f"{height:g}")
    root.attrib.update({"stroke-linejoin": "round", "stroke-linecap": "butt"})
    return ElementTree.tostring(root, encoding="unicode")


def _bare(node: ElementTree.Element, prefix: str, used: set[str]) -> None:
    """Without namespaces, metadata and style sheets, which would reach out of the figure into the page."""
    for child in list(node):
        if child.tag.rpartition("}")[2] in ("metadata", "style"):
            node.remove(child)
    node.tag = node.tag.rpartition("}")[2]
    for name in list(node.attrib):
        value = node.attrib.pop(name).replace("url(#", f"url(#{prefix}-")
        name = name.rpartition("}")[2]
        if name == "href" and value.startswith("#"):
            value = f"#{prefix}-{value[1:]}"
        if name == "id":
            if value not in used:
                continue
            value = f"{prefix}-{value}"
        node.attrib[name] = value
    for child in node:
        _bare(child, prefix, used)


def printable(text: str) -> str:
    """Without the control characters that XML forbids."""
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]", "\ufffd", text)
