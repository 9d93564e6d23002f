"""Spans that a finder sees in raw texts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mapwise.predictors.spans.predictor import FoundSpan, SpanPredictor
from mapwise.workflows.spans.inputs import InputTexts

_TOGETHER = 64
"""Texts that are read together: so many are a step of the progress."""


@dataclass(frozen=True)
class TextWithSpans:
    """A text, where it is from, and the spans in it.

    cut: whether the end of one of its words, such as a very long address, wasn't read.
    """

    source: str
    text: str
    spans: tuple[FoundSpan, ...]
    cut: bool = False

    def to_json(self) -> dict[str, Any]:
        """As a JSON-ready object."""
        spans = [
            {
                "start": span.start,
                "end": span.end,
                "text": self.text[span.start : span.end],
                "type": span.type,
                "probability": span.probability,
            }
            for span in self.spans
        ]
        return {"source": self.source, "text": self.text, "spans": spans, "cut": self.cut}

    def to_displacy(self) -> dict[str, Any]:
        """As displaCy takes it with manual=True."""
        ents = [{"start": span.start, "end": span.end, "label": span.type} for span in self.spans]
        return {"text": self.text, "ents": ents, "title": self.source}


def predict_texts(
    predictor: SpanPredictor,
    inputs: InputTexts,
    *,
    progress: Callable[[Sequence[Any]], Sequence[Any]] = lambda parts: parts,
) -> list[TextWithSpans]:
    """The spans of every text.

    progress: wraps the parts of the work, each of some texts.
    """
    result = list[TextWithSpans]()
    for first in progress(range(0, len(inputs.texts), _TOGETHER)):
        texts, sources = (part[first : first + _TOGETHER] for part in (inputs.texts, inputs.sources))
        tagged, cut = predictor.tagged(texts)
        for place, (text, source, one) in enumerate(zip(texts, sources, tagged, strict=True)):
            spans = tuple(span for span in predictor.spans_in(one) if span.probability >= predictor.threshold)
            result.append(TextWithSpans(source, text, spans, place in cut))
    return result
