"""Arithmetic on nested dicts of tensors: params, fast weights, gradients."""

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

T = TypeVar("T")
Tree: TypeAlias = dict[str, Any]
"""A tensor at every leaf, a dict at every branch."""
Forms: TypeAlias = dict[str, tuple[torch.Size, torch.dtype]]
"""The shape and the type of every leaf, by its path."""
Params: TypeAlias = Tree
"""Slow weights: learned across tasks."""
Fast: TypeAlias = Tree
"""Fast weights: made from one support set."""


def map(function: Callable[..., Tensor], *trees: Tree) -> Tree:
    """Apply a function to the leaves that stand in the same place of every tree."""
    first = trees[0]
    return {
        name: map(function, *(t[name] for t in trees))
        if isinstance(leaf, dict)
        else function(*(t[name] for t in trees))
        for name, leaf in first.items()
    }


def flatten(tree: Tree, above: str = "") -> dict[str, Tensor]:
    """Leaves by their path, parts joined with "/"."""
    return dict(_walk(tree, above))


def forms(tree: Tree, but: str | None = None) -> Forms:
    """The shape and the type of every leaf, by its path; but those of paths that begin like this."""
    leaves = flatten(tree).items()
    return {path: (leaf.shape, leaf.dtype) for path, leaf in leaves if but is None or not path.startswith(but)}


def unflatten(leaves: dict[str, Tensor]) -> Tree:
    """The tree whose leaves have these paths; the inverse of `flatten`."""
    tree: Tree = {}
    for path, leaf in leaves.items():
        *branches, last = path.split("/")
        node = tree
        for branch in branches:
            node = node.setdefault(branch, {})
        node[last] = leaf
    return tree


def to_vector(tree: Tree) -> Tensor:
    """All numbers of the leaves behind one another, [C]."""
    return torch.cat([leaf.reshape(-1) for leaf in flatten(tree).values()])


def of_vector(numbers: Tensor, like: Tree) -> Tree:
    """The same numbers in the form of a tree; the inverse of `to_vector`."""
    leaves = flatten(like)
    pieces = torch.split(numbers, [leaf.numel() for leaf in leaves.values()])
    return unflatten(
        {path: piece.reshape(leaf.shape) for (path, leaf), piece in zip(leaves.items(), pieces, strict=True)}
    )


def dot(a: Tree, b: Tree) -> Tensor:
    """The inner product of two trees of the same form."""
    other = flatten(b)
    return torch.stack([(leaf * other[path]).sum() for path, leaf in flatten(a).items()]).sum()


def squared_distance(a: Tree, b: Tree) -> Tensor:
    """The squared length of the difference of two trees of the same form."""
    gap = map(torch.sub, a, b)
    return dot(gap, gap)


def zeros_like(tree: Tree) -> Tree:
    """The same form, all zeros."""
    return map(torch.zeros_like, tree)


def detach(tree: Tree) -> Tree:
    """The same numbers, cut off from the graph that made them."""
    return map(lambda leaf: leaf.detach(), tree)


def register_dataclass(cls: type[T]) -> type[T]:
    """Decorate a dataclass so that torch sees the tensors in its fields, as it does those of a dict."""
    names = [field.name for field in fields(cls)]  # type: ignore[arg-type]  # a dataclass has no type of its own

    # torch.utils has a function for it from 2.7 on.
    def parts(value: Any) -> tuple[list[Any], None]:
        return [getattr(value, name) for name in names], None

    pytree.register_pytree_node(cls, parts, lambda values, _: cls(*values))
    return cls


def _walk(tree: Tree, above: str) -> Iterator[tuple[str, Tensor]]:
    for name, leaf in tree.items():
        path = f"{above}/{name}" if above else name
        if isinstance(leaf, dict):
            yield from _walk(leaf, path)
        else:
            yield path, leaf
