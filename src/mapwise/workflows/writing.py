"""Files that a command writes where a user says."""

from pathlib import Path

from mapwise.data.files import path_to_write


def check_new(path: Path, *, force: bool = False) -> None:
    """Raises ValueError for a file that is there, unless `force`, and OSError for what can't be replaced by a file.

    Call it before the work, so that a refusal comes at once.
    """
    path_to_write(path)
    if path.is_file() and not force:
        raise ValueError(f"{path} is there already: give another name, or --force to replace it")
