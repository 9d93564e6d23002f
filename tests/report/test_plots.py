"""Figures of a page survive odd values, and differ in shape as well as in colour."""

import re
from dataclasses import replace
from html import escape

import numpy as np
import pytest

from findings import CLASSES, episode, figures, regression_findings, report, with_figures, words
from mapwise.engine.results import (
    Curve,
    Findings,
)
from mapwise.report import plots
from mapwise.report.run_page import run_page


def test_right_and_wrong_differ_in_shape_too():
    drawn = plots.episode(episode((1, 8, 8)))  # every query is named "a": 4 right, 8 wrong
    marks = re.findall(r'<path d="([^"]+)"', drawn)
    assert sorted(marks.count(mark) for mark in set(marks)) == [4, 8]
    assert drawn.count('stroke-width="3"') == 8


def test_a_large_episode_is_cut_and_the_caption_says_so():
    large = episode((1, 8, 8), tuple(f"class {n}" for n in range(20)), shots=7, queries=15)
    classes, of_classes, queries, of_queries = plots.drawn_out(large)
    drawn = plots.episode(large)
    assert (classes, of_classes, of_queries) == (10, 20, 300)
    assert drawn.count("<image") == 10 * 5 + queries
    assert "and 2 more" in drawn
    assert f"Drawn: {queries} queries" in run_page(Findings("large", [report()], episode=large))


def test_the_confusion_matrix_shows_the_most_confused_classes():
    known = figures()
    names = plots.confused(known, 6)
    assert len(names) == 6
    assert names[:2] == CLASSES[-2:]  # their confusion is the most frequent
    drawn = plots.confusion_matrix(known, 6)
    for name in (CLASSES[-3], CLASSES[-4]):
        assert escape(plots.short(name, 28), quote=False) in drawn
    assert CLASSES[3] not in drawn


def test_a_learner_without_mistakes_has_no_confusion_matrix():
    known = replace(figures(), confusions={(name, name): 5 for name in CLASSES})
    with pytest.raises(ValueError, match="no mistake"):
        plots.confusion_matrix(known)
    assert "None of the query rows was taken for another class" in run_page(
        Findings("all right", [with_figures(report(), classes=known)])
    )


def test_short_keeps_short_names_and_both_ends_of_long_ones():
    assert plots.short("alpha", 5) == "alpha"
    for width in range(3, 20):
        cut = plots.short("Japanese_(katakana)/character12/rot090", width)
        assert len(cut) == width
        assert cut[0] == "J"
        assert cut[-1] == "0"


def test_lines_survive_missing_values_and_single_points():
    holes = Curve("loss", np.arange(4), np.array([1.0, np.nan, np.inf, 0.01]), np.array([np.nan, 1, 1, 0.1]))
    drawn = plots.learning_curve([holes, Curve("one", np.array([3]), np.array([0.5]))], metric="loss")
    assert "NaN" not in drawn
    assert "mathdefault" not in drawn  # logarithmic labels stay plain numbers
    assert "nan" not in words(run_page(Findings("holes", [report()], training=[holes]))).split()


def test_drawing_leaves_the_settings_of_matplotlib_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    plots.function_fit(regression_findings().fits[0])
    assert dict(matplotlib.rcParams) == before
