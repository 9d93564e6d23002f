"""Files that survive a crash: a tree of tensors and plain settings in one file, written whole or not at all."""

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mapwise.core import tree
from mapwise.core.tree import Tree
from mapwise.data import tensor_file

_AGAIN = "train the run again"


def save(path: Path, tensors: Tree, about: dict[str, Any]) -> None:
    """Write a tree of tensors and a JSON-ready description to one file.

    The file appears under its name only when it is complete and on the disk; a crash at any moment
    leaves the previous one. Raises OSError when the disk is full or the folder can't be written.
    """
    tensor_file.save_tensors(path, tree.flatten(tensors), about)


def load(path: Path, header: Any = dict) -> tuple[Tree, dict[str, Any]]:
    """The tree and the description written by `save`; nothing in the file is executed.

    header: a dataclass of what the description must hold, beside what else it may; pydantic compares them.

    Raises ValueError when the file is missing, truncated, changed, not mapwise's, or of a later version, and for a
    description that lacks what it must hold.
    """
    tensors, about = tensor_file.load_tensors(path, "checkpoint", _AGAIN)
    try:
        TypeAdapter(header).validate_python(about)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(damaged_checkpoint(path, f"in its header, {where}: {first['msg'].lower()}")) from None
    return tree.unflatten(tensors), about


def damaged_checkpoint(path: Path, problem: BaseException | str) -> str:
    """The error text for a damaged checkpoint."""
    return tensor_file.damaged(path, "checkpoint", problem, _AGAIN)


def check_run(path: Path, about: dict[str, Any], run: str) -> None:
    """Raises ValueError for a checkpoint of a run with another id; those of earlier versions have none."""
    if about.get("run", run) != run:
        raise ValueError(f"{path} is of another run: restore the file of this run, or {_AGAIN}")
