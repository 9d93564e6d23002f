"""Trees of tensors: flattened and back, and their inner product."""

import torch

from mapwise.core import tree


def test_unflatten_undoes_flatten():
    nested = {"a": torch.ones(2), "b": {"c.d": torch.zeros(1), "e": {"f": torch.ones(3)}}}
    flat = tree.flatten(nested)
    assert list(flat) == ["a", "b/c.d", "b/e/f"]
    again = tree.unflatten(flat)
    assert again.keys() == nested.keys() and again["b"]["e"]["f"] is nested["b"]["e"]["f"]


def test_dot_is_the_inner_product_of_all_leaves_wherever_they_stand():
    a = {"x": torch.tensor([1.0, 2.0]), "y": {"z": torch.tensor([[3.0]])}}
    b = {"y": {"z": torch.tensor([[10.0]])}, "x": torch.tensor([100.0, 1000.0])}
    assert float(tree.dot(a, b)) == 100 + 2000 + 30
