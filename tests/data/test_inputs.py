"""What a list of strings is: paths where they lie on the disk or end like pictures, and texts otherwise."""

import numpy as np
import pytest
from PIL import Image

import mapwise as mw
from mapwise.data.inputs import modality_of


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Six pictures of two classes, in the working folder."""
    monkeypatch.chdir(tmp_path)
    for place in range(6):
        folder = tmp_path / "ab"[place // 3]
        folder.mkdir(exist_ok=True)
        values = np.full((20, 20), 255, np.uint8)
        values[4 : 8 + place, 4:8] = 0
        Image.fromarray(values).save(folder / f"{place}.png")
    return [f"{'ab'[place // 3]}/{place}.png" for place in range(6)]


@pytest.mark.parametrize("suffix", ["HEIC", "heif", "jfif"])
def test_the_path_of_any_kind_of_picture_is_one(suffix):
    assert modality_of(["a/1.jpg", f"a/2.{suffix}"]) == "pictures"


def test_strings_that_lie_on_the_disk_are_paths_whatever_they_are_called(photos, tmp_path):
    (tmp_path / "a/0.png").rename(tmp_path / "a/0")
    assert modality_of(["a/0", *photos[1:]]) == "pictures"


@pytest.mark.parametrize(
    ("odd", "words"), [("a sunny day", "row 2 of X, 'a sunny day', is no file"), ("a", "row 2 of X, 'a', is a folder")]
)
def test_paths_among_which_is_something_else_are_refused_by_its_name(photos, odd, words):
    with pytest.raises(ValueError, match=words):
        modality_of([*photos[:2], odd, *photos[2:]])


def test_folders_are_refused(photos):
    with pytest.raises(ValueError, match="row 0 of X, 'a', is a folder"):
        modality_of(["a", "b"])


def test_a_sentence_that_ends_like_a_picture_is_a_text():
    assert modality_of(["look at photo.jpg", "the rest is on paper", "no path at all"]) == "texts"
    assert modality_of(["yes and/or no", "no", "a.b"]) == "texts"


def test_a_column_of_sentences_is_no_column_of_categories():
    pandas = pytest.importorskip("pandas")
    sentences = ["cancel it now", "stop it", "please end it", "go on", "keep on doing it", "more of it"]
    labels = ["end", "end", "end", "more", "more", "more"]
    frame = pandas.DataFrame({"text": sentences})
    for X in (frame, [[sentence] for sentence in sentences]):
        with pytest.raises(ValueError, match="holds texts, nearly all of them different"):
            mw.FewShotClassifier().fit(X, labels)
    declared = frame.astype("category")
    assert mw.FewShotClassifier().fit(declared, labels).predictor_.encoder.name == "table"
    assert mw.FewShotClassifier().fit(frame["text"], labels).predictor_.encoder.name == "words"
