"""Tables that go back to users keep their columns, and no cell of a text becomes a formula."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapwise.data.sheets import Sheet, joined, spreadsheet_cell, text_of_cell


@given(st.text(st.sampled_from("'=+-@ a1"), max_size=6))
def test_a_text_comes_back_from_its_cell(text):
    cell = spreadsheet_cell(text)
    assert text_of_cell(cell) == text
    try:
        float(text)
    except ValueError:
        assert not cell.lstrip().startswith(("=", "+", "-", "@"))


@pytest.mark.parametrize("text", ["'quoted'", "-5", "1e3", "it's"])
def test_other_texts_and_numbers_are_their_own_cells(text):
    assert spreadsheet_cell(text) == text


def test_a_column_whose_name_is_taken_gets_another():
    sheet = Sheet(("label", "predicted_label", "size"), [["a", "b", "1"]])
    wider = sheet.with_columns({"label": ["c"], "probability": [0.5]})
    assert wider.header == ("label", "predicted_label", "size", "predicted_label_2", "probability")
    assert list(csv.reader(io.StringIO(str(wider))))[1] == ["a", "b", "1", "c", "0.5"]


def test_rows_are_taken_in_any_order():
    assert Sheet(("x",), [["0"], ["1"], ["2"]]).among([2, 0]).cells == [["2"], ["0"]]


def test_sheets_of_the_same_columns_are_joined_and_others_are_not():
    one, other = Sheet(("x",), [["1"]]), Sheet(("y",), [["2"]])
    whole = joined([one, one])
    assert whole is not None and whole.cells == [["1"], ["1"]]
    assert joined([one, other]) is None and joined([one, None]) is None and joined([None, one]) is None
