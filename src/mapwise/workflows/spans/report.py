"""All there is to show about a finder of spans, as one HTML page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mapwise.predictors.spans.report import FittedSpans
from mapwise.workflows.spans.fit import span_counts
from mapwise.workflows.spans.predict import TextWithSpans


@dataclass(frozen=True, eq=False)
class SpansReport:
    """A page about a finder of spans, and what stands on it.

    page:    as HTML.
    summary: as one line.
    answers: texts, and what was found in them.
    """

    fitted: FittedSpans
    page: str
    summary: str
    answers: tuple[TextWithSpans, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As a JSON-ready object, without the page."""
        predictor, report = self.fitted.predictor, self.fitted.report
        doubtful = [] if report is None else report.doubtful
        return {
            **span_counts(predictor),
            "held_out": self.fitted.to_json(),
            "doubtful": [
                {
                    "text": place,
                    "source": predictor.sources[place] if predictor.sources else None,
                    **span._asdict(),
                    "found": None if instead is None else instead._asdict(),
                }
                for place, span, instead in doubtful
            ],
            "texts": [one.to_json() for one in self.answers],
        }


def report_spans(fitted: FittedSpans, name: str, size: int, answers: Sequence[TextWithSpans] = ()) -> SpansReport:
    """Draw the page of a finder of spans.

    name:    what it is called on the page, such as its file.
    size:    bytes of its file.
    answers: texts, and what was found in them.
    """
    from mapwise.report.spans_page import MarkedText, spans_page, spans_summary

    marked = [MarkedText(one.source, one.text, one.spans) for one in answers]
    page = spans_page(fitted, name, size, marked)
    return SpansReport(fitted, page, spans_summary(fitted), tuple(answers))
