"""mapwise fit, predict, add-class, explain and which-next: five minutes from a folder or a table to answers."""

import io
import time

import numpy as np
import pytest
from PIL import Image

import mapwise as mw
from mapwise.interfaces import progress
from mapwise.interfaces.progress import Work
from mapwise.predictors.examples import LabelledExamples
from mapwise.workflows.fit import fit_examples
from test_encoders import drawing


@pytest.fixture
def photos(tmp_path):
    """Three class folders of four drawings, a fourth beside them, and new drawings."""
    for kind in ("cross", "ring", "bar"):
        for place in range(6):
            folder = tmp_path / ("photos" if place < 4 else "new") / (kind if place < 4 else "")
            folder.mkdir(parents=True, exist_ok=True)
            drawing(kind, place).save(folder / f"{kind}-{place}.png")
    (tmp_path / "dots").mkdir()
    for place in range(4):
        image = Image.new("L", (60, 60), 255)
        image.paste(0, (20 + place, 20, 34 + place, 34))
        image.save(tmp_path / "dots" / f"{place}.png")
    return tmp_path


CSV = """\ufeffbody;intent
cancel my order;cancel
please cancel it;cancel
"cancel; now";cancel
where is my refund;refund
refund my money;refund
a refund, please;refund
"""


def test_a_folder_becomes_a_file_that_answers(cli, photos):
    done = cli("fit", "photos", "-o", "few.safetensors", "--json")
    assert done.code == 0, done.err
    assert done.answer["classes"] == {"bar": 4, "cross": 4, "ring": 4}
    assert done.answer["held_out"]["accuracy"] == 1
    assert done.answer["bytes"] < 20_000
    question = cli("predict", "few.safetensors", *sorted(photos.glob("new/*.png")), "--json")
    answers = question.answer["predictions"]
    assert [one["label"] for one in answers] == ["bar", "bar", "cross", "cross", "ring", "ring"]
    assert answers[0]["input"].endswith("bar-4.png")
    assert all(0.5 < one["probability"] <= 1 for one in answers)
    assert not any(one["unknown"] for one in answers)
    assert cli("predict", "few.safetensors", "new", "--json").answer["predictions"][5]["label"] == "ring"


def test_answers_are_lines_and_tables_too(cli, photos):
    text = cli("fit", "photos", "-o", "few.safetensors").out
    assert "12 examples of 3 classes" in text
    assert "cross-validated on 12 rows" in text
    lines = cli("predict", "few.safetensors", "new").out.splitlines()
    assert lines[0].split() == ["bar", *lines[0].split()[1:3], "new/bar-4.png"]
    sheet = cli("predict", "few.safetensors", "new", "--csv").out.splitlines()
    assert sheet[0] == "input,label,probability,unknown"
    assert sheet[1].startswith("new/bar-4.png,bar,")
    assert len(sheet) == 7


def test_what_no_class_is_like_is_none_of_these(cli, photos):
    cli("fit", "photos", "-o", "few.safetensors")
    question = cli("predict", "few.safetensors", "dots", "--json").answer
    assert question["refuse"] == 0.05
    assert [one["unknown"] for one in question["predictions"]] == [True] * 4
    assert cli("predict", "few.safetensors", "dots").out.startswith("none of these (nearest ")
    assert cli("predict", "few.safetensors", "dots", "--csv").out.splitlines()[1].endswith(",yes")
    taken = cli("predict", "few.safetensors", "dots", "--refuse", "0", "--json").answer["predictions"]
    assert not any(one["unknown"] for one in taken)
    refused = cli("predict", "few.safetensors", "dots", "--refuse", "100")
    assert refused.code == 1
    assert "a percentage from 0 to below 100" in refused.err


def test_where_none_of_these_cannot_be_told_the_answers_are_given_all_the_same(cli, tmp_path):
    (tmp_path / "train.csv").write_text("body,intent\ncancel it,cancel\nmy refund,refund\n")
    cli("fit", "train.csv", "--text", "body", "--label", "intent", "-o", "two.safetensors")
    question = cli("predict", "two.safetensors", "cancel", "--json").answer
    assert question["predictions"][0]["unknown"] is None
    assert question["why"].startswith("what is none of these is unknown: 0 of the examples")
    assert "note: what is none of these" in cli("predict", "two.safetensors", "cancel").out


