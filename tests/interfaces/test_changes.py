"""mapwise add and its kin: suggested rows are labelled and added, and nothing is lost on the way."""

import csv
import io

import pytest

from test_answers import CSV, photos  # noqa: F401
from test_encoders import drawing


@pytest.fixture
def intents(cli, tmp_path):
    (tmp_path / "train.csv").write_text(CSV, encoding="utf-8")
    words = ("--text", "body", "--label", "intent", "-o", "intents.safetensors", "--learner", "nearest_mean")
    assert cli("fit", "train.csv", *words).code == 0
    return tmp_path / "intents.safetensors"


def fill(path, out, labels):
    """Labels in the sheet that a command printed, as a person fills them in."""
    header, *rows = list(csv.reader(io.StringIO(out)))
    for row, label in zip(rows, labels, strict=True):
        row[header.index("label")] = label
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def test_rows_of_a_table_are_added_under_their_labels(cli, intents, tmp_path):
    (tmp_path / "more.csv").write_text(
        "id,body,label\n1,stop my order,cancel\n2,please cancel it,cancel\n3,hello,greet\n"
    )
    done = cli("add", intents, "more.csv")
    assert done.code == 0, done.err
    assert "2 new rows, 1 exact duplicate left out" in done.out and "cancel 4, refund 3, greet 1 (new)" in done.out
    assert cli("predict", intents, "hello", "--json").answer["predictions"][0]["label"] == "greet"
    again = cli("add", intents, "more.csv", "--json").answer
    assert (again["added"], again["duplicates"], again["new_classes"]) == (0, 3, [])
    assert again["classes"] == {"cancel": 4, "refund": 3, "greet": 1}


def test_an_addition_says_what_it_did_to_the_classes_of_before(cli, intents, tmp_path):
    (tmp_path / "more.csv").write_text("body,label\nstop my order,cancel\nmoney back,refund\n")
    done = cli("add", intents, "more.csv")
    assert "% before and " in done.out and "all classes: right " in done.out
    result = cli("add", intents, "hello", "--class", "greet", "--json").answer
    assert set(result["other_classes"]) == {"before", "now", "why"} and result["before"]["rows"] == 8


@pytest.mark.parametrize(
    ("table", "words", "answer"),
    [
        ("body,label\nplease cancel it,refund\n", (), "are the same and of two classes, 'cancel' and 'refund'"),
        ("body,label\nstop,\nhalt,\n", (), "no row of more.csv has a label in column 'label': fill in"),
        ("text,label\nstop,cancel\n", (), "more.csv has no column 'body': name that of the texts with --text"),
        ("body,a,b\nstop,cancel,x\n", (), "the label in more.csv may be a or b: name its column with --label"),
        ("body\nstop\n", (), "the label in more.csv is missing"),
        ("body,label\nstop,cancel\n", ("--label", "body"), "is one that the predictor reads"),
        ("body,label\nstop,cancel\n", ("--label", "lable"), "did you mean 'label'?"),
        ("body,label\nstop,cancel\n", ("--class", "x", "--label", "label"), "leave one of them out"),
        ("body,label\n,cancel\n", (), "line 2 of more.csv has no text in column 'body'"),
    ],
)
def test_a_mistake_leaves_the_file_as_it_was(cli, intents, tmp_path, table, words, answer):
    before = intents.read_bytes()
    (tmp_path / "more.csv").write_text(table)
    done = cli("add", intents, "more.csv", *words)
    assert done.code in (1, 2) and answer in done.err, done
    assert intents.read_bytes() == before


def test_texts_of_one_class_come_from_a_file_a_table_or_the_command_line(cli, intents, tmp_path):
    (tmp_path / "stop.txt").write_text("stop it\nhalt\n")
    (tmp_path / "stop.csv").write_text("id,body\n1,stop that\n")
    for given, added in (("stop.txt", 2), ("stop.csv", 1), ("end it all", 1), ("end", 1), ("end", 0)):
        assert cli("add", intents, given, "--class", "cancel", "--json").answer["added"] == added
    explanation = cli("explain", intents, "stop", "--json").answer["explanations"][0]
    sources = {example["source"] for example in explanation["examples"]}
    assert {"stop.txt, text 2", "stop.csv, line 2", "command line"} <= sources
    done = cli("add", intents, "stops.md", "--class", "cancel")
    assert done.code == 1 and "stops.md is not there: give a file with one text a line" in done.err
    assert "there is a class 'cancel' already" in cli("add-class", intents, "cancel", "stop.txt").err


def test_suggested_texts_are_labelled_in_their_table_and_added(cli, intents, tmp_path):
    (tmp_path / "pool.csv").write_text('id,body\n1,"halt, now"\n2,my money\n3,=hello\n')
    done = cli("which-next", intents, "pool.csv", "--n", "3", "--csv")
    header, *rows = list(csv.reader(io.StringIO(done.out)))
    assert header == ["id", "body", "label", "reason"] and {row[2] for row in rows} == {""}
    assert {row[1] for row in rows} == {"halt, now", "my money", "=hello"}
    fill(tmp_path / "ask.csv", done.out, [{"1": "cancel", "2": "refund", "3": ""}[row[0]] for row in rows])
    added = cli("add", intents, "ask.csv")
    assert added.code == 0 and "2 new rows" in added.out, added
    assert "note: left out 1: ask.csv, line " in added.err and "has no label" in added.err
    result = cli("add", intents, "ask.csv", "--json").answer
    assert (result["added"], result["duplicates"], len(result["left_out"])) == (0, 2, 1)


