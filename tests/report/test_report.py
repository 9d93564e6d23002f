"""The report draws what it is handed: every number with its interval, nothing from outside, nothing missing shown."""

import base64
import io
import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from html import escape, unescape
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from findings import (
    NASTY,
    Elements,
    classification_findings,
    distribution_findings,
    episode,
    regression,
    regression_findings,
    render,
    report,
    with_figures,
    words,
)
from mapwise.engine.results import (
    Calibrated,
    EmbeddingMap,
    Episode,
    Findings,
    Paired,
)
from mapwise.report import plots, table
from mapwise.report.run_page import run_page, run_summary


@cache
def classification_page():
    return run_page(classification_findings())


@cache
def regression_page():
    return run_page(regression_findings())


def test_the_page_contains_every_number_it_was_handed():
    findings, answer = classification_findings(), words(classification_page())
    own = findings.reports[0]
    for one in findings.reports:
        assert f"{100 * one.estimate.mean:.1f} ± {100 * one.estimate.ci95:.1f} %" in answer
        assert one.protocol.line() in answer
        assert one.protocol.command in answer
    for number in ("0.183", "2.2 %", "0.991", "3.2", "1.234", "20.0 %"):
        assert number in answer
    for curve in findings.training[1:] + findings.against_shots + findings.against_steps:
        for y, ci in zip(curve.y, curve.ci95, strict=True):
            assert f"{100 * y:.1f} % ± {100 * ci:.1f}" in answer
    for value in own.reliability.ravel():
        assert f"{100 * value:.1f} %" in answer
    for i in table.worst_classes(own.classes):
        for column in (own.classes.precision, own.classes.recall, own.classes.f1):
            assert f"{100 * column[i]:.1f} %" in answer
        assert f"{own.classes.rows[i]:,}" in answer
    assert "10 more classes" in answer
    for sure in findings.episode.confidence:
        assert f"{100 * sure:.0f} %" in answer
    for setting in ("net.norm", "frozen", "net.filters", "64", "2000", "<b>bold</b>"):
        assert setting in answer


def test_the_page_of_a_regression_contains_its_numbers():
    findings, answer = regression_findings(), words(regression_page())
    for one in findings.reports:
        assert table.in_units(one.estimate) in answer
        assert f"{np.median(one.values):.3f}" in answer
    pair = Paired.of(*findings.reports)
    assert table.difference(pair, "mse") in answer
    assert "maml better" in answer  # a lower error is better
    assert "3.91 ± 0.031" in answer
    assert "mean squared error on this task 0.25" in answer
    assert "accuracy" not in answer


def test_the_summary_is_one_plain_sentence():
    answer = run_summary(classification_findings().reports)
    assert re.fullmatch(
        r"Given one example each of 5 classes it has never seen, protonet names the right one \d\d\.\d % \(± \d\.\d\) "
        r"of the time; nearest_mean gets \d\d\.\d % \(± \d\.\d\), chance is 20 %\.",
        answer,
    )
    assert "it was trained on" in run_summary([report(split="train")])
    assert "1.50 % of the tasks diverged" in run_summary([regression()])


def test_the_summary_compares_only_what_saw_the_same_episodes():
    reports = [report(), report("nearest_mean", seed=1), report("finetune", seed=2, shots="5")]
    assert "nearest_mean" in run_summary(reports)
    assert "finetune" not in run_summary(reports)


def test_names_given_by_users_are_escaped():
    html = classification_page()
    assert "<script" not in html
    assert "<b>bold" not in html
    assert html.count(escape(NASTY)) >= 5  # title, tables, figures, settings
    assert "\x00" not in html
    assert "a $x^2$ & \"b\" 'c'" in words(html)  # not read as mathematics


def test_the_page_asks_for_nothing_from_outside():
    for html in (classification_page(), regression_page()):
        assert not re.search(r"(?i)https?://|@import|javascript:", html)
        for tag, attributes in Elements(html).tags:
            assert tag not in ("script", "link", "iframe", "object", "embed")
            for name in ("src", "href"):
                assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,"))
        assert not set(re.findall(r"url\(([^)]{1,2})", html)) - {"#f"}


def test_the_page_is_well_formed_and_its_ids_are_resolved():
    for html in (classification_page(), regression_page()):
        elements = Elements(html)
        assert elements.open == []
        assert elements.crossed == []
        ids = [attributes["id"] for _, attributes in elements.tags if "id" in attributes]
        assert len(ids) == len(set(ids))
        assert set(re.findall(r'(?:url\(|href=")#([^)"]+)', html)) <= set(ids)


def test_every_figure_has_a_text_for_those_who_cannot_see_it():
    for html, least in ((classification_page(), 8), (regression_page(), 2)):
        drawn = [attributes for tag, attributes in Elements(html).tags if tag == "svg"]
        assert html.count("<figure") >= least - 1
        assert len(drawn) >= least
        for attributes in drawn:
            assert attributes["role"] == "img"
            assert len(attributes["aria-label"]) > 5
        labels = " ".join(attributes["aria-label"] for attributes in drawn)
        assert " at 1 to " in labels or " at 0 to " in labels  # where the lines begin and end


