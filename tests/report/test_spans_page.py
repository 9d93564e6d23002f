"""The page about a finder of spans shows every text as it is, with marks, and needs nothing else."""

import re
from html import escape
from types import SimpleNamespace

import pytest

from findings import Elements, words
from mapwise.data.annotated.texts import AnnotatedText, Span
from mapwise.predictors.spans.evidence.crossed import CrossedSpans
from mapwise.predictors.spans.predictor import FoundSpan, SpanPredictor
from mapwise.predictors.spans.report import FittedSpans
from mapwise.report.spans_page import MarkedText, spans_page
from mapwise.runs.learner import LearnerSettings

NASTY = "<script>alert(1)</script>"
TEXTS = (
    AnnotatedText("Ada met Ann in Rome", (Span(0, 3, "person"), Span(8, 11, "person"), Span(15, 19, "city"))),
    AnnotatedText("It rained."),
    AnnotatedText(f"{NASTY} & \"Ada\" 'x' \ud83d", (Span(0, len(NASTY), NASTY),)),
)


def finder(texts=TEXTS, types=("person", "city", NASTY, "river"), sources=(), sentences=None):
    settings = LearnerSettings.model_construct(learner="span_finder", fields={"tune_steps": 100}, net="tokens")
    predictor = SpanPredictor(settings, {}, {}, tuple(texts), tuple(types), sentences or {}, sources=tuple(sources))
    vars(predictor)["model"] = SimpleNamespace(name="minilm")
    return predictor


def page(answers=(), size=12_345, crossed=None, **changes):
    return spans_page(FittedSpans(finder(**changes), crossed), "my files/finder.safetensors", size, answers)


def marks(html, title):
    """What each mark of a section says, with its tooltip."""
    section = html.partition(f"<h2>{title}</h2>")[2].partition("</section>")[0]
    return [(words(mark).strip(), tip) for tip, mark in re.findall(r'<mark[^>]*title="([^"]*)">(.*?)</mark>', section)]


def test_every_annotated_text_stands_there_with_its_types_in_letters():
    html = page(sources=("line 1 of a.txt", "line 2 of a.txt", "line 3 of a.txt"))
    assert [mark for mark, _ in marks(html, "The annotated texts")][:3] == [
        "Ada ( person )",
        "Ann ( person )",
        "Rome ( city )",
    ]
    read = words(html)
    for text in ("spans of 4 types, and was fitted to 4 spans in 3 annotated texts", "line 2 of a.txt It rained."):
        assert text in read
    for text in ("person 2 Ada , Ann", "river 0 known by its name alone", "12,345 bytes", "Share it as you would"):
        assert text in read, read
    assert "<h2>What it finds" not in html


def test_what_was_found_has_its_probability_in_letters_and_in_a_tooltip():
    text = "Ada\nmet Tom"
    html = page([MarkedText("letter.txt, line 1", text, [FoundSpan(8, 11, "person", 0.9876)])])
    assert marks(html, "What it finds") == [("Tom ( person 98.8 % )", "person, 98.8 %")]
    assert "Ada\nmet <mark" in html and "letter.txt, line 1" in html


def test_nothing_in_a_text_a_type_or_a_source_is_markup():
    html = page(
        [MarkedText(NASTY, NASTY, [FoundSpan(0, 8, NASTY, 0.5)])],
        sources=(NASTY,) * 3,
        sentences={"person": f'a "{NASTY}"'},
    )
    assert "<script" not in html and escape(NASTY) in html
    html.encode()  # no half of a character is left
    parsed = Elements(html)
    assert not parsed.crossed and not parsed.open
    assert not {tag for tag, _ in parsed.tags} & {"script", "iframe", "object", "link", "img"}
    assert "http" not in re.sub(r"http-equiv|<style>.*?</style>", "", html, flags=re.S)


@pytest.mark.parametrize("text", ["سافر أحمد إلى روما", "\u202eRome\u202c", "日本", "\x00\x1b[0m", "e\u0301 \u200d"])
def test_texts_of_any_script_keep_their_direction_to_themselves(text):
    html = page([MarkedText("a", text, [FoundSpan(0, len(text), "person", 0.5)])])
    section = html.partition("What it finds")[2]
    assert '<p class="run" dir="auto">' in section and 'class="type short" dir="auto"' in section
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", html)


def test_long_texts_scroll_and_many_are_counted():
    long = "Ada met Ann. " * 3000
    html = page([MarkedText("a", long, []), *(MarkedText(f"b {n}", "Ada", []) for n in range(400))])
    assert 'tabindex="0" role="region" aria-label="a long text, scrolls"' in html
    assert "and 101 more texts" in words(html) and "b 298" in html and "b 299" not in html
    assert "and 4 more texts" in words(page([MarkedText("a", "x" * 200_000, [])] * 5))


