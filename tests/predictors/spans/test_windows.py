"""Texts cut into windows: every unit is read once, with units on both sides where the text has them."""

import numpy as np
import pytest

from mapwise.data.annotated.texts import AnnotatedText, Span
from mapwise.predictors.spans.windows import LONGEST_UNIT, Windows


class Letters:
    """A piece for each letter, and rows of at most 20 of them."""

    vocabulary, start, end, longest = 1 << 16, 1, 2, 20

    def __call__(self, unit):
        return [3 + ord(letter) % 1000 for letter in unit]


def of(*texts):
    return Windows.of(Letters(), [text if isinstance(text, AnnotatedText) else AnnotatedText(text) for text in texts])


LONG = " ".join(f"w{place}" for place in range(400))


@pytest.mark.parametrize("text", ["", " \n\t", "one", "one two, three.", LONG, "x" * 500, "日本" * 300, "a " * 10_000])
def test_every_unit_counts_once_and_no_window_is_too_long(text):
    windows = of("before", text, "behind")
    counted = np.zeros(len(windows.units[1]), int)
    for window in windows.windows:
        if window.text == 1:
            assert len(window.pieces) == 1 or window.length <= Letters.longest + 2
            counted[window.first + window.counts.start : window.first + window.counts.stop] += 1
    assert (counted == 1).all()
    assert bool(windows.units[1]) == any(window.text == 1 for window in windows.windows)


def test_a_unit_of_a_long_text_is_read_with_units_on_both_sides():
    windows = of(LONG)
    ends = {0, len(windows.units[0]) - 1}
    for window in windows.windows:
        for place in range(window.counts.start, window.counts.stop):
            if window.first + place not in ends:
                assert 0 < place < len(window.pieces) - 1


def test_rows_hold_the_pieces_and_weigh_the_first_of_each_unit():
    windows = of("Ab c", "x")
    x, weight = windows.rows([0, 1])
    a, b, c, z = (3 + ord(letter) % 1000 for letter in "Abcx")
    assert x["pieces"].tolist() == [[1, a, b, c, 2], [1, z, 2, 0, 0]]
    assert x["cases"].tolist() == [[0, 2, 2, 1, 0], [0, 1, 0, 0, 0]]
    assert weight.tolist() == x["starts"].tolist() == [[0, 1, 0, 1, 0], [0, 1, 0, 0, 0]]


def test_the_end_of_a_long_unit_is_not_read_and_that_is_counted():
    windows = of("short", "x" * (LONGEST_UNIT + 1), "y" * LONGEST_UNIT)
    assert windows.cut == [1]
    assert [len(window.pieces[0]) for window in windows.windows] == [5, LONGEST_UNIT, LONGEST_UNIT]


def test_tags_stand_on_units_that_are_cut_at_the_edges_of_spans():
    text = AnnotatedText("Berlin-based ABC", (Span(0, 6, "city"), Span(13, 15, "firm")))
    windows = of(text)
    assert [text.text[start:end] for start, end in windows.units[0]] == ["Berlin", "-", "based", "AB", "C"]
    assert windows.tags(text, 0, ["city", "firm"]).tolist() == [1, 0, 0, 3, 0]
    assert windows.tags(text, 0, ["firm"]).tolist() == [0, 0, 0, 1, 0]


def test_batches_hold_every_window_once_and_few_pieces():
    windows = of(LONG, "a b", "c")
    batches = list(windows.batches(60))
    assert sorted(place for batch in batches for place in batch) == list(range(len(windows.windows)))
    assert all(len(batch) * max(windows.windows[place].length for place in batch) <= 60 for batch in batches)
