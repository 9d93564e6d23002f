"""A text in pieces keeps its units, and each piece says how its unit is written."""

import pytest

from mapwise.data.annotated.pieces import CASES, PADDING, case_of, pieces_of
from mapwise.encoders.minilm import model_pieces


class Letters:
    """Each letter is a piece."""

    vocabulary, start, end = 1000, 998, 999

    def __call__(self, unit):
        return [1 + ord(letter) % 900 for letter in unit]


@pytest.mark.parametrize(
    ("unit", "case"),
    [
        ("anna", 1),
        ("ßé", 1),
        ("e\u0301cole", 1),
        ("Anna", 2),
        ("A", 2),
        ("É", 2),
        ("E\u0301cole", 2),
        ("ǅabc", 2),
        ("Ω", 2),
        ("NATO", 3),
        ("ÉÉ", 3),
        ("iPhone", 4),
        ("McDonald", 4),
        ("ANNa", 4),
        ("G8", 5),
        ("1984", 5),
        ("x²", 5),
        ("٣", 5),
        ("北", 6),
        (".", 6),
        ("👍🏽", 6),
        ("กรุงเทพ", 6),
        ("محمد", 6),
        ("\u200b", 6),
    ],
)
def test_the_case_of_a_unit(unit, case):
    assert case_of(unit) == case < CASES


def test_pieces_stand_with_their_units():
    text = "Anna's G8!"
    pieced = pieces_of(text, Letters())
    assert [text[start:end] for start, end in pieced.units] == ["Anna", "'", "s", "G8", "!"]
    assert pieced.first == [1, 5, 6, 7, 9]
    assert pieced.cases == [PADDING, 2, 2, 2, 2, 6, 1, 5, 5, 6, PADDING]
    assert (pieced.pieces[0], pieced.pieces[-1], len(pieced.pieces)) == (998, 999, 11)
    assert pieces_of("", Letters()) == ([998, 999], [0, 0], [], [])


def test_spans_cut_units():
    pieced = pieces_of("AnnaRome", Letters(), [(4, 8, "LOC")])
    assert pieced.units == [(0, 4), (4, 8)] and pieced.first == [1, 5]


@pytest.mark.parametrize(
    "text", ["", "Anna Åse in Köln", "👨\u200d👩\u200d👧 北京", "\u200b \u200f x", "\x00", "x" * 500, "กรุงเทพ"]
)
def test_the_pieces_of_the_model_are_numbers_of_its_vocabulary(text):
    pieces = model_pieces()
    pieced = pieces_of(text, pieces)
    assert all(PADDING < number < pieces.vocabulary for number in pieced.pieces)
    assert len(pieced.pieces) == len(pieced.cases) and len(pieced.first) == len(set(pieced.first)) == len(pieced.units)


def test_a_text_of_words_has_the_pieces_of_the_model():
    text = "The unaffable cats of Zürich, 1984!"
    assert pieces_of(text, model_pieces()).pieces[1:-1] == model_pieces().cut(text)
