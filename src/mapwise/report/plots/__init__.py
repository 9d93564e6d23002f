"""Figures: each function takes numbers and returns one SVG, ready to stand inside a page."""

from mapwise.report.plots.classes import confused, confusion_matrix, embedding, reliability
from mapwise.report.plots.comparison import against_time
from mapwise.report.plots.episodes import drawn_out, episode
from mapwise.report.plots.functions import function_fit
from mapwise.report.plots.lines import (
    against_coverage,
    against_seconds,
    against_shots,
    against_steps,
    in_percent,
    interval,
    learning_curve,
    with_more_examples,
)
from mapwise.report.plots.memory import memory_links, memory_map, slots_used
from mapwise.report.plots.search import importance_bars, search_history, search_slice, search_top
from mapwise.report.plots.style import short, standalone, xml_text

__all__ = [
    "against_coverage",
    "against_seconds",
    "against_shots",
    "against_steps",
    "against_time",
    "confused",
    "confusion_matrix",
    "drawn_out",
    "embedding",
    "episode",
    "function_fit",
    "importance_bars",
    "in_percent",
    "interval",
    "learning_curve",
    "memory_links",
    "memory_map",
    "reliability",
    "search_history",
    "search_slice",
    "search_top",
    "short",
    "slots_used",
    "standalone",
    "with_more_examples",
    "xml_text",
]
