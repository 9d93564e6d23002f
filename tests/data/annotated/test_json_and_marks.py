"""JSON lines and marks: what is written is read back, and what is wrong is one sentence."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapwise.data.annotated.json_lines import read_json_lines, write_json_lines
from mapwise.data.annotated.marks import marks_of_text, read_marks, text_of_marks, write_marks
from mapwise.data.annotated.texts import AnnotatedText, Span
from mapwise.data.annotated.units import units

LETTERS = st.sampled_from(list("ab Z9.\t[]()\\{}\"'#:é北👍🏽\u200d\u0301\u200b\u200f\ufeff\u2028ก한\x00"))


@st.composite
def annotated_lines(draw):
    """Texts of one line, with spans over whole units."""
    text = draw(st.text(LETTERS, min_size=1, max_size=40).filter(units))
    pieces = units(text)
    cuts = sorted(draw(st.sets(st.integers(0, len(pieces)), max_size=6)))
    names = st.text(LETTERS, min_size=1, max_size=6).map(str.strip).filter(bool)
    return AnnotatedText(
        text,
        tuple(
            Span(pieces[first][0], pieces[last - 1][1], draw(names))
            for first, last in zip(cuts[::2], cuts[1::2], strict=False)
        ),
    )


@given(annotated_lines())
def test_marks_that_are_written_are_read_back(text):
    assert text_of_marks(marks_of_text(text)) == text


@given(st.lists(annotated_lines(), min_size=1, max_size=4))
def test_files_that_are_written_are_read_back(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("written")
    for write, read in ((write_json_lines, read_json_lines), (write_marks, read_marks)):
        write(folder / "a", texts)
        assert read(folder / "a") == (texts, list(range(1, len(texts) + 1)))


@given(st.text(LETTERS, max_size=40))
def test_any_line_is_a_text_or_one_sentence(line):
    try:
        text = text_of_marks(line)
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        if text.text.strip():
            assert text_of_marks(marks_of_text(text)) == text


MARKS = [
    (r"[Anna](PER) saw [Rome](LOC).", "Anna saw Rome.", ["Anna", "Rome"]),
    (r"no marks", "no marks", []),
    (r"a [b] c", "a [b] c", []),
    (r"a [b] (c)", "a [b] (c)", []),
    (r"\[Anna](PER)", "[Anna](PER)", []),
    (r"[An\]na](PER)", "An]na", ["An]na"]),
    (r"[Anna\](PER)", "[Anna](PER)", []),
    (r"C:\new [\\](X)", "C:\\new \\", ["\\"]),
    (r"[see [Anna](PER)]", "[see Anna]", ["Anna"]),
    (r"[a [b] c](X)", "a [b] c", ["a [b] c"]),
    (r"[[Anna](PER)", "[Anna", ["Anna"]),
    (r"]](X) [Anna](PER)", "]](X) Anna", ["Anna"]),
    (r"[Anna](PER)[Rome](LOC)", "AnnaRome", ["Anna", "Rome"]),
    (r"[👨‍👩‍👧](X)🇩🇪[北京](Y)", "👨‍👩‍👧🇩🇪北京", ["👨‍👩‍👧", "北京"]),
    ("\u200f[משה](PER)\u200f", "\u200fמשה\u200f", ["משה"]),
    (r"[x]((X)", "[x]((X)", []),
    (r"[x](a\)b)", "x", ["x"]),
    (r"[Anna](a type)", "Anna", ["Anna"]),
    ("[กรุงเทพ](LOC)ไป", "กรุงเทพไป", ["กรุงเทพ"]),
    ("word " * 10_000 + "[Anna](PER)", "word " * 10_000 + "Anna", ["Anna"]),
    ("[" * 100_000, "[" * 100_000, []),
    ("[a](" * 50_000, "[a](" * 50_000, []),
]


@pytest.mark.parametrize(("line", "text", "meant"), MARKS, ids=range(len(MARKS)))
def test_marks_mean_what_they_look_like(line, text, meant):
    result = text_of_marks(line)
    assert result.text == text and [text[span.start : span.end] for span in result.spans] == meant


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("[a [Anna](PER) b](LOC)", "a mark inside a mark"),
        ("[[Anna](PER)](LOC)", "a mark inside a mark"),
        ("[](PER)", "is empty"),
        ("[ ](PER)", "only white space"),
        ("[ Anna](PER)", "without white space"),
        ("[Anna]()", "give a name"),
        ("[Anna]( )", "give a name"),
    ],
)
def test_marks_that_can_t_be_are_one_sentence_with_their_line(tmp_path, line, sentence):
    path = tmp_path / "a.txt"
    path.write_text(f"Rome\n\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError) as error:
        read_marks(path)
    message = str(error.value)
    assert message.startswith(f"line 3 of {path}") and sentence in message and "\n" not in message


@pytest.mark.parametrize("text", ["", " ", "a\nb", "a\r", "\ud800"])
def test_a_text_that_is_no_line_is_not_written_as_marks(tmp_path, text):
    with pytest.raises(ValueError, match="JSON lines"):
        write_marks(tmp_path / "a", [AnnotatedText(text)])
    write_json_lines(tmp_path / "a", [AnnotatedText(text)])
    assert read_json_lines(tmp_path / "a")[0] == [AnnotatedText(text)]


SPAN = {"start": 0, "end": 4, "type": "PER"}


@pytest.mark.parametrize(
    "row",
    [
        {"spans": [SPAN]},
        {"spans": [[0, 4, "PER"]]},
        {"spans": [{"start": 0, "end": 4, "label": "PER", "token_start": 0}]},
        {"ents": [{"start": 0, "end": 4, "label": "PER"}], "title": None},
        {"label": [[0, 4, "PER"]], "id": 7},
        {"labels": [[0, 4, "PER"]]},
        {"entities": [[0, 4, "PER"]]},
    ],
)
def test_json_of_other_tools_is_read(tmp_path, row):
    path = tmp_path / "a.jsonl"
    path.write_text("\ufeff" + json.dumps({"text": "Anna saw"} | row) + '\r\n\r\n{"text": "x"}\n', encoding="utf-8")
    texts, lines = read_json_lines(path)
    assert texts == [AnnotatedText("Anna saw", (Span(0, 4, "PER"),)), AnnotatedText("x")] and lines == [1, 3]


BAD = [
    "{",
    "[]",
    "7",
    "null",
    '"Anna"',
    "{'text': 'Anna'}",
    "{}",
    '{"text": 7}',
    '{"text": null}',
    '{"text": ["Anna"]}',
    '{"text": "Anna", "spans": 7}',
    '{"text": "Anna", "spans": "x"}',
    '{"text": "Anna", "spans": {"start": 0}}',
    '{"text": "Anna", "spans": [[0, 9, "X"]]}',
    '{"text": "Anna", "spans": [[0, 4]]}',
    '{"text": "Anna", "spans": [[0, 4.0, "X"]]}',
    '{"text": "Anna", "spans": [[0, NaN, "X"]]}',
    '{"text": "Anna", "spans": [[0, 1e999, "X"]]}',
    '{"text": "Anna", "spans": [[0, 4, "\\ud800"]]}',
    '{"text": "Anna", "spans": [[0, 4, "X"], [1, 2, "Y"]]}',
    '{"text": "Anna", "spans": [null]}',
    '{"text": "Anna", "label": "PER"}',
    '{"text": "Anna", "spans": [[0, ' + "9" * 5000 + ', "X"]]}',
    "[" * 100_000,
    '{"text": "Anna"} {"text": "Rome"}',
]


@pytest.mark.parametrize("line", BAD, ids=range(len(BAD)))
def test_json_that_can_t_be_is_one_sentence_with_its_line(tmp_path, line):
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"text": "Rome"}}\n{line}\n', encoding="utf-8")
    with pytest.raises(ValueError) as error:
        read_json_lines(path)
    message = str(error.value)
    assert message.startswith(f"line 2 of {path}") and "\n" not in message and len(message) < 500


def test_files_without_a_text_are_one_sentence(tmp_path):
    path = tmp_path / "a"
    path.write_text("\n \n", encoding="utf-8")
    for read in (read_json_lines, read_marks):
        with pytest.raises(ValueError, match="has no text"):
            read(path)
