"""How good a finder of spans is, by cross-validation of the texts it was fitted to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

from mapwise.core.format import share
from mapwise.data.annotated.texts import Span
from mapwise.predictors.spans.evidence.crossed import FOLDS, CrossedSpans, cross_fitted
from mapwise.predictors.spans.evidence.threshold import (
    AUTO,
    FEWEST_SPANS,
    check_threshold,
    chosen_threshold,
    fold_thresholds,
)
from mapwise.predictors.spans.predictor import FoundSpan, SpanPredictor
from mapwise.problems.spans import EntityScores, bootstrap_interval, entity_scores

WIDEST = 0.4
"""With a wider interval, or fewer spans than `FEWEST_SPANS`, nothing can be said."""
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
    threshold: spans of a lower probability are left out of the scores, and of `predicted`.
    auto:      whether it was chosen by what was found in these texts: each part is then judged with one that was
               chosen on the others.
    before:    the scores of all spans, without a threshold.
    """

    scores: EntityScores
    low: float
    high: float
    texts: int
    folds: int
    predicted: Sequence[Sequence[FoundSpan]]
    doubtful: Sequence[tuple[int, Span, FoundSpan | None]]
    threshold: float
    auto: bool
    before: EntityScores

    @property
    def too_few(self) -> bool:
        """Whether there are too few spans to tell."""
        return self.scores.all.true < FEWEST_SPANS or self.high - self.low > WIDEST

    def __str__(self) -> str:
        """The F1 with its interval, as one sentence."""
        between = f"{share(self.scores.all.f1)} (95 % interval {share(self.low)} to {share(self.high)})"
        how = f"cross-validated on {self.texts} texts with {self.scores.all.true} spans, in {self.folds} parts"
        score = f"entity F1 {between}, {how}"
        return "; ".join(filter(None, (f"too few to tell: {score}" if self.too_few else score, self.refusal)))

    @property
    def refusal(self) -> str:
        """What the threshold does, in words; "" where there is none, and none was to be chosen."""
        if not self.threshold:
            few = self.scores.all.true < FEWEST_SPANS
            why = f"choosing a threshold takes {FEWEST_SPANS} spans" if few else "no threshold raises the F1"
            return f"{why}, so all spans are given" if self.auto else ""
        before, now = self.before.all, self.scores.all
        return (
            f"spans below a probability of {self.threshold:.2f} are left out: "
            f"precision {share(before.precision)} before and {share(now.precision)} now, "
            f"recall {share(before.recall)} before and {share(now.recall)} now"
        )

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
            "threshold": self.threshold,
            "auto_threshold": self.auto,
            "before": self.before.all._asdict(),
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


def report_of(predictor: SpanPredictor, crossed: CrossedSpans, auto: bool = False) -> SpanReport:
    """What cross-fitted answers say of a predictor; raises ValueError where there are none.

    auto: whether its threshold was chosen by these answers.
    """
    if crossed.why:
        raise ValueError(crossed.why)
    threshold = predictor.threshold
    by_fold = fold_thresholds(predictor.texts, crossed) if auto and threshold else {}
    answers = [
        [span for span in spans if span.probability >= by_fold.get(fold, threshold)]
        for fold, spans in zip(crossed.folds, crossed.spans, strict=True)
    ]
    places = crossed.held_out
    true = [[span[:3] for span in predictor.texts[place].spans] for place in places]
    predicted = [[span[:3] for span in answers[place]] for place in places]
    low, high = bootstrap_interval(true, predicted)
    return SpanReport(
        *(entity_scores(true, predicted), low, high, len(places), crossed.parts, answers),
        doubtful=_doubtful(predictor, crossed),
        threshold=threshold,
        auto=auto,
        before=entity_scores(true, [[span[:3] for span in crossed.spans[place]] for place in places]),
    )


@dataclass(frozen=True, eq=False)
class FittedSpans:
    """A finder, and what was found in its texts while they were held out; None: that is not known yet.

    auto: whether its threshold is to be chosen by that.
    """

    predictor: SpanPredictor
    crossed: CrossedSpans | None = None
    auto: bool = False

    @property
    def why(self) -> str:
        """Why it is unknown how good it is; "" where it is known."""
        return UNKNOWN if self.crossed is None else self.crossed.why

    @cached_property
    def report(self) -> SpanReport | None:
        """How good it is; None where that is unknown."""
        if self.crossed is None or self.crossed.why:
            return None
        return report_of(self.predictor, self.crossed, self.auto)

    def cross_validated(
        self, *, seconds: float, fitting: float = 0.0, stage: Callable[[str], object] = lambda name: None
    ) -> Self:
        """The same with what cross-validation finds; seconds, fitting, stage: as `cross_fitted` takes them."""
        crossed = cross_fitted(self.predictor, seconds=seconds, fitting=fitting, stage=stage)
        return replace(self, crossed=crossed)._with_chosen() if self.auto else replace(self, crossed=crossed)

    def with_threshold(self, threshold: float | str) -> Self:
        """The same, where spans below this probability are none of the types.

        threshold: 0..1; or "auto": that of the best F1 of the spans found by cross-validation, which is done where it
                   was done already, and else by `cross_validated`.

        Raises ValueError for anything else.
        """
        check_threshold(threshold)
        if threshold == AUTO:
            return replace(self, auto=True)._with_chosen()
        return replace(self, auto=False, predictor=replace(self.predictor, threshold=float(threshold)))

    def _with_chosen(self) -> Self:
        crossed = self.crossed
        chosen = 0.0 if crossed is None or crossed.why else chosen_threshold(self.predictor.texts, crossed)
        return replace(self, predictor=replace(self.predictor, threshold=chosen))

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
