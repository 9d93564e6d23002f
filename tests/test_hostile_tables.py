"""Odd tables, arrays, labels, weights and settings: each is answered right or refused in one sentence."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import mapwise as mw
from mapwise.tasks.table import table

RIGHT, SENTENCE = "answered right", "refused in one sentence"
SIZES = (10, 11, 12, 13, 14, 90, 91, 92, 93, 94)
"""The first five are of the class low, the others of high."""


def sizes(**others: str) -> str:
    """A table of ten rows with a column of numbers and their classes, in which some rows hold other cells."""
    cells = [others.get(f"r{place}", str(size)) for place, size in enumerate(SIZES)]
    lines = [f"{cell},{'low' if place < 5 else 'high'}" for place, cell in enumerate(cells)]
    return "size,kind\n" + "\n".join(lines) + "\n"


def scaled(factor: str) -> str:
    """The same table with all sizes of another order of magnitude."""
    return sizes(**{f"r{place}": f"{size}{factor}" for place, size in enumerate(SIZES)})


NUMBERS = {"size": "numbers"}
WORDS = {"size": "categories"}
EASY = {"12": "low", "92": "high"}
"""Cells of the column size, and the class of each."""


@dataclass(frozen=True)
class Sheet:
    """A CSV file for `mapwise fit`, and what is to come of it."""

    name: str
    text: str
    said: str = ""
    """What the refusal says; empty where the table is to be read."""
    columns: dict[str, str] | None = None
    """How its columns are read."""
    answers: dict[str, str] | None = None
    """Cells of its first column, and the class of each."""
    flags: tuple[str, ...] = ()
    code: int = 1

    @property
    def expected(self) -> str:
        """The outcome."""
        return SENTENCE if self.said else RIGHT


COLOURS = "colour,kind\nred,a\nred,a\nnone,b\nnone,b\n"
BOTH = "code,size,kind\n" + "".join(f"{code},{size},{kind}\n" for code, size, kind in [(7, 1, "a"), (7, 2, "a")] * 2)
BOTH += "9,8,b\n9,9,b\n"

SHEETS = [
    Sheet("plain", sizes(), columns=NUMBERS, answers=EASY),
    Sheet("inf", sizes(r3="inf"), "t.csv, line 5 has infinity in column 'size' ('inf')"),
    Sheet("-Infinity", sizes(r3="-Infinity"), "t.csv, line 5 has infinity in column 'size'"),
    Sheet("1e999", sizes(r9="1e999"), "t.csv, line 11 has infinity in column 'size' ('1e999')"),
    Sheet("a formula", sizes(r0="=cmd"), "t.csv, line 2 holds '=cmd' in column 'size'"),
    Sheet("hexadecimal", sizes(r1="0x10"), "t.csv, line 3 holds '0x10' in column 'size'"),
    Sheet("an underscore", sizes(r1="1_000"), "t.csv, line 3 holds '1_000' in column 'size'"),
    Sheet("a decimal comma", sizes(r1='"3,5"'), "t.csv, line 3 holds '3,5' in column 'size'"),
    Sheet("a unit", sizes(r8="93 cm"), "--categories size"),
    Sheet("a NUL", sizes(r1="1\0"), "line 3 of t.csv has a NUL character in column 'size'"),
    Sheet("a NUL in a label", "size,kind\n1,a\n2,a\0\n", "line 3 of t.csv has a NUL character in column 'kind'"),
    Sheet("a NUL in a name", "si\0ze,kind\n1,a\n2,b\n", "line 1 of t.csv has a NUL character"),
    Sheet(
        "words by flag",
        sizes(r0="=cmd", r1="=cmd"),
        columns=WORDS,
        answers={"=cmd": "low", "94": "high"},
        flags=("--categories", "size"),
    ),
    Sheet("infinity by flag", sizes(r0="inf", r1="inf"), columns=WORDS, flags=("--categories", "size")),
    Sheet("numbers by flag", sizes(), columns=WORDS, answers={"12": "low"}, flags=("--categories", "size")),
    Sheet("another flag", sizes(), "no column 'sise', did you mean 'size'", flags=("--categories", "sise")),
    Sheet("the label's flag", sizes(), "the label", flags=("--categories", "kind")),
    Sheet("codes by flag", BOTH, columns={"code": "categories", "size": "numbers"}, flags=("--categories", "code")),
    Sheet("half words", sizes(r0="a", r1="a", r2="a", r3="a", r4="a"), columns=WORDS, answers={"a": "low"}),
    Sheet("few rows, one word", "size,kind\n1,a\n2,a\nx,a\n9,b\n", columns=WORDS),
    *(Sheet(f"gap {gap!r}", sizes(r0=gap), columns=NUMBERS, answers=EASY) for gap in ("", "NA", "None", "?", " nan ")),
    Sheet("gaps alone", "size,kind\n" + ",low\n" * 3 + "?,high\n" * 3, columns=NUMBERS),
    Sheet("a gap of words", COLOURS, columns={"colour": "categories"}, answers={"red": "a", "none": "b", "NA": "b"}),
    Sheet("large", scaled("e200"), columns=NUMBERS, answers={"12e200": "low", "92e200": "high"}),
    Sheet("largest", scaled("e306"), columns=NUMBERS, answers={"12e306": "low", "92e306": "high"}),
    Sheet("smallest", scaled("e-320"), columns=NUMBERS, answers={"12e-320": "low", "92e-320": "high"}),
    Sheet("beyond", scaled("e308"), "has infinity in column 'size' ('10e308')"),
    Sheet(
        "large and small",
        sizes(**{f"r{place}": f"{'-' if place < 5 else ''}1.{place % 8}e308" for place in range(10)}),
        columns=NUMBERS,
        answers={"-1.2e308": "low", "1.2e308": "high"},
    ),
    Sheet("far queries", sizes(), columns=NUMBERS, answers={"-1e300": "low", "1e300": "high"}),
    Sheet("spaces", sizes(r0=" 10 ", r9="\t94"), columns=NUMBERS, answers=EASY),
    Sheet("signs", sizes(r0="+10", r1="1.1e1", r2="12."), columns=NUMBERS, answers=EASY),
    Sheet(
        "constant",
        "a,size,kind\n" + "".join(f"5,{line}\n" for line in sizes().splitlines()[1:]),
        columns={"a": "numbers"} | NUMBERS,
    ),
    Sheet("a quote left open", 'size,kind\n1,a\n"2,b\n3,c\n', "1 cells and the header has 2"),
    Sheet("a row too long", "size,kind\n1,a\n2,b,c\n", "line 3 of t.csv has 3 cells"),
    Sheet("no rows", "size,kind\n", "no rows below its header"),
    Sheet("nothing", "", "no rows below its header"),
    Sheet("one column", "size\n1\n2\n", "a single column"),
    Sheet("no header", "1,2\n3,4\n5,6\n", "numbers and no column names"),
    Sheet("a column twice", "a,a,kind\n1,2,x\n3,4,y\n", "two columns called 'a'"),
    Sheet("no label", "size,kind\n1,a\n2,\n", "line 3 of t.csv has no label"),
    Sheet("a label's escape", "size,kind\n1,a\n2,\x1b[31mb\n", "is no name for a class"),
    Sheet("one class", "size,kind\n1,a\n2,a\n", "one class, 'a'"),
    Sheet("semicolons", sizes().replace(",", ";"), columns=NUMBERS, answers=EASY),
    Sheet("bars", sizes().replace(",", "|"), columns=NUMBERS, answers=EASY),
    Sheet("a huge cell", "size,kind\n" + "x" * 200_000 + ",a\n2,b\n", "cannot be read as a table"),
]


def only(outcome: str, err: str, said: str) -> bool:
    """Whether an error is one sentence and says this."""
    return err.count("\n") == 1 and "Traceback" not in err and said in err and outcome == SENTENCE


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda sheet: sheet.name)
def test_a_csv_is_read_right_or_refused_in_one_sentence(cli, sheet):
    Path("t.csv").write_text(sheet.text, encoding="utf-8")
    done = cli("fit", "t.csv", "-o", "f.safetensors", "--learner", "nearest_mean", "--json", *sheet.flags)
    if sheet.expected == SENTENCE:
        assert done.code == sheet.code and only(sheet.expected, done.err, sheet.said), done
        assert not Path("f.safetensors").exists()
        return
    assert done.code == 0, done.err
    assert {column["name"]: column["read_as"] for column in done.found["columns"]} == sheet.columns
    for cell, label in (sheet.answers or {}).items():
        # The delimiter is found in several columns only.
        Path("new.csv").write_text(f"{next(iter(sheet.columns or {}))},beside\n{cell},1\n")
        asked = cli("predict", "f.safetensors", "new.csv", "--json")
        assert asked.code == 0, asked.err
        assert asked.found["predictions"][0]["label"] == label, (cell, asked.found)
        assert asked.found["predictions"][0]["probability"] > 0.5


def test_every_fit_says_how_it_reads_each_column(cli):
    Path("t.csv").write_text("size,colour,mixed,kind\n1,red,7,a\n,red,x,a\n8,?,y,b\n9,blue,8,b\n")
    lines = cli("fit", "t.csv", "-o", "f.safetensors").out.splitlines()
    where = lines.index("columns:")
    assert [" ".join(line.split()) for line in lines[where + 1 : where + 4]] == [
        "size numbers, 1 gap",
        "colour categories (2 values), 1 gap",
        "mixed categories (4 values), numbers in 2 cells",
    ]
    found = cli("fit", "t.csv", "-o", "f.safetensors", "--json").found["columns"]
    assert found[0] == {"name": "size", "read_as": "numbers", "gaps": 1, "values": 3, "numbers": 3}
    assert found[2] == {"name": "mixed", "read_as": "categories", "gaps": 0, "values": 4, "numbers": 2}


def test_a_cell_of_a_query_that_a_column_cannot_hold_is_named_by_its_line(cli):
    Path("t.csv").write_text(sizes())
    cli("fit", "t.csv", "-o", "f.safetensors", "--learner", "nearest_mean")
    for cell, said in (("many", "holds 'many'"), ("inf", "has infinity"), ("1\0", "has a NUL character")):
        Path("one.csv").write_text("size,beside\n12,1\n")
        Path("two.csv").write_text(f"size,beside\n12,1\n{cell},1\n")
        done = cli("predict", "f.safetensors", "one.csv", "two.csv")
        assert done.code == 1
        assert f"{said} in column 'size'" in done.err
        assert "two.csv, line 3 " in done.err or "line 3 of two.csv " in done.err
        assert done.err.count("\n") == 1


def test_a_training_table_reads_a_cell_as_a_predictor_does(tmp_path):
    path = tmp_path / "t.csv"
    for text, said in (
        (sizes(r1="0x10"), "line 3 of .* holds '0x10' in column 'size'.*--source.categories size"),
        (sizes(r1="1e999"), "line 3 of .* has infinity in column 'size'"),
        (sizes(r1="none"), r"line 3 of .* has no value in column 'size' \('none'\).*--source.categories size"),
        (sizes(r1="1\0"), "line 3 of .* has a NUL character"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=said) as refused:
            table(path)
        assert "\n" not in str(refused.value)
    path.write_text(scaled("e200"))
    assert len(np.unique(table(path).x)) == 10
    path.write_text(COLOURS)
    assert table(path).x.tolist() == [[0, 1], [0, 1], [1, 0], [1, 0]]


def test_a_run_on_a_column_that_was_words_before_is_opened_by_naming_it(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(sizes(r1="none"))
    rows = table(path, categories=["size"])
    words = sorted(["none", *(str(size) for size in SIZES if size != 11)])
    assert rows.x.shape == (10, 10)
    assert rows.x[rows.starts[1] + 1].argmax() == words.index("none")


def test_an_earlier_run_whose_column_was_words_is_evaluated_by_naming_it(cli, tmp_path):
    cells = ["none", "1", "2", "3", "4", "5"] * 2
    Path("t.csv").write_text("size,kind\n" + "".join(f"{cell},{'ab'[i % 2]}\n" for i, cell in enumerate(cells)))
    few = ("--ways", "2", "--queries", "2", "--steps", "2", "--tasks", "2", "--validation-episodes", "4")
    done = cli("train", "protonet", "t.csv", "--source.categories", "size", "--out", "run", *few)
    assert done.code == 0, done.err
    settings = Path("run/run.toml")
    lines = settings.read_text().splitlines()
    earlier = [line for line in lines if not line.startswith(("source_options", "categories", "digest"))]
    assert len(earlier) < len(lines)
    settings.write_text("\n".join(earlier) + "\n")
    refused = cli("eval", "run", "--episodes", "4")
    assert refused.code == 1 and "--source.categories size" in refused.err
    assert cli("eval", "run", "--episodes", "4", "--source.categories", "size").code == 0


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_categorical_column_of_a_frame_holds_words(library):
    frames = pytest.importorskip(library)
    column = frames.Series(
        ["1", "2", "1", "2", "1", "3"], dtype="category" if library == "pandas" else frames.Categorical
    )
    frame = frames.DataFrame({"code": column, "size": [1.0, 9.0, 2.0, 8.0, 1.0, 9.0]})
    answers = mw.FewShotClassifier(learner="nearest_mean").fit(frame, list("ababab"))
    assert [seen.kind for seen in answers.predictor_.encoder.seen.values()] == ["words", "number"]
    assert list(answers.predict(frame)) == list("ababab")
    with pytest.raises(ValueError, match=r"row 2 holds '0x3' in column 'size'.*categorical column"):
        mw.FewShotClassifier().fit(
            frames.DataFrame({"size": ["1", "2", "0x3", *map(str, range(20))]}), ["a", *"b" * 22]
        )


def test_a_number_is_one_word_whatever_library_it_comes_from():
    pandas = pytest.importorskip("pandas")
    answers = mw.FewShotClassifier(learner="nearest_mean").fit(
        pandas.DataFrame({"code": pandas.Categorical([1234567, 7, 1234567, 7])}), list("abab")
    )
    for cells in ([1234567, 7], ["1234567", "7"], [1234567.0, 7.0]):
        assert list(answers.predict(pandas.DataFrame({"code": cells}))) == ["a", "b"]
