"""Units are what a reader would not cut, and every annotated span is a run of them."""

import itertools
import time

import numpy as np
import pytest

from mapwise.data.annotated.units import units, units_of

FAMILY = "👨\u200d👩\u200d👧\u200d👦"
CASES = [
    ("", []),
    ("   \t\n", []),
    ("Anna lives", ["Anna", "lives"]),
    ("Anna's 3.14", ["Anna", "'", "s", "3", ".", "14"]),
    ("iPhone15Pro", ["iPhone15Pro"]),
    ("snake_case", ["snake", "_", "case"]),
    ("U.S.-based", ["U", ".", "S", ".", "-", "based"]),
    ("...", [".", ".", "."]),
    ("Cafe\u0301s", ["Cafe\u0301s"]),
    ("\u0301a", ["\u0301", "a"]),
    ("北京 a", ["北", "京", "a"]),
    ("東京へいく", ["東", "京", "へ", "い", "く"]),
    ("カ\u3099ー", ["カ\u3099", "ー"]),
    ("서울에서", ["서울에서"]),
    ("สมชายไปกรุงเทพ", ["สมชายไปกรุงเทพ"]),
    ("ذهب مُحمّد", ["ذهب", "مُحمّد"]),
    ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
    ("می\u200cخواهم", ["می\u200cخواهم"]),
    (FAMILY, [FAMILY]),
    (f"a{FAMILY}b", ["a", FAMILY, "b"]),
    ("👍🏽👍", ["👍🏽", "👍"]),
    ("👩🏽\u200d🚀!", ["👩🏽\u200d🚀", "!"]),
    ("❤\ufe0f❤", ["❤\ufe0f", "❤"]),
    ("1\ufe0f\u20e3", ["1\ufe0f\u20e3"]),
    ("🇩🇪🇫🇷🇩", ["🇩🇪", "🇫🇷", "🇩"]),
    ("\U0001f3f4\U000e0067\U000e0062\U000e007f", ["\U0001f3f4\U000e0067\U000e0062\U000e007f"]),
    ("zero\u200bwidth", ["zero\u200bwidth"]),
    ("Anna\u200f, x", ["Anna\u200f", ",", "x"]),
    ("\u200fAnna", ["\u200f", "Anna"]),
    ("\ufeffAnna", ["\ufeff", "Anna"]),
    ("𝔘𝔫𝔦", ["𝔘𝔫𝔦"]),
    ("a\u00a0b\u3000c", ["a", "b", "c"]),
    ("a\x00b", ["a\x00b"]),
    ("\ud83d x", ["\ud83d", "x"]),
    ("½x²", ["½x²"]),
    ("€5", ["€", "5"]),
]


@pytest.mark.parametrize(("text", "pieces"), CASES, ids=range(len(CASES)))
def test_a_text_is_cut_where_a_reader_would(text, pieces):
    assert [text[start:end] for start, end in units(text)] == pieces
    assert units_of(text, []) == units(text)


def test_units_hold_every_visible_character_once():
    random = np.random.default_rng(0)
    alphabet = list("aB1 .\t北カ👍🏽🇩\u200d\u0301\u200b\ufe0f한กش")
    for _ in range(500):
        text = "".join(random.choice(alphabet, size=random.integers(0, 12)))
        pieces = units(text)
        assert "".join(text[start:end] for start, end in pieces) == "".join(text.split())
        assert all(one[1] <= other[0] for one, other in itertools.pairwise(pieces))


def test_every_span_is_a_run_of_whole_units():
    random = np.random.default_rng(1)
    alphabet = list("aB1 .北👍🏽🇩\u200d\u0301ก")
    for _ in range(500):
        text = "".join(random.choice(alphabet, size=20))
        edges = np.sort(random.choice(21, size=4, replace=False)).tolist()
        spans = [(edges[0], edges[1], "X"), (edges[2], edges[3], "Y")]
        pieces = units_of(text, spans)
        assert all(start < end for start, end in pieces)
        for first, last, _ in spans:
            inside = [(start, end) for start, end in pieces if start < last and end > first]
            assert all(first <= start and end <= last for start, end in inside)
            assert "".join(text[start:end] for start, end in inside) == "".join(text[first:last].split())


def test_spans_may_touch_and_cut_a_word():
    assert units_of("AnnaRome", [(0, 4), (4, 8)]) == [(0, 4), (4, 8)]
    assert units_of("unhappy", [(2, 7)]) == [(0, 2), (2, 7)]


@pytest.mark.parametrize(
    "text", ["word " * 10_000, "x" * 1_000_000, "👍🏽\u200d" * 300_000, "\u200b" * 1_000_000, ". " * 500_000]
)
def test_long_texts_take_linear_time(text):
    units(text[:100])
    start = time.process_time()
    pieces = units_of(text, [(at, at + 1) for at in range(0, len(text) - 1, 50)])
    assert pieces and time.process_time() - start < 3
