"""Fitting a predictor to labelled examples."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mapwise.data.cells import GAPS, parse_number, sentences
from mapwise.data.modality import Columns
from mapwise.encoders.encoder import Encoder
from mapwise.predictors.classes import Predictor
from mapwise.predictors.diagnostics import novelty
from mapwise.predictors.evidence.novelty import REFUSE, Detection
from mapwise.predictors.examples import LabelledExamples
from mapwise.predictors.fit import Fitted, fit
from mapwise.predictors.heads.head import AUTO
from mapwise.workflows.reading import list_truncated, placed

BUDGET = "30s"
"""Time to choose a learner in, by default."""


@dataclass(frozen=True)
class ColumnRead:
    """How a column of a table was read.

    read_as: "numbers" or "categories".
    gaps:    cells without a value.
    values:  different values.
    numbers: cells that look like numbers.
    free_text: whether the cells are free text, which says nothing as categories.
    """

    name: str
    read_as: str
    gaps: int
    values: int
    numbers: int
    free_text: bool = False


@dataclass(frozen=True, eq=False)
class FitResult:
    """What came of fitting a predictor of classes.

    columns: those of a table.
    label:   what the labels are called, such as a column; "" where they have no name.
    cut:     where texts come from whose end the encoder doesn't read, or their places.
    """

    fitted: Fitted[Predictor]
    columns: tuple[ColumnRead, ...] = ()
    label: str = ""
    cut: tuple[str, ...] = ()

    @property
    def predictor(self) -> Predictor:
        """What was fitted."""
        return self.fitted.predictor

    @property
    def advice(self) -> tuple[str, ...]:
        """What to do where the encoder is likely the wrong one."""
        return self.fitted.advice

    @cached_property
    def detection(self) -> Detection:
        """How many rows of other classes are rejected, by default."""
        return novelty.detection(self.predictor, REFUSE)

    def to_json(self) -> dict[str, Any]:
        """As a JSON-ready object."""
        return {
            "encoder": self.predictor.encoder.name,
            "learner": self.predictor.head.name,
            "classes": self.predictor.counts,
            "label": self.label or None,
            "names": known.to_json() if (known := self.predictor.descriptions) is not None else None,
            "columns": [asdict(column) for column in self.columns],
            "cut": list(self.cut),
            "held_out": self.fitted.report.to_json(),
            "detection": self.detection.to_json(),
            "advice": list(self.advice),
            "tried": [one.to_json() for one in self.fitted.tried],
        }


def fit_examples(
    examples: LabelledExamples,
    *,
    encoder: str | None = None,
    learner: str | Path = AUTO,
    budget: str = BUDGET,
    note: str = "",
    progress: Callable[[Any], Any] = lambda rows: rows,
    stage: Callable[[str], object] = lambda name: None,
) -> FitResult:
    """Fit a predictor of classes to examples.

    encoder, learner, budget, note, progress, stage: as `predictors.fit.fit` takes them; encoder None is "auto".

    Raises ValueError for examples that teach nothing, naming the source of a cell that can't be read.
    """
    with placed(examples.sources):
        fitted: Fitted[Predictor] = fit(
            *(examples,),
            encoder=encoder or AUTO,
            learner=learner,
            budget=budget,
            note=note,
            progress=progress,
            stage=stage,
        )
    rows = examples.rows
    columns = columns_read(fitted.predictor.encoder, rows) if isinstance(rows, dict) else ()
    cut = list_truncated(fitted.predictor.encoder, rows, examples.sources)
    return FitResult(fitted, columns, examples.label, cut)


def columns_read(encoder: Encoder, rows: Columns) -> tuple[ColumnRead, ...]:
    """How an encoder of tables reads each column."""
    columns, state = [], encoder.state
    for name, cells in rows.items():
        filled = [cell.strip() for cell in cells if cell.strip().lower() not in GAPS]
        read_as = "numbers" if state[name]["kind"] == "number" else "categories"
        numbers = sum(parse_number(cell) is not None for cell in filled)
        columns.append(ColumnRead(name, read_as, len(cells) - len(filled), len(set(filled)), numbers, sentences(cells)))
    return tuple(columns)
