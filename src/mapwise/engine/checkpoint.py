"""Files that survive a crash: tensors and plain settings in one safetensors file, written whole or not at all."""

import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch

from mapwise.core import tree
from mapwise.core.files import write_atomically
from mapwise.core.tree import Tree

VERSION = 1


def save(path: Path, tensors: Tree, about: dict[str, Any]) -> None:
    """Write a tree of tensors and a JSON-ready description to one file.

    The file appears under its name only when it is complete and on the disk; a crash at any moment
    leaves the previous one. Raises OSError when the disk is full or the folder can't be written.
    """
    header = {"mapwise": json.dumps({"version": VERSION, **about}, sort_keys=True)}
    # cloned: two views of one tensor may not share memory in the file
    flat = {name: leaf.detach().cpu().clone().contiguous() for name, leaf in tree.flatten(tensors).items()}
    data = safetensors.torch.save(flat, header)
    write_atomically(path, lambda file: file.write(data), alone=True)


def load(path: Path) -> tuple[Tree, dict[str, Any]]:
    """The tree and the description written by `save`; nothing in the file is executed.

    Raises ValueError when the file is missing, cut short, not mapwise's, or of a later version.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}: check the path, or train the run first")
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            # cloned: the file stays mapped otherwise, and a later write to it would reach these tensors
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        about = json.loads(header["mapwise"])
        version = int(about["version"])
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is not a whole mapwise file ({reason}): restore it, or train the run again") from None
    if version > VERSION:
        raise ValueError(f"{path} has format {version} and this mapwise reads up to {VERSION}: upgrade mapwise")
    return tree.unflatten(tensors), about
