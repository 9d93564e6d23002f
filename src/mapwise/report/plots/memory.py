"""Where the heads of a memory wrote and read."""

from typing import TYPE_CHECKING

import numpy as np

from mapwise.engine.results import MemoryUse
from mapwise.report.plots.style import COLOURS, INK, SOFT, WRONG, styled, to_svg, whole_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FURTHER = COLOURS[2]
"""The colour of what only some memories have."""


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


def memory_map(use: MemoryUse) -> str:
    """One sequence from left to right: what was shown, due and said, and where the heads wrote and read.

    Between them stands what else there was of a row or of its slots. A wrong bit is crossed out.
    """
    from matplotlib.figure import Figure

    slots, further = slots_used(use), {*use.gates, *use.slots}

    def heads(what: str, weights: np.ndarray) -> list[tuple[str, np.ndarray]]:
        several = weights.shape[1] > 1
        return [(f"{what} {i + 1}" if several else what, weights[:, i, slots]) for i in range(weights.shape[1])]

    panels = [("input", use.inputs), ("target", use.targets), ("output", use.outputs)]
    bits = len(panels)
    panels += [(name, values[:, None]) for name, values in use.gates.items()]
    gates = len(panels)
    panels += heads("writes", use.writes)
    panels += [(name, values[:, slots]) for name, values in use.slots.items()] + heads("reads", use.reads)
    # Bits are few and slots may be many: none so small that it is lost, none so large that it hides the others.
    tall = [
        max(46, 9 * panel.shape[1]) if i < bits else 16 if i < gates else min(max(70, 8 * len(slots)), 240)
        for i, (_, panel) in enumerate(panels)
    ]
    with styled():
        figure = Figure(figsize=(820 / 72, (sum(tall) + 12 * len(tall) + 50) / 72), dpi=72, layout="constrained")
        drawn = figure.subplots(len(panels), 1, sharex=True, height_ratios=tall, squeeze=False)[:, 0]
        begin = int(np.isfinite(use.targets).all(1).argmax()) - 0.5
        for i, (axes, (name, panel)) in enumerate(zip(drawn, panels, strict=True)):
            colour = INK if i < bits else FURTHER if name in further else COLOURS[name.startswith("writes")]
            _shade(axes, panel.T, colour)
            axes.axvline(begin, color=SOFT, linewidth=1)
            axes.set_ylabel(name, rotation=0, ha="right", va="center")
            axes.grid(False)
            axes.set_yticks([]) if i < gates else axes.set_yticks(*_ticks(slots))
            if name == "output":
                rows, columns = np.nonzero(np.isfinite(use.targets) & ((use.outputs > 0.5) != (use.targets > 0.5)))
                axes.scatter(rows, columns, marker="x", s=26, color=WRONG, linewidth=1.4)
        drawn[-1].set_xlabel("rows of the sequence")
        whole_numbers(drawn[-1])
        return to_svg(figure)


def memory_links(use: MemoryUse, name: str) -> str:
    """How far each slot stands after each other one at the end, of the slots that were used."""
    from matplotlib.figure import Figure

    slots = slots_used(use)
    with styled():
        figure = Figure(figsize=(400 / 72, 360 / 72), dpi=72, layout="constrained")
        axes = figure.subplots()
        _shade(axes, use.links[name][np.ix_(slots, slots)], FURTHER)
        axes.set_aspect("equal")
        axes.grid(False)
        axes.set_xticks(*_ticks(slots))
        axes.set_yticks(*_ticks(slots))
        axes.set_xlabel("slot")
        axes.set_ylabel(f"slot {name} it")
        return to_svg(figure)


def _shade(axes: "Axes", values: np.ndarray, colour: str) -> None:
    """Numbers from 0 to 1 as squares from white to a colour, and what is no number in grey."""
    from matplotlib.colors import LinearSegmentedColormap

    ramp = LinearSegmentedColormap.from_list(colour, ["#ffffff", colour]).with_extremes(bad="#f1efea")
    axes.imshow(np.ma.masked_invalid(values), cmap=ramp, vmin=0, vmax=1, aspect="auto", interpolation="nearest")


def _ticks(slots: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """A few places along an axis of slots, and the slots there."""
    places = np.unique(np.linspace(0, len(slots) - 1, min(len(slots), 6)).round().astype(int))
    return places, [str(slots[place]) for place in places]