def test_a_class_is_added_to_the_file_alone(cli, photos):
    cli("fit", "photos", "-o", "few.safetensors")
    for path in sorted(photos.glob("photos/*/*.png")):
        path.unlink()
    done = cli("add-class", "few.safetensors", "dot/small", "dots", "--json")
    assert done.code == 0, done.err
    assert done.answer["classes"] == {"bar": 4, "cross": 4, "ring": 4, "dot/small": 4}
    assert done.answer["before"]["accuracy"] == 1
    answers = cli("predict", "few.safetensors", "dots", "new", "--json").answer["predictions"]
    assert [one["label"] for one in answers] == ["dot/small"] * 4 + ["bar"] * 2 + ["cross"] * 2 + ["ring"] * 2


def test_texts_of_a_table_become_a_file_that_answers(cli, tmp_path):
    (tmp_path / "train.csv").write_text(CSV, encoding="utf-8")
    done = cli("fit", "train.csv", "--text", "body", "--label", "intent", "-o", "intents.safetensors", "--json")
    assert done.code == 0, done.err
    assert done.answer["encoder"] == "words"
    (tmp_path / "new.csv").write_text("id,body\n1,my refund\n2,cancel\n")
    (tmp_path / "new.txt").write_text("cancel it\n\nrefund please\n")
    question = cli("predict", "intents.safetensors", "cancel that order", "new.csv", "new.txt", "--json").answer
    assert [one["label"] for one in question["predictions"]] == ["cancel", "refund", "cancel", "cancel", "refund"]
    (tmp_path / "hello.txt").write_text("hello there\ngood morning\nhello\n")
    assert cli("add-class", "intents.safetensors", "hello", "hello.txt").code == 0
    assert cli("predict", "intents.safetensors", "hello you", "--json").answer["predictions"][0]["label"] == "hello"


def test_rows_of_a_table_become_a_file_that_answers(cli, tmp_path):
    (tmp_path / "train.csv").write_text("size,colour,kind\n1,red,a\n2,red,a\n,red,a\n9,blue,b\n8,?,b\n9,blue,b\n")
    done = cli("fit", "train.csv", "--label", "kind", "-o", "rows.safetensors", "--json", "--learner", "ridge")
    assert done.code == 0, done.err
    (tmp_path / "new.csv").write_text("colour,size\nblue,7\nred,2\n")
    question = cli("predict", "rows.safetensors", "new.csv", "--json").answer["predictions"]
    assert [(one["input"], one["label"]) for one in question] == [("new.csv, line 2", "b"), ("new.csv, line 3", "a")]


def test_what_can_not_be_told_is_said(cli, tmp_path):
    (tmp_path / "train.csv").write_text("size,kind\n1,a\n9,b\n")
    assert "too few to tell: a has 1 example" in cli("fit", "train.csv", "-o", "rows.safetensors").out


