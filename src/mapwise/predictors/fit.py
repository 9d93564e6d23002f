"""Fitting a predictor to labelled examples: one set of rules, whoever asks for it."""

import hashlib
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import compress
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from jaxtyping import Float, Int64

from mapwise.core.fields import check_text
from mapwise.core.learner import Learner
from mapwise.data.arrays import check_real
from mapwise.data.cells import sentences
from mapwise.data.digests import digests
from mapwise.data.modality import Modality
from mapwise.encoders.encoder import Encoder
from mapwise.predictors.advice import advice_on
from mapwise.predictors.choose_learner import USUAL, Tried, choose, seconds_of
from mapwise.predictors.classes import Predictor
from mapwise.predictors.diagnostics.cross_validation import report
from mapwise.predictors.evidence.held_out import HeldOut
from mapwise.predictors.heads.head import AUTO, Head, encoder_for
from mapwise.predictors.predictor import FittedPredictor
from mapwise.predictors.targets import TargetPredictor

_SAME = 1e-9
"""Squared distance of two encodings of one row, over their squared lengths: beside other rows its last bits differ."""
_LONGEST = 1000
"""Letters of a class's name."""
_DIRECTIONS = 8
"""Rows that are far apart along one of them are not compared."""


SMALLEST, LARGEST = 1e-6, 1e12
"""Of the largest weight: below, weights are relative and are divided by the largest; above, where sums may overflow,
they are scaled down to this."""


@dataclass(frozen=True, eq=False)
class LabelledExamples:
    """Raw rows, and what each is labelled with.

    rows:     N rows as an encoder reads them: columns by name, texts, or pictures.
    modality: which of these.
    labels:   names of classes, [N], of any type but floating-point; or numbers, [N] or [N, W], in float64.
    weight:   how often each row counts, [N] or one number; None: once. Rows of weight 0 are left out.
    sources:  where each row came from, such as a file; empty where unknown.
    classes:  names of further classes, of which rows may come later.
    label:    what the labels are called, such as a column; "" where they have no name.
    left_out: what was not read, and why, a sentence each.
    """

    rows: Any
    modality: Modality
    labels: np.ndarray
    weight: Any = None
    sources: Sequence[str] = ()
    classes: Iterable[Any] = ()
    label: str = ""
    left_out: Sequence[str] = ()

    @property
    def names(self) -> bool:
        """Whether the labels are names of classes."""
        return self.labels.dtype.kind != "f"

    def of_classes(self, known: Sequence[str] = ()) -> tuple[tuple[str, ...], Int64[np.ndarray, "N"]]:
        """The known classes and behind them the new ones, sorted; and the column of each row among them.

        Raises ValueError for a name that would break a line of answers.
        """
        try:
            every = np.unique(np.asarray([*self.labels, *self.classes], dtype=object))
        except TypeError:  # which have no order among each other
            raise ValueError("the labels and the classes are of several types: give labels of one type") from None
        classes = (*known, *(str(name) for name in every if str(name) not in known))
        for name in classes[len(known) :]:
            check_name(name)
        columns = {name: column for column, name in enumerate(classes)}
        return classes, np.asarray([columns[str(label)] for label in self.labels], np.int64)

    def counted(self) -> "LabelledExamples":
        """Those that count, with a weight for each; raises ValueError for other numbers of labels or weights."""
        count = len(next(iter(self.rows.values()))) if isinstance(self.rows, dict) else len(self.rows)
        label = "label" if self.names else "target"
        if len(self.labels) != count:
            raise ValueError(f"X has {count} rows and y has {len(self.labels)} {label}s: give one {label} for each row")
        weight = np.ones(count) if self.weight is None else _weights(self.weight)
        if weight.ndim == 0:
            weight = np.full(count, float(weight))
        if weight.shape != (count,):
            raise ValueError(f"sample_weight has shape {weight.shape}: give one weight for each row, ({count},)")
        if not (np.isfinite(weight).all() and (weight >= 0).all()):
            raise ValueError("sample_weight holds a negative number, NaN or infinity: give weights of 0 and above")
        if not weight.any():
            raise ValueError("sample_weight is zero for all rows, so that none counts: give a weight above 0 to some")
        counts, largest = weight > 0, float(weight.max())
        if largest < SMALLEST:
            weight = weight / largest
        elif largest > LARGEST:
            weight = weight / largest * LARGEST
        rows = (
            {name: cells[counts] for name, cells in self.rows.items()}
            if isinstance(self.rows, dict)
            else list(compress(self.rows, counts))
        )
        sources = tuple(compress(self.sources, counts))
        return replace(self, rows=rows, labels=self.labels[counts], weight=weight[counts], sources=sources)


