"""A file that is there is replaced only on request, and standard input is read where a file is."""

import os

import pytest

from mapwise.workflows.writing import check_new

TABLE = "text,kind\n" + "".join(f"{word} it {n},{kind}\n" for word, kind in (("stop", "a"), ("go", "b")) for n in "xyz")
FIT = ("fit", "t.csv", "--text", "text", "-o", "t.safetensors", "--learner", "nearest_mean")


@pytest.fixture
def predictor(cli, tmp_path):
    (tmp_path / "t.csv").write_text(TABLE)
    assert cli(*FIT).code == 0
    return tmp_path / "t.safetensors"


@pytest.fixture
def stdin():
    """Lets standard input hold a text."""
    original, parts = os.dup(0), []

    def hold(text: str) -> None:
        read, write = os.pipe()
        os.write(write, text.encode())
        os.close(write)
        os.dup2(read, 0)
        parts.append(read)

    yield hold
    os.dup2(original, 0)
    for handle in (original, *parts):
        os.close(handle)


def test_only_a_file_is_in_the_way(tmp_path):
    check_new(tmp_path / "new.safetensors")
    (tmp_path / "old.safetensors").write_bytes(b"old")
    with pytest.raises(ValueError, match="is there already: give another name, or --force to replace it"):
        check_new(tmp_path / "old.safetensors")
    check_new(tmp_path / "old.safetensors", force=True)
    with pytest.raises(OSError, match="a folder"):
        check_new(tmp_path, force=True)


@pytest.mark.parametrize("words", [FIT, ("export", "t.safetensors", "--onnx")], ids=["fit", "export"])
def test_a_file_is_replaced_only_by_force(cli, predictor, words):
    path = predictor if words == FIT else predictor.with_suffix(".onnx")
    path.write_bytes(path.read_bytes() if words == FIT else b"mine")
    before = path.read_bytes()
    done = cli(*words)
    assert done.code == 1 and f"{path.name} is there already: give another name, or --force" in done.err
    assert path.read_bytes() == before
    if words == FIT:
        assert cli(*words, "--force").code == 0


def test_a_page_replaces_a_page_and_nothing_else(cli, predictor, tmp_path):
    assert cli("report", predictor).code == 0 and cli("report", predictor).code == 0
    (tmp_path / "t.html").write_text("<!doctype html><p>mine</p>")
    done = cli("report", predictor)
    assert done.code == 1 and "t.html is there already" in done.err and "mine" in (tmp_path / "t.html").read_text()
    assert cli("report", predictor, "--force").code == 0 and "mine" not in (tmp_path / "t.html").read_text()
    assert "--force is for a predictor's file" in cli("report", tmp_path, "--force").err


def test_texts_come_from_standard_input(cli, predictor, stdin):
    stdin("stop it now\n\ngo on\n")
    done = cli("predict", predictor, "-", "--refuse", "0", "--json")
    assert [(one["input"], one["label"]) for one in done.answer["predictions"]] == [
        ("stop it now", "a"),
        ("go on", "b"),
    ]
    stdin("stop it now\n")
    assert cli("explain", predictor, "-").out.startswith("stop it now: a")
    stdin("stop it now\ngo on\n")
    assert len(cli("which-next", predictor, "-").out.splitlines()) == 2
    stdin("hello\nhello you\n")
    done = cli("add-class", predictor, "hello", "-", "--json")
    assert done.code == 0 and done.answer["classes"]["hello"] == 2
    stdin("")
    assert "standard input holds no text: give" in cli("predict", predictor, "-").err


def test_a_table_comes_from_standard_input(cli, predictor, stdin, tmp_path):
    stdin(TABLE)
    assert cli("fit", "-", "--text", "text", "-o", "piped.safetensors", "--learner", "nearest_mean").code == 0
    stdin("size,kind\n1,a\n2,a\n8,b\n9,b\n")
    assert cli("fit", "-", "-o", "rows.safetensors", "--learner", "nearest_mean").code == 0
    stdin("size\n1\n")
    done = cli("predict", "rows.safetensors", "-", "--json", "--refuse", "0")
    assert done.answer["predictions"][0]["input"] == "standard input, line 2"


def test_no_pictures_come_from_standard_input(cli, stdin, tmp_path):
    from test_encoders import drawing

    for kind in ("ring", "bar"):
        (tmp_path / "p" / kind).mkdir(parents=True)
        drawing(kind, 0).save(tmp_path / "p" / kind / "0.png")
    cli("fit", "p", "-o", "p.safetensors", "--learner", "nearest_mean")
    for words in (("predict", "p.safetensors", "-"), ("add-class", "p.safetensors", "dot", "-")):
        done = cli(*words)
        assert done.code == 1 and "standard input holds texts or a table, and this predictor reads pictures" in done.err


@pytest.mark.parametrize("text", ["-5", "-never mind", "--no, cancel it"])
def test_a_text_that_begins_with_a_dash_is_told_how_to_be_one(cli, predictor, text):
    done = cli("predict", predictor, text)
    assert done.code == 2 and "before a text that begins with a dash put --" in done.err and text in done.err
    assert cli("predict", predictor, "--refuse", "0", "--", text).code == 0


def test_a_flag_that_is_misspelled_is_still_corrected(cli, predictor):
    assert "did you mean --json?" in cli("predict", predictor, "go", "--jsn").err
    assert "a text that begins" not in cli("doctor", "-5").err
