"""All there is to show about a finder of spans, as one HTML page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mapwise.predictors.spans.predictor import SpanPredictor
from mapwise.workflows.spans.fit import span_counts
from mapwise.workflows.spans.predict import TextWithSpans


@dataclass(frozen=True, eq=False)
class SpansReport:
    """A page about a finder of spans, and what stands on it.

    page:    as HTML.
    summary: as one line.
    answers: texts, and what was found in them.
    """

    predictor: SpanPredictor
    page: str
    summary: str
    answers: tuple[TextWithSpans, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As a JSON-ready object, without the page."""
        return {**span_counts(self.predictor), "texts": [one.to_json() for one in self.answers]}


def report_spans(predictor: SpanPredictor, name: str, size: int, answers: Sequence[TextWithSpans] = ()) -> SpansReport:
    """Draw the page of a finder of spans.

    name:    what it is called on the page, such as its file.
    size:    bytes of its file.
    answers: texts, and what was found in them.
    """
    from mapwise.report.spans_page import MarkedText, spans_page, spans_summary

    marked = [MarkedText(one.source, one.text, one.spans) for one in answers]
    page = spans_page(predictor, name, size, marked)
    return SpansReport(predictor, page, spans_summary(predictor), tuple(answers))
