"""Texts with a head and a tail: what is read, and one sentence for what can't be."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mapwise.data.annotated.marks import marked
from mapwise.data.annotated.pairs import look_like_pairs, pair_of, row_of
from mapwise.data.annotated.texts import AnnotatedText

LETTERS = st.sampled_from(list("ab Z9.\n\t[]()\\:é北👍🏽\u200d\u0301ק\x00"))


@given(st.text(LETTERS, min_size=2, max_size=30), st.data())
def test_a_string_that_is_written_is_read_back_whichever_span_comes_first(text, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), min_size=4, max_size=4)))
    spans = (cuts[0], cuts[1]), (cuts[2], cuts[3])
    assume(all(text[start:end].strip() == text[start:end] != "" for start, end in spans))
    head, tail = data.draw(st.permutations(spans))
    pair = pair_of(row_of(text, head, tail))
    assert (pair.text, pair.head[:2], pair.tail[:2]) == (text, head, tail)
    # Spans have no order of their own.
    for order in ((*head, "head"), (*tail, "tail")), ((*tail, "tail"), (*head, "head")):
        assert pair_of(marked(AnnotatedText(text, order))) == pair


FAULTS = {
    "Ada met Charles": "row 4 has no head: mark one span as the head and one as the tail, as in [Ada](head) met",
    "[Ada] met (head)": "row 4 has no head",
    "[Ada](head) met Charles": "row 4 has no tail",
    "[Ada](head) and [Eve](head) met [Charles](tail)": "row 4 has 2 heads, 'Ada' and 'Eve': mark one",
    "[Ada](head) met [Eve](tail), [Bob](tail), [Al](tail)": "row 4 has 3 tails, 'Eve' and 'Bob': mark one",
    "[Ada](head) met [Charles](tail) in [Rome](LOC)": "row 4 has a span of type 'LOC': mark a head and a tail alone",
    "[Ada](Head) met [Charles](tail)": "row 4 has a span of type 'Head'",
    "[Ada, [Countess](tail)](head)": "row 4 has a mark inside a mark, around 'Ada, Countess'",
    "[](head) met [Charles](tail)": "row 4: the span 0-0 of type 'head' lies outside the text",
    "[ Ada](head) met [Charles](tail)": "row 4: the span 0-4 of type 'head' is ' Ada': without white space it is 1-4",
    "": "row 4 has no head",
}


@pytest.mark.parametrize("row", FAULTS)
def test_what_is_no_pair_is_one_sentence(row):
    with pytest.raises(ValueError) as caught:
        pair_of(row, "row 4")
    assert str(caught.value).startswith(FAULTS[row]) and "\n" not in str(caught.value)


def test_spans_that_overlap_are_refused():
    with pytest.raises(ValueError, match=r"0-3 \('Ada', 'head'\) and 2-5 \('a m', 'tail'\) overlap"):
        row_of("Ada met", (0, 3), (2, 5))


def test_rows_are_known_by_their_marks():
    pair = "[Charles](tail) met [Ada](head)"
    assert look_like_pairs([pair, pair])
    for rows in ([], [pair, "Ada met Charles"], [pair, "[Ada](head)"], [pair, 3.0]):
        assert not look_like_pairs(rows)
