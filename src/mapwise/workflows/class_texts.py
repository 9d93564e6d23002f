"""What files say of classes of texts beside examples: their names, and sentences about them."""

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path

import numpy as np

from mapwise.core.fields import quote
from mapwise.data.files import read_bytes
from mapwise.predictors.descriptions.texts import sentences_of
from mapwise.predictors.examples import LabelledExamples
from mapwise.workflows.reading import table_cells, text_lines

NO_EXAMPLES = LabelledExamples([], "texts", np.zeros(0, dtype=object))
"""Of classes that are known by their names alone."""


def with_class_texts(
    examples: LabelledExamples, *, names: Path | None = None, describe: Path | None = None, use_names: bool = True
) -> LabelledExamples:
    """The examples, with what these files say of their classes.

    names:    a file with the name of a class a line; those without examples are known by their names alone.
    describe: a CSV file of two columns below a header, classes and sentences about them, or a JSON file: class -> a
              sentence or more.

    Raises ValueError for files that hold nothing of the kind.
    """
    classes: Sequence[str] = () if names is None else names_in(names)
    sentences = {} if describe is None else sentences_in(describe, {*map(str, examples.labels), *classes})
    return replace(examples, classes=[*examples.classes, *classes], sentences=sentences, use_names=use_names)


def names_in(path: Path, what: str = "class") -> list[str]:
    """The names in a file with one a line; raises ValueError for one that comes twice.

    what: what they are names of.
    """
    names = text_lines(path)
    if len(set(names)) < len(names):
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise ValueError(f"{path} names {twice!r} twice: name each {what} once")
    return names


def sentences_in(path: Path, known: Set[str], what: str = "class") -> dict[str, tuple[str, ...]]:
    """Name -> the sentences about it in a CSV file of two columns below a header, or in a JSON file.

    known: the names that there are, which no header has.
    what:  what they are names of.

    Raises ValueError for a file that holds nothing of the kind.
    """
    if path.suffix.lower() == ".json":
        return _of_json(path)
    header, lines, cells = table_cells(path)
    if len(header) != 2:
        raise ValueError(
            f"{path} has the columns {', '.join(header)}, and two are needed: the {what}, and a sentence about it"
        )
    if header[0] in known:
        raise ValueError(
            f"line 1 of {path} is about the {what} {header[0]!r}, and a header is needed: put a line {what},sentence "
            "before it"
        )
    sentences: dict[str, tuple[str, ...]] = {}
    for line, (name, sentence) in zip(lines, cells, strict=True):
        if not (name and sentence):
            raise ValueError(f"line {line} of {path} has an empty cell: give a {what} and a sentence about it")
        sentences[name] = (*sentences.get(name, ()), sentence)
    return sentences


def _of_json(path: Path) -> dict[str, tuple[str, ...]]:
    try:
        held = json.loads(read_bytes(path))
    except OSError as problem:
        raise ValueError(f"{path} can't be read ({problem.strerror}): give a JSON or a CSV file") from None
    except (ValueError, RecursionError):
        raise ValueError(f"{path} is no JSON: give an object of class to sentence, or a CSV file") from None
    if not isinstance(held, Mapping):
        raise ValueError(f"{path} holds {quote(held)}: give an object of class to a sentence, or to a list of them")
    return sentences_of(held)
