"""What a classifier confuses, how sure it is, and how it sees a task."""

import math

import numpy as np

from mapwise.engine.results import EmbeddingMap
from mapwise.problems.classification import ClassFigures
from mapwise.report.plots.style import (
    COLOURS,
    FAINT,
    INK,
    MARKERS,
    SOFT,
    WRONG,
    add_legend,
    one_axes,
    short,
    styled,
    to_svg,
)


def reliability(bins: np.ndarray, after: np.ndarray | None = None) -> str:
    """Accuracy against confidence.

    bins:  [B, 3], confidence, accuracy and share of rows of each bin.
    after: the same after a temperature, drawn as open points.
    """
    bins = _known_bins(bins)
    with styled():
        figure, axes = one_axes(height=380)
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
        return to_svg(figure)


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
    with styled():
        from matplotlib.colors import Colormap, LinearSegmentedColormap

        ramp: Colormap = LinearSegmentedColormap.from_list("mistakes", ["#fdf3ea", "#f2b27e", "#d55e00", "#7a2f00"])
        ramp = ramp.with_extremes(bad="#edebe6")
        cell = 36 if n <= 12 else 30
        figure, axes = one_axes(width=max(330, 240 + cell * n), height=max(280, 165 + cell * n))
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
        return to_svg(figure)


def embedding(embedding_map: EmbeddingMap) -> str:
    """One unseen task in two dimensions: queries small, support large and outlined, classes by colour and shape."""
    points, support = np.asarray(embedding_map.points, dtype=float), np.asarray(embedding_map.support, dtype=bool)
    names = list(dict.fromkeys(embedding_map.names))
    labels = np.array([names.index(name) for name in embedding_map.names])
    width = 30 if len(names) <= 12 else 18
    with styled():
        figure, axes = one_axes(height=380 + 17 * math.ceil(min(len(names), 24) / 2))
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
        add_legend(figure, axes, always=True)
        return to_svg(figure)
