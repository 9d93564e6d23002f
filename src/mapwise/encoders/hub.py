"""The folder of a pretrained model: its path, what it reads, and its digest, all without loading it."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path, PureWindowsPath
from typing import Any

from mapwise.data.files import read_bytes
from mapwise.data.modality import Modality

MODELS = "MAPWISE_MODELS"
"""The environment variable that names the folder in which models' folders lie."""
_PARTS = ("*.json", "*.txt", "*.model", "*.safetensors")
"""Files that say what a model computes: its settings, its vocabulary and its weights."""
_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "vocab.txt")
_HUB_NAME = re.compile(r"([\w.-]+(?:/[\w.-]+)?)(?:@([\w.-]+))?")
"""The name of a model on the hub, and its revision."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LIBRARIES = ("sentence_transformers", "transformers", "huggingface_hub")


def find_model(name: str, *, fetch: bool) -> Path:
    """The folder of a model: its path, or its name on the Hugging Face hub.

    Looked for as a folder, then in the folder that MAPWISE_MODELS names (as `owner/model` or `model`, the last part of
    the name), and last among what was downloaded from the hub before. `owner/model@revision` is that revision of it on
    the hub; in the folder of MAPWISE_MODELS there is one of each model.

    fetch: whether a model of the hub that isn't on this machine is downloaded.

    Raises ValueError, saying where to put the folder, when the model can't be had.
    """
    if not name.strip():
        raise ValueError("hf: names no model: give hf:OWNER/MODEL, or hf:FOLDER")
    folder = local(name) or next((place.resolve() for place in _places(name) if os.path.isdir(place)), None)
    if folder is None and (match := _HUB_NAME.fullmatch(name)):
        folder = _of_hub(match[1], match[2], fetch)
    if folder is None:
        raise ValueError(
            f"there is no folder {name}: put the model there, or name in {MODELS} the folder in which {_last(name)} "
            "lies"
        )
    if not any((folder / about).is_file() for about in ("config.json", "modules.json")):
        raise ValueError(
            f"{folder} holds no model: it needs a config.json or modules.json, and weights in safetensors, as "
            "save_pretrained writes them"
        )
    _parts(folder)  # raises
    return folder


def pinned(name: str, folder: Path) -> str:
    """The name of a model with the revision that its folder holds, where this is one of the hub's downloads."""
    match = _HUB_NAME.fullmatch(name)
    is_download = folder.parent.name == "snapshots" and _COMMIT.fullmatch(folder.name)
    return f"{match[1]}@{folder.name}" if match and is_download else name


def local(name: str) -> Path | None:
    """The folder of this path, wherever the process works; None when there is none."""
    given = os.path.expanduser(name)
    return Path(given).resolve() if os.path.isdir(given) else None


def reads(folder: Path) -> Modality:
    """What a model reads: texts where it is one of sentence-transformers, pictures where it has an image processor.

    Raises ValueError for a folder without either and without a tokenizer.
    """
    if (folder / "modules.json").is_file():
        return "texts"
    if image_settings(folder):
        return "pictures"
    if any((folder / part).is_file() for part in _TOKENIZERS):
        return "texts"
    raise ValueError(
        f"{folder} holds neither a tokenizer nor an image processor, so that it reads nothing: save that of the model "
        "there too, by its save_pretrained"
    )


def image_settings(folder: Path) -> dict[str, Any]:
    """The settings of the folder's image processor; {} where there is none."""
    for about in (settings(folder, "preprocessor_config.json"), settings(folder, "processor_config.json")):
        inner = about.get("image_processor", about)
        # A processor of sound has settings in a file of the same name.
        if isinstance(inner, dict) and {"image_processor_type", "image_mean"} & inner.keys():
            return inner
    return {}


def settings(folder: Path, name: str) -> dict[str, Any]:
    """A JSON file of the folder; {} where it isn't there, or holds something else."""
    try:
        about = json.loads(read_bytes(folder / name))
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def folder_digest(folder: Path) -> str:
    """A digest of all files that say what the model computes, 16 hexadecimal digits, wherever the folder lies."""
    files = sorted(_files(folder))
    return _digest(folder, tuple((str(path), (s := path.stat()).st_size, s.st_mtime_ns) for path in files))


def require_libraries(name: str) -> None:
    """Raises ValueError, with the command that installs it, when a library that this model needs is missing."""
    if any(find_spec(library) is None for library in _LIBRARIES):
        raise ValueError(
            f"the encoder hf:{name} needs sentence-transformers and transformers, which are not installed: "
            'pip install "mapwise[hf]"'
        )


def _places(name: str) -> list[Path]:
    models = os.environ.get(MODELS)
    if not models:
        return []
    root = Path(os.path.expanduser(models))
    match = _HUB_NAME.fullmatch(name)
    return [root / match[1], root / _last(match[1])] if match else [root / _last(name)]


def _last(name: str) -> str:
    """The name of the model's folder, also of a path that another system wrote."""
    return re.split(r"[/\\]", name.rstrip("/\\"))[-1]


def _of_hub(name: str, revision: str | None, fetch: bool) -> Path:
    require_libraries(name)
    import huggingface_hub

    # The parts and their folders, and no weights in another form: those of a model lie there several times.
    wanted: dict[str, Any] = {"allow_patterns": list(_PARTS), "etag_timeout": 5.0, "revision": revision}
    try:
        return Path(huggingface_hub.snapshot_download(name, local_files_only=True, **wanted))
    except Exception:  # the hub's client has its own errors for each of: never seen, cut short, no such name
        pass
    why = "not on this machine"
    if fetch:
        try:
            return Path(huggingface_hub.snapshot_download(name, **wanted))
        except Exception as problem:  # and more for: no network, no such model, not public
            reason = " ".join(str(problem.__cause__ or problem).split()) or type(problem).__name__
            why = f"neither on this machine nor to be had from the hub ({reason[:120]})"
    of_it = f" --revision {revision}" if revision else ""
    raise ValueError(
        f"the model {name} is {why}: get it with hf download {name}{of_it} where there is a network, or name "
        f"in {MODELS} the folder in which a copy lies as {_last(name)}"
    ) from None


def _files(folder: Path) -> Iterator[Path]:
    for pattern in _PARTS:
        yield from (path for path in folder.glob(pattern) if path.is_file())
    for place in _parts(folder):
        yield from (path for path in place.glob("*") if path.is_file())


def _parts(folder: Path) -> set[Path]:
    """The folders inside a model's folder that its modules.json names; raises ValueError for others."""
    try:
        modules = json.loads(read_bytes(folder / "modules.json"))
        paths = [str(module["path"]) for module in modules if module["path"]]
    except (OSError, ValueError, TypeError, KeyError):
        return set()
    for path in paths:
        if ".." in re.split(r"[/\\]", path) or PureWindowsPath(path).anchor:
            raise ValueError(
                f"modules.json of {folder} names a part outside of its folder, {path[:80]!r}: take another model"
            )
    return {folder / path for path in paths}


@lru_cache(maxsize=64)  # of what was read before, as long as no file is another
def _digest(folder: Path, files: tuple[tuple[str, int, int], ...]) -> str:
    whole = hashlib.sha256()
    for path, _, _ in files:
        whole.update(Path(path).relative_to(folder).as_posix().encode() + b"\0")
        with open(path, "rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()[:16]