def test_suggested_texts_without_a_table_come_back_as_they_were(cli, intents, tmp_path):
    (tmp_path / "pool.txt").write_text("=hello()\n'-quoted\n-5\n")
    done = cli("which-next", intents, "pool.txt", "--csv")
    assert done.out.startswith("input,label,reason\n") and "\n=" not in done.out
    fill(tmp_path / "ask.csv", done.out, ["greet"] * 3)
    assert cli("add", intents, "ask.csv", "--json").answer["added"] == 3
    (tmp_path / "same.csv").write_text("body,label\n=hello(),greet\n'-quoted,greet\n-5,greet\n")
    assert cli("add", intents, "same.csv", "--json").answer["duplicates"] == 3


def test_the_users_own_empty_column_of_labels_is_the_one_to_fill_in(cli, intents, tmp_path):
    (tmp_path / "pool.csv").write_text("body,label\nhalt,\nmy money,\n")
    assert cli("which-next", intents, "pool.csv", "--csv").out.startswith("body,label,reason\n")


def test_suggested_pictures_are_labelled_and_added(cli, photos, tmp_path):  # noqa: F811
    cli("fit", "photos", "-o", "few.safetensors", "--learner", "nearest_mean")
    done = cli("which-next", "few.safetensors", "new", "dots", "--n", "3", "--csv")
    fill(tmp_path / "ask.csv", done.out, ["dot", "dot", ""])
    result = cli("add", "few.safetensors", "ask.csv", "--json")
    assert result.code == 0 and result.answer["classes"]["dot"] == 2, result.err
    assert cli("predict", "few.safetensors", "dots/3.png", "--json").answer["predictions"][0]["label"] == "dot"


def test_pictures_are_added_from_class_folders_a_folder_or_a_file(cli, photos, tmp_path):  # noqa: F811
    cli("fit", "photos", "-o", "few.safetensors", "--learner", "nearest_mean")
    assert cli("add", "few.safetensors", "photos", "--json").answer["duplicates"] == 12
    (tmp_path / "later" / "ring").mkdir(parents=True)
    drawing("ring", 20).save(tmp_path / "later" / "ring" / "20.png")
    assert cli("add", "few.safetensors", "later", "--json").answer["classes"]["ring"] == 5
    assert cli("add", "few.safetensors", "new/bar-4.png", "--class", "bar", "--json").answer["classes"]["bar"] == 5
    assert cli("add", "few.safetensors", "dots", "--class", "dot", "--json").answer["new_classes"] == ["dot"]
    done = cli("add", "few.safetensors", "new/none.png", "--class", "bar")
    assert done.code == 1 and "new/none.png is no picture: give a folder of pictures" in done.err


def test_rows_of_a_table_close_the_loop_too(cli, tmp_path):
    (tmp_path / "train.csv").write_text("size,colour,kind\n1,red,a\n2,red,a\n3,red,a\n9,blue,b\n8,blue,b\n9,blue,b\n")
    cli("fit", "train.csv", "--label", "kind", "-o", "rows.safetensors", "--learner", "ridge")
    (tmp_path / "pool.csv").write_text("id,colour,size\nx7,blue,5\nx8,red,2\n")
    done = cli("which-next", "rows.safetensors", "pool.csv", "--csv")
    assert done.out.startswith("id,colour,size,label,reason\n")
    labels = [{"x7": "c", "x8": "a"}[line.split(",")[0]] for line in done.out.splitlines()[1:]]
    fill(tmp_path / "ask.csv", done.out, labels)
    assert "2 new rows, 1 of them equal to others of their class" in cli("add", "rows.safetensors", "ask.csv").out
    result = cli("add", "rows.safetensors", "pool.csv", "--class", "b", "--json").answer
    assert result["classes"] == {"a": 4, "b": 5, "c": 1}
    (tmp_path / "few.csv").write_text("colour,kind\nred,a\n")
    assert "few.csv has no column 'size', which was there" in cli("add", "rows.safetensors", "few.csv").err


def test_why_the_effect_is_unknown_is_said_once(cli, intents):
    out = cli("add", intents, "hello", "--class", "greet").out
    assert (
        out.count("too few to tell: greet has 1 example") == 1 and "the effect on the other classes is unknown" in out
    )


def test_damaged_pictures_are_left_out_of_an_addition_on_request(cli, photos, tmp_path):  # noqa: F811
    cli("fit", "photos", "-o", "few.safetensors", "--learner", "nearest_mean")
    whole = (tmp_path / "dots" / "0.png").read_bytes()
    (tmp_path / "dots" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "ask.csv").write_text("input,label\ndots/0.png,dot\ndots/cut.png,dot\ndots/none.png,dot\n")
    done = cli("add", "few.safetensors", "dots", "--class", "dot")
    assert done.code == 1 and "cut.png is damaged or cut short" in done.err
    assert cli("add", "few.safetensors", "dots", "--class", "dot", "--skip-bad", "--json").answer["added"] == 4
    done = cli("add", "few.safetensors", "ask.csv", "--skip-bad", "--json")
    assert (done.answer["duplicates"], len(done.answer["left_out"])) == (1, 2), done
