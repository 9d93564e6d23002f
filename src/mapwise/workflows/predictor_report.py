"""All there is to show about a predictor, as one HTML page."""

from dataclasses import dataclass
from typing import Any

from mapwise.data.digests import together
from mapwise.predictors.advice import steps_from
from mapwise.predictors.classes import Predictor
from mapwise.predictors.diagnostics import cross_validation, novelty
from mapwise.predictors.evidence.held_out import HeldOut
from mapwise.predictors.evidence.novelty import REFUSE, Detection


@dataclass(frozen=True, eq=False)
class PredictorReport:
    """A page about a predictor, and what stands on it.

    page:    as HTML.
    summary: as one line.
    """

    predictor: Predictor
    held_out: HeldOut
    page: str
    summary: str
    detection: Detection

    @property
    def advice(self) -> tuple[str, ...]:
        """Which encoder would likely do better, and the steps to it; empty where nothing is known."""
        return steps_from(self.predictor.encoder.name) if self.held_out.guesses else ()

    def to_json(self) -> dict[str, Any]:
        """As a JSON-ready object, without the page."""
        sources = self.predictor.sources
        return {
            "encoder": self.predictor.encoder.name,
            "learner": self.predictor.head.name,
            "digest": together(self.predictor.digests),
            "classes": self.predictor.counts,
            "names": known.to_json() if (known := self.predictor.descriptions) is not None else None,
            "held_out": self.held_out.to_json(),
            "detection": self.detection.to_json(),
            "advice": list(self.advice),
            "doubtful": [
                {"row": row, "source": sources[row] if sources else None, "class": name, "taken_for": taken}
                for row, name, taken in self.held_out.doubtful
            ],
        }


def report_predictor(predictor: Predictor, name: str, size: int) -> PredictorReport:
    """Judge a predictor by its examples and draw the page.

    name: what it is called on the page, such as its file.
    size: bytes of its file.
    """
    from mapwise.report.predictor_page import predictor_page, predictor_summary

    judged = cross_validation.report(predictor)
    detection = novelty.detection(predictor, REFUSE)
    page = predictor_page(predictor, judged, name, size, detection)
    return PredictorReport(predictor, judged, page, predictor_summary(predictor, judged), detection)
