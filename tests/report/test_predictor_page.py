"""The page about a predictor says what its examples say, as carefully as they do, and needs nothing else."""

import re
from dataclasses import replace
from functools import cache
from html import escape, unescape

import numpy as np
import pytest

from findings import Elements, words
from mapwise.catalog.encoders import ENCODERS
from mapwise.predictors.classes import Predictor
from mapwise.predictors.evidence.held_out import Expected, HeldOut
from mapwise.predictors.heads.head import NamedHead
from mapwise.report.predictor_page import predictor_page, predictor_summary
from mapwise.workflows.reading import is_predictor
from test_answers import CSV, photos  # noqa: F401

NASTY = "<script>alert(1)</script>"
QUOTED = "a \"b\" 'c' & $x^2$"
LONE = "odd \udcff name"


COUNTS = {NASTY: 5, QUOTED: 5, LONE: 4}
SOURCES = tuple(f"{NASTY}/{place}{LONE}.png" for place in range(14))
REPORT = HeldOut(
    0.67,
    0.41,
    0.86,
    14,
    classes={NASTY: (0.4, 5), QUOTED: (0.8, 5), LONE: (0.75, 4)},
    confusions=[(NASTY, QUOTED, 0.6), (QUOTED, LONE, 0.2), (LONE, NASTY, 0.25)],
    doubtful=[(3, NASTY, QUOTED), (12, LONE, NASTY)],
    more={1: Expected(0.7, 0.42, 0.88), 5: Expected(0.78, 0.45, 0.93), 20: Expected(0.86, 0.5, 0.97)},
    by_coverage=[(1.0, 0.64), (0.93, 0.69), (0.5, 0.86)],
    balanced=Expected(0.65, 0.4, 0.84),
    chance=5 / 14,
)


def predictor(counts=COUNTS, sources=SOURCES, encoder="drawings"):
    columns = np.repeat(np.arange(len(counts)), list(counts.values()))
    rows, weight = np.zeros((len(columns), 2)), np.ones(len(columns))
    head = NamedHead.of("ridge", "classification")
    digests = np.arange(len(columns))
    return Predictor(ENCODERS[encoder](), head, rows, columns, weight, tuple(counts), sources=sources, digests=digests)


def page(report=REPORT, size=12_345, **changes):
    return predictor_page(predictor(**changes), report, "my files/signs.safetensors", size)


def too_few():
    why = "too few to tell: newt has 2 examples, and 3 of each class are needed"
    return page(HeldOut(None, None, None, 0, why=why), counts={"newt": 2, "toad": 4}, sources=())


@cache
def whole():
    return page()


def test_the_page_has_all_that_the_examples_say():
    read = words(whole())
    for text in ("67 % 41 to 86 %", "names the right one 67 % of the time", "the 95 % interval is 41 to 86 %"):
        assert text in read.replace("\u00a0", " ")
    for text in ("How many more?", "20 more 86 % 50 to 97 %", "When it may refuse", "50 % 50 % 86 %", "14 examples"):
        assert text in read
    assert (
        f"{NASTY} 40 % 5 5 {LONE.replace(chr(0xDCFF), chr(0xFFFD))} 75 % 4 4 {QUOTED} 80 % 5 5" in read
    )  # lowest first
    assert f"{NASTY} {QUOTED} 60 %" in read
    assert f"3{LONE.replace(chr(0xDCFF), chr(0xFFFD))}.png {NASTY} {QUOTED}" in read
    for text in ("drawings", "ridge", "12,345 bytes", "Share it as you would share the examples."):
        assert text in read
    for command in ("report", "predict", "explain", "which-next", "add-class"):
        assert f"mapwise {command} 'my files/signs.safetensors'" in read


def test_names_are_text_whatever_they_are_called():
    html = whole()
    assert "<script" not in html
    assert escape(NASTY) in html
    assert escape(QUOTED) in html
    html.encode()  # no lone surrogate is left
    parsed = Elements(html)
    assert not parsed.crossed
    assert not parsed.open


def test_nothing_comes_from_outside_and_every_figure_is_told_in_words_too():
    html = whole()
    assert "http" not in re.sub(r"http-equiv|<style>.*?</style>", "", html, flags=re.S)
    assert html.count("<svg") == 2
    labels = [unescape(text) for text in re.findall(r'<svg role="img" aria-label="([^"]*)"', html)]
    assert labels == [
        "Accuracy to expect with more examples of each class: 67 % as it is, 70 % with 1 more, 78 % with 5 more, 86 % "
        "with 20 more.",
        "Accuracy against the share answered: right are 64 % of the 100 % it answers, 69 % of the 93 % it answers, "
        "86 % of the 50 % it answers.",
    ]
    assert html.count("The numbers</summary>") == 2


def test_the_same_predictor_gives_the_same_bytes_and_another_gives_others():
    assert page() == whole()
    assert page(size=12_346) != whole()


def test_where_nothing_is_known_for_another_reason_the_page_says_which():
    why = "too little time to tell: tuning takes about 3 min; give fit a longer budget"
    read = words(page(HeldOut(None, None, None, 0, why=why)))
    assert "can't be estimated from its examples: tuning takes about 3 min; give fit a longer budget." in read
    assert "too little time to tell" in read and "too few" not in read


def test_too_few_examples_are_said_to_be_and_the_rest_stands():
    html = too_few()
    read = words(html)
    assert "can't be estimated from its examples: newt has 2 examples, and 3 of each class are needed." in read
    assert "too few to tell" in read
    assert "<svg" not in html
    for title in ("What is inside the file", "How to go on", "newt (2), toad (4)"):
        assert title in read
    for title in ("How many more?", "When it may refuse", "taken for", "Examples to look at again", "None"):
        assert title not in read


