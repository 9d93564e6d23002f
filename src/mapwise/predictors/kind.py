"""What a predictor's file is of, before it is opened."""

from pathlib import Path

from mapwise.data import tensor_file
from mapwise.data.files import path_of

AGAIN = "make it with mapwise fit"
"""What to do about a file that can't be opened."""


def kind_of(path: str | Path) -> str:
    """The problem of a predictor's file, such as "classification" or "spans", as its description says; cheap.

    Raises ValueError for a file that is missing, truncated, no predictor or of a later version.
    """
    path = path_of(path)
    kind = tensor_file.load_about(path, "predictor", AGAIN).get("kind")
    if not isinstance(kind, str):
        raise ValueError(tensor_file.damaged(path, "predictor", f"its kind is {kind!r}", AGAIN))
    return kind
