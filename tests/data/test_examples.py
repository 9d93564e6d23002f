"""Examples are made from plain arrays, or refused in a sentence."""

import math

import numpy as np
import pytest
import torch

from mapwise.data.examples import examples


def test_examples_are_made_from_lists_arrays_and_tensors():
    rows, names = examples(np.array([[0, 255], [51, 0]], dtype=np.uint8), ["dog", "cat"])
    assert names == ["cat", "dog"] and rows.y.tolist() == [[0, 1], [1, 0]]
    assert torch.allclose(rows.x, torch.tensor([[0, 1], [0.2, 0]])) and rows.weight.tolist() == [1, 1]
    assert rows.key.dtype == torch.int64 and int(rows.key) == 0
    assert examples(torch.zeros(3, 2), torch.tensor([10, 2, 2]))[1] == ["2", "10"]
    query, _ = examples([[1.0]], ["b"], classes=["b", "a", "c"])
    assert query.y.tolist() == [[1, 0, 0]]


def test_floating_point_labels_are_regression_targets():
    rows, names = examples([[1.0], [2.0]], [0.5, 1.5])
    assert names == [] and rows.y.tolist() == [[0.5], [1.5]]
    assert examples([[1.0], [2.0]], np.ones((2, 3)))[0].y.shape == (2, 3)


@pytest.mark.parametrize(
    ("x", "labels", "classes", "answer"),
    [
        ([[1.0], [2.0]], ["a"], None, "X has 2 rows and there are 1 labels"),
        ([[1.0]], "a", None, "there are no labels"),
        ([[1.0], [math.nan]], ["a", "b"], None, "NaN or infinity, first in row 1"),
        ([[1.0], [2.0]], [1.0, math.inf], None, "targets hold NaN or infinity"),
        ([[1.0]], ["c"], ["a", "b"], "label 'c' is not one of the classes"),
        ([[1.0]], [["a", "b"]], None, "one label for each row"),
        (3.0, ["a"], None, "a single number"),
    ],
)
def test_arrays_that_make_no_examples_are_refused_in_a_sentence(x, labels, classes, answer):
    with pytest.raises(ValueError, match=answer) as refused:
        examples(x, labels, classes)
    assert "\n" not in str(refused.value)
