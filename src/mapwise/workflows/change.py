"""Changes of a predictor's examples and classes, and what they did to its accuracy."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mapwise.predictors.additions import Addition, add_examples
from mapwise.predictors.classes import Predictor
from mapwise.predictors.diagnostics import cross_validation
from mapwise.predictors.evidence.held_out import Effect, HeldOut, effect
from mapwise.predictors.examples import LabelledExamples, check_name
from mapwise.workflows.reading import list_truncated, placed


@dataclass(frozen=True, eq=False)
class Change:
    """A predictor with other examples, and what its examples said before the change and say now."""

    predictor: Predictor
    before: HeldOut
    now: HeldOut

    @property
    def others(self) -> Effect:
        """What the change did to the classes that were there before it and are there now."""
        return effect(self.before, self.now)

    def __str__(self) -> str:
        """What it did to the accuracy, as one line."""
        same = self.before.classes.keys() == self.now.classes.keys()
        return self.others.sentence("the mean of the classes" if same else "the other classes")

    def to_json(self) -> dict[str, Any]:
        """As a JSON-ready object."""
        return {
            "classes": self.predictor.counts,
            "before": self.before.to_json(),
            "held_out": self.now.to_json(),
            "other_classes": asdict(self.others),
        }


@dataclass(frozen=True, eq=False)
class Widened(Change):
    """A predictor with more examples.

    cut: where those of the new rows come from whose end the encoder doesn't read, or their places among these.
    """

    addition: Addition
    cut: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As a JSON-ready object."""
        counts = {"added": self.addition.added, "duplicates": self.addition.duplicates}
        return {**super().to_json(), **counts, "new_classes": list(self.addition.classes), "cut": list(self.cut)}


@dataclass(frozen=True)
class RemovedRow:
    """A row that is gone: the place that it had, where it came from or what it was called, and its class."""

    row: int
    source: str
    label: str


@dataclass(frozen=True, eq=False)
class Narrowed(Change):
    """A predictor with fewer examples."""

    removed: tuple[RemovedRow, ...]

    def to_json(self) -> dict[str, Any]:
        """As a JSON-ready object."""
        return {**super().to_json(), "removed": [asdict(one) for one in self.removed]}


def add_rows(
    predictor: Predictor,
    examples: LabelledExamples,
    *,
    progress: Callable[[Any], Any] = lambda rows: rows,
    stage: Callable[[str], object] = lambda name: None,
) -> Widened:
    """The predictor with more labelled rows, of its classes or of new ones; the earlier examples are not read again.

    Raises ValueError as `add_examples` does.
    """
    with placed(examples.sources):
        addition = add_examples(predictor, examples, progress=progress)
    stage("cross-validating")
    before = cross_validation.report(predictor)
    now = cross_validation.report(addition.predictor) if addition.added else before
    known = examples.counted()
    new = known.among(np.isin(np.arange(len(known.labels)), addition.new))
    cut = list_truncated(predictor.encoder, new.rows, new.sources)
    return Widened(addition.predictor, before, now, addition, cut)


def add_class(
    predictor: Predictor,
    name: str,
    rows: Any,
    *,
    sources: Sequence[str] = (),
    progress: Callable[[Any], Any] = lambda rows: rows,
    stage: Callable[[str], object] = lambda name: None,
) -> Widened:
    """The predictor with one more class, from raw rows of it alone.

    Raises ValueError for a name that is there or is no line of text, and for rows that are those of another class.
    """
    check_new_class(predictor, name)
    examples = LabelledExamples(rows, predictor.encoder.reads, labels_of(name, rows), sources=sources)
    return add_rows(predictor, examples, progress=progress, stage=stage)


def remove_class(predictor: Predictor, name: str, *, stage: Callable[[str], object] = lambda name: None) -> Narrowed:
    """The predictor without a class and its rows.

    Raises ValueError for a name that isn't there, and where less than two classes would be left.
    """
    narrower = predictor.without_class(name)
    rows = np.flatnonzero(predictor.columns == predictor.classes.index(name)).tolist()
    return _narrowed(predictor, narrower, rows, stage)


def remove_rows(
    predictor: Predictor, names: Sequence[str], *, stage: Callable[[str], object] = lambda name: None
) -> Narrowed:
    """The predictor without the rows that are called so: by where they came from, or by their places.

    Raises ValueError for a name that no row has or several have, and where no row of a class would be left.
    """
    rows = sorted({predictor.row_named(name) for name in names})
    return _narrowed(predictor, predictor.without_rows(rows), rows, stage)


def rename_class(predictor: Predictor, old: str, new: str) -> Predictor:
    """The predictor with another name for a class.

    Raises ValueError for a name that isn't there, and for a new one that is, or is no line of text.
    """
    check_name(new)
    return predictor.renamed(old, new)


def _narrowed(
    predictor: Predictor, narrower: Predictor, rows: Sequence[int], stage: Callable[[str], object]
) -> Narrowed:
    stage("cross-validating")
    removed = tuple(
        RemovedRow(row, predictor.source_of(row), predictor.classes[predictor.columns[row]]) for row in rows
    )
    narrower = narrower.checked()
    return Narrowed(narrower, cross_validation.report(predictor), cross_validation.report(narrower), removed)


def check_new_class(predictor: Predictor, name: str) -> None:
    """Raises ValueError for a name that is there or is no line of text."""
    check_name(name)
    if name in predictor.classes:
        raise ValueError(f"there is a class {name!r} already: give another name, or add rows to it by mapwise add")


def labels_of(name: str, rows: Any) -> np.ndarray:
    """This name for every row."""
    count = len(next(iter(rows.values()))) if isinstance(rows, dict) else len(rows)
    return np.full(count, name, dtype=object)
