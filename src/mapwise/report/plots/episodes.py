"""One task drawn out: its support, its queries, and what they were named."""

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np

from mapwise.engine.results import Episode
from mapwise.report.plots.style import COLOURS, FAINT, INK, RIGHT, SOFT, WRONG, short, xml_text

TILE = 56

STEP, SLOT = TILE + 8, TILE + 26
"""From one support tile to the next, and from one query, with its words, to the next."""


def episode(task: Episode, *, classes: int = 10, shots: int = 5, width: int = 900) -> str:
    """One task drawn out: a row for every class, its support first, then its queries and what they were named.

    classes, shots: at most so many are drawn, the first ones; of the queries as many as fit `width` pixels.
    A right answer has a tick, a wrong one a cross and a heavy frame; the number is the confidence.
    """
    names = list(dict.fromkeys([*task.support_names, *task.query_names]))
    tiles = _tiles([np.asarray(task.support_x), np.asarray(task.query_x)])
    known, query_count = len(task.support_names), len(task.query_names)
    per_class = [[i for i in range(known) if task.support_names[i] == name] for name in names]
    drawn, left, room = _columns(task, shots, width)
    height = 28
    parts = [_label(0, 11, "SUPPORT", SOFT, 10), _label(left, 11, "QUERIES, AND WHAT THEY WERE NAMED", SOFT, 10)]
    columns = max([min(room, task.query_names.count(name)) for name in names[:classes]], default=1)
    full = max(left + columns * SLOT, left + 245)
    for name, rows in zip(names[:classes], per_class, strict=False):
        title = f"<title>{escape(xml_text(name))}</title>"
        parts.append(f"<g>{title}{_label(0, height + 9, short(name, full // 8), INK, 12.5, 600)}</g>")
        top = height + 18
        for k, i in enumerate(rows[:drawn]):
            parts.append(_placed(tiles[i], k * STEP, top, INK, 1.6))
        if len(rows) > drawn:
            parts.append(_label(0, top + TILE + 13, f"and {len(rows) - drawn} more", SOFT, 10))
        queries = [i for i in range(query_count) if task.query_names[i] == name]
        for k, i in enumerate(queries[:room]):
            parts.append(_query(task, i, tiles[known + i], left + k * SLOT, top))
        height = top + TILE + 44
    if len(names) > 1 or query_count:
        parts.append(f'<line x1="{left - 18}" x2="{left - 18}" y1="28" y2="{height - 14}" stroke="{FAINT}"/>')
    body = "".join(parts)
    size = f'viewBox="-2 0 {full + 4} {height}" width="{full + 4}" height="{height}"'
    return f'<svg {size} font-family="sans-serif">{body}</svg>'


def drawn_out(task: Episode, *, classes: int = 10, shots: int = 5, width: int = 900) -> tuple[int, int, int, int]:
    """How much of an episode `episode` draws: classes drawn, of how many, queries drawn, of how many."""
    names = list(dict.fromkeys([*task.support_names, *task.query_names]))
    room = _columns(task, shots, width)[2]
    queries = sum(min(room, task.query_names.count(name)) for name in names[:classes])
    return min(classes, len(names)), len(names), queries, len(task.query_names)


def _columns(task: Episode, shots: int, width: int) -> tuple[int, int, int]:
    """Support tiles in a row, the place where the queries begin, and how many of them have room."""
    most = max((task.support_names.count(name) for name in task.support_names), default=0)
    drawn = min(shots, most)
    left = drawn * STEP + 28
    return drawn, left, max(1, min(8, (width - left) // SLOT))


def _query(task: Episode, i: int, tile: str, x: float, y: float) -> str:
    right = task.predicted[i] == task.query_names[i]
    colour = RIGHT if right else WRONG
    mark = "M0 4.5 L3 7.5 L8 1" if right else "M0.5 0.5 L7.5 7.5 M7.5 0.5 L0.5 7.5"
    caption = f"{task.query_names[i]}, named {task.predicted[i]}, confidence {100 * float(task.confidence[i]):.0f} %"
    below = y + TILE + 14
    return (
        f"<g><title>{escape(xml_text(caption))}</title>{_placed(tile, x, y, colour, 1 if right else 3)}"
        f'<path d="{mark}" transform="translate({x} {below - 8})" fill="none" stroke="{colour}" stroke-width="2"/>'
        f"{_label(x + 12, below, f'{100 * float(task.confidence[i]):.0f} %', colour, 11, 600)}"
        f"{_label(x, below + 13, short(task.predicted[i], 12), SOFT if right else colour, 10)}</g>"
    )


def _label(x: float, y: float, text: str, colour: str, size: float, weight: int = 400) -> str:
    style = f'font-size="{size}" font-weight="{weight}" fill="{colour}"'
    return f'<text x="{x}" y="{y}" {style}>{escape(xml_text(text))}</text>'


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
