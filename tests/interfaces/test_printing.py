"""What reaches a terminal or a spreadsheet from files: no escape sequences, and no formulas."""

import csv
import io
import json
from pathlib import Path

import pytest

from mapwise.interfaces.printing import answer, complain, note, show
from mapwise.report.table import add_row, new_table

ODD = "a\x1b[31mb\x9b2Jc\x07\r\u202ed\x7f"


def odd_characters(text: str) -> set[str]:
    return set(text) & set("\x1b\x9b\x07\r\u202e\x7f")


@pytest.mark.parametrize("printed", [show, note, complain])
def test_control_characters_are_not_printed(printed, capsys):
    printed(f"{ODD}\n\tend")
    out, err = capsys.readouterr()
    assert not odd_characters(out + err)
    assert "a[31mb2Jcd\n\tend" in (out + err).replace("        end", "\tend")


def test_a_table_is_printed_without_control_characters_and_otherwise_as_it_is(capsys):
    plain, odd = new_table("title"), new_table("title")
    for table, name in ((plain, "a[31mb2Jcd"), (odd, ODD)):
        table.add_column("name")
        add_row(table, [name])
    show(plain)
    expected = capsys.readouterr().out
    show(odd)
    assert capsys.readouterr().out == expected


def test_json_holds_every_character_and_escapes_control_characters(capsys):
    answer({"name": ODD})
    out = capsys.readouterr().out
    assert not odd_characters(out)
    assert json.loads(out) == {"name": ODD}


def test_a_file_whose_name_is_an_escape_sequence_is_refused_without_it(cli):
    done = cli("predict", "f\x1b[2J.safetensors", "x")
    assert done.code == 1
    assert not odd_characters(done.err)
    assert done.err.count("\n") == 1


def test_a_sheet_of_answers_holds_no_formulas_and_numbers_stay_numbers(cli):
    Path("t.csv").write_text("body,intent\n=cmd()|' /C calc'!A0,-5\n+1 now,-5\n@home,=go\n-x,=go\n")
    assert cli("fit", "t.csv", "--text", "body", "-o", "f.safetensors", "--learner", "nearest_mean").code == 0
    done = cli("predict", "f.safetensors", "=cmd()|' /C calc'!A0", "@home", "--csv", "--refuse", "0")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert [row["input"] for row in rows] == ["'=cmd()|' /C calc'!A0", "'@home"]
    assert [row["label"] for row in rows] == ["-5", "'=go"]


def test_a_text_is_shown_as_it_is_and_nothing_is_folded_where_no_terminal_is(capsys):
    from rich.table import Table
    from rich.text import Text

    table = Table("cell")
    table.add_row(Text("word " * 100 + ":smile:"))
    show("a smile :smile: [bold]" + "word " * 100, table)
    out = capsys.readouterr().out
    assert out.startswith("a smile :smile: [bold]word")
    assert sum("word" in line for line in out.splitlines()) == 2
    assert out.count(":smile:") == 2
