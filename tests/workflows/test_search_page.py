"""The page of a search draws whatever values its trials tried."""

import math
from dataclasses import replace

from mapwise.engine.results import Search, Trial
from mapwise.report.plots import search_top
from mapwise.report.search_page import search_page, search_summary
from mapwise.report.table import search_rows


def test_a_page_of_one_failed_trial_says_so():
    failed = Trial(0, {"inner_lr": 0.1}, "failed", None, 0, failure="the loss is <nan>")
    result = Search("a search", "accuracy", "digits val", 10, {"inner_lr": "0.1..1"}, frozenset(), [failed])
    assert search_summary(result) == "None of 1 trial (1 failed) was completed."
    page = search_page(result)
    assert "the loss is &lt;nan&gt;" in page
    assert "<svg" not in page
    assert search_rows(result)[1] == [["0", "0.1", "–", "0", "failed"]]


def test_a_page_draws_texts_numbers_and_accuracies():
    rows = [
        Trial(i, {"net.norm": "layer" if i % 2 else "none", "tasks": 4 + i}, "complete", 0.5 + i / 100, 10)
        for i in range(6)
    ]
    result = Search("a search", "accuracy", "", 10, {"net.norm": "", "tasks": ""}, frozenset(), rows)
    assert result.best is rows[-1]
    page = search_page(result)
    assert page.count("<svg") == 3
    assert all(text in page for text in (">layer<", ">none<", "validation accuracy (%)", "55.0"))
    assert page == search_page(result)


def test_an_error_that_ran_away_does_not_flatten_the_figures():
    errors = (2.0, 3.0, 7e9, 2.5)
    rows = [Trial(i, {"inner_lr": 0.1 + i}, "complete", error, 10) for i, error in enumerate(errors)]
    result = Search("a search", "mse", "", 10, {"inner_lr": ""}, frozenset(), rows)
    assert search_top(result) == 27.5
    assert search_top(replace(result, metric="accuracy")) == math.inf
    page = search_page(result)
    assert "Errors above 27.5 are drawn at the upper edge" in page
    assert "7e+09" in page  # in the table
    assert "1e+09" not in page  # on no axis
    assert "upper edge" not in search_page(replace(result, trials=rows[:2]))
