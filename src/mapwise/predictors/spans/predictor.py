"""A finder of spans fitted to a few annotated texts: a value, so that another text or type makes another one."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mapwise.core import context, tree
from mapwise.core.capabilities import Embeds, Resumes
from mapwise.core.chain import BARRED, best_path, path_sums
from mapwise.core.learner import Learner
from mapwise.core.tags import allowed, spans_of
from mapwise.core.task import Examples
from mapwise.core.tree import Fast, Params
from mapwise.data.annotated.texts import AnnotatedText, Span
from mapwise.data.class_names import read_name
from mapwise.encoders.token_model import TokenModel, token_model
from mapwise.predictors.spans.windows import Windows
from mapwise.runs.learner import LearnerSettings

_TOGETHER = 1 << 11
"""Pieces that pass through the model together."""


class FoundSpan(NamedTuple):
    """A span of a text, as a predictor finds it.

    probability: that a span of this type begins and ends just here, 0..1.
    """

    start: int
    end: int
    type: str
    probability: float


class TaggedText(NamedTuple):
    """What a predictor makes of one text; U counts its units."""

    units: list[tuple[int, int]]
    scores: Float[np.ndarray, "U W"]
    """Of every tag."""


@dataclass(frozen=True, eq=False)
class SpanPredictor:
    """A learner of spans, adapted to annotated texts.

    settings:  what makes the learner, and names the model that it reads texts by.
    params:    the learner's before it is adapted.
    fast:      the learner adapted to the texts.
    texts:     the annotated texts.
    types:     the types of spans, in the order of their columns.
    sentences: type -> a few words that say what it is; its name where there are none.
    names:     whether these teach too.
    threshold: spans below this probability are none of the types.
    sources:   where each text came from; empty where unknown.
    """

    settings: LearnerSettings
    params: Params
    fast: Fast
    texts: tuple[AnnotatedText, ...]
    types: tuple[str, ...]
    sentences: Mapping[str, str]
    names: bool = True
    threshold: float = 0.0
    sources: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        settings: LearnerSettings,
        params: Params,
        texts: Sequence[AnnotatedText],
        types: Sequence[str],
        sentences: Mapping[str, str],
        *,
        names: bool = True,
        sources: Sequence[str] = (),
    ) -> Self:
        """Adapt a learner to annotated texts; raises ValueError for a model that isn't there."""
        blank = cls(settings, params, {}, tuple(texts), tuple(types), dict(sentences), names, sources=tuple(sources))
        return replace(blank, fast=blank.adapted(texts))

    @cached_property
    def model(self) -> TokenModel:
        """What texts are read by."""
        return token_model(self.settings.typed_net_options().get("model", "minilm"))

    @cached_property
    def learner(self) -> Learner:
        """The learner."""
        return self.settings.build()

    @property
    def columns(self) -> list[str]:
        """What each column of the scores says of a word, in words."""
        return ["no span", *(f"{place} of {name}" for name in self.types for place in ("beginning", "inside"))]

    def fitted_to(self, texts: Sequence[AnnotatedText]) -> Self:
        """The same learner, adapted to other texts in place of these."""
        return replace(self, texts=tuple(texts), sources=(), fast=self.adapted(texts))

    def with_type(self, name: str, texts: Sequence[AnnotatedText], sentence: str = "") -> Self:
        """With one more type, from texts in which its spans are annotated, without tuning the model again.

        The model stays as it was tuned; the prototypes are made anew, and where spans begin and end is learned again
        from there. In these texts spans of the other types are those that this predictor finds, unless they overlap
        with annotated ones.

        Raises ValueError for a type that is there, for texts without a span of it, and for a learner that takes in no
        further types.
        """
        if name in self.types:
            raise ValueError(f"there is a type {name!r} already: give another name")
        if not any(span.type == name for text in texts for span in text.spans):
            raise ValueError(f"none of the {len(texts)} texts has a span of type {name!r}: mark at least one")
        if others := sorted({span.type for text in texts for span in text.spans} - {*self.types, name}):
            raise ValueError(f"the texts have spans of {others[0]!r}, which is no type here: add one at a time")
        sentences = {**self.sentences, **({name: sentence} if sentence else {})}
        wider = replace(
            self,
            types=(*self.types, name),
            sentences=sentences,
            texts=(*self.texts, *texts),
            sources=(*self.sources, *([""] * len(texts))) if self.sources else (),
        )
        completed = [
            _completed(text, spans) for text, spans in zip(texts, self.predict([t.text for t in texts]), strict=True)
        ]
        learner = self.learner
        if not isinstance(learner, Resumes):
            raise ValueError(f"{self.settings.learner} takes in no further type: fit it again with the new type")
        over = learner.over_adapted(self.fast)
        before = len(Windows.of(self.model, self.texts).windows)
        with torch.no_grad():
            support = _word_by_word(over.encode, wider.support_of([*self.texts, *completed]))
            # What may be of the new type in texts of before, where it was not looked for, is nothing to learn from.
            resumed = over.learner.resume(over.params, over.params, support, 0)
            chances = over.learner.predict(over.params, resumed, support.x).exp()
            unknown = (chances[..., -2:].sum(-1) > _MAYBE) & (support.y[..., 0] > 0)
            unknown &= (torch.arange(len(support.y)) < before)[:, None]
            support = support._replace(weight=torch.where(unknown, 0.0, support.weight))
            fast = tree.detach(over.learner.resume(over.params, over.params, support, _FURTHER_STEPS))
        return replace(wider, fast={**fast, "encoder": self.fast["encoder"]})

    def adapted(self, texts: Sequence[AnnotatedText]) -> Fast:
        """The learner adapted to these texts instead."""
        support = self.support_of(texts)
        with torch.no_grad(), _quick():
            return tree.detach(self.learner.adapt(self.params, support))

    def support_of(self, texts: Sequence[AnnotatedText]) -> Examples:
        """Annotated texts as a learner takes them, and behind them the names of the types."""
        named = self.named if self.names else []
        windows = Windows.of(self.model, [*texts, *named])
        x, weight = windows.rows(range(len(windows.windows)))
        y = torch.zeros(*weight.shape, 2 * len(self.types) + 1)
        for row, window in enumerate(windows.windows):
            tags = windows.tags([*texts, *named][window.text], window.text, self.types)
            firsts = windows.firsts(window)
            y[row, firsts, tags[window.first : window.first + len(firsts)]] = 1
            x["described"][row] = int(window.text >= len(texts))
        return Examples(x, y * weight[..., None], weight, torch.zeros((), dtype=torch.int64))

    @property
    def named(self) -> list[AnnotatedText]:
        """The words for each type, as a text that is one span of it."""
        words = [self.sentences.get(name, "").strip() or read_name(name).strip() or name for name in self.types]
        return [
            AnnotatedText(of_type, (Span(0, len(of_type), name),))
            for name, of_type in zip(self.types, words, strict=True)
        ]

    def embedded(self, texts: Sequence[str]) -> tuple[list[list[tuple[int, int]]], list[Float[np.ndarray, "U D"]]]:
        """The units of every text, and where the learner compares the word that each begins."""
        return self.embedded_annotated([AnnotatedText(text) for text in texts])

    def embedded_annotated(
        self, texts: Sequence[AnnotatedText]
    ) -> tuple[list[list[tuple[int, int]]], list[Float[np.ndarray, "U D"]]]:
        """The same of texts whose units are cut at the edges of their spans."""
        windows = Windows.of(self.model, texts)

        def placed(x: dict[str, Tensor]) -> Tensor:
            assert isinstance(self.learner, Embeds)
            return self.learner.embed(self.params, self.fast, x)

        return windows.units, self._by_unit(windows, placed)

    def _by_unit(
        self, windows: Windows, function: Callable[[dict[str, Tensor]], Tensor]
    ) -> list[Float[np.ndarray, "U C"]]:
        """What a function makes of every unit, from the window in which it counts."""
        parts: list[list[tuple[int, np.ndarray]]] = [[] for _ in windows.units]
        for places in windows.batches(_TOGETHER):
            x, _ = windows.rows(places)
            with torch.no_grad():
                answers = function(x)
            for row, window in enumerate(windows.windows[place] for place in places):
                counted = answers[row, windows.firsts(window)[window.counts]]
                parts[window.text].append((window.first, counted.double().numpy()))
        return [
            np.concatenate([rows for _, rows in sorted(part, key=lambda one: one[0])]) if part else np.zeros((0, 1))
            for part in parts
        ]

    def tagged(self, texts: Sequence[str]) -> tuple[list[TaggedText], list[int]]:
        """The scores of every tag for every unit of each text, and the places of texts that aren't read to the end."""
        windows = Windows.of(self.model, [AnnotatedText(text) for text in texts])

        def scored(x: dict[str, Tensor]) -> Tensor:
            scores = self.learner.predict(self.params, self.fast, x)
            assert isinstance(scores, Tensor)
            return scores

        scores = self._by_unit(windows, scored)
        return [TaggedText(*pair) for pair in zip(windows.units, scores, strict=True)], windows.cut

    def predict(self, texts: Sequence[str]) -> list[list[FoundSpan]]:
        """The spans of every text, in order; those below the threshold are left out."""
        return [[span for span in spans if span.probability >= self.threshold] for spans in self.every_span(texts)]

    def every_span(self, texts: Sequence[str]) -> list[list[FoundSpan]]:
        """The same with those below the threshold."""
        return [self.spans_in(tagged) for tagged in self.tagged(texts)[0]]

    def spans_in(self, tagged: TaggedText) -> list[FoundSpan]:
        """The spans along the best path of a text, each with its probability."""
        if not len(tagged.units):
            return []
        scores = torch.as_tensor(tagged.scores)
        moves = allowed(len(self.types))
        transitions, start = moves.transitions.double(), moves.start.double()
        counted = torch.ones(len(scores))
        tags = best_path(scores, transitions, start, counted).numpy()
        spans = spans_of(tags)
        if not spans:
            return []
        ahead, behind = path_sums(scores, transitions, start, counted)
        share = (_log_sums(scores, ahead, behind, spans) - ahead[-1].logsumexp(-1)).exp().clamp(max=1)
        return [
            FoundSpan(tagged.units[first][0], tagged.units[end - 1][1], self.types[kind], float(chance))
            for (first, end, kind), chance in zip(spans, share, strict=True)
        ]


