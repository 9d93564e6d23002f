"""How good a finder of spans is, by cross-validation of the texts it was fitted to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

from mapwise.core.format import share
from mapwise.data.annotated.texts import Span
from mapwise.predictors.spans.evidence.crossed import FOLDS, CrossedSpans, cross_fitted
from mapwise.predictors.spans.predictor import FoundSpan, SpanPredictor
from mapwise.problems.spans import EntityScores, bootstrap_interval, entity_scores

FEWEST_SPANS, WIDEST = 20, 0.4
"""With fewer spans, or a wider interval, nothing can be said."""
UNKNOWN = "it was not cross-validated"


@dataclass(frozen=True)
class SpanReport:
    """How many spans a predictor finds in texts that it was not fitted to.

    scores:    precision, recall and F1 of spans, together and by type, each right if its start, end and type are.
    low, high: the 95 % interval of the F1 of all spans, by the bootstrap over texts.
    texts:     how many texts were held out, each once.
    folds:     in how many parts.
    predicted: of every text the spans that were found in it while it was held out; empty where it was not.
    doubtful:  (text, span, what was found there instead; None for nothing), the surest first: some may be mistakes of
               whoever annotated them.
    """

    scores: EntityScores
    low: float
    high: float
    texts: int
    folds: int
    predicted: Sequence[Sequence[FoundSpan]]
    doubtful: Sequence[tuple[int, Span, FoundSpan | None]]

    @property
    def too_few(self) -> bool:
        """Whether there are too few spans to tell."""
        return self.scores.all.true < FEWEST_SPANS or self.high - self.low > WIDEST

    def __str__(self) -> str:
        """The F1 with its interval, as one sentence."""
        between = f"{share(self.scores.all.f1)} (95 % interval {share(self.low)} to {share(self.high)})"
        how = f"cross-validated on {self.texts} texts with {self.scores.all.true} spans, in {self.folds} parts"
        return f"too few to tell: entity F1 {between}, {how}" if self.too_few else f"entity F1 {between}, {how}"

    def to_json(self) -> dict[str, Any]:
        """As a JSON-ready object, without the texts."""
        return {
            "entity_f1": self.scores.all.f1,
            "low": self.low,
            "high": self.high,
            "precision": self.scores.all.precision,
            "recall": self.scores.all.recall,
            "too_few": self.too_few,
            "texts": self.texts,
            "spans": self.scores.all.true,
            "folds": self.folds,
            "types": {name: scores._asdict() for name, scores in self.scores.types.items()},
        }


def cross_validate(
    predictor: SpanPredictor, *, folds: int = FOLDS, seed: int = 0, stage: Callable[[str], object] = lambda name: None
) -> SpanReport:
    """Fit to all parts of the texts but one, find the spans of that one, and so for each.

    Takes `folds` fits. What is judged are predictors of fewer texts, so that the whole is a little better.

    folds: parts of the texts; as many as there are texts where these are fewer.
    stage: is called with the name of what is done next.

    Raises ValueError for fewer than two texts, and fewer than two parts.
    """
    return report_of(predictor, cross_fitted(predictor, folds=folds, seed=seed, stage=stage))


def report_of(predictor: SpanPredictor, crossed: CrossedSpans) -> SpanReport:
    """What cross-fitted answers say of a predictor; raises ValueError where there are none."""
    if crossed.why:
        raise ValueError(crossed.why)
    answers = [[span for span in spans if span.probability >= predictor.threshold] for spans in crossed.spans]
    places = crossed.held_out
    true = [[span[:3] for span in predictor.texts[place].spans] for place in places]
    predicted = [[span[:3] for span in answers[place]] for place in places]
    low, high = bootstrap_interval(true, predicted)
    doubtful = _doubtful(predictor, crossed)
    return SpanReport(entity_scores(true, predicted), low, high, len(places), crossed.parts, answers, doubtful)


@dataclass(frozen=True, eq=False)
class FittedSpans:
    """A finder, and what was found in its texts while they were held out; None: that is not known yet."""

    predictor: SpanPredictor
    crossed: CrossedSpans | None = None

    @property
    def why(self) -> str:
        """Why it is unknown how good it is; "" where it is known."""
        return UNKNOWN if self.crossed is None else self.crossed.why

    @cached_property
    def report(self) -> SpanReport | None:
        """How good it is; None where that is unknown."""
        return report_of(self.predictor, self.crossed) if self.crossed is not None and not self.crossed.why else None

    def cross_validated(
        self, *, seconds: float, fitting: float = 0.0, stage: Callable[[str], object] = lambda name: None
    ) -> Self:
        """The same with what cross-validation finds; seconds, fitting, stage: as `cross_fitted` takes them."""
        return replace(self, crossed=cross_fitted(self.predictor, seconds=seconds, fitting=fitting, stage=stage))

    def to_json(self) -> dict[str, Any]:
        """How good it is, as a JSON-ready object."""
        numbers = {} if self.report is None else self.report.to_json()
        return {"entity_f1": None, "low": None, "high": None, **numbers, "why": self.why}


def _doubtful(predictor: SpanPredictor, crossed: CrossedSpans) -> list[tuple[int, Span, FoundSpan | None]]:
    """Annotated spans where another was found, the most probable first, and then those where nothing was."""
    doubtful: list[tuple[float, int, Span, FoundSpan | None]] = []
    for place in crossed.held_out:
        for span in predictor.texts[place].spans:
            over = [other for other in crossed.spans[place] if other.start < span.end and span.start < other.end]
            if not any(other[:3] == span[:3] for other in over):
                best = max(over, key=lambda other: other.probability, default=None)
                doubtful.append((-best.probability if best else 1.0, place, span, best))
    return [entry[1:] for entry in sorted(doubtful, key=lambda entry: entry[:3])]
