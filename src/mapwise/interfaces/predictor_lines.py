"""What came of a workflow on a predictor, as lines for a person or a CSV table."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mapwise.data.sheets import Sheet, spreadsheet_cell

if TYPE_CHECKING:
    from mapwise.predictors.choose import Tried
    from mapwise.predictors.classes import Predictor
    from mapwise.predictors.evidence.novelty import Detection
    from mapwise.workflows.change import Change, Narrowed, Widened
    from mapwise.workflows.fit import ColumnRead, FitResult
    from mapwise.workflows.predict import Predictions

_SHOWN = 100
"""Columns of a table in the answer to a person."""
_NAMED = 5
"""Rows that are named there."""


def fit_lines(result: "FitResult", out: Path) -> list[str]:
    """A fit, whose predictor is in this file."""
    predictor, held_out, tried = result.predictor, result.fitted.report, result.fitted.tried
    size = out.stat().st_size
    return [
        f"{out}: {sum(predictor.counts.values())} examples of {len(predictor.classes)} classes, {size:,} bytes",
        *([f"label: column {result.label!r}"] if result.label else []),
        *_column_lines(result.columns),
        *names_lines(predictor),
        *_choices(tried),
        str(held_out),
        *([held_out.outlook] if held_out.outlook else []),
        detection_line(result.detection),
        *(f"{'  ' if place else 'advice: '}{part}" for place, part in enumerate(result.advice)),
    ]


def names_lines(predictor: "Predictor") -> list[str]:
    """What the names and descriptions of classes are worth; nothing where there are none."""
    known = predictor.descriptions
    return [str(known)] if known is not None and known.texts else []


def prediction_lines(answers: "Predictions") -> list[str]:
    """Answers, one a line."""
    names = [f"none of these (nearest {one.label})" if one.unknown else one.label for one in answers.predictions]
    width = max(map(len, names))
    lines = [
        f"{name:{width}}  {100 * one.probability:5.1f} %  {one.input}"
        for name, one in zip(names, answers.predictions, strict=True)
    ]
    return [*lines, *([f"note: {answers.why}"] if answers.why else [])]


def cut_line(cut: int, rows: int) -> str:
    """Of how many texts the encoder reads the beginning alone; "" for none."""
    if not cut:
        return ""
    return f"{cut:,} of {rows:,} texts {'is' if cut == 1 else 'are'} longer than the encoder reads, and truncated"


def detection_line(detection: "Detection") -> str:
    """How good the rejections are."""
    return f"none of these: {detection}"


def prediction_sheet(answers: "Predictions", sheet: Sheet) -> Sheet:
    """The rows that were asked about, with their answers as further columns."""
    yes_or_no = {True: "yes", False: "no", None: ""}
    columns: dict[str, list[object]] = {
        "label": [spreadsheet_cell(one.label) for one in answers.predictions],
        "probability": [one.probability for one in answers.predictions],
        "unknown": [yes_or_no[one.unknown] for one in answers.predictions],
    }
    return sheet.with_columns(columns)


def addition_lines(result: "Widened", file: Path) -> list[str]:
    """More examples, in a predictor of this file."""
    addition, counts = result.addition, result.predictor.counts
    rows = f"{addition.added:,} new row{'' if addition.added == 1 else 's'}"
    if addition.duplicates and result.predictor.encoder.reads == "table":
        rows += f", {addition.duplicates:,} of them equal to others of their class"
    elif addition.duplicates:
        rows += f", {addition.duplicates:,} exact duplicate{'' if addition.duplicates == 1 else 's'} left out"
    classes = ", ".join(
        f"{name} {count:,}{' (new)' if name in addition.classes else ''}" for name, count in counts.items()
    )
    lines = [f"{file}: {rows}", f"examples: {classes}"]
    return [*lines, *_change_lines(result)] if addition.added else lines


def removal_lines(result: "Narrowed", file: Path) -> list[str]:
    """Fewer examples, in a predictor of this file."""
    count, counts = len(result.removed), result.predictor.counts
    first = [f"{one.source} ({one.label})" for one in result.removed[:_NAMED]]
    more = f" and {count - _NAMED:,} more" if count > _NAMED else ""
    return [
        f"{file}: {count:,} row{'' if count == 1 else 's'} removed{': ' if count else ''}{', '.join(first)}{more}",
        f"examples: {', '.join(f'{name} {rows:,}' for name, rows in counts.items())}",
        *_change_lines(result),
    ]


def _change_lines(result: "Change") -> list[str]:
    """What a change did to the accuracy, and what that is now; where it is unknown the first line says why."""
    return [str(result), *([] if result.now.accuracy is None else [f"all classes: {result.now}"])]


def _choices(tried: "Sequence[Tried]") -> list[str]:
    """The table of what was tried; a reason that is that of the chosen one too stands there alone."""
    if not tried:
        return []
    several = len({one.encoder for one in tried}) > 1
    names = [" and ".join(filter(None, (one.encoder if several else "", one.learner))) for one in tried]
    width = max(map(len, names))
    shared = {one.why for one in tried if one.chosen}
    if not any(one.found and one.found.accuracy is not None for one in tried) and {one.why for one in tried} == shared:
        chosen = next(name for name, one in zip(names, tried, strict=True) if one.chosen)
        return [f"{'encoder and learner' if several else 'learner'}: {chosen}, since the examples can't choose"]
    heading = "encoders (by the probability of the right class) and learners" if several else "learners"
    lines = [f"{heading}, by examples they didn't see:"]
    for name, one in zip(names, tried, strict=True):
        accuracy = "" if one.found is None or one.found.accuracy is None else f"{100 * one.found.accuracy:.0f} %"
        why = one.why if one.chosen or one.why not in shared else ""
        sure = "      " if one.probability is None else f"  {one.probability:.2f}"
        shown = f"  {accuracy:5}{sure if several else ''}  {one.seconds:4.1f} s"
        outcome = shown if accuracy else f"  {why:12}"
        lines.append(f"  {name:{width}}{outcome}{'  chosen' if one.chosen else ''}".rstrip())
    return lines


def _column_lines(columns: "Sequence[ColumnRead]") -> list[str]:
    width = max((len(column.name) for column in columns), default=0)
    lines = ["columns:"] if columns else []
    for column in columns[:_SHOWN]:
        words = column.read_as == "categories"
        parts = [f"categories ({column.values} values)" if words else "numbers"]
        parts += [f"{column.gaps} gap{'s' if column.gaps > 1 else ''}"] if column.gaps else []
        parts += [f"numbers in {column.numbers} cells"] if words and column.numbers else []
        parts += [f"texts? --text {shlex.quote(column.name)} reads them"] if words and column.free_text else []
        lines.append(f"  {column.name:{width}}  {', '.join(parts)}")
    return lines + ([f"  and {len(columns) - _SHOWN:,} more (--json has all)"] if len(columns) > _SHOWN else [])