@pytest.mark.parametrize(
    ("result", "words", "answer"),
    [
        ({}, ["fit", "none", "-o", "f.safetensors"], "none is not there: give a folder"),
        ({"one/a/1.png": "ring"}, ["fit", "one", "-o", "f.safetensors"], "one class, 'a'"),
        ({"odd/1.png": "ring"}, ["fit", "odd", "-o", "f.safetensors"], "files but no subfolders"),
        (
            {"odd/a/1.png": "ring", "odd/b/2.png": "ring"},
            ["fit", "odd", "-o", "f.safetensors"],
            "same and of two classes",
        ),
        (
            {"odd/a/1.png": "ring", "odd/b/2.png": b"text"},
            ["fit", "odd", "-o", "f.safetensors"],
            "2.png is not an image",
        ),
        ({"odd/a/1.png": "ring"}, ["fit", "odd", "-o", "f.txt"], "call it f.safetensors"),
        ({"t.csv": b"a,a,kind\n1,2,x\n"}, ["fit", "t.csv", "-o", "f.safetensors"], "two columns called 'a'"),
        ({"t.csv": b"a,kind\n1,x\n2,\n"}, ["fit", "t.csv", "-o", "f.safetensors"], "line 3 of t.csv has no label"),
        ({"t.csv": b"a,kind\n1,x\n2,y\n"}, ["fit", "t.csv", "--text", "b", "-o", "f.safetensors"], "no column 'b'"),
        (
            {"t.csv": b"a,kind\n,x\nhi,y\n"},
            ["fit", "t.csv", "--text", "a", "-o", "f.safetensors"],
            "line 2 of t.csv has no text in column 'a'",
        ),
        ({"t.csv": b"a,kind\n1,x\n"}, ["fit", "t.csv", "-o", "f.safetensors"], "one class, 'x'"),
        ({"t.csv": b'a,kind\n1,"x\nz"\n2,y\n'}, ["fit", "t.csv", "-o", "f.safetensors"], r"'x\nz' is no name"),
        ({"a\nb/1.png": "ring", "c/1.png": "bar"}, ["fit", ".", "-o", "f.safetensors"], r"'a\nb' is no name"),
        (
            {"t.csv": b"a,kind\n1,x\n2,y\n"},
            ["fit", "t.csv", "--learner", "odd", "-o", "f.safetensors"],
            "no learner 'odd'",
        ),
        (
            {"t.csv": b"a,kind\n1,x\n2,y\n"},
            ["fit", "t.csv", "--encoder", "drawings", "-o", "f.safetensors"],
            "reads pictures and the rows look like table",
        ),
        ({"f.safetensors": b"odd"}, ["predict", "f.safetensors", "x.png"], "no whole predictor"),
        ({}, ["predict", "f.safetensors", "x.png"], "there is no file"),
        ({}, ["explain", "f.safetensors", "x.png"], "there is no file"),
        ({}, ["which-next", "f.safetensors", "x.png"], "there is no file"),
        ({}, ["add-class", "f.safetensors", "a\nb", "x"], "give one line of text"),
        ({}, ["add-class", "f.safetensors", " ", "x"], "give one line of text"),
    ],
)
def test_a_mistake_is_one_sentence(cli, tmp_path, result, words, answer):
    for name, content in result.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            drawing(content, 2).save(path)
    done = cli(*words)
    assert done.code == 1
    assert answer in done.err
    assert len(done.err.splitlines()) == 1
    assert done.out == ""


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["predict", "few.safetensors", "none.png"], "none.png is not there"),
        (["which-next", "few.safetensors", "new", "--n", "7"], "n is 7 and there are 6 rows without a label"),
        (["explain", "few.safetensors", "none.png", "--regions", "why"], "none.png is not there"),
        (["add-class", "few.safetensors", "ring", "dots"], "there is a class 'ring' already"),
        (["add-class", "few.safetensors", "dot", "none"], "none is no folder"),
        (["add-class", "few.safetensors", "hoop", "photos/ring"], "same and of two classes"),
    ],
)
def test_a_mistake_leaves_the_file_as_it_was(cli, photos, words, answer):
    cli("fit", "photos", "-o", "few.safetensors")
    before = (photos / "few.safetensors").read_bytes()
    done = cli(*words)
    assert (done.code, done.out) == (1, "")
    assert answer in done.err
    assert (photos / "few.safetensors").read_bytes() == before


def test_a_drawing_answers_the_same_alone_and_among_others(cli, photos):
    cli("fit", "photos", "-o", "few.safetensors")
    among = cli("predict", "few.safetensors", "new", "--json").answer["predictions"]
    alone = [cli("predict", "few.safetensors", one["input"], "--json").answer["predictions"][0] for one in among]
    np.testing.assert_allclose([one["probability"] for one in alone], [one["probability"] for one in among], atol=1e-4)


