"""Fitting a finder of spans to a file of annotated texts."""

import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from mapwise.data.annotated.read import Corpus, read_annotated
from mapwise.data.annotated.texts import type_names
from mapwise.predictors.choose import seconds_of
from mapwise.predictors.spans.evidence.threshold import check_threshold
from mapwise.predictors.spans.fit import AUTO, STEPS, fit_spans
from mapwise.predictors.spans.predictor import SpanPredictor
from mapwise.predictors.spans.report import FittedSpans
from mapwise.predictors.spans.windows import Windows
from mapwise.workflows.class_texts import names_in, sentences_in

LEARNED = "train"
"""Of a folder with several parts, the one that is learned from."""


@dataclass(frozen=True)
class AnnotatedExamples:
    """What a finder is fitted to.

    types:     further types, known by their names alone.
    sentences: type -> a few words that say what it is.
    """

    corpus: Corpus
    types: tuple[str, ...] = ()
    sentences: dict[str, str] | None = None


@dataclass(frozen=True, eq=False)
class SpanFitResult:
    """What came of fitting a finder of spans.

    cut:     where texts come from of which the end of a word isn't read.
    remarks: sentences a user should see once, such as of tags that were repaired.
    seconds: that it took.
    """

    fitted: FittedSpans
    cut: tuple[str, ...]
    remarks: tuple[str, ...]
    seconds: float

    @property
    def predictor(self) -> SpanPredictor:
        """What was fitted."""
        return self.fitted.predictor

    def cross_validated(
        self, budget: str | float | None = None, *, stage: Callable[[str], object] = lambda name: None
    ) -> Self:
        """The same with how good it is, which takes five fits; budget: time for them, as "2m"; None: all they take."""
        seconds = math.inf if budget is None else seconds_of(budget)
        return replace(self, fitted=self.fitted.cross_validated(seconds=seconds, fitting=self.seconds, stage=stage))

    def to_json(self) -> dict[str, Any]:
        """As a JSON-ready object."""
        return {
            **span_counts(self.predictor),
            "held_out": self.fitted.to_json(),
            "cut": list(self.cut),
            "remarks": list(self.remarks),
        }


def span_counts(predictor: SpanPredictor) -> dict[str, Any]:
    """A finder and what it was fitted to, in numbers, JSON-ready."""
    counts = Counter(span.type for text in predictor.texts for span in text.spans)
    return {
        "encoder": predictor.model.name,
        "learner": predictor.settings.learner,
        "annotated_texts": len(predictor.texts),
        "types": {name: counts[name] for name in sorted(predictor.types)},
    }


def annotated_examples(
    data: str | None, *, types: Path | None = None, describe: Path | None = None
) -> AnnotatedExamples:
    """The texts of a file, or of the part `train` of a folder, and what further files say of the types.

    data:     as `read_annotated` takes it; None: there are no texts, and types are known by their names alone.
    types:    a file with the name of a type a line.
    describe: a CSV file of two columns below a header, types and what they are, or a JSON file: type -> what it is.

    Raises ValueError for what can't be read.
    """
    corpus = Corpus("types", (), ()) if data is None else _learned(data, read_annotated(data))
    names = () if types is None else tuple(names_in(types, "type"))
    known = {*type_names(corpus.texts), *names}
    described = {} if describe is None else sentences_in(describe, known, "type")
    return AnnotatedExamples(corpus, names, {name: ", ".join(words) for name, words in described.items()})


def fit_annotated(
    examples: AnnotatedExamples,
    *,
    encoder: str | None = None,
    learner: str = AUTO,
    names: bool = True,
    steps: int = STEPS,
    threshold: float | str = 0.0,
    stage: Callable[[str], object] = lambda name: None,
) -> SpanFitResult:
    """Fit a finder to annotated examples.

    encoder, learner, names, steps, stage: as `predictors.spans.fit.fit_spans` takes them; encoder None is "auto".
    threshold: as `FittedSpans.with_threshold` takes it; "auto": chosen by `SpanFitResult.cross_validated`.

    Raises ValueError as that does.
    """
    check_threshold(threshold)
    corpus, start = examples.corpus, time.monotonic()
    predictor = fit_spans(
        corpus.texts,
        encoder=encoder or AUTO,
        learner=learner,
        types=examples.types,
        describe=examples.sentences,
        names=names,
        steps=steps,
        sources=corpus.origins,
        stage=stage,
    )
    cut = tuple(corpus.origins[place] for place in Windows.of(predictor.model, corpus.texts).cut)
    return SpanFitResult(
        FittedSpans(predictor).with_threshold(threshold), cut, corpus.remarks, time.monotonic() - start
    )


def _learned(data: str, corpus: Corpus) -> Corpus:
    """The part to learn from; a remark names the others."""
    if not corpus.parts:
        return corpus
    if LEARNED not in corpus.parts:
        raise ValueError(f"{data} has no file called {LEARNED}, which is learned from: give a file, not the folder")
    places = corpus.parts[LEARNED]
    rest = len(corpus.texts) - len(places)
    others = " and ".join(part for part in corpus.parts if part != LEARNED)
    which = f"{rest:,} text{' of' if rest == 1 else 's of'} {others} {'is' if rest == 1 else 'are'} left out"
    remark = [f"{which}: a finder learns from {LEARNED} alone"] if rest else []
    return Corpus(
        corpus.name,
        corpus.texts[places.start : places.stop],
        corpus.origins[places.start : places.stop],
        remarks=(*corpus.remarks, *remark),
    )
