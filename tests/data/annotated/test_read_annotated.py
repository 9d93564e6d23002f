"""A file is read by what it holds, and a folder by the names of its files."""

import gzip
from pathlib import Path

import pytest

from mapwise.data.annotated.read import is_annotated, read_annotated, read_corpora

CONLL = "Anna B-PER\nsaw O\nRome B-LOC\n\nParis B-LOC\n"
MARKS = "[Anna](PER) saw [Rome](LOC)\n\n[Paris](LOC)\n"
JSON = (
    '{"text": "Anna saw Rome", "spans": [[0, 4, "PER"], [9, 13, "LOC"]]}\n\n{"text": "Paris", "spans": [[0, 5, "LOC"]]}'
)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.conll", CONLL, 5),
        ("a.iob", CONLL, 5),
        ("a.txt", CONLL, 5),
        ("a", CONLL, 5),
        ("a.txt", MARKS, 3),
        ("a.marks", MARKS, 3),
        ("a.jsonl", JSON, 3),
        ("a.json", JSON, 3),
        ("a.txt", JSON, 3),
        ("a.txt.gz", CONLL, 5),
        ("a.txt.gz", MARKS, 3),
        ("a.jsonl.gz", JSON, 3),
    ],
)
def test_a_file_is_known_by_its_name_or_its_lines(tmp_path, name, content, line):
    raw = content.encode()
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    corpus = read_annotated(tmp_path / name)
    assert [text.text for text in corpus.texts] == ["Anna saw Rome", "Paris"]
    assert [[tuple(span) for span in text.spans] for text in corpus.texts] == [
        [(0, 4, "PER"), (9, 13, "LOC")],
        [(0, 5, "LOC")],
    ]
    assert corpus.origins == (f"line 1 of {name}", f"line {line} of {name}")
    assert corpus.name == "a" and corpus.types == ["LOC", "PER"] and corpus.parts == {} and corpus.remarks == ()


@pytest.mark.parametrize(
    ("files", "parts"),
    [
        (["train.txt", "dev.txt", "test.txt"], {"train": 2, "val": 2, "test": 2}),
        (["eng.train.gz", "eng.testa.gz", "eng.testb.gz"], {"train": 2, "val": 2, "test": 2}),
        (["eng.train", "eng.testa"], {"train": 2, "test": 2}),
        (["a.validation.conll", "train-1.conll", "train-2.conll"], {"train": 4, "val": 2}),
        (["wnut17train.conll", "emerging.test.annotated", "README.md", ".train.swp"], {"train": 2, "test": 2}),
        (["TRAIN.TXT", "notes.txt", "test.md", "contest.txt"], {"train": 2}),
    ],
)
def test_a_folder_is_read_by_split(tmp_path, files, parts):
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name in files:
        (folder / name).write_bytes(gzip.compress(CONLL.encode()) if name.endswith(".gz") else CONLL.encode())
    corpus = read_annotated(folder)
    assert {part: len(places) for part, places in corpus.parts.items()} == parts and corpus.name == "corpus"
    assert sorted(place for places in corpus.parts.values() for place in places) == list(range(len(corpus.texts)))
    assert [corpus.name for corpus in read_corpora(folder)] == ["corpus"]


def test_a_folder_of_folders_is_several_corpora(tmp_path):
    for name in ("one", "two", "empty"):
        (tmp_path / name).mkdir()
    for name in ("one", "two"):
        (tmp_path / name / "train.txt").write_text(CONLL.replace("PER", name))
    assert [(corpus.name, corpus.types) for corpus in read_corpora(tmp_path)] == [
        ("one", ["LOC", "one"]),
        ("two", ["LOC", "two"]),
    ]


def test_repairs_are_remarks(tmp_path):
    (tmp_path / "train.txt").write_text("Anna B-PER\nsaw O\nRome I-LOC\nis O\nParis B-X\n")
    (remark,) = read_annotated(tmp_path).remarks
    assert remark.startswith("1 span of train.txt begin or end against IOB2")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.txt", "", "has no text"),
        ("a.conll", " \n", "has no text"),
        ("a.conll", "Anna went home\nand slept\n", "line 1 of"),
        ("a.jsonl", "Anna\n", "is no JSON"),
        ("a.txt", "\udcff", "not text in UTF-8"),
    ],
)
def test_a_file_that_can_t_be_read_is_one_sentence(tmp_path, name, content, sentence):
    (tmp_path / name).write_text(content, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ValueError) as error:
        read_annotated(tmp_path / name)
    assert sentence in str(error.value) and "\n" not in str(error.value)


def test_a_folder_without_texts_is_one_sentence(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    for read in (read_annotated, read_corpora):
        with pytest.raises(ValueError, match="holds no annotated texts"):
            read(tmp_path)
    for path in ("", "\0", tmp_path / "none.txt"):
        with pytest.raises(ValueError, match=r"path is|cannot be read"):
            read_annotated(path)


@pytest.mark.parametrize(
    ("files", "annotated"),
    [
        (["a.conll"], False),
        (["train.conll", "test.conll"], True),
        (["eng.train.gz"], True),
        (["ai/train.txt"], True),
        (["ai/notes.txt"], False),
        (["cats/test_1.png", "dogs/train.jpg"], False),
        (["train/cats/1.png"], False),
        (["train.csv"], False),
        ([], False),
    ],
)
def test_a_folder_of_annotated_texts_is_known_by_its_names(tmp_path, files, annotated):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
        assert is_annotated(tmp_path / name) == name.endswith(".conll")
    assert is_annotated(tmp_path) == annotated


def test_a_folder_that_may_not_be_read_is_one_sentence(tmp_path, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert not is_annotated(tmp_path)
    for reader in (read_annotated, read_corpora):
        with pytest.raises(ValueError, match=r"cannot be read \(Permission denied\)"):
            reader(tmp_path)
