"""Opening a predictor's file that someone sends: looked at and restored in a process of its own first."""

import hashlib
import json
from pathlib import Path

from mapwise.data.files import write_atomically
from mapwise.interfaces.server.limits import Limits
from mapwise.interfaces.server.problems import Refusal
from mapwise.predictors.classes import Predictor

_NO_FILE = "the file is no whole predictor of mapwise: send what `mapwise fit` or `GET /file` gave"


def upload_name(content: bytes) -> str:
    """Under which a file is kept: by its content, and by nothing that a client says."""
    return f"{hashlib.sha256(content).hexdigest()[:40]}.safetensors"


def keep_upload(folder: Path, content: bytes) -> str:
    """Write a file into the folder, whole or not at all; its name there."""
    name = upload_name(content)
    write_atomically(folder / name, lambda file: file.write(content))
    return name


def encoder_name(content: bytes) -> str:
    """The name of the encoder that a file wants, by its header alone; raises Refusal for what is no predictor."""
    length = int.from_bytes(content[:8], "little")
    try:
        if not 2 <= length <= len(content) - 8:
            raise ValueError
        header = json.loads(content[8 : 8 + length])
        about = json.loads(header["__metadata__"]["mapwise"])
        name = about["encoder"]["name"]
        if not isinstance(name, str):
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError, AttributeError):
        raise Refusal(422, _NO_FILE) from None
    return name


def check_upload(path: str, limits: Limits) -> None:
    """Restore a predictor, in a process for such work: raises ValueError for what can't be one, or is too large."""
    predictor = loaded_upload(Path(path))
    too_many = {
        "examples": (len(predictor.rows), limits.examples),
        "classes": (len(predictor.classes), limits.classes),
        "letters of the name of a class": (max(map(len, predictor.classes), default=0), limits.name),
    }
    for what, (count, most) in too_many.items():
        if count > most:
            raise ValueError(f"the file has {count:,} {what}, and up to {most:,} are taken")
    _check_size(predictor, limits)


def loaded_upload(path: Path) -> Predictor:
    """The predictor of a file; its errors hold no path."""
    try:
        return Predictor.load(path)
    except ValueError as error:
        raise ValueError(str(error).replace(str(path), "the file")) from None


def _check_size(predictor: Predictor, limits: Limits) -> None:
    """Raises ValueError for sources that are texts of any length."""
    longest = max(map(len, predictor.sources), default=0)
    if longest > limits.text:
        raise ValueError(f"the file names sources of {longest:,} letters, and up to {limits.text:,} are taken")
