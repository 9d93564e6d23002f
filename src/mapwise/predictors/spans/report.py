"""How good a finder of spans is, by cross-validation of the texts it was fitted to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mapwise.core.fields import check_whole
from mapwise.core.format import share
from mapwise.data.annotated.texts import Span
from mapwise.predictors.spans.predictor import FoundSpan, SpanPredictor
from mapwise.problems.spans import EntityScores, bootstrap_interval, entity_scores

FOLDS = 5
FEWEST_SPANS, WIDEST = 20, 0.4
"""With fewer spans, or a wider interval, nothing can be said."""


@dataclass(frozen=True)
class SpanReport:
    """How many spans a predictor finds in texts that it was not fitted to.

    scores:    precision, recall and F1 of spans, together and by type, each right if its start, end and type are.
    low, high: the 95 % interval of the F1 of all spans, by the bootstrap over texts.
    texts:     how many texts were held out, each once.
    folds:     in how many parts.
    predicted: of every text the spans that were found in it while it was held out.
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


def cross_validate(
    predictor: SpanPredictor, *, folds: int = FOLDS, seed: int = 0, stage: Callable[[str], object] = lambda name: None
) -> SpanReport:
    """Fit to all parts of the texts but one, find the spans of that one, and so for each.

    Takes `folds` fits. What is judged are predictors of fewer texts, so that the whole is a little better.

    folds: parts of the texts; as many as there are texts where these are fewer.
    stage: is called with the name of what is done next.

    Raises ValueError for fewer than two texts, and fewer than two parts.
    """
    check_whole("folds", folds, 2)
    texts = predictor.texts
    contents = list(dict.fromkeys(text.text for text in texts))
    if len(contents) < 2:
        raise ValueError(f"there is {len(contents)} different text and cross-validation needs at least 2: add some")
    folds = min(folds, len(contents))
    order = np.random.Generator(np.random.Philox(seed)).permutation(len(contents))
    # Equal texts lie in one part, so that none is held out from its copy.
    part_of = {contents[place]: number % folds for number, place in enumerate(order.tolist())}
    part = np.array([part_of[text.text] for text in texts])
    answers: list[list[FoundSpan]] = [[] for _ in texts]
    for fold in range(folds):
        stage(f"part {fold + 1} of {folds}")
        held_out = np.flatnonzero(part == fold).tolist()
        others = predictor.fitted_to([texts[place] for place in np.flatnonzero(part != fold).tolist()])
        for place, spans in zip(held_out, others.predict([texts[place].text for place in held_out]), strict=True):
            answers[place] = spans
    true = [[span[:3] for span in text.spans] for text in texts]
    predicted = [[span[:3] for span in spans] for spans in answers]
    low, high = bootstrap_interval(true, predicted)
    scores = entity_scores(true, predicted)
    return SpanReport(scores, low, high, len(texts), folds, answers, _doubtful(predictor, answers))


def _doubtful(
    predictor: SpanPredictor, answers: Sequence[Sequence[FoundSpan]]
) -> list[tuple[int, Span, FoundSpan | None]]:
    """Annotated spans where another was found, the most probable first, and then those where nothing was."""
    doubtful: list[tuple[float, int, Span, FoundSpan | None]] = []
    for place, (text, spans) in enumerate(zip(predictor.texts, answers, strict=True)):
        for span in text.spans:
            over = [other for other in spans if other.start < span.end and span.start < other.end]
            if not any(other[:3] == span[:3] for other in over):
                best = max(over, key=lambda other: other.probability, default=None)
                doubtful.append((-best.probability if best else 1.0, place, span, best))
    return [entry[1:] for entry in sorted(doubtful, key=lambda entry: entry[:3])]
