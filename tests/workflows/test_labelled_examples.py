"""Folders and tables as a newcomer has them: what is a class, and which column is the label."""

import numpy as np
import pytest
from PIL import Image

from mapwise.workflows.reading import labelled_examples

SENTENCES = ["cancel it now", "stop it, please", "please end it", "do go on", "keep on doing it", "more of it"]


def drawn(folder, *paths):
    """Pictures at these places of a folder."""
    for place, path in enumerate(paths):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((9, 9), 20 * place, np.uint8)).save(folder / path)
    return folder


@pytest.fixture
def sheet(tmp_path):
    """A function that writes a CSV file of sentences under a header."""

    def write(header, *columns):
        lines = [",".join(f'"{cell}"' for cell in cells) for cells in zip(*columns, strict=True)]
        path = tmp_path / "sheet.csv"
        path.write_text("\n".join([header, *lines]) + "\n")
        return path

    return write


INTENTS = ["end", "end", "end", "more", "more", "more"]


def test_the_text_column_is_never_the_label(sheet):
    examples = labelled_examples(sheet("intent,text", INTENTS, SENTENCES), text="text")
    assert list(examples.labels) == INTENTS and examples.label == "intent"
    with pytest.raises(ValueError, match=r"column 'text' of .* holds the texts.*--label"):
        labelled_examples(sheet("intent,text", INTENTS, SENTENCES), text="text", label="text")


def test_of_several_columns_beside_the_text_the_label_is_asked_for(sheet):
    path = sheet("intent,text,who", INTENTS, SENTENCES, INTENTS)
    with pytest.raises(ValueError, match=r"intent or who.*--label"):
        labelled_examples(path, text="text")
    assert labelled_examples(path, text="text", label="who").label == "who"
    assert labelled_examples(sheet("class,text,who", INTENTS, SENTENCES, INTENTS), text="text").label == "class"


def test_fit_shows_which_column_is_the_label(cli, sheet, tmp_path):
    done = cli("fit", sheet("size,kind", range(6), INTENTS), "-o", tmp_path / "p.safetensors")
    assert "label: column 'kind'" in done.out
    words = ("--text", "text", "-o", tmp_path / "p.safetensors", "--force")
    done = cli("fit", sheet("intent,text", INTENTS, SENTENCES), *words)
    assert "label: column 'intent'" in done.out


def test_free_text_without_its_flag_is_refused_with_the_flag(cli, sheet, tmp_path):
    done = cli("fit", sheet("message,intent", SENTENCES, INTENTS), "-o", tmp_path / "p.safetensors")
    assert done.code == 1 and "column 'message' holds texts" in done.err and "--text message" in done.err
    table = sheet("size,message,intent", range(6), SENTENCES, INTENTS)
    done = cli("fit", table, "-o", tmp_path / "p.safetensors")
    assert done.code == 0 and "message  categories (6 values), texts? --text message reads them" in done.out


@pytest.mark.parametrize("label", ["nan", "NA", "null"])
def test_a_label_that_is_missing_is_named_by_its_line(sheet, label):
    with pytest.raises(ValueError, match=r"line 3 of .* has no label in column 'kind'"):
        labelled_examples(sheet("size,kind", range(6), ["a", label, "a", "b", "b", "b"]))


def test_a_class_may_be_called_none(sheet):
    assert "none" in labelled_examples(sheet("size,kind", range(6), ["a", "none", "a", "b", "b", "none"])).labels


def test_folders_of_equal_folders_are_refused(tmp_path):
    sites = drawn(tmp_path, *(f"{site}/{kind}/{n}.png" for site in "AB" for kind in ("cat", "dog") for n in "12"))
    with pytest.raises(ValueError, match=r"hold folders of the same names, cat and dog.*A"):
        labelled_examples(sites)


def test_splits_of_the_same_classes_are_refused_and_of_others_are_read(tmp_path):
    same = drawn(tmp_path / "same", "train/cat/1.png", "train/dog/1.png", "test/cat/2.png", "test/dog/2.png")
    with pytest.raises(ValueError, match=r"class 'cat' is in .*same.train"):
        labelled_examples(same)
    other = drawn(tmp_path / "other", "train/cat/1.png", "train/dog/1.png", "val/ant/2.png", "test/bee/2.png")
    assert list(labelled_examples(other).labels) == ["bee", "cat", "dog", "ant"]


def test_folders_within_a_class_belong_to_it(tmp_path):
    deep = drawn(tmp_path, "cat/old/1.png", "cat/new/2.png", "dog/old/3.png", "dog/4.png")
    assert list(labelled_examples(deep).labels) == ["cat", "cat", "dog", "dog"]


def test_a_column_of_free_text_is_not_taken_for_the_label(sheet):
    path = sheet("intent,text", INTENTS, SENTENCES)
    with pytest.raises(ValueError, match=r"'text' of .* would be the label and holds texts.*--label.*--text text"):
        labelled_examples(path)
    assert labelled_examples(path, label="text").label == "text"