def _log_sums(
    scores: Float[Tensor, "U W"],
    ahead: Float[Tensor, "U W"],
    behind: Float[Tensor, "U W"],
    spans: Sequence[tuple[int, int, int]],
) -> Float[Tensor, "N"]:
    """Of each span the logarithm of the sum of exp(score) over all paths on which it begins and ends just there."""
    first, end, kind = torch.tensor(spans).T
    begins = ahead[first, 1 + 2 * kind]  # [N]
    goes_on = torch.stack([scores[one + 1 : last, 2 + 2 * column].sum() for one, last, column in spans])
    # Behind it stands O, or a span begins.
    after = torch.cat([scores + behind, scores.new_zeros(1, scores.shape[1])])  # [U + 1, W]
    after[:-1, 2::2] = BARRED
    after[-1, 1:] = BARRED  # behind the text is one way only
    return begins + goes_on + after[end].logsumexp(-1)


_TEXTS_TOGETHER = 8
_FURTHER_STEPS = 100
"""By which a type is added."""
_MAYBE = 0.1
"""A word whose chance of a new type is above this may be of it."""


def _word_by_word(encode: Callable[[Any], Any], support: Examples) -> Examples:
    """The same texts with the vectors of their words side by side, and nothing for the other pieces."""
    pieces, starts = support.x["pieces"], support.x["starts"]
    width = int(starts.sum(1).max())
    places = torch.argsort(starts, dim=1, descending=True, stable=True)[:, :width]  # [N, words]: where each word begins
    lengths = (pieces > 0).sum(1)
    rows, parts = lengths.argsort(), list[Tensor]()
    for batch in rows.split(_TEXTS_TOGETHER):  # of about one length, so that padding isn't read
        longest = int(lengths[batch].max())
        x = {name: leaf[batch, :longest] if leaf.dim() > 1 else leaf[batch] for name, leaf in support.x.items()}
        vectors = encode(x)["vectors"]
        at = places[batch].clamp(max=longest - 1)
        parts.append(vectors.gather(1, at[..., None].expand(-1, -1, vectors.shape[-1])))
    own = {"vectors": torch.cat(parts)[rows.argsort()], "described": support.x["described"]}
    counted = starts.gather(1, places)
    y = support.y.gather(1, places[..., None].expand(-1, -1, support.y.shape[-1])) * counted[..., None]
    weight = support.weight.gather(1, places) * counted
    return support._replace(x={**own, "starts": counted}, y=y, weight=weight)


def _completed(text: AnnotatedText, answers: Sequence[FoundSpan]) -> AnnotatedText:
    """A text with spans that were found in it, but for those that overlap with its own."""
    apart = [
        Span(*span[:3]) for span in answers if all(span.end <= own.start or own.end <= span.start for own in text.spans)
    ]
    return AnnotatedText(text.text, (*text.spans, *apart))


def _quick() -> AbstractContextManager[Any]:
    """Networks compute in bfloat16 while they are tuned where the processor has it, which takes half the time.

    With a torch that is too old to tell what a processor has they compute in full precision.
    """
    capabilities = getattr(torch.cpu, "get_capabilities", dict[str, Any])()
    return context.within(precision="bfloat16" if capabilities.get("avx512_bf16") else "full")


def sentences_for(types: Iterable[str], given: Mapping[str, str]) -> dict[str, str]:
    """The words for each type; raises ValueError for those of a type that isn't there."""
    known = list(types)
    if unknown := [name for name in given if name not in known]:
        raise ValueError(f"there is no type {unknown[0]!r} to describe: the types are {', '.join(known)}")
    return {name: given[name] for name in known if name in given}