@pytest.fixture
def littered(photos):
    """Class folders and new drawings with notes among them, and one cut picture each; and a predictor of whole ones."""
    for folder in (photos / "photos" / "ring", photos / "new", photos / "dots"):
        (folder / "notes.txt").write_text("taken in May")
        whole = next(folder.glob("*.png")).read_bytes()
        (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    mw.FewShotClassifier().fit([drawing(kind, 0) for kind in ("ring", "bar")], ["ring", "bar"]).save("few.safetensors")
    return photos


COMMANDS = [
    ("fit", "photos", "-o", "new.safetensors", "--learner", "nearest_mean"),
    ("predict", "few.safetensors", "new"),
    ("explain", "few.safetensors", "new"),
    ("which-next", "few.safetensors", "new"),
    ("add-class", "few.safetensors", "dot", "dots"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=[words[0] for words in COMMANDS])
def test_what_is_no_picture_is_left_out_with_a_note_and_a_damaged_one_on_request(cli, littered, words):
    done = cli(*words)
    assert (done.code, done.out) == (1, "")
    assert "note: left out 1: " in done.err and "notes.txt is not an image\n" in done.err
    assert "cut.png is damaged or cut short" in done.err and "leave it out, as --skip-bad does" in done.err
    done = cli(*words, "--skip-bad", "--json")
    assert done.code == 0, done.err
    assert "note: left out 2: " in done.err
    assert sorted(line.split(" ")[0].rsplit("/")[-1] for line in done.answer["left_out"]) == ["cut.png", "notes.txt"]


def test_a_file_that_is_named_is_read_whatever_it_is_called(cli, littered):
    done = cli("predict", "few.safetensors", "new/notes.txt")
    assert done.code == 1 and "new/notes.txt is not an image" in done.err
    done = cli("predict", "few.safetensors", "new/notes.txt", "--skip-bad")
    assert done.code == 1 and "new/notes.txt holds no pictures (new/notes.txt is not an image)" in done.err


def test_a_class_folder_without_pictures_is_mentioned(cli, photos):
    (photos / "photos" / "empty").mkdir()
    (photos / "photos" / "words").mkdir()
    (photos / "photos" / "words" / "a.txt").write_text("a")
    done = cli("fit", "photos", "-o", "few.safetensors", "--learner", "nearest_mean", "--json")
    assert done.code == 0, done.err
    assert "photos/empty holds no files" in done.err and "photos/words holds no pictures" in done.err
    assert set(done.answer["classes"]) == {"bar", "cross", "ring"}


def test_work_is_shown_at_a_terminal_and_says_nothing_of_a_moment_elsewhere(monkeypatch, capsys):
    with Work("fitting") as work:
        rows = work.reading("pictures")(["a", "b", "c"])
        assert (len(rows), rows[1], list(rows)) == (3, "b", ["a", "b", "c"])
        assert work.reading("table")(table := {"x": [1]}) is table
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("mapwise.interfaces.progress._seen", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Work("fitting") as work:
        work.stage("cross-validating ridge (2 of 3)")
        assert list(work.reading("pictures")(["a", "b", "c"])) == ["a", "b", "c"]
    shown = capsys.readouterr().err
    assert "fitting" in shown or "cross-validating ridge (2 of 3)" in shown


def test_a_command_in_a_cell_of_a_notebook_has_no_bar(monkeypatch):
    monkeypatch.setattr("sys.stderr", io.StringIO())
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    assert progress._seen()
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    assert not progress._seen()


def test_long_work_says_where_it_stands_in_a_pipe(monkeypatch, capsys):
    monkeypatch.setattr("mapwise.interfaces.progress.EVERY", 0.01)
    with Work("fitting") as work:
        work.stage("cross-validating ridge (2 of 3)")
        _until(lambda: "cross-validating ridge (2 of 3), " in (seen := capsys.readouterr().err) and "s so far" in seen)
        for _ in work.reading("pictures")(["a", "b"]):
            _until(lambda: "reading pictures, " in (seen := capsys.readouterr().err) and " of 2, " in seen)


def _until(true):
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_fit_says_which_learner_is_cross_validated():
    stages = []
    rows = [f"{word} {number}" for word in ("cancel", "refund") for number in range(3)]
    labels = np.repeat(np.asarray(["a", "b"], dtype=object), 3)
    fit_examples(LabelledExamples(rows, "texts", labels), encoder="words", stage=stages.append)
    assert stages[:2] == ["cross-validating nearest_mean behind words", "cross-validating ridge behind words"]


def test_an_answer_is_explained_by_the_files_it_came_from(cli, photos):
    cli("fit", "photos", "-o", "few.safetensors")
    cli("add-class", "few.safetensors", "dot", "dots")
    done = cli("explain", "few.safetensors", "new/ring-4.png", "new/bar-5.png", "--json")
    assert done.code == 0, done.err
    ring, bar = done.answer["explanations"]
    assert (ring["input"], ring["label"], bar["label"]) == ("new/ring-4.png", "ring", "bar")
    answer = cli("predict", "few.safetensors", "new/ring-4.png", "--json").answer["predictions"][0]
    assert ring["probability"] == pytest.approx(answer["probability"], abs=1e-4)
    assert len(ring["examples"]) == 16
    sources = {example["source"]: example["label"] for example in ring["examples"]}
    assert sources["ring/ring-3.png"] == "ring" and sources["dots/2.png"] == "dot"
    lines = cli("explain", "few.safetensors", "new/ring-4.png").out.splitlines()
    assert lines[0].startswith("new/ring-4.png: ring, ")
    assert "ring/ring-" in "".join(lines) and lines[-1].strip() == "without any one example it would still be ring"


def test_the_lines_of_a_table_are_named_too(cli, tmp_path):
    (tmp_path / "train.csv").write_text(CSV, encoding="utf-8")
    cli("fit", "train.csv", "--text", "body", "--label", "intent", "-o", "intents.safetensors")
    (tmp_path / "hello.txt").write_text("hello there\n\ngood morning\n")
    cli("add-class", "intents.safetensors", "hello", "hello.txt")
    (one,) = cli("explain", "intents.safetensors", "cancel my order", "--json").answer["explanations"]
    assert one["examples"][0]["source"] == "train.csv, line 2"
    assert {example["source"] for example in one["examples"]} >= {"hello.txt, text 1", "hello.txt, text 2"}


def test_regions_are_pictures_in_a_folder(cli, photos):
    cli("fit", "photos", "-o", "few.safetensors")
    done = cli("explain", "few.safetensors", "new", "--regions", "why", "--json")
    assert done.code == 0, done.err
    region = done.answer["explanations"][5]["region"]
    assert region["picture"] == "why/5-ring-5.png" and region["lead_without"] < region["lead"]
    with Image.open(photos / region["picture"]) as shown, Image.open(photos / "new" / "ring-5.png") as read:
        assert shown.size == read.size and shown.mode == "RGB"
    assert len(list(photos.glob("why/*.png"))) == 6


def test_what_to_label_next_is_named_with_its_reason(cli, photos):
    cli("fit", "photos", "-o", "few.safetensors")
    done = cli("which-next", "few.safetensors", "new", "dots", "--json")
    assert done.code == 0, done.err
    result = done.answer["next"]
    assert len(result) == 5 and result[0]["input"].startswith("dots/")  # of a class that has no example
    assert "unlike every example so far, like 3 others" in result[0]["reason"]
    assert result[0]["input"] == sorted(str(p.relative_to(photos)) for p in photos.glob("dots/*"))[result[0]["row"] - 6]
    lines = cli("which-next", "few.safetensors", "new", "dots", "--n", "2").out.splitlines()
    assert len(lines) == 2 and lines[0] == f"{result[0]['input']}: {result[0]['reason']}"
    assert len(cli("which-next", "few.safetensors", "dots").out.splitlines()) == 4


def test_add_class_says_what_it_did_to_the_other_classes(cli, tmp_path):
    (tmp_path / "t.csv").write_text(
        "text,label\n" + "".join(f"{w} it {n},{w}\n" for w in ("stop", "go") for n in "abc")
    )
    (tmp_path / "hello.txt").write_text("hello there\nhello you\nhello it\n")
    cli("fit", "t.csv", "--text", "text", "-o", "t.safetensors", "--learner", "nearest_mean")
    done = cli("add-class", "t.safetensors", "hello", "hello.txt")
    assert "the other classes: 100 % before and " in done.out and "before: right" not in done.out
    (tmp_path / "bye.txt").write_text("bye there\nbye you\nbye it\n")
    effect = cli("add-class", "t.safetensors", "bye", "bye.txt", "--json").answer["other_classes"]
    assert set(effect) == {"before", "now", "why"} and 0 <= effect["now"] <= 1 and not effect["why"]


def test_the_rate_of_rejected_rows_of_other_classes_is_shown_by_every_command(cli, photos):
    fit = cli("fit", "photos", "-o", "few.safetensors", "--learner", "nearest_mean")
    line = "none of these: rejects about 100 % of rows of other classes and up to 5 % of its own, estimated by leaving"
    assert line in fit.out
    prediction = cli("predict", "few.safetensors", "new")
    assert line in prediction.err and line not in prediction.out
    assert cli("predict", "few.safetensors", "new", "--json").answer["detection"]["rate"] == 1
    assert cli("predict", "few.safetensors", "new", "--refuse", "0", "--json").answer["detection"] is None
    report = cli("report", "few.safetensors", "--json").answer
    assert report["detection"]["classes"] == 3
