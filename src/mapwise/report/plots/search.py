"""A search: its history, one setting at a time, and which settings mattered."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mapwise.engine.results import Search, Trial
from mapwise.problems import metric_named
from mapwise.report.plots.style import (
    COLOURS,
    INK,
    SOFT,
    add_legend,
    no_tick,
    one_axes,
    percent_axis,
    plain_tick,
    short,
    styled,
    to_svg,
    whole_numbers,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def search_history(search: Search) -> str:
    """Every trial's validation in the order they ran, and the best so far."""
    with styled():
        figure, axes = one_axes()
        _trials(axes, search, [float(trial.number) for trial in search.trials])
        done = [trial for trial in search.trials if trial.state == "complete" and _known(trial)]
        if done:
            better = np.minimum if metric_named(search.metric).lower_is_better else np.maximum
            best = better.accumulate([_height(trial, search) for trial in done])
            x = [trial.number for trial in done] + [max(trial.number for trial in search.trials)]
            axes.step(
                x, [*best, best[-1]], where="post", color=COLOURS[0], linewidth=1.5, label="best so far", zorder=1
            )
        _search_axis(axes, search)
        axes.set_xlabel("trial")
        whole_numbers(axes)
        add_legend(figure, axes, always=True)
        return to_svg(figure)


def search_slice(search: Search, name: str) -> str:
    """The validation of every trial against one of the settings that were searched."""
    texts = [trial.values.get(name) for trial in search.trials]
    kinds = list(dict.fromkeys(text for text in texts if isinstance(text, str)))
    with styled():
        figure, axes = one_axes(height=280)
        places = [math.nan if v is None else float(kinds.index(v) if isinstance(v, str) else v) for v in texts]
        _trials(axes, search, places)
        if kinds:
            axes.set_xticks(range(len(kinds)), [short(kind, 18) for kind in kinds])
            axes.set_xlim(-0.5, len(kinds) - 0.5)
        elif name in search.logarithmic:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(plain_tick)
            axes.xaxis.set_minor_formatter(no_tick)
        elif all(isinstance(value, int) for value in texts if value is not None):
            whole_numbers(axes)
        _search_axis(axes, search)
        axes.set_xlabel(name)
        add_legend(figure, axes, always=True)
        return to_svg(figure)


def importance_bars(shares: dict[str, float]) -> str:
    """How much each setting moved the validation, in per cent of all, the largest on top."""
    names = sorted(shares, key=lambda name: shares[name])
    with styled():
        figure, axes = one_axes(height=90 + 34 * len(names))
        values = [100 * shares[name] for name in names]
        bars = axes.barh(range(len(names)), values, color=COLOURS[0], height=0.62)
        axes.bar_label(bars, [f"{value:.0f} %" for value in values], padding=4, color=SOFT, fontsize=10)
        axes.set_yticks(range(len(names)), [short(name, 28) for name in names])
        axes.set(xlim=(0, 1.12 * max([*values, 1.0])), xlabel="share of what moved the validation (%)")
        axes.grid(False)
        return to_svg(figure)


_STATES = (("complete", COLOURS[0], COLOURS[0], "o"), ("pruned", "none", COLOURS[1], "s"))


def _trials(axes: "Axes", search: Search, places: Sequence[float]) -> None:
    """A mark for every trial that was validated, filled where it was completed."""
    best = search.best
    for state, face, edge, marker in _STATES:
        mine = [i for i, trial in enumerate(search.trials) if trial.state == state and _known(trial)]
        if mine:
            x, y = [places[i] for i in mine], [_height(search.trials[i], search) for i in mine]
            axes.scatter(
                x, y, s=38, facecolors=face, edgecolors=edge, marker=marker, linewidths=1.3, label=state, zorder=3
            )
    if best is not None:
        at = places[search.trials.index(best)]
        axes.scatter(
            [at],
            [_height(best, search)],
            s=150,
            facecolors="none",
            edgecolors=INK,
            linewidths=1.4,
            label="the best",
            zorder=4,
        )


def _known(trial: Trial) -> bool:
    return trial.validation is not None and math.isfinite(trial.validation)


def search_top(search: Search) -> float:
    """The height from which trials are drawn at the upper edge: an error that ran away would flatten all others."""
    values = [float(trial.validation or 0.0) for trial in search.trials if _known(trial)]
    return 10 * float(np.median(values)) if values and not metric_named(search.metric).percent else math.inf


def _height(trial: Trial, search: Search) -> float:
    return min(float(trial.validation or 0.0), search_top(search))


def _search_axis(axes: "Axes", search: Search) -> None:
    values = [_height(trial, search) for trial in search.trials if _known(trial)]
    metric = metric_named(search.metric)
    if metric.percent:
        percent_axis(axes)
        axes.set_ylabel(f"validation {metric.title} (%)")
        return
    if values and min(values) > 0 and max(values) > 20 * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(plain_tick)
        axes.yaxis.set_minor_formatter(no_tick)
    axes.set_ylabel(f"validation {metric.title}")