def test_where_all_is_right_the_page_says_so():
    result = replace(REPORT, confusions=[], doubtful=[], by_coverage=[(1.0, 1.0), (0.5, 1.0)])
    read = words(page(result))
    assert "No example was taken for another class." in read
    assert "None was taken for another class every time" in read
    assert "All were right here" in read
    spoilt = replace(result, by_coverage=[(1.0, 0.8), (0.5, 0.7)])
    assert "is right no more often" in words(page(spoilt))


def test_a_narrow_interval_is_not_called_wide():
    assert "that wide" in predictor_summary(predictor(), REPORT)
    assert "that wide" not in predictor_summary(predictor(), replace(REPORT, low=0.6, high=0.75))


def test_a_predictor_that_guesses_is_not_praised():
    result = replace(REPORT, accuracy=0.4, low=0.2, high=0.6, doubtful=[])
    read = words(page(result))
    assert "no better than guessing (36 %)" in read
    assert "its balanced accuracy, with every class weighed alike, is 65 %" in read.lower()
    assert "a mistake is no sign of a wrong label" in read
    assert "no better than guessing" not in words(whole())


def test_without_a_learning_curve_there_is_no_outlook():
    read = words(page(replace(REPORT, more={}, training_share=2 / 3)))
    assert "How many more?" not in read
    assert "that of predictors trained on 67 % of them" in read


def test_what_is_many_is_cut_and_counted():
    names = [f"class {place:03d}" for place in range(100)]
    result = replace(
        REPORT,
        classes=dict.fromkeys(names, (0.5, 3)),
        confusions=[(name, "other", 0.5) for name in names],
        doubtful=[(place, name, "other") for place, name in enumerate(names)],
    )
    read = words(page(result, counts=dict.fromkeys(names, 3), sources=()))
    assert "80 more classes are at least as often right." in read
    assert "and 80 rarer kinds of mistake" in read
    assert "and 80 less sure ones" in read
    assert "and 40 more" in read
    assert "example 19 class 019 other" in read  # nobody said where it came from


def test_rows_of_a_table_are_fitted_again_and_not_added():
    read = words(page(encoder="table"))
    assert "Given a new row" in read
    assert "add-class" not in read


# The command.


def test_a_file_of_pictures_gets_a_page_beside_it(cli, photos):  # noqa: F811
    (photos / "photos" / "ring" / "ring-0.png").rename(photos / "photos" / "bar" / "wrong.png")
    assert cli("fit", "photos", "-o", "few.safetensors", "--learner", "nearest_mean").code == 0
    done = cli("report", "few.safetensors", "--json")
    assert done.code == 0, done.err
    assert done.answer["page"] == "few.html"
    assert done.answer["held_out"]["rows"] == 12
    assert {"row": 4, "source": "bar/wrong.png", "class": "bar", "taken_for": "ring"} in done.answer["doubtful"]
    first = (photos / "few.html").read_bytes()
    assert b"bar/wrong.png" in first
    text = cli("report", "few.safetensors", "--out", "elsewhere.html").out
    assert text.endswith("elsewhere.html\n")
    assert (photos / "elsewhere.html").read_bytes() == first


def test_a_file_of_too_few_texts_gets_a_page_too(cli, tmp_path):
    (tmp_path / "train.csv").write_text("\n".join(CSV.splitlines()[:3] + CSV.splitlines()[4:6]))
    assert cli("fit", "train.csv", "--text", "body", "--label", "intent", "-o", "few.safetensors").code == 0
    done = cli("report", "few.safetensors")
    assert done.code == 0, done.err
    assert "can't be estimated from its examples: " in done.out
    read = words((tmp_path / "few.html").read_text())
    assert "cancel (2), refund (2)" in read
    assert "mapwise predict few.safetensors new.txt" in read


@pytest.mark.parametrize(
    ("given", "code", "answer"),
    [
        (["few.safetensors", "--episodes", "1000"], 2, "--episodes is for a run's folder and few.safetensors is a"),
        (["few.safetensors", "--inner-lr", "0.1"], 2, "--inner-lr is for a run's folder"),
        (["few.safetensors", "--beside", "runs/other"], 2, "leave --beside out"),
        (["few.safetensors", "--out", "page.txt"], 1, "page.txt ends otherwise: give a name such as few.html"),
        (["few.safetensors", "--out", "folder.html"], 1, "folder.html is a folder"),
        (["few.safetensors"], 1, "few.safetensors is no whole predictor"),
        (["other.safetensors"], 1, "there is no file other.safetensors"),
        (["folder.html", "--out", "page.html"], 2, "--out is for a predictor's file"),
        (["nowhere"], 1, "nowhere is not a run"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_sentence(cli, tmp_path, given, code, answer):
    (tmp_path / "few.safetensors").write_bytes(b"no predictor")
    (tmp_path / "folder.html").mkdir()
    done = cli("report", *given)
    assert done.code == code
    assert answer in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not (tmp_path / "few.html").exists()


def test_a_file_is_told_from_a_folder_and_by_its_ending_where_it_is_absent(tmp_path):
    (tmp_path / "run.safetensors").mkdir()
    (tmp_path / "file").write_bytes(b"")
    assert not is_predictor(tmp_path / "run.safetensors")
    assert is_predictor(tmp_path / "file")
    assert is_predictor(tmp_path / "absent.safetensors")
    assert not is_predictor(tmp_path / "absent")
