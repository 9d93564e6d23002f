"""Trees of tensors: flattened and back, and their inner product."""

import torch

from mapwise.core import tree


def test_unflatten_undoes_flatten():
    nested = {"a": torch.ones(2), "b": {"c.d": torch.zeros(1), "e": {"f": torch.ones(3)}}}
    flat = tree.flatten(nested)
    assert list(flat) == ["a", "b/c.d", "b/e/f"]
    again = tree.unflatten(flat)
    assert again.keys() == nested.keys() and again["b"]["e"]["f"] is nested["b"]["e"]["f"]


def test_a_vector_of_all_numbers_makes_the_same_tree_again():
    nested = {"b": {"w": torch.tensor([[1.0, 2.0], [3.0, 4.0]])}, "a": torch.tensor(5.0)}
    assert tree.to_vector(nested).tolist() == [1, 2, 3, 4, 5]
    again = tree.of_vector(2 * tree.to_vector(nested), nested)
    assert torch.equal(again["b"]["w"], 2 * nested["b"]["w"]) and again["a"].shape == () and float(again["a"]) == 10


def test_dot_is_the_inner_product_of_all_leaves_wherever_they_stand():
    a = {"x": torch.tensor([1.0, 2.0]), "y": {"z": torch.tensor([[3.0]])}}
    b = {"y": {"z": torch.tensor([[10.0]])}, "x": torch.tensor([100.0, 1000.0])}
    assert float(tree.dot(a, b)) == 100 + 2000 + 30
