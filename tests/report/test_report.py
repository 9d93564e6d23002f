"""The report draws what it is handed: every number with its interval, nothing from outside, nothing missing shown."""

import base64
import io
import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from html import escape, unescape
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from mapwise.engine.results import (
    Calibrated,
    ClassFigures,
    Curve,
    EmbeddingMap,
    Episode,
    Estimate,
    Findings,
    FunctionFit,
    Paired,
    Protocol,
    Report,
)
from mapwise.problems import PROBLEMS
from mapwise.report import plots, table
from mapwise.report.run_page import run_page, run_summary

NASTY = "<script>alert(1)</script>"
CLASSES = [f"Alphabet/letter{n:02d}" for n in range(27)] + [NASTY, "a $x^2$ & \"b\" 'c'", "ひらがな [bold]\x00"]


def protocol(learner="protonet", **changes):
    known = Protocol(
        learner, "glyphs", "test", PROBLEMS["classification"], "5", "1", 15, 200, 7, False, f"mapwise eval {learner}"
    )
    return replace(known, **changes)


def report(learner="protonet", mean=0.9, seed=0, **changes):
    values = np.clip(np.random.default_rng(seed).normal(mean, 0.05, 200), 0, 1)
    return Report(protocol(learner, **changes), values, {"chance": 0.2}, digest="0")


def with_figures(report, **figures):
    return replace(report, figures={**report.figures, **figures})


def regression(learner="maml", mean=0.4, seed=0):
    values = np.random.default_rng(seed).gamma(2, mean / 2, 200)
    values[:3] = 1000
    problem = PROBLEMS["regression"]
    return Report(protocol(learner, source="sinusoid", problem=problem, ways="1", shots="10"), values, digest="0")


def figures():
    rng = np.random.default_rng(1)
    precision, recall = rng.uniform(0.6, 0.99, (2, len(CLASSES)))
    rows = rng.integers(100, 2000, len(CLASSES))
    confusions = {(name, name): 90 for name in CLASSES}
    confusions |= {(a, b): 2 * i + 1 for i, (a, b) in enumerate(pairwise(CLASSES))}
    return ClassFigures(CLASSES, precision, recall, 2 * precision * recall / (precision + recall), rows, confusions)


def episode(shape, names=("a", "b", "c"), shots=2, queries=4):
    rng = np.random.default_rng(2)
    support, query = [name for name in names for _ in range(shots)], [name for name in names for _ in range(queries)]
    results = [names[0] for _ in query]
    x = rng.random((len(support) + len(query), *shape)).astype(np.float32)
    sure = rng.random(len(query)).astype(np.float32)
    return Episode(x[: len(support)], support, x[len(support) :], query, results, sure)


def classification_findings():
    own = with_figures(
        replace(report(), adapt_ms=3.25), nll=0.1834, ece=0.0217, auc=0.9913, classes=figures(),
        reliability=np.array([[0.3512, 0.3123, 0.25], [0.6234, 0.5921, 0.25], [0.9876, 0.9612, 0.5]]),
    )  # fmt: skip
    steps, shots = np.arange(1, 301), np.array([1, 2, 5, 10])
    rng = np.random.default_rng(3)
    return Findings(
        f"protonet & {NASTY}",
        [own, with_figures(report("nearest_mean", 0.5, 1), nll=1.234), report("protonet", 0.95, 2, shots="5")],
        training=[
            Curve("training loss", steps, 2 * np.exp(-steps / 90) + rng.random(300)),
            Curve("validation accuracy", steps[99::100], np.array([0.7012, 0.8034, 0.8876]), np.full(3, 0.0123)),
        ],
        against_shots=[Curve("protonet", shots, np.array([0.8765, 0.9123, 0.9456, 0.9789]), np.full(4, 0.0101))],
        against_steps=[Curve("maml", np.array([0, 1, 5]), np.array([0.2034, 0.7067, 0.8345]), np.full(3, 0.0087))],
        episode=episode((1, 8, 8), (CLASSES[0], NASTY, CLASSES[-2])),
        embedding=EmbeddingMap(rng.normal(size=(24, 2)), [CLASSES[0], NASTY, CLASSES[-1]] * 8, np.arange(24) < 3),
        settings={"steps": 2000, "net": {"norm": "frozen", "filters": 64}, NASTY: "<b>bold</b>"},
    )


def regression_findings():
    x = np.linspace(-5, 5, 30)
    return Findings(
        "maml on sinusoid",
        [regression(), regression("nearest_mean", 3.0, 1)],
        against_steps=[Curve("maml", np.array([0, 1, 5]), np.array([3.91, 0.672, 0.381]), np.full(3, 0.031))],
        fits=[FunctionFit(x[::6, None], np.sin(x[::6, None]), x, np.sin(x), np.sin(x) + 0.5)],
    )


@cache
def classification_page():
    return run_page(classification_findings())


@cache
def regression_page():
    return run_page(regression_findings())


def words(html):
    """What a reader sees, all space as one kind."""
    body = re.sub(r"<style>.*?</style>", "", html, flags=re.S)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", body)))


def render(renderable):
    console = Console(width=160)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


class Elements(HTMLParser):
    """Every opened element with its attributes, and whether all were closed in order."""

    VOID = ("meta", "link", "img", "br")

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.crossed = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if self.open.pop() != tag:
            self.crossed.append(tag)


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
    assert "No query row was taken for another class" in run_page(
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


def distribution_findings():
    x = np.linspace(-2, 2, 40)
    own = with_figures(regression("cnp"), nll=0.4321, coverage={"50": 0.4871, "80": 0.8123, "95": 0.9345})
    fits = [FunctionFit(x[::9], np.sin(x[::9]), x, np.sin(x), np.cos(x), np.full(40, s)) for s in (0.1, 0.2, 0.3)]
    return Findings("cnp on gp", [own, regression("maml", 2.0, 1)], fits=fits)


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


def test_reports_with_and_without_a_distribution_share_a_table():
    answer = render(table.accuracy_table(distribution_findings().reports, title="beside"))
    assert "48.7, 81.2, 93.5" in answer and "0.432" in answer
    maml = next(line for line in answer.splitlines() if line.strip().startswith("maml"))
    assert maml.count(table.ABSENT) == 2


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