def test_every_colour_is_dark_in_the_dark_and_readable():
    css = page().partition("<style>")[2].partition("</style>")[0]
    dark = css.partition("(prefers-color-scheme: dark)")[2]
    for sheet in (css, dark):
        ink = re.search(r"--ink: (#\w{6})", sheet)[1]
        for place in range(8):
            assert contrast(ink, re.search(rf"--t{place}: (#\w{{6}})", sheet)[1]) > 7


def contrast(one, other):
    """WCAG 2's, from 1 to 21."""

    def luminance(colour):
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_same_finder_gives_the_same_bytes_and_another_gives_others():
    assert page() == page() != page(size=12_346)


def crossed(copies):
    """Of three texts, each so many times: a person for a city, one missed, the third of another type."""
    answers = (
        (FoundSpan(0, 3, "person", 0.9), FoundSpan(15, 19, "person", 0.75)),
        (FoundSpan(0, 2, "city", 0.3),),
        (FoundSpan(0, len(NASTY), "river", 0.5),),
    )
    return CrossedSpans(tuple(place % 5 for place in range(3 * copies)), answers * copies)


def test_what_is_unknown_is_said_in_its_place():
    read = words(page())
    assert (
        "How much it finds is unknown: it was not cross-validated." in read and "unknown It was not cross-val" in read
    )
    assert "precision" not in read and "look at again" not in read
    assert "unknown Too little time to tell: it takes long" in words(
        page(crossed=CrossedSpans(why="too little time to tell: it takes long"))
    )
    read = words(page(crossed=crossed(1)))
    assert "So few spans don't say how much it finds." in read and "too few to tell the 95 % interval" in read


def test_the_page_begins_with_the_score_and_shows_it_by_type():
    html = page(texts=TEXTS * 10, crossed=crossed(10))
    read = words(html)
    # Of 4 spans one is right, and 4 are found.
    assert "it found 25 %, and 25 % of what it found was right" in read
    assert (
        read.index("25 %  " if "25 %  " in read else "25 % ") < read.index("Types")
        and "entity F1, and its 95 % interval" in read
    )
    assert "30 texts with 40 spans, each held out once, in 5 parts" in read
    for row in ("person 20 50 % 50 % 50 % Ada , Ann", "city 10 0 % 0 % 0 % Rome", "river 0 0 % 0 % 0 % known by"):
        assert row in read, read
    parsed = Elements(html)
    assert not parsed.crossed and not parsed.open and "<script" not in html


def test_annotations_to_look_at_again_stand_beside_what_was_found():
    html = page(texts=TEXTS * 10, crossed=crossed(10))
    section = words(html.partition("<h2>Annotations to look at again</h2>")[2].partition("</section>")[0])
    assert "text 1 Ada met Ann in Rome ( city ) Ada met Ann in Rome ( person ) 75.0 %" in section, section
    assert section.index("75.0 %") < section.index("50.0 %") and section.count("50.0 %") == 10
    assert "10 annotated spans were not found at all." in section
    right = CrossedSpans((0, 1), ((FoundSpan(0, 3, "person", 0.9),), ()))
    texts = (AnnotatedText("Ada", (Span(0, 3, "person"),)), AnnotatedText("It rained."))
    assert "Nothing else was found in the place of an annotated span." in words(page(texts=texts, crossed=right))
    long = (AnnotatedText("x" * 200 + " Ada", (Span(201, 204, "person"),)), texts[1])
    wider = CrossedSpans((0, 1), ((FoundSpan(200 - 7, 204, "city", 0.9),), ()))
    assert f"...{'x' * 39} Ada ( person )" in words(page(texts=long, crossed=wider))


def test_of_many_annotations_to_look_at_again_the_rest_is_counted():
    assert "And 10 less sure ones." in words(page(texts=TEXTS * 15, crossed=crossed(15)))


def test_the_page_says_what_the_threshold_leaves_out_and_how_it_was_judged():
    # The wrong spans of each text are less sure than the right one: above 0.75 the F1 is 2/5, and with all of them 1/4.
    every = FittedSpans(finder(texts=TEXTS * 10), crossed(10))

    def read_with(threshold):
        fitted = every.with_threshold(threshold)
        vars(fitted.predictor)["model"] = every.predictor.model
        return words(spans_page(fitted, "finder.safetensors", 9))

    assert every.with_threshold("auto").predictor.threshold == 0.9
    read = read_with("auto")
    assert "Spans below a probability of 0.90 are left out: precision 25.0 % before and 100.0 % now" in read, read
    assert "recall 25.0 % before and 25.0 % now. In each part the threshold was one chosen on the others." in read
    assert "spans below 0.90, chosen by cross-validation, are left out" in read
    assert "spans below 0.50 are left out" in read_with(0.5)
    assert "no probability are left out" in words(page())
