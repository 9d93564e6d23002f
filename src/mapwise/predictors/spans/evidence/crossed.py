"""Cross-fitted answers of a finder of spans: what is found in each annotated text by one fitted to others."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mapwise.core.fields import check_whole, is_whole
from mapwise.data.annotated.texts import AnnotatedText
from mapwise.predictors.evidence.cross_fitting import format_seconds
from mapwise.predictors.spans.predictor import FoundSpan, SpanPredictor

FOLDS = 5


@dataclass(frozen=True)
class CrossedSpans:
    """What was found in annotated texts while they were held out.

    folds: of every text the part in which it was held out; -1 where it was not.
    spans: of every text all that was found in it, whatever the threshold; () where it was not held out.
    why:   why no text was held out; "" where some were.
    """

    folds: tuple[int, ...] = ()
    spans: tuple[tuple[FoundSpan, ...], ...] = ()
    why: str = ""

    @property
    def held_out(self) -> list[int]:
        """The places of the texts that were held out."""
        return [place for place, fold in enumerate(self.folds) if fold >= 0]

    @property
    def parts(self) -> int:
        """In how many parts they were held out."""
        return len({fold for fold in self.folds if fold >= 0})

    def to_file(self) -> dict[str, Any]:
        """As a JSON-ready object."""
        return {
            "folds": list(self.folds),
            "spans": [[list(span) for span in spans] for spans in self.spans],
            "why": self.why,
        }

    @classmethod
    def of_file(cls, about: Any, texts: Sequence[AnnotatedText], types: Sequence[str]) -> "CrossedSpans":
        """What a file keeps of these texts; raises ValueError for what can't be that."""
        folds, why = tuple(about["folds"]), about["why"]
        spans = tuple(tuple(FoundSpan(*span) for span in row) for row in about["spans"])
        if not isinstance(why, str) or {len(folds), len(spans)} - {0 if why else len(texts)}:
            raise ValueError("what was found in its texts is of other texts")
        for text, fold, row in zip(texts, folds, spans, strict=not why):
            places = [place for span in row for place in span[:2]]
            if not (is_whole(fold) and fold >= -1 and all(map(is_whole, places)) and sorted(places) == places):
                raise ValueError("what was found in its texts stands in no order")
            if places and not 0 <= places[0] < places[-1] <= len(text.text):
                raise ValueError("what was found in its texts lies outside of them")
            if not all(span.type in types and 0 <= float(span.probability) <= 1 for span in row):
                raise ValueError("what was found in its texts is of no type, or has no probability")
        return cls(folds, spans, why)


def cross_fitted(
    predictor: SpanPredictor,
    *,
    folds: int = FOLDS,
    seed: int = 0,
    seconds: float = math.inf,
    fitting: float = 0.0,
    stage: Callable[[str], object] = lambda name: None,
) -> CrossedSpans:
    """Fit to all parts of the texts but one, find the spans of that one, and so for each.

    folds:   parts of the texts; as many as there are different texts where these are fewer.
    seconds: that all of it may take; a part for which none are left is not held out.
    fitting: seconds that fitting to all texts took.
    stage:   is called with the name of what is done next.

    Raises ValueError for fewer than two parts.
    """
    check_whole("folds", folds, 2)
    end = time.monotonic() + seconds
    texts = predictor.texts
    contents = list(dict.fromkeys(text.text for text in texts))
    if len(contents) < 2:
        there = "is 1 different text" if contents else "are no texts"
        return CrossedSpans(why=f"too few to tell: there {there} and cross-validation needs at least 2: add some")
    folds = min(folds, len(contents))
    order = np.random.Generator(np.random.Philox(seed)).permutation(len(contents))
    # Equal texts lie in one part, so that none is held out from its copy.
    part_of = {contents[place]: number % folds for number, place in enumerate(order.tolist())}
    part = [part_of[text.text] for text in texts]
    held_out = [-1] * len(texts)
    answers: list[tuple[FoundSpan, ...]] = [()] * len(texts)
    took = fitting * (folds - 1) / folds
    for fold in range(folds):
        if (start := time.monotonic()) + took > end:
            break
        stage(f"cross-validating: part {fold + 1} of {folds}")
        places = [place for place, of_text in enumerate(part) if of_text == fold]
        others = predictor.fitted_to([text for text, of_text in zip(texts, part, strict=True) if of_text != fold])
        for place, spans in zip(places, others.every_span([texts[place].text for place in places]), strict=True):
            held_out[place], answers[place] = fold, tuple(spans)
        took = time.monotonic() - start
    if max(held_out) < 0:
        return CrossedSpans(
            why=f"too little time to tell: cross-validation takes about {format_seconds(folds * took)}; give fit a "
            "longer budget"
        )
    return CrossedSpans(tuple(held_out), tuple(answers))
