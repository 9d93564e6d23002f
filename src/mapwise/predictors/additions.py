"""More examples for a predictor that is there: each that is new once, and none twice."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64

from mapwise.predictors.classes import Predictor
from mapwise.predictors.examples import LabelledExamples, check_contents, check_encoded


@dataclass(frozen=True, eq=False)
class Addition:
    """A predictor with more examples.

    added:      how many rows were added to those of before.
    duplicates: how many of the rows that were given have the content and the class of another, which was there already
                or was given before. They are left out, but of tables, whose rows may well be equal.
    classes:    names that are new.
    new:        the places of those that were added, among the rows that were given and count.
    """

    predictor: Predictor
    added: int
    duplicates: int
    classes: tuple[str, ...] = ()
    new: Int64[np.ndarray, "A"] = field(default_factory=lambda: np.zeros(0, np.int64))


def add_examples(
    predictor: Predictor, examples: LabelledExamples, *, progress: Callable[[Any], Any] = lambda rows: rows
) -> Addition:
    """The predictor with those examples that it doesn't have, of its classes or of new ones; its encoder stays.

    Raises ValueError as `fit` does, so for a row that is there under another class, unless it is one of a table.
    """
    examples = examples.counted()
    contents = examples.digested()
    new = _new(predictor, examples, contents)
    duplicates = int((~new).sum())
    if examples.modality != "table":
        examples, contents = replace(examples, contents=contents).among(new), contents[new]
    if not len(contents):
        return Addition(predictor, 0, duplicates, new=np.flatnonzero(new))
    wider = with_names(predictor, replace(examples, contents=contents), progress=progress)
    added = np.arange(len(contents)) if examples.modality == "table" else np.flatnonzero(new)
    return Addition(wider, len(contents), duplicates, wider.classes[len(predictor.classes) :], added)


def with_names(
    predictor: Predictor,
    examples: LabelledExamples,
    *,
    progress: Callable[[Any], Any] = lambda rows: rows,
) -> Predictor:
    """The predictor with more examples of its classes, or of new ones behind them; its encoder stays as it is.

    Raises ValueError as `fit` does.
    """
    examples = examples.counted()
    classes, columns = examples.of_classes(predictor.classes)
    wider = predictor.with_classes(classes, np.arange(len(predictor.classes)))
    first = len(predictor.rows)
    contents = examples.digested()
    check_contents(
        examples.modality,
        wider.digests_with(contents),
        np.concatenate([wider.columns, columns]),
        wider.classes,
        wider.sources_with(len(columns), examples.sources),
        first,
    )
    wider = wider.with_rows(progress(examples.rows), columns, examples.weight, examples.sources, contents)
    check_encoded(wider, first)
    return wider.checked()


def _new(predictor: Predictor, examples: LabelledExamples, contents: np.ndarray) -> Bool[np.ndarray, "N"]:
    """Whether each row has another content than those of its class before it."""
    names = [predictor.classes[column] for column in predictor.columns]
    known = set(zip(names, predictor.digests.tolist(), strict=False))  # files of before have no digests
    new = np.ones(len(contents), dtype=bool)
    for row, one in enumerate(zip(map(str, examples.labels), contents.tolist(), strict=True)):
        new[row] = one not in known
        known.add(one)
    return new
