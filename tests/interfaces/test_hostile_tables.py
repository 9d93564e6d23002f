"""Odd tables, arrays, labels, weights and settings: each is answered right or refused in one sentence."""

from pathlib import Path

import numpy as np
import pytest

import mapwise as mw
from hostile_cases import COLOURS, SENTENCE, SHEETS, SIZES, scaled, sizes
from mapwise.data.tables import table


def only(outcome: str, err: str, answer: str) -> bool:
    """Whether an error is one sentence and says this."""
    return err.count("\n") == 1 and "Traceback" not in err and answer in err and outcome == SENTENCE


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda sheet: sheet.name)
def test_a_csv_is_read_right_or_refused_in_one_sentence(cli, sheet):
    Path("t.csv").write_text(sheet.text, encoding="utf-8")
    done = cli("fit", "t.csv", "-o", "f.safetensors", "--learner", "nearest_mean", "--json", "--force", *sheet.flags)
    if sheet.expected == SENTENCE:
        assert done.code == sheet.code and only(sheet.expected, done.err, sheet.sentence), done
        assert not Path("f.safetensors").exists()
        return
    assert done.code == 0, done.err
    assert {column["name"]: column["read_as"] for column in done.answer["columns"]} == sheet.columns
    for cell, label in (sheet.answers or {}).items():
        # The delimiter is found in several columns only.
        Path("new.csv").write_text(f"{next(iter(sheet.columns or {}))},beside\n{cell},1\n")
        question = cli("predict", "f.safetensors", "new.csv", "--json")
        assert question.code == 0, question.err
        assert question.answer["predictions"][0]["label"] == label, (cell, question.answer)
        assert question.answer["predictions"][0]["probability"] > 0.5


def test_every_fit_says_how_it_reads_each_column(cli):
    Path("t.csv").write_text("size,colour,mixed,kind\n1,red,7,a\n,red,x,a\n8,?,y,b\n9,blue,8,b\n")
    lines = cli("fit", "t.csv", "-o", "f.safetensors").out.splitlines()
    where = lines.index("columns:")
    assert [" ".join(line.split()) for line in lines[where + 1 : where + 4]] == [
        "size numbers, 1 gap",
        "colour categories (2 values), 1 gap",
        "mixed categories (4 values), numbers in 2 cells",
    ]
    result = cli("fit", "t.csv", "-o", "f.safetensors", "--json", "--force").answer["columns"]
    assert result[0] == {"name": "size", "read_as": "numbers", "gaps": 1, "values": 3, "numbers": 3, "free_text": False}
    assert result[2] == {
        "name": "mixed",
        "read_as": "categories",
        "gaps": 0,
        "values": 4,
        "numbers": 2,
        "free_text": False,
    }


def test_a_cell_of_a_query_that_a_column_cannot_hold_is_named_by_its_line(cli):
    Path("t.csv").write_text(sizes())
    cli("fit", "t.csv", "-o", "f.safetensors", "--learner", "nearest_mean")
    for cell, answer in (("many", "holds 'many'"), ("inf", "has infinity"), ("1\0", "has a NUL character")):
        Path("one.csv").write_text("size,beside\n12,1\n")
        Path("two.csv").write_text(f"size,beside\n12,1\n{cell},1\n")
        done = cli("predict", "f.safetensors", "one.csv", "two.csv")
        assert done.code == 1
        assert f"{answer} in column 'size'" in done.err
        assert "two.csv, line 3 " in done.err or "line 3 of two.csv " in done.err
        assert done.err.count("\n") == 1


def test_a_training_table_reads_a_cell_as_a_predictor_does(tmp_path):
    path = tmp_path / "t.csv"
    for text, answer in (
        (sizes(r1="0x10"), "line 3 of .* holds '0x10' in column 'size'.*--source.categories size"),
        (sizes(r1="1e999"), "line 3 of .* has infinity in column 'size'"),
        (sizes(r1="none"), r"line 3 of .* has no value in column 'size' \('none'\).*--source.categories size"),
        (sizes(r1="1\0"), "line 3 of .* has a NUL character"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=answer) as refused:
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