def _weights(weight: Any) -> np.ndarray:
    try:
        given = np.asarray(weight)
    except ValueError:
        raise ValueError("sample_weight holds lists of several lengths: give one number for each row") from None
    check_real(given.dtype.kind, "sample_weight")
    try:
        numbers: np.ndarray = given.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("sample_weight holds what is no number: give one number for each row") from None
    return numbers


P = TypeVar("P", bound=FittedPredictor)


@dataclass(frozen=True, eq=False)
class Fitted(Generic[P]):
    """A predictor, and how it was chosen.

    tried:  the learners that were compared, in the catalog's order; empty where one was asked for.
    judged: the report by which it was chosen, corrected for the choice.
    advice: what is likely wrong with the encoder, and steps to mend it; empty where nothing is.
    """

    predictor: P
    tried: tuple[Tried, ...] = ()
    judged: HeldOut | None = None
    advice: tuple[str, ...] = ()

    @cached_property
    def report(self) -> HeldOut:
        """How good a predictor of classes is, by cross-validation."""
        assert isinstance(self.predictor, Predictor)
        return self.judged or report(self.predictor)


def fit(
    examples: LabelledExamples,
    *,
    encoder: str = AUTO,
    learner: str | Path | Learner | Head = AUTO,
    budget: str | float = "30s",
    least: int = 2,
    note: str = "",
    progress: Callable[[Any], Any] = lambda rows: rows,
    stage: Callable[[str], object] = lambda name: None,
) -> Fitted[Any]:
    """Fit an encoder and a learner to examples with names, or with numbers.

    encoder:  the name of one, or "auto": the first that reads such rows.
    learner:  the name of one, a run's folder, a learner, or of names "auto": the best by cross-validation.
    budget:   time to choose a learner in, or to judge an encoder that is tuned, as "30s" or seconds.
    least:    so many classes, or rows with numbers, are needed.
    note:     kept in the predictor.
    progress: raw rows -> the same rows, which are then encoded; by it their reading can be watched.
    stage:    is called with the name of what is done next.

    Raises ValueError for a name, rows, labels or weights that don't allow it; and for examples that are equal and of
    two classes, unless they are rows of a table, before anything is tuned.
    """
    check_text("encoder", encoder)
    seconds = seconds_of(budget)
    to_choose = isinstance(learner, str) and learner == AUTO and examples.names
    predictor_type: type[FittedPredictor] = Predictor if examples.names else TargetPredictor
    head = predictor_type.head_of(USUAL if to_choose else learner)
    fitting = encoder_for(encoder, examples.modality, head)
    examples = examples.counted()
    _check_columns(examples.rows)
    if not examples.names:
        return Fitted(_of_numbers(examples, fitting, head, least, note, progress))
    predictor = _of_names(examples, fitting, head, least, note, progress)
    advice = advice_on(fitting.name, examples.rows)
    if not to_choose:
        stage(f"tuning the encoder for {head.name}" if head.tunes else f"fitting {head.name}")
        return Fitted(predictor.with_head(head, examples.rows, seconds).checked(), advice=advice)
    predictor, tried = choose(predictor, examples.rows, seconds, stage=stage)
    judged = next(one.found for one in tried if one.chosen)
    return Fitted(predictor, tuple(tried), judged and judged.corrected(predictor.optimism), advice)


def _of_names(
    examples: LabelledExamples, encoder: Encoder, head: Head, least: int, note: str, progress: Callable[[Any], Any]
) -> Predictor:
    """The predictor of examples with names, before anything is tuned."""
    classes, columns = examples.of_classes()
    if len(np.unique(columns)) < least:
        raise ValueError(
            f"all examples that count are of one class, {classes[columns[0]]!r} (n_samples={len(columns)}): give some "
            f"of at least {least} classes"
        )
    contents = digests(examples.modality, examples.rows)
    _check_contents(examples.modality, contents, columns, classes, examples.sources)
    predictor = Predictor.of(
        *(encoder, head, progress(examples.rows), columns, examples.weight, classes),
        note=note,
        sources=examples.sources,
        contents=contents,
    )
    _check_encoded(predictor)
    return predictor


