"""Why a span has its type: what each annotated span, and the name of the type, adds to the type's score."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from mapwise.core.capabilities import Embeds
from mapwise.data.annotated.texts import Span
from mapwise.predictors.spans.predictor import FoundSpan, SpanPredictor

NAME = -1
"""In place of a text, for the words of the type's name."""


class SpanVote(NamedTuple):
    """What an annotated span adds to the score of its type.

    text: its place among the annotated texts; NAME for the type's own name.
    vote: in units of the score.
    """

    text: int
    span: Span
    vote: float


class SpanExplanation(NamedTuple):
    """Why a span has its type.

    scores: type -> its score, the mean over the words of the span; their softmax is the chance of each type there.
    votes:  for the type of the span, the largest first; they add up to its score.
    """

    span: FoundSpan
    scores: Mapping[str, float]
    votes: Sequence[SpanVote]


def explain_spans(predictor: SpanPredictor, text: str) -> list[SpanExplanation]:
    """Of each span that is found in a text, the annotated spans that voted for its type.

    Raises ValueError for a learner whose types are no means of words.
    """
    learner, fast = predictor.learner, predictor.fast
    if not isinstance(learner, Embeds) or "types" not in fast or "log_scale" not in fast:
        raise ValueError(f"the types of {predictor.settings.learner} are no means of words: take span_finder")
    (spans,) = predictor.predict([text])
    if not spans:
        return []
    (units,), (words,) = predictor.embedded([text])
    scale = float(fast["log_scale"].exp())
    members = _members(predictor)
    explanations = []
    for span in spans:
        inside = [place for place, (start, end) in enumerate(units) if span.start <= start and end <= span.end]
        mean = words[inside].mean(0)  # [D]
        scores = scale * (fast["types"].double().numpy() @ mean)
        own = members[span.type]
        total = sum(weight for _, _, _, weight in own)
        votes = [
            SpanVote(text, of, scale * float(weight * (mean @ vector)) / total) for text, of, vector, weight in own
        ]
        explanations.append(
            SpanExplanation(
                span,
                {name: float(score) for name, score in zip(predictor.types, scores, strict=True)},
                sorted(votes, key=lambda vote: -vote.vote),
            )
        )
    return explanations


Member = tuple[int, Span, Float[np.ndarray, "D"], float]
"""A text's place, a span in it, the mean of its words, and how many words it counts as."""


def _members(predictor: SpanPredictor) -> dict[str, list[Member]]:
    """Of each type the spans whose words make its mean."""
    names = predictor.named if predictor.names else []
    texts = [*predictor.texts, *names]
    windows, vectors = predictor.embedded_annotated(texts)
    weight_of_names = float(predictor.settings.typed_fields().get("name_weight", 1.0))
    members: dict[str, list[Member]] = {name: [] for name in predictor.types}
    for place, (text, units, words) in enumerate(zip(texts, windows, vectors, strict=True)):
        is_name = place >= len(predictor.texts)
        for span in text.spans:
            inside = [number for number, (start, end) in enumerate(units) if span.start <= start and end <= span.end]
            weight = len(inside) * (weight_of_names if is_name else 1.0)
            if weight:
                members[span.type].append((NAME if is_name else place, span, words[inside].mean(0), weight))
    return members
