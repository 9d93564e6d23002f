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
from mapwise.workflows.reading import placed


@dataclass(frozen=True, eq=False)
class Widened:
    """A predictor with more examples, and what its examples said without them and say with them."""

    addition: Addition
    before: HeldOut
    now: HeldOut

    @property
    def predictor(self) -> Predictor:
        """The one with more examples."""
        return self.addition.predictor

    @property
    def others(self) -> Effect:
        """What the examples did to the classes that were there before."""
        return effect(self.before, self.now)

    def to_json(self) -> dict[str, Any]:
        """As a JSON-ready object."""
        return {
            "classes": self.predictor.counts,
            "added": self.addition.added,
            "duplicates": self.addition.duplicates,
            "new_classes": list(self.addition.classes),
            "before": self.before.to_json(),
            "held_out": self.now.to_json(),
            "other_classes": asdict(self.others),
        }


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
    return Widened(addition, before, cross_validation.report(addition.predictor) if addition.added else before)


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


def check_new_class(predictor: Predictor, name: str) -> None:
    """Raises ValueError for a name that is there or is no line of text."""
    check_name(name)
    if name in predictor.classes:
        raise ValueError(f"there is a class {name!r} already: give another name, or add rows to it by mapwise add")


def labels_of(name: str, rows: Any) -> np.ndarray:
    """This name for every row."""
    count = len(next(iter(rows.values()))) if isinstance(rows, dict) else len(rows)
    return np.full(count, name, dtype=object)