def _of_numbers(
    examples: LabelledExamples, encoder: Encoder, head: Head, least: int, note: str, progress: Callable[[Any], Any]
) -> TargetPredictor:
    """The predictor of examples with numbers."""
    if len(examples.labels) < least:
        raise ValueError(f"only one row has a weight above 0 (n_samples=1): give at least {least}")
    predictor = TargetPredictor.of(encoder, head, progress(examples.rows), examples.labels, examples.weight)
    return replace(predictor, note=note, sources=tuple(examples.sources)).checked()


def with_names(
    predictor: Predictor, examples: LabelledExamples, *, progress: Callable[[Any], Any] = lambda rows: rows
) -> Predictor:
    """The predictor with more examples of its classes, or of new ones behind them; its encoder stays as it is.

    Raises ValueError as `fit` does.
    """
    examples = examples.counted()
    classes, columns = examples.of_classes(predictor.classes)
    wider = predictor.with_classes(classes, np.arange(len(predictor.classes)))
    first = len(predictor.rows)
    contents = digests(examples.modality, examples.rows)
    _check_contents(
        examples.modality,
        wider.digests_with(contents),
        np.concatenate([wider.columns, columns]),
        wider.classes,
        wider.sources_with(len(columns), examples.sources),
        first,
    )
    wider = wider.with_rows(progress(examples.rows), columns, examples.weight, examples.sources, contents)
    _check_encoded(wider, first)
    return wider.checked()


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


def check_name(name: str) -> None:
    """Raises ValueError for the name of a class that would break a line of answers, or fill the page."""
    if len(name) > _LONGEST:
        raise ValueError(
            f"the name of a class begins {name[:40]!r} and has {len(name):,} letters: give one of up to {_LONGEST:,}"
        )
    if not name.strip() or not name.isprintable():
        raise ValueError(f"{name!r} is no name for a class: give one line of text")


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


def _check_contents(
    modality: Modality,
    contents: Int64[np.ndarray, "N"],
    columns: Int64[np.ndarray, "N"],
    classes: Sequence[str],
    sources: Sequence[str],
    first: int = 0,
) -> None:
    """Raises ValueError when a row from `first` on has the content of another, and is of another class.

    Rows of a table may well be equal, and differ in what was not written down.
    """
    if modality == "table":
        return
    seen: dict[int, int] = {}
    for row, content in enumerate(contents.tolist()):
        other = seen.setdefault(content, row)
        if content and row >= first and columns[row] != columns[other]:
            raise _duplicate(other, row, columns, classes, sources)


def _check_encoded(predictor: Predictor, first: int = 0) -> None:
    """Raises ValueError when a row from `first` on is encoded as another, and is of another class."""
    if predictor.encoder.reads == "table":
        return
    rows, columns = predictor.rows.reshape(len(predictor.rows), -1).astype(np.float64), predictor.columns
    # Of copies within a class one is compared: many blank pictures, say, would be compared with each other.
    copies: dict[tuple[int, bytes], int] = {}
    for row, column in enumerate(columns.tolist()):
        key = column, hashlib.sha256(rows[row].tobytes()).digest()
        if copies.setdefault(key, row) < first <= row:
            copies[key] = row
    places = np.asarray(list(copies.values()))
    rows, columns = rows[places], columns[places]
    squares = (rows**2).sum(1)
    # Rows that are the same lie side by side along any direction, so that few pairs need be looked at.
    directions = np.random.Generator(np.random.Philox(0)).normal(size=(rows.shape[1], _DIRECTIONS))
    along = rows @ directions
    far = _SAME * (directions**2).sum(0)
    order = np.argsort(along[:, 0], kind="stable")
    for apart in range(1, len(order)):
        one, other = order[:-apart], order[apart:]
        near = (along[one] - along[other]) ** 2 <= far * (squares[one] + squares[other])[:, None]
        if not near[:, 0].any():
            return
        pairs = near.all(1) & (columns[one] != columns[other]) & (places[np.maximum(one, other)] >= first)
        for a, b in zip(one[pairs].tolist(), other[pairs].tolist(), strict=True):
            if ((rows[a] - rows[b]) ** 2).sum() <= _SAME * (squares[a] + squares[b]):
                one_row, other_row = sorted((int(places[a]), int(places[b])))
                raise _duplicate(one_row, other_row, predictor.columns, predictor.classes, predictor.sources)


def _duplicate(one: int, other: int, columns: np.ndarray, classes: Sequence[str], sources: Sequence[str]) -> ValueError:
    named = [sources[row] if len(sources) and sources[row] else f"example {row}" for row in (one, other)]
    return ValueError(
        f"{named[0]} and {named[1]} are the same and of two classes, {classes[columns[one]]!r} and "
        f"{classes[columns[other]]!r}: keep the one that is right"
    )
