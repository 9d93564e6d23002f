"""Tables for a terminal: every number with its interval and its protocol."""

from dataclasses import replace

import numpy as np
import pytest

from findings import (
    CLASSES,
    classification_findings,
    distribution_findings,
    figures,
    protocol,
    regression,
    render,
    report,
)
from mapwise.engine.results import (
    Estimate,
    Paired,
)
from mapwise.problems import PROBLEMS
from mapwise.report import table


def test_an_accuracy_is_written_in_per_cent_with_its_interval():
    assert table.percent(Estimate(0.98765, 0.0012, 1000)) == "98.8 ± 0.1 %"
    assert table.percent(Estimate(0.98765, 0.0004, 9000)) == "98.77 ± 0.04 %"  # an interval is never rounded to 0
    assert table.percent(Estimate(1.0, 0.0, 50)) == "100.0 ± 0.0 %"
    assert "no interval" in table.percent(Estimate.of(np.array([0.5])))


def test_an_error_is_written_to_two_digits_of_its_interval():
    assert table.in_units(Estimate(0.35234, 0.0123, 1000)) == "0.352 ± 0.012"
    assert table.in_units(Estimate(12.6, 3.42, 1000)) == "12.6 ± 3.4"
    assert table.in_units(Estimate(3.2e8, 2e8, 10)) == "3.20e+08 ± 2.0e+08"
    assert table.in_units(Estimate(float("nan"), float("nan"), 10)) == "not finite"


def test_the_accuracy_table_shows_intervals_protocols_commands_and_chance():
    reports = classification_findings().reports
    answer = render(table.accuracy_table(reports, title="glyphs [red]unseen"))
    assert "glyphs [red]unseen" in answer
    for one in reports:
        assert table.percent(one.estimate) in answer
        assert one.protocol.line() in answer
        assert one.protocol.command in answer
    for number in ("0.183", "2.2 %", "0.991", "1.234", "5-way 5-shot", "20.0 %", "inductive"):
        assert number in answer


def test_a_transductive_learner_is_called_so_in_its_row():
    answer = render(table.accuracy_table([report("maml", transductive=True), report("fomaml")], title="t"))
    rows = {line.split()[0]: line for line in answer.splitlines() if line.startswith((" maml", " fomaml"))}
    assert "transductive" in rows["maml"]
    assert "inductive" in rows["fomaml"]


def test_the_table_of_a_regression_shows_median_and_diverged_share():
    one = regression()
    answer = render(table.accuracy_table([one], title="sinusoid"))
    assert table.in_units(one.estimate) in answer
    assert f"{np.median(one.values):.3f}" in answer
    assert "1.50 %" in answer  # 3 of 200


def test_a_class_that_took_no_part_is_not_among_the_worst():
    known = replace(figures(), rows=np.r_[0, np.full(len(CLASSES) - 1, 9)], f1=np.linspace(0, 0.9, len(CLASSES)))
    assert table.worst_classes(known, 3) == [1, 2, 3]
    assert table.classes_left_out(known, 3) == len(CLASSES) - 4


@pytest.mark.parametrize(
    ("mean", "ci", "metric", "word"),
    [
        (0.1, 0.05, "accuracy", "better"),
        (-0.1, 0.05, "accuracy", "worse"),
        (0.1, 0.1, "accuracy", "no difference shown"),
        (-0.1, 0.05, "mse", "better"),
        (0.1, 0.05, "mse", "worse"),
        (0.1, float("nan"), "accuracy", "no difference shown"),
    ],
)
def test_a_difference_is_shown_only_when_its_interval_excludes_zero(mean, ci, metric, word):
    pair = Paired("a", "b", Estimate(mean, ci, 100))
    assert table.verdict(pair, metric) == word
    problem = PROBLEMS["regression" if metric == "mse" else "classification"]
    answer = render(table.paired_table([pair], protocol=protocol(problem=problem)))
    assert f" {word} " in answer
    assert ("−" in answer) == (mean < 0)


def test_the_paired_table_shows_differences_in_points_with_their_interval():
    pair = Paired.of(report(mean=0.9), report("nearest_mean", 0.5, 1))
    assert f"+{100 * pair.difference.mean:.1f} ± {100 * pair.difference.ci95:.1f} points" in render(
        table.paired_table([pair])
    )


def test_reports_with_and_without_a_distribution_share_a_table():
    answer = render(table.accuracy_table(distribution_findings().reports, title="beside"))
    assert "48.7, 81.2, 93.5" in answer and "0.432" in answer
    maml = next(line for line in answer.splitlines() if line.strip().startswith("maml"))
    assert maml.count(table.ABSENT) == 2
