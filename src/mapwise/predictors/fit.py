"""Fitting a predictor to labelled examples: one set of rules, whoever asks for it."""

import shlex
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from jaxtyping import Float

from mapwise.catalog.encoders import likely, readable
from mapwise.core.fields import check_text
from mapwise.core.learner import Learner
from mapwise.data.cells import sentences, shortened
from mapwise.encoders.encoder import Encoder, description_rows
from mapwise.predictors.advice import better_than, fault_of, steps_from
from mapwise.predictors.choose import USUAL, Tried, choose, choose_encoder, seconds_of
from mapwise.predictors.classes import Predictor
from mapwise.predictors.descriptions.texts import texts_of
from mapwise.predictors.diagnostics.cross_validation import report
from mapwise.predictors.evidence.held_out import HeldOut
from mapwise.predictors.examples import LabelledExamples, check_contents, check_encoded
from mapwise.predictors.heads.head import AUTO, Head, encoders_for
from mapwise.predictors.predictor import FittedPredictor
from mapwise.predictors.targets import TargetPredictor

P = TypeVar("P", bound=FittedPredictor)


@dataclass(frozen=True, eq=False)
class Fitted(Generic[P]):
    """A predictor, and how it was chosen.

    tried:  the learners that were compared, in the catalog's order; empty where one was asked for.
    judged: the report by which it was chosen, corrected for the choice.
    fault:  what is likely wrong with the encoder, and steps to mend it; empty where nothing is.
    better: an encoder that is likely better for such rows and could be installed, in a sentence; "" for none.
    """

    predictor: P
    tried: tuple[Tried, ...] = ()
    judged: HeldOut | None = None
    fault: tuple[str, ...] = ()
    better: str = ""

    @cached_property
    def report(self) -> HeldOut:
        """How good a predictor of classes is, by cross-validation."""
        assert isinstance(self.predictor, Predictor)
        return self.judged or report(self.predictor)

    @property
    def advice(self) -> tuple[str, ...]:
        """What to do where another encoder is likely better; empty where none is."""
        compared = len({one.encoder for one in self.tried if one.found is not None}) > 1
        # Where the examples preferred this encoder to others, those are no advice.
        guesses = self.report.guesses and not compared
        return (
            self.fault
            or (steps_from(self.predictor.encoder.name) if guesses else ())
            or ((self.better,) if self.better else ())
        )


