"""Finders of spans on the command line: fit, predict, and what other commands say of their files."""

import csv
import io
import json
import shlex
from pathlib import Path

import pytest

from conftest import ROOT, command, rewrite
from span_cases import HOSTILE_FILES, HOSTILE_TEXTS, line
from test_docs import blocks

pytest.importorskip("peft")
from tiny_models import tiny_model

MARKS = """[Ada Byron](person) met [Ann Lee](person) in [Rome](city).
[Rome](city) and [Oslo](city) are far apart.
In [Oslo](city) lives [Tom Ray](person).
Nobody is here.
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return f"hf:{tiny_model(tmp_path_factory.mktemp('models') / 'tiny')}"


@pytest.fixture(scope="module")
def finder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finder")
    (folder / "notes.txt").write_text(MARKS)
    out = folder / "finder.safetensors"
    assert command("fit", folder / "notes.txt", "--spans", "--encoder", model, "-o", out, "--json") == 0
    return out


@pytest.fixture
def fit(cli, model, tmp_path):
    """Fit to a file of this name and content, without tuning."""

    def run(name, content, *words):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        out = ("--encoder", model, "--steps", "0", "-o", "new.safetensors")
        return cli("fit", path.relative_to(tmp_path), "--spans", *out, *words)

    return run


def is_one_sentence(done, text):
    assert done.code in (1, 2) and done.out == "", done
    assert done.err.startswith("mapwise: ") and done.err.count("\n") == 1 and len(done.err) < 1000, done.err
    assert text in done.err and "fault of mapwise" not in done.err, done.err


def are_right(texts, types=("city", "person")):
    """Spans lie in their text, apart, and are what they say."""
    for one in texts:
        last = 0
        for span in one["spans"]:
            assert last <= span["start"] < span["end"] <= len(one["text"])
            assert one["text"][span["start"] : span["end"]] == span["text"] == span["text"].strip() != ""
            assert 0 <= span["probability"] <= 1 and span["type"] in types
            last = span["end"]


def test_a_fit_says_what_it_was_fitted_to_and_what_is_next(fit, cli):
    done = fit("notes.txt", MARKS)
    assert done.code == 0, done.err
    assert done.out.startswith("new.safetensors: 7 spans in 4 texts, ")
    assert "types: city 4, person 3\n" in done.out and "next: mapwise predict new.safetensors " in done.out
    again = fit("notes.txt", MARKS)
    is_one_sentence(again, "new.safetensors is there already")
    answer = fit("notes.txt", MARKS, "--force", "--json").answer
    assert answer["types"] == {"city": 4, "person": 3} and answer["annotated_texts"] == 4
    assert (answer["cut"], answer["remarks"], answer["learner"]) == ([], [], "span_finder")


def test_a_fit_reads_every_format(fit):
    rows = '{"text": "Ada met Ann", "spans": [[0, 3, "person"]]}\n'
    conll = "Ada B-person\nmet O\n\nRome I-city\nis O\n"
    assert fit("a.jsonl", rows, "--json").answer["types"] == {"person": 1}
    done = fit("a.conll", conll, "--json", "--force")
    assert done.answer["types"] == {"city": 1, "person": 1} and len(done.answer["remarks"]) == 1
    assert "note: 1 span of a.conll" in done.err


def test_a_folder_is_learned_from_by_its_part_for_training(fit, cli, model, tmp_path):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "test.conll").write_text("Ada B-person\n")
    (tmp_path / "corpus" / "train.conll").write_text("Rome B-city\nis O\n")
    words = ("fit", "corpus", "--spans", "--encoder", model, "--steps", "0", "-o", "new.safetensors")
    done = cli(*words, "--json")
    assert done.answer["types"] == {"city": 1}, done.err
    assert "note: 1 text of test is left out: a finder learns from train alone" in done.err
    (tmp_path / "corpus" / "train.conll").unlink()
    is_one_sentence(cli(*words, "--force"), "corpus has no file called train")


def test_further_types_are_known_by_their_names(fit, tmp_path):
    (tmp_path / "types.txt").write_text("river\n")
    (tmp_path / "about.csv").write_text("type,what\nriver,a long water\n")
    done = fit("notes.txt", MARKS, "--types", "types.txt", "--describe", "about.csv")
    assert done.code == 0 and "river (by its name alone)" in done.out, done.err
    is_one_sentence(fit("notes.txt", MARKS, "--force", "--describe", "about.csv"), "there is no type 'river'")


def test_types_alone_are_enough(cli, model, tmp_path):
    (tmp_path / "types.txt").write_text("river\ncity\n")
    done = cli("fit", "--spans", "--types", "types.txt", "--encoder", model, "--steps", "0", "-o", "new.safetensors")
    assert done.code == 0 and "0 spans in 0 texts" in done.out, done.err
    assert "too few to tell: there are no texts" in done.out


def test_standard_input_is_a_file_too(fit, cli, finder, model, tmp_path):
    from command_process import process

    words = ("--encoder", model, "--steps", "0", "-o", "new.safetensors", "--json")
    done = process("fit", "-", "--spans", *words, cwd=tmp_path, input=MARKS)
    assert json.loads(done.stdout)["types"] == {"city": 4, "person": 3}, done.stderr
    done = process("predict", finder, "-", "--json", cwd=tmp_path, input="Ada Byron\n\nTom Ray")
    assert [one["source"] for one in json.loads(done.stdout)["texts"]] == [
        "standard input, line 1",
        "standard input, line 3",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--budget", "soon"), "the budget is 'soon' and a time above zero is needed"),
        (("--text", "a"), "--text is for predictors of classes"),
        (("--label", "a"), "--label is for predictors of classes"),
        (("--categories", "a"), "--categories is for predictors of classes"),
        (("--names", "a"), "--names is for predictors of classes"),
        (("--skip-bad",), "--skip-bad is for predictors of classes"),
        (("--steps", "-1"), "--steps"),
        (("--encoder", "words"), "no model reads texts piece by piece"),
        (("--encoder", "hf:nowhere/at/all"), "there is no folder nowhere/at/all"),
        (("--learner", "runs/nothing"), "runs/nothing"),
        (("--learner", "protonet"), "protonet"),
        (("--types", "nothing.txt"), "nothing.txt"),
        (("--describe", "nothing.csv"), "nothing.csv"),
        (("-o", "finder.txt"), "call it finder.safetensors"),
    ],
)
def test_options_that_make_no_sense_are_one_sentence(cli, tmp_path, words, message):
    (tmp_path / "notes.txt").write_text(MARKS)
    given = () if "-o" in words else ("-o", "new.safetensors")
    is_one_sentence(cli("fit", "notes.txt", "--spans", *given, *words), message)


def test_options_of_finders_are_refused_without_spans(cli, tmp_path):
    (tmp_path / "notes.jsonl").write_text('{"text": "a"}\n')
    for words in (("--types", "types.txt"), ("--steps", "3")):
        is_one_sentence(cli("fit", "notes.jsonl", "-o", "a.safetensors", *words), "add --spans")
    is_one_sentence(cli("fit", "notes.jsonl", "-o", "a.safetensors"), "add --spans")
    is_one_sentence(cli("fit", "--spans", "-o", "a.safetensors"), "DATA is missing")


@pytest.mark.parametrize(("name", "content", "message"), HOSTILE_FILES)
def test_a_hostile_file_is_one_sentence(fit, name, content, message):
    is_one_sentence(fit(name, content), message)


def test_what_is_no_file_of_annotated_texts_is_one_sentence(cli, tmp_path):
    (tmp_path / "empty").mkdir()
    for given, message in (("empty", "holds no annotated texts"), ("nothing.txt", "nothing.txt cannot be read")):
        is_one_sentence(cli("fit", given, "--spans", "-o", "a.safetensors"), message)


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_a_hostile_text_has_right_offsets_in_every_form(cli, finder, text):
    if "\0" not in text:
        done = cli("predict", finder, "--json", "--", text)
        assert done.code == 0, done.err
        (one,) = done.answer["texts"]
        assert one["text"] == text
        are_right([one])
    (file := finder.parent / "hostile.jsonl").write_text(json.dumps({"text": text}) + "\n")
    (from_file,) = cli("predict", finder, "--json", file).answer["texts"]
    assert from_file["text"] == text
    are_right([from_file])
    (drawn,) = json.loads(cli("predict", finder, "--displacy", file).out)
    assert drawn["text"] == text and drawn["title"] == from_file["source"]
    assert drawn["ents"] == [
        {"start": span["start"], "end": span["end"], "label": span["type"]} for span in from_file["spans"]
    ]
    assert cli("predict", finder, "--csv", file).code == 0
    if text.encode(errors="replace").decode() != text:
        return  # pytest's standard output isn't the command's, which replaces half a character
    shown = cli("predict", finder, file)
    assert shown.code == 0 and "\x1b" not in shown.out and "\u202e" not in shown.out


def test_half_a_character_is_shown_as_a_question_mark(finder, tmp_path):
    from command_process import process

    (tmp_path / "half.jsonl").write_text('{"text": "\\udc80 half Rome"}\n')
    done = process("predict", finder, "half.jsonl", cwd=tmp_path, PYTHONIOENCODING="utf-8")
    assert done.returncode == 0 and "? half" in done.stdout, done


def test_a_text_of_ten_thousand_words_is_read_to_its_end(cli, finder, tmp_path):
    (tmp_path / "long.txt").write_text("Ada Byron met Oslo " * 2500)
    (one,) = cli("predict", finder, "long.txt", "--json").answer["texts"]
    are_right([one])
    assert one["spans"][-1]["end"] > 0.99 * len(one["text"])


def test_lines_of_files_and_rows_of_tables_are_texts(cli, finder, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf  Ada Byron in Rome\r\n\r\n\tTom Ray\n")
    (tmp_path / "b.csv").write_text("id,text\n1,Ann Lee in Oslo\n")
    (tmp_path / "c.csv").write_text('note\n"Rome, Oslo"\n')
    (tmp_path / "d.conll").write_text("Ada B-person\nin O\nRome B-city\n")
    (tmp_path / "letter").write_text("Ann")
    given = ("a.txt", "b.csv", "c.csv", "d.conll", "letter", "Oslo")
    texts = cli("predict", finder, *given, "--json").answer["texts"]
    are_right(texts)
    assert [(one["source"], one["text"]) for one in texts] == [
        ("a.txt, line 1", "  Ada Byron in Rome"),
        ("a.txt, line 3", "\tTom Ray"),
        ("b.csv, line 2", "Ann Lee in Oslo"),
        ("c.csv, line 2", "Rome, Oslo"),
        ("d.conll, line 1", "Ada in Rome"),
        ("letter, line 1", "Ann"),
        ("command line", "Oslo"),
    ]


def test_a_table_has_a_row_for_every_span(cli, finder):
    given = ("Ada Byron met Ann Lee in Rome.", "In Oslo lives Tom Ray.")
    texts = cli("predict", finder, *given, "--json").answer["texts"]
    header, *rows = list(csv.reader(io.StringIO(cli("predict", finder, *given, "--csv").out)))
    assert header == ["source", "start", "end", "text", "type", "probability"]
    spans = [(one, span) for one in texts for span in one["spans"]]
    assert len(rows) == len(spans) > 3
    for row, (one, span) in zip(rows, spans, strict=True):
        assert row[:5] == [one["source"], str(span["start"]), str(span["end"]), span["text"], span["type"]]
        assert float(row[5]) == pytest.approx(span["probability"])


def test_without_colours_an_answer_is_marks_and_a_line_a_span(cli, finder):
    (one,) = cli("predict", finder, "Ada Byron met Ann Lee in Rome.", "--json").answer["texts"]
    marks, *lines = cli("predict", finder, "Ada Byron met Ann Lee in Rome.").out.splitlines()
    assert len(lines) == len(one["spans"]) > 1
    for shown, span in zip(lines, one["spans"], strict=True):
        assert f"[{span['text']}]({span['type']})" in marks
        assert shown.split() == [span["type"], f"{100 * span['probability']:.1f}", "%", *span["text"].split()]


def test_in_colours_an_answer_names_types_and_probabilities(cli, finder, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    (one,) = cli("predict", finder, "Ada Byron met Rome.", "--json").answer["texts"]
    coloured = cli("predict", finder, "Ada Byron met Rome.").out
    assert "\x1b[" in coloured and "types:" in coloured
    for span in one["spans"]:
        assert f" {span['type']} {100 * span['probability']:.0f} % " in coloured
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in cli("predict", finder, "Ada Byron met Rome.").out


def test_a_word_that_is_cut_is_counted(cli, finder):
    done = cli("predict", finder, "x" * 60, "Rome", "--json")
    assert [one["cut"] for one in done.answer["texts"]] == [True, False]
    assert "1 of 2 texts has a word so long that its end isn't read" in done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--refuse", "3", "a"), "--refuse is for predictors of classes"),
        (("--skip-bad", "a"), "--skip-bad is for predictors of classes"),
        (("--csv", "--json", "a"), "three forms of one answer"),
        (("--displacy", "--csv", "a"), "three forms of one answer"),
        (("nothing.txt",), "nothing.txt cannot be read"),
        (("nothing.jsonl",), "nothing.jsonl cannot be read"),
        (("nothing.csv",), "nothing.csv cannot be read"),
        (("nothing.json",), "nothing.json cannot be read"),
        (("/dev/null",), "holds no text"),
        (("empty.txt",), "holds no text"),
        (("binary.txt",), "is not text in UTF-8"),
        (("table.csv",), "has no column 'text'"),
        (("gap.csv",), "line 3 of gap.csv has no text"),
        (("bad.jsonl",), "lies outside the text"),
        (("folder",), "folder is a folder: give the files in it"),
    ],
)
def test_inputs_that_cannot_be_read_are_one_sentence(cli, finder, tmp_path, words, message):
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "binary.txt").write_bytes(b"\x89PNG\xff")
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    (tmp_path / "gap.csv").write_text("id,text\n1,a\n2,\n")
    (tmp_path / "bad.jsonl").write_text(line("Ada", [[0, 9, "x"]]))
    (tmp_path / "folder").mkdir()
    done = cli("predict", finder, *words)
    if "--json" in words:
        done = done._replace(out="")
    is_one_sentence(done, message)


def test_a_file_that_is_no_finder_is_one_sentence(cli, finder, model, tmp_path):
    content = finder.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(content[:-50])
    (tmp_path / "changed.safetensors").write_bytes(content.replace(b"Byron", b"Bacon"))
    (tmp_path / "noise.safetensors").write_bytes(bytes(range(256)) * 9)
    (tmp_path / "empty.safetensors").write_bytes(b"")
    for name in ("cut", "changed", "noise", "empty"):
        is_one_sentence(cli("predict", f"{name}.safetensors", "a"), "is no whole predictor")
    is_one_sentence(cli("predict", "nothing.safetensors", "a"), "there is no file nothing.safetensors")
    for kind, message in ((3, "its kind is 3"), ("relations", "is no whole predictor")):
        (tmp_path / "other.safetensors").write_bytes(content)
        rewrite(tmp_path / "other.safetensors", lambda about, arrays, kind=kind: about.update(kind=kind))
        is_one_sentence(cli("predict", "other.safetensors", "a"), message)


def test_a_finder_whose_model_is_gone_is_one_sentence(cli, fit, tmp_path):
    from tiny_models import tiny_model

    folder = tiny_model(tmp_path / "other")
    assert fit("notes.txt", MARKS, "--encoder", f"hf:{folder}").code == 0
    folder.rename(tmp_path / "gone")
    is_one_sentence(cli("predict", "new.safetensors", "a"), "there is no folder")


def test_a_report_is_a_page_with_what_is_found(cli, finder, tmp_path):
    done = cli("report", finder, "--out", "page.html")
    assert done.code == 0 and done.out.endswith("page.html\n") and "spans of 2 types" in done.out, done.err
    assert "<h2>What it finds" not in (tmp_path / "page.html").read_text()
    answer = cli("report", finder, "Ada Byron met Ann Lee in Rome.", "--out", "page.html", "--json").answer
    assert answer["types"] == {"city": 4, "person": 3} and answer["page"] == "page.html"
    are_right(answer["texts"])
    html = (tmp_path / "page.html").read_text()
    assert html.count("<mark class=") > 7 and "<h2>What it finds" in html
    is_one_sentence(cli("report", finder, "--out", "page.txt"), "page.txt ends otherwise")
    is_one_sentence(cli("report", finder, "--out", "page.html", "--episodes", "9"), "--episodes is for a run's folder")
    is_one_sentence(cli("report", finder, "nothing.txt", "--out", "page.html"), "nothing.txt cannot be read")
    is_one_sentence(cli("report", "runs/none", "a text"), "texts are for a finder of spans")


def test_commands_of_classes_say_what_a_finder_is_for(cli, finder, tmp_path):
    (tmp_path / "more.csv").write_text("text,label\na,b\n")
    before = finder.read_bytes()
    for words in (
        ("add", finder, "more.csv"),
        ("add-class", finder, "x", "more.txt"),
        ("rename-class", finder, "city", "town"),
        ("remove-class", finder, "city"),
        ("remove-row", finder, "0"),
        ("explain", finder, "a"),
        ("which-next", finder, "more.csv"),
        ("export", finder, "--onnx", "-o", "a.onnx"),
    ):
        is_one_sentence(cli(*words), "holds a finder of spans: ask it with mapwise predict or mapwise report")
    assert finder.read_bytes() == before


def test_displacy_is_for_finders(cli, tmp_path):
    (tmp_path / "a.csv").write_text("t,label\na,x\nb,y\n")
    words = ("--learner", "nearest_mean", "--encoder", "text-hash")
    assert cli("fit", "a.csv", "--text", "t", "-o", "c.safetensors", *words).code == 0
    is_one_sentence(cli("predict", "c.safetensors", "a", "--displacy"), "--displacy is for finders of spans")
    is_one_sentence(cli("report", "c.safetensors", "a"), "texts are for a finder of spans")


def test_the_commands_of_the_page_end_well(cli, model):
    """Behind a tiny model, which is quick."""
    page = ROOT / "docs" / "few-examples" / "spans.md"
    names, commands = {}, 0
    for block in blocks(
        page.read_text(encoding="utf-8").partition("## From the command line")[2].partition("\n## ")[0]
    ):
        if block.language == "python":
            exec(compile(block.code, str(page), "exec"), names)
            continue
        assert block.language == "sh"
        for one in block.code.splitlines():
            program, *words = shlex.split(one)
            assert program == "mapwise"
            words, into = (words[:-2], words[-1]) if ">" in words else (words, "")
            done = cli(*words, *(("--encoder", model) if words[0] == "fit" else ()))
            assert done.code == 0, (one, done.err)
            if into:
                Path(into).write_text(done.out, encoding="utf-8")
            commands += 1
    assert commands > 3
