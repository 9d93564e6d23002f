"""Files and folders of annotated texts, whatever their format."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mapwise.core.fields import quote
from mapwise.data.annotated.conll import file_of_conll, looks_like_conll
from mapwise.data.annotated.json_lines import texts_of_json
from mapwise.data.annotated.lines import read_lines
from mapwise.data.annotated.marks import texts_of_marks
from mapwise.data.annotated.texts import AnnotatedText, type_names
from mapwise.data.files import path_of, path_to_read

_PART = re.compile(r"(?<![a-z])(train|training|dev|valid|validation|val|testa|testb|test)(?![a-z])", re.IGNORECASE)
_PARTS = {"training": "train", "dev": "val", "valid": "val", "validation": "val", "testb": "test"}
_PACKED, _JSON, _CONLL = ".gz", (".jsonl", ".json", ".ndjson"), (".conll", ".iob", ".bio")
_ENDS = (*_JSON, *_CONLL, ".txt", ".annotated", ".train", ".testa", ".testb")
"""Ends of names of annotated texts in a folder."""
_OTHERS = (".md", ".rst", ".html", ".pdf", ".zip", ".tar", ".py", ".csv")
"""Ends of names of files in a folder that are no annotated texts."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """Annotated texts of one origin.

    name:    what it is called in reports.
    texts:   all of them.
    origins: where each is from, such as "line 3 of train.txt".
    parts:   split name -> places of its texts, where the files are called train, dev and test; {} for a single file.
    remarks: sentences a user should see once.
    """

    name: str
    texts: tuple[AnnotatedText, ...]
    origins: tuple[str, ...]
    parts: Mapping[str, range] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def types(self) -> list[str]:
        """The types of its spans, sorted."""
        return type_names(self.texts)


def read_annotated(path: str | Path) -> Corpus:
    """The texts of a file, or of a folder whose files are called after their split.

    A file is JSON lines, CoNLL, or a text a line with marks such as `[Anna](PER)`: the first by its name (.jsonl or
    .json) or its first letter, the others by their lines. It may be packed (.gz).

    A folder has a file or several for "train", "val" (dev, valid, val, testa) and "test" (test, testb), as words of
    their names; testa is the test where there is no other.

    Raises ValueError for what can't be read, with the line, and for a folder without such files.
    """
    path = path_to_read(path_of(path))
    if not path.is_dir():
        texts, lines, remarks = _read_file(path)
        return Corpus(_stem(path), tuple(texts), tuple(_origins(path, lines)), remarks=remarks)
    files = _files_by_part(path)
    if not files:
        raise ValueError(
            f"{path} holds no annotated texts by split: give a file, or name the files of the folder after train, dev "
            "and test, such as train.conll"
        )
    texts, origins, remarks, parts = list[AnnotatedText](), list[str](), tuple[str, ...](), dict[str, range]()
    for part in sorted(files, key=["train", "val", "test"].index):
        first = len(texts)
        for file in files[part]:
            of_file, lines, more = _read_file(file)
            texts += of_file
            origins += _origins(file, lines)
            remarks += more
        parts[part] = range(first, len(texts))
    return Corpus(path.resolve().name, tuple(texts), tuple(origins), parts, remarks)


def read_corpora(path: str | Path) -> list[Corpus]:
    """The corpora of a file, or of a folder: it is one itself, or each of its folders is one.

    Raises ValueError as `read_annotated` does.
    """
    path = path_to_read(path_of(path))
    if not path.is_dir() or _files_by_part(path):
        return [read_annotated(path)]
    folders = sorted(f for f in path.iterdir() if f.is_dir() and not f.name.startswith(".") and _files_by_part(f))
    if not folders:
        raise ValueError(
            f"{path} holds no annotated texts, and none of its folders does: give a file, or a folder with files such "
            "as train.conll, dev.conll and test.conll"
        )
    return [read_annotated(folder) for folder in folders]


def looks_like_json(lines: Sequence[str], path: Path) -> bool:
    """Whether the lines of a file are JSON's, by its name or by their first letters."""
    first = next((line.strip() for line in lines if line.strip()), "")
    return _ends(path, _JSON) or first.startswith('{"')


def is_annotated(path: Path) -> bool:
    """Whether a path is called like annotated texts: a file by its end, a folder by its files, or by its folders'."""
    if path.is_file():
        return _ends(path, (*_JSON, *_CONLL))
    try:
        folders = [path, *(below for below in path.iterdir() if below.is_dir())]
        return any(_ends(file, _ENDS) and _PART.search(file.name) for folder in folders for file in folder.iterdir())
    except OSError:  # what reads it will say why
        return False


def _ends(file: Path, ends: tuple[str, ...]) -> bool:
    return file.name.lower().removesuffix(_PACKED).endswith(ends)


def _files_by_part(folder: Path) -> dict[str, list[Path]]:
    """The files of a folder by their split."""
    files: dict[str, list[Path]] = defaultdict(list)
    try:
        inside = sorted(folder.iterdir())
    except OSError as problem:
        raise ValueError(f"{folder} cannot be read ({problem.strerror}): give a folder that you may read") from None
    for file in inside:
        match = _PART.search(file.name)
        if match and file.is_file() and not file.name.startswith(".") and not file.name.lower().endswith(_OTHERS):
            word = match[1].lower()
            files[_PARTS.get(word, word)].append(file)
    if "testa" in files:
        files["val" if "test" in files else "test"] += files.pop("testa")
    return dict(files)


def _read_file(path: Path) -> tuple[Sequence[AnnotatedText], Sequence[int], tuple[str, ...]]:
    """The texts of a file, the line of each, and remarks."""
    lines = read_lines(path)
    name = path.name.lower().removesuffix(_PACKED)
    if not any(line.strip() for line in lines):
        raise ValueError(f"{path} has no text: give JSON lines, CoNLL, or a text a line with marks such as [Anna](PER)")
    if looks_like_json(lines, path):
        return *texts_of_json(lines, path), ()
    if looks_like_conll(lines):
        file = file_of_conll(lines, path)
        return file.texts, file.lines, file.remarks
    if name.endswith(_CONLL):
        file_of_conll(lines, path)  # which says what is wrong with it
        raise ValueError(f"{path} is called {quote(path.suffix)} and most of its lines have no tag: end them with one")
    return *texts_of_marks(lines, path), ()


def _origins(path: Path, lines: Sequence[int]) -> list[str]:
    return [f"line {line} of {path.name}" for line in lines]


def _stem(path: Path) -> str:
    return path.name.removesuffix(_PACKED).partition(".")[0] or path.name