def fit(
    examples: LabelledExamples,
    *,
    encoder: str | Encoder = AUTO,
    learner: str | Path | Learner | Head = AUTO,
    budget: str | float = "30s",
    least: int = 2,
    note: str = "",
    progress: Callable[[Any], Any] = lambda rows: rows,
    stage: Callable[[str], object] = lambda name: None,
) -> Fitted[Any]:
    """Fit an encoder and a learner to examples with names, or with numbers.

    encoder:  one, the name of one, or "auto": of names the best by cross-validation of those that can run here; of
              numbers the one that is likely for such rows.
    learner:  the name of one, a run's folder, a learner, or of names "auto": the best by cross-validation.
    budget:   time to choose both in, or to judge an encoder that is tuned, as "30s" or seconds.
    least:    so many classes, or rows with numbers, are needed.
    note:     kept in the predictor.
    progress: raw rows -> the same rows, which are then encoded; by it their reading can be watched.
    stage:    is called with the name of what is done next.

    Raises ValueError for a name, rows, labels or weights that don't allow it; and for examples that are equal and of
    two classes, unless they are rows of a table, before anything is tuned.
    """
    if not isinstance(encoder, Encoder):
        check_text("encoder", encoder)
    seconds = seconds_of(budget)
    to_choose = isinstance(learner, str) and learner == AUTO and examples.names
    predictor_type: type[FittedPredictor] = Predictor if examples.names else TargetPredictor
    head = predictor_type.head_of(USUAL if to_choose else learner)
    encoders = readable(encoders_for(encoder, examples.modality, head), examples.rows)
    examples = examples.counted()
    _check_columns(examples.rows)
    if not examples.names:
        return Fitted(_of_numbers(examples, likely(encoders, examples.rows), head, least, note, progress))
    if head.tunes or not len(examples.labels):
        encoders = [likely(encoders, examples.rows)]

    def begun(fitting: Encoder, rows: Any) -> Predictor:
        return _of_names(examples, progress(rows), fitting, head, least, note)

    if examples.sentences and encoders[0].reads != "texts":
        warnings.warn(
            f"descriptions of classes are texts, and the encoder {encoders[0].name} reads {encoders[0].reads}: they "
            "are not used",
            stacklevel=_OF_USER,
        )
    better = better_than(encoders, examples.modality, examples.rows) if encoder == AUTO else ""
    if len(encoders) > 1:
        predictor, tried = choose_encoder(begun, encoders, examples.rows, seconds, to_choose=to_choose, stage=stage)
    else:
        predictor, tried = begun(encoders[0], examples.rows), []
        if to_choose:
            predictor, tried = choose(predictor, examples.rows, seconds, stage=stage)
    # Whoever hands over an encoder has chosen it, and may hand over rows that only this one reads.
    fault = fault_of(predictor.encoder.name, examples.rows) if isinstance(encoder, str) else ()
    if not tried:
        stage(f"tuning the encoder for {head.name}" if head.tunes else f"fitting {head.name}")
        return Fitted(predictor.with_head(head, examples.rows, seconds).checked(), fault=fault, better=better)
    judged = next(one.found for one in tried if one.chosen)
    return Fitted(predictor, tuple(tried), judged and judged.corrected(predictor.optimism), fault, better)


def _of_names(examples: LabelledExamples, rows: Any, encoder: Encoder, head: Head, least: int, note: str) -> Predictor:
    """The predictor of examples with names, and of what is known of these, before anything is tuned.

    rows: those of the examples, as they are to be gone through while they are encoded.
    """
    classes, columns = examples.of_classes()
    if len(columns):
        texts = encoder.reads == "texts"
        described = texts_of(classes, examples.sentences, examples.use_names) if texts else ()
        least -= len({name for name, _, _ in described} - {classes[column] for column in columns})
        predictor = _of_examples(examples, rows, classes, columns, encoder, head, least, note)
    else:
        predictor = _of_no_examples(classes, encoder, head, least, note)
    if encoder.reads == "texts":
        predictor = predictor.with_descriptions(examples.sentences, names=examples.use_names)
        _check_described(predictor)
    return predictor


def _of_examples(
    examples: LabelledExamples,
    rows: Any,
    classes: tuple[str, ...],
    columns: np.ndarray,
    encoder: Encoder,
    head: Head,
    least: int,
    note: str,
) -> Predictor:
    """The predictor of examples of these classes, one column each."""
    if len(np.unique(columns)) < least:
        raise ValueError(
            f"all examples that count are of one class, {classes[columns[0]]!r} (n_samples={len(columns)}): give some "
            f"of at least {least} classes"
        )
    contents = examples.digested()
    check_contents(examples.modality, contents, columns, classes, examples.sources)
    predictor = Predictor.of(
        *(encoder, head, rows, columns, examples.weight, classes),
        note=note,
        sources=examples.sources,
        contents=contents,
    )
    check_encoded(predictor)
    return predictor


def _of_no_examples(classes: Sequence[str], encoder: Encoder, head: Head, least: int, note: str) -> Predictor:
    """The predictor of classes without an example."""
    if encoder.reads != "texts":
        raise ValueError(f"there are no examples, and the encoder {encoder.name} reads {encoder.reads}: give some")
    if len(classes) < least:
        count = "no name" if not classes else "1 name" if len(classes) == 1 else f"{len(classes)} names"
        raise ValueError(f"there are no examples and {count} of classes: give at least {least}")
    # An encoder is fitted to rows, and the names are all there is.
    rows = description_rows(encoder, classes)
    fitted = Predictor.of(encoder, head, rows, np.arange(len(classes)), np.ones(len(classes)), classes)
    nothing = np.zeros(0, np.int64)
    return replace(fitted, rows=fitted.rows[:0], columns=nothing, weight=np.zeros(0), digests=nothing, note=note)


