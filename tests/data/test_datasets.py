"""Rows of a dataset are those it gives one by one, under the names it has for its classes."""

from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Subset, TensorDataset

import mapwise as mw
from mapwise.data.datasets import read_dataset

X, Y = torch.randn(12, 3, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3
PAIRS = TensorDataset(X, Y)


class Pictures:
    """As torchvision's ImageFolder: Pillow images, numbers of classes, and their names."""

    classes = ("cat", "dog", "eel")

    def __len__(self):
        return 6

    def __getitem__(self, place):
        if place >= 6:
            raise IndexError(place)
        return Image.new("RGB", (5, 4), (place, 0, 0)), place % 3


class Table:
    """As the library datasets has it: dicts, and features that know the names of classes."""

    features: ClassVar = {"label": SimpleNamespace(names=["ant", "bee"]), "vector": SimpleNamespace()}

    def __len__(self):
        return 4

    def __getitem__(self, place):
        return {"vector": [float(place), 1.0], "label": place % 2}


def test_a_torch_dataset_makes_tasks():
    rows = mw.LabelledRows.of(PAIRS, name="pairs")
    assert rows.names == ("0", "1", "2") and rows.x.shape == (12, 3)
    assert np.array_equal(rows.x[:4], X[Y == 0].numpy())
    assert mw.LabelledRows.of(Subset(PAIRS, range(6))).x.shape == (6, 3)


def test_a_dataset_of_images_has_the_names_of_its_classes():
    rows = mw.LabelledRows.of(Pictures())
    assert rows.names == ("cat", "dog", "eel") and rows.x.dtype == np.uint8 and rows.x.shape == (6, 3, 4, 5)
    assert rows.x[:2, 0, 0, 0].tolist() == [0, 3]


def test_a_dataset_of_dicts_is_read_by_its_columns():
    rows = mw.LabelledRows.of(Table())
    assert rows.names == ("ant", "bee") and rows.x.tolist() == [[0, 1], [2, 1], [1, 1], [3, 1]]


def test_the_reading_of_a_dataset_can_be_watched():
    seen = []

    def watch(places):
        for place in places:
            seen.append(place)
            yield place

    mw.LabelledRows.of(PAIRS, progress=watch)
    assert seen == list(range(12))


def test_arrays_are_read_as_before():
    assert np.array_equal(mw.LabelledRows.of(X, Y).x, mw.LabelledRows.of(PAIRS).x)
    assert np.array_equal(mw.LabelledRows.of(X.numpy(), Y.tolist()).x, mw.LabelledRows.of(PAIRS).x)


class Items:
    """A dataset of these items."""

    def __init__(self, *items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, place):
        return self.items[place]


@pytest.mark.parametrize(
    ("x", "answer"),
    [
        (DataLoader(PAIRS), r"x is a DataLoader, which deals out batches: give its dataset, loader\.dataset"),
        ("photos", r"x is the path photos: read a folder of images with mapwise\.images\('photos'\)"),
        ((pair for pair in PAIRS), "rows can't be asked for by number: give a map-style dataset"),
        (X, "labels are missing: give one for each row of x"),
        (Items(), "holds no rows"),
        (Items(1.0, 2.0), r"a pair \(row, label\) or a dict of the two is needed"),
        (Items(([1.0], "a"), ([1.0, 2.0], "b")), "row 1 of the dataset has shape .* such as by a transform"),
        (Items(([1.0], "a"), [1.0]), "make them alike"),
        (Items({"text": "hello", "label": 0}), "the column 'text' of the dataset holds texts"),
        (Items({"a": 1.0, "b": 2.0}), "the label may be a or b: name its column"),
        (Items({"a": 1.0, "b": 2.0, "label": 1}), "one row and one label are needed"),
    ],
)
def test_what_is_no_dataset_of_rows_is_refused_in_a_sentence(x, answer):
    with pytest.raises(ValueError, match=answer) as refused:
        mw.LabelledRows.of(x)
    assert "\n" not in str(refused.value)


def test_a_column_of_labels_can_be_named():
    assert read_dataset(Items({"a": 1.0, "b": "x"}, {"a": 2.0, "b": "y"}), "b").labels == ["x", "y"]
    with pytest.raises(ValueError, match="has no column 'c'"):
        read_dataset(Items({"a": 1.0, "b": "x"}), "c")
