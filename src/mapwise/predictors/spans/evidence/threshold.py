"""None of the types: below which probability a found span is left out."""

from collections.abc import Collection, Iterable, Sequence
from itertools import groupby

from mapwise.core.fields import is_number, quote
from mapwise.data.annotated.texts import AnnotatedText
from mapwise.predictors.spans.evidence.crossed import CrossedSpans
from mapwise.predictors.spans.predictor import FoundSpan

AUTO = "auto"
FEWEST_SPANS = 20
"""With fewer annotated spans no threshold is chosen."""


def check_threshold(threshold: object, *, auto: bool = True) -> None:
    """Raises ValueError for what is no probability, nor "auto" where that is allowed."""
    if auto and isinstance(threshold, str) and threshold == AUTO:
        return
    if not is_number(threshold) or not 0 <= threshold <= 1:  # type: ignore[operator]
        raise ValueError(
            f"the threshold is {quote(threshold)}: give a probability from 0 to 1{', or auto' if auto else ''}"
        )


def best_threshold(texts: Iterable[AnnotatedText], predicted: Iterable[Collection[FoundSpan]]) -> float:
    """The threshold at which the F1 of these predicted spans is highest; of several the lowest.

    0, or the probability of a span.
    """
    true, spans = 0, list[tuple[float, bool]]()
    for text, of_text in zip(texts, predicted, strict=True):
        true += len(text.spans)
        spans += [(span.probability, span[:3] in text.spans) for span in of_text]
    best, threshold, correct, count = 0.0, 0.0, 0, 0
    for probability, group in groupby(sorted(spans, reverse=True), key=lambda one: one[0]):
        rights = [right for _, right in group]
        correct, count = correct + sum(rights), count + len(rights)
        f1 = 2 * correct / (true + count)
        if f1 >= best:
            best, threshold = f1, probability
    return 0.0 if not count or 2 * correct / (true + count) >= best else threshold


def chosen_threshold(texts: Sequence[AnnotatedText], crossed: CrossedSpans) -> float:
    """The best threshold for what was found in held-out texts; 0 for too few spans."""
    places = crossed.held_out
    if sum(len(texts[place].spans) for place in places) < FEWEST_SPANS or crossed.parts < 2:
        return 0.0
    return best_threshold([texts[place] for place in places], [crossed.spans[place] for place in places])


def fold_thresholds(texts: Sequence[AnnotatedText], crossed: CrossedSpans) -> dict[int, float]:
    """Of every part the best threshold for what was found in the others.

    Chosen on the spans that it is judged by, a threshold would look better than it is.
    """
    places = crossed.held_out
    thresholds = dict[int, float]()
    for fold in {crossed.folds[place] for place in places}:
        others = [place for place in places if crossed.folds[place] != fold]
        thresholds[fold] = best_threshold(
            [texts[place] for place in others], [crossed.spans[place] for place in others]
        )
    return thresholds