def _check_described(predictor: Predictor) -> None:
    """Raises ValueError for a class with neither an example nor a description, where there is no example at all."""
    known = {name for name, _, _ in predictor.descriptions.texts} if predictor.descriptions is not None else set()
    unknown = [name for name in predictor.classes if name not in known]
    if unknown and not len(predictor.rows):
        raise ValueError(
            f"there are no examples, and class {shortened(unknown[0])} has no description, nor a name by which it is "
            "known from the others: describe it in a sentence, or give examples"
        )


_OF_USER = 4
"""Frames from a warning here to the call of an estimator."""


def _of_numbers(
    examples: LabelledExamples, encoder: Encoder, head: Head, least: int, note: str, progress: Callable[[Any], Any]
) -> TargetPredictor:
    """The predictor of examples with numbers."""
    if len(examples.labels) < least:
        raise ValueError(f"only one row has a weight above 0 (n_samples=1): give at least {least}")
    predictor = TargetPredictor.of(encoder, head, progress(examples.rows), examples.labels, examples.weight)
    return replace(predictor, note=note, sources=tuple(examples.sources)).checked()


def with_numbers(predictor: TargetPredictor, examples: LabelledExamples) -> TargetPredictor:
    """The predictor with more examples; its encoder stays as it is.

    Raises ValueError as `fit` does, and for another number of targets than before.
    """
    examples = examples.counted()
    if examples.labels.shape[1:] != predictor.targets.shape[1:]:
        raise ValueError(
            f"y has {_each(examples.labels)} a row and the rows of before have {_each(predictor.targets)}: give as "
            "many, or fit anew"
        )
    return predictor.with_rows(examples.rows, examples.labels, examples.weight, examples.sources).checked()


def targets_of(y: Any) -> Float[np.ndarray, "N *W"]:
    """Targets as numbers, [N] or [N, W]; raises ValueError for anything else."""
    given = np.asarray(y)
    words = [cell for cell in given.flat if isinstance(cell, str)] if given.dtype.kind in "OUS" else []
    if words or given.dtype.kind not in "biufO":
        what = f"the text {str(words[0])!r}" if words else f"values of type {given.dtype}"
        raise ValueError(f"y holds {what} and numbers are needed: make numbers of it, or take FewShotClassifier")
    try:
        targets: np.ndarray = given.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("y holds what is no number: give one number for each row, [N], or as many, [N, W]") from None
    if targets.ndim not in (1, 2) or 0 in targets.shape[1:]:
        raise ValueError(f"y has shape {targets.shape}: give one number for each row, [N], or as many, [N, W]")
    if not np.isfinite(targets).all():
        wrong = "NaN" if np.isnan(targets).any() else "infinity"
        row = int(np.flatnonzero(~np.isfinite(targets.reshape(len(targets), -1)).all(1))[0])
        raise ValueError(f"y holds {wrong}, first in row {row}: fill it or drop the row")
    return targets


def _each(targets: np.ndarray) -> str:
    return "a single number" if targets.ndim == 1 else f"{targets.shape[1]} numbers in a list"


def _check_columns(rows: Any) -> None:
    """Raises ValueError for a table of a single column, whose cells are free text: as categories they say nothing."""
    name, cells = next(iter(rows.items())) if isinstance(rows, dict) and len(rows) == 1 else ("", np.empty(0))
    if sentences(cells):
        raise ValueError(
            f"column {name!r} holds texts, nearly all of them different, and would be read as categories: give the "
            f"texts as a list (in a command: --text {shlex.quote(name)}), or declare the column as categories"
        )