def test_headings_follow_one_another_without_gaps():
    levels = [int(tag[1]) for tag, _ in Elements(classification_page()).tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


HEADINGS = {
    "training": "How it learned",
    "against_shots": "With more to learn from",
    "episode": "One task, drawn out",
    "embedding": "How it sees one unseen task",
    "settings": "Settings",
    "classes": "Where it goes wrong",
    "reliability": "Is its confidence right?",
}


def test_what_is_missing_is_left_out():
    bare = run_page(Findings("bare", [report()]))
    for heading in HEADINGS.values():
        assert f"<h2>{heading}</h2>" in classification_page()
        assert heading not in bare
    assert "<figure" not in bare
    assert "minus this" not in bare
    assert "minus this" in classification_page()


def test_a_page_without_a_report_is_refused():
    with pytest.raises(ValueError, match="evaluate the learner first"):
        run_page(Findings("empty", []))


def test_a_transductive_number_carries_a_note_on_the_page():
    note = "asked about one row alone"
    assert note in run_page(Findings("t", [report(transductive=True)]))
    assert note not in run_page(Findings("t", [report()]))


def test_the_same_findings_give_the_same_bytes():
    assert run_page(regression_findings()) == regression_page()


def test_grey_images_are_dark_ink_on_light_and_colours_stay():
    def pixels(x):
        drawn = plots.episode(Episode(x, ["a"], x, ["a"], ["a"], np.array([0.5])))
        uri = re.search(r"base64,([^\"]+)", drawn).group(1)
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri))).convert("RGB"))

    ink = np.zeros((1, 1, 4, 4), np.float32)
    ink[0, 0, 1, 2] = 1
    grey = pixels(ink)
    assert grey[1, 2].tolist() == [0, 0, 0]
    assert grey[0, 0].tolist() == [255, 255, 255]
    red = np.zeros((1, 3, 4, 4), np.float32)
    red[0, 0] = 1
    assert pixels(red)[3, 1].tolist() == [255, 0, 0]


@pytest.mark.parametrize("shape", [(13,), (1,), (784,), (3, 7)])
def test_rows_that_are_no_images_are_drawn_as_bars(shape):
    drawn = plots.episode(episode(shape))
    assert "<image" not in drawn
    bars = min(int(np.prod(shape)), 24)
    tiles = 3 * (2 + 4)
    assert drawn.count("<rect") == tiles * (bars + 2)  # a ground and a frame each


def test_the_calibration_after_a_temperature_is_shown_beside_the_one_before():
    own = classification_findings().reports[0]
    bins = own.reliability * [0.9, 1.0, 1.0]
    cooled = with_figures(own, calibrated=Calibrated(1.2345, 0.1777, 0.0123, bins))
    answer = words(run_page(Findings("cooled", [cooled])))
    for number in ("1.23", "0.178", "1.2 %", "0.183", "2.2 %"):
        assert number in answer
    assert "open: after a temperature" in answer
    assert "after a temperature" not in words(classification_page())
    message = render(table.accuracy_table([cooled], title="t"))
    assert "divided by 1.23" in message and "NLL 0.178, ECE 1.2 %" in message
    assert "divided by" not in render(table.accuracy_table([own], title="t"))


def test_a_predictive_distribution_is_shown_with_its_coverage_and_its_bands():
    findings = distribution_findings()
    html, answer = run_page(findings), words(run_page(findings))
    for number in ("0.432", "48.7 %", "81.2 %", "93.5 %", "48.7, 81.2, 93.5"):  # in words, and in the table's cell
        assert number in answer
    assert "Some tasks, drawn out" in answer and answer.count("Bands:") == 3 and "Is its confidence right?" in answer
    assert html.count("<figure") == 4
    plain = words(regression_page())
    assert "Bands" not in plain and "Is its confidence right?" not in plain and "NLL" not in plain


def test_the_bands_of_a_function_are_as_wide_as_they_say():
    import xml.etree.ElementTree as ElementTree

    drawn = ElementTree.fromstring(plots.function_fit(distribution_findings().fits[0]))
    heights = []
    for path in drawn.iter("path"):
        points = re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", path.get("d", ""))
        if len(points) >= 80:  # there and back
            first = float(points[0][0])
            at = [float(y) for x, y in points if float(x) == first]
            heights.append(max(at) - min(at))
    ratios = np.array(heights) / heights[0]
    np.testing.assert_allclose(ratios, np.array([1.95996, 1.28155, 0.67449]) / 1.95996, rtol=2e-3)


def test_importing_the_report_loads_neither_matplotlib_nor_rich():
    code = (
        "import sys, mapwise.report.run_page, mapwise.report.plots, mapwise.report.table; "
        "print([m for m in ('matplotlib', 'rich', 'sklearn') if m in sys.modules])"
    )
    message = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert message.stdout.strip() == "[]"


def test_a_class_name_with_dollars_is_not_read_as_mathematics():
    name = "a $x^2$"
    result = EmbeddingMap(np.arange(8.0).reshape(4, 2), [name, name, "$\\frac{", "b"], np.array([True, False] * 2))
    drawn = unescape(plots.embedding(result))
    assert name in drawn
    assert "$\\frac{" in drawn


def test_a_diverged_regression_is_said_to_be_not_finite():
    one = regression()
    lost = replace(one, values=np.r_[one.values[:-1], np.nan])
    html = run_page(Findings("diverged", [lost, one]))
    assert "not finite" in words(html)
    assert "2.00 %" in words(html)  # 4 of 200
    assert "no difference shown" in words(html)
    assert not re.search(r"\bnan\b", html)
