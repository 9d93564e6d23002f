"""Spans lie where they are said to lie, or one sentence says why they can't."""

import dataclasses

import numpy as np
import pytest

from mapwise.data.annotated.texts import AnnotatedText, Span, annotated, type_names

FAMILY = "👨‍👩‍👧"
GOOD = [
    # text, what is meant
    ("Anna lives in Rome.", ["Anna", "Rome"]),
    ("x", ["x"]),
    (f"Das ist {FAMILY} aus Köln", [FAMILY, "Köln"]),
    ("Cafe\u0301 Zoe\u0308", ["Cafe\u0301", "Zoe\u0308"]),
    ("北京大学在北京。", ["北京大学"]),
    ("ذهب محمد إلى القاهرة", ["محمد", "القاهرة"]),
    ("\u200fמשה\u200f בתל אביב", ["תל אביב"]),
    ("สมชายไปกรุงเทพ", ["กรุงเทพ"]),
    ("Anna\tRome\r\nParis", ["Anna", "Rome", "Paris"]),
    ("zero\u200bwidth", ["width"]),
    ("🇩🇪🇫🇷", ["🇩🇪", "🇫🇷"]),
    ("𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝕏", ["𝕏"]),
    ("AnnaRome", ["Anna", "Rome"]),
    ("\ufeffAnna", ["Anna"]),
    ("half \ud83d of a pair and Anna", ["Anna"]),
    ("word " * 10_000 + "Anna", ["Anna"]),
]


@pytest.mark.parametrize(("text", "meant"), GOOD, ids=range(len(GOOD)))
def test_a_span_is_the_part_that_was_meant(text, meant):
    spans = [Span(text.index(word), text.index(word) + len(word), "X") for word in meant]
    for result in (
        AnnotatedText(text, tuple(reversed(spans))),
        annotated([text], [[tuple(span) for span in spans]])[0],
    ):
        assert [text[span.start : span.end] for span in result.spans] == meant
        assert result.spans == tuple(spans)


BAD = [
    # spans of "Anna lives in Rome", part of the sentence
    ([(0, 99, "X")], "outside the text of 18 characters"),
    ([(-4, 4, "X")], "outside the text"),
    ([(4, 0, "X")], "outside the text"),
    ([(3, 3, "X")], "is empty"),
    ([(18, 19, "X")], "outside the text"),
    ([(2**70, 2**71, "X")], "give the place of a character"),
    ([(0.0, 4, "X")], "give the place of a character"),
    ([(0, 4.5, "X")], "give the place of a character"),
    ([(True, 4, "X")], "give the place of a character"),
    ([("0", "4", "X")], "give the place of a character"),
    ([(None, 4, "X")], "give the place of a character"),
    ([(float("nan"), 4, "X")], "give the place of a character"),
    ([(4, 5, "X")], "it is only white space"),
    ([(0, 5, "X")], "without white space it is 0-4"),
    ([(4, 10, "X")], "without white space it is 5-10"),
    ([(0, 4, "")], "give a name"),
    ([(0, 4, "  ")], "give a name"),
    ([(0, 4, None)], "give a name"),
    ([(0, 4, 7)], "give a name"),
    ([(0, 4, "\ud800")], "half a character"),
    ([(0, 4)], "no (start, end, type)"),
    ([(0, 4, "X", 1)], "no (start, end, type)"),
    (["Anna"], "no (start, end, type)"),
    ([0, 4, "X"], "no (start, end, type)"),
    ([{"start": 0, "end": 4}], "lacks a key"),
    ([{"start": 0, "label": "X"}], "lacks a key"),
    ([{}], "lacks a key"),
    ([{"start": "a", "end": 4, "type": "X"}], "give the place of a character"),
    ([(0, 4, "X"), (0, 4, "X")], "comes twice"),
    ([(0, 4, "X"), (0, 4, "Y")], "('Anna', 'X') and 0-4 ('Anna', 'Y') overlap"),
    ([(0, 10, "X"), (5, 10, "Y")], "0-10 ('Anna lives', 'X') and 5-10 ('lives', 'Y') overlap"),
    ([(5, 18, "Y"), (0, 10, "X")], "0-10 ('Anna lives', 'X') and 5-18 ('lives in Rome', 'Y') overlap"),
    ("Anna", "give a list of (start, end, type)"),
    ({"start": 0}, "give a list of (start, end, type)"),
    (7, "give a list of (start, end, type)"),
]


@pytest.mark.parametrize(("spans", "sentence"), BAD, ids=range(len(BAD)))
def test_a_span_that_can_t_be_is_one_sentence_with_its_text(spans, sentence):
    with pytest.raises(ValueError) as error:
        annotated(["Rome", "Anna lives in Rome"], [[], spans])
    message = str(error.value)
    assert message.startswith("text 1: ") and sentence in message and "\n" not in message and len(message) < 400


@pytest.mark.parametrize(
    ("texts", "spans", "sentence"),
    [
        ("Anna", [[]], "texts is 'Anna'"),
        (["Anna"], "x", "spans is 'x'"),
        (["Anna"], [], "1 texts and spans of 0"),
        (["Anna"], {0: []}, "spans is"),
        ([7], [[]], "text 0: the text is 7"),
        ([None], [[]], "text 0: the text is None"),
    ],
)
def test_lists_that_don_t_match_are_one_sentence(texts, spans, sentence):
    with pytest.raises(ValueError) as error:
        annotated(texts, spans)
    assert sentence in str(error.value)


def test_spans_may_be_dicts_tuples_and_numpy_numbers():
    ways = [(np.int64(0), np.int64(4), "X")], [{"start": 0, "end": 4, "label": "X"}], [[0, 4, "X"]], [Span(0, 4, "X")]
    result = annotated(["Anna"] * 5, [*ways, None])
    assert [text.spans for text in result] == [((0, 4, "X"),)] * 4 + [()]
    assert type(result[0].spans[0].start) is int
    assert type_names(result) == ["X"]


def test_an_annotated_text_stays_as_it_is():
    text = AnnotatedText("Anna", (Span(0, 4, "X"),))
    assert hash(text) == hash(AnnotatedText("Anna", ((0, 4, "X"),)))  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        text.text = "Rome"  # type: ignore[misc]
