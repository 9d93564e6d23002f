"""A finder whose answers are known, so that what is computed of them can be checked by hand."""

from dataclasses import dataclass, field, replace
from types import SimpleNamespace

from mapwise.data.annotated.texts import AnnotatedText
from mapwise.predictors.spans.predictor import SpanPredictor
from mapwise.runs.learner import LearnerSettings


@dataclass(frozen=True, eq=False)
class KnownFinder(SpanPredictor):
    """Finds these spans in these texts, whatever it is fitted to."""

    answers: dict = field(default_factory=dict)

    @property
    def model(self):
        return SimpleNamespace(name="minilm")

    def fitted_to(self, texts):
        return replace(self, texts=tuple(texts), sources=())

    def every_span(self, texts):
        return [self.answers[text] for text in texts]


def known_finder(texts, answers, types=("city", "person"), **changes):
    """texts: (text, spans) each; answers: of each text the spans that are found in it."""
    annotated = tuple(AnnotatedText(text, spans) for text, spans in texts)
    settings = LearnerSettings.model_construct(learner="span_finder", fields={"tune_steps": 100}, net="tokens")
    by_text = dict(zip([text.text for text in annotated], answers, strict=True))
    return KnownFinder(settings, {}, {}, annotated, types, {}, answers=by_text, **changes)
