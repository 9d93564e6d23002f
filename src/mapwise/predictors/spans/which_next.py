"""Which text to annotate next: the one whose tags are least certain."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from mapwise.core.chain import marginals
from mapwise.core.fields import check_whole
from mapwise.core.tags import allowed
from mapwise.predictors.spans.predictor import SpanPredictor


class NextText(NamedTuple):
    """A text worth annotating.

    place:       its place among the texts.
    uncertainty: the entropy of its tags, summed over words, in nats.
    why:         in words.
    """

    place: int
    uncertainty: float
    why: str


def next_texts(predictor: SpanPredictor, texts: Sequence[str], n: int = 1) -> list[NextText]:
    """The texts most worth an annotation, the best first; texts that are equal count once.

    Settles and Craven, "An analysis of active learning strategies for sequence labeling tasks", EMNLP 2008, equation 6
    (total token entropy).

    Raises ValueError for no texts, and an n that they don't allow.
    """
    check_whole("n", n, 1)
    firsts = list({text: place for place, text in reversed(list(enumerate(texts)))}.items())
    if n > len(firsts):
        raise ValueError(f"n is {n} and there are {len(firsts)} different texts: give a number up to that")
    moves = allowed(len(predictor.types))
    suggestions = []
    for (text, place), tagged in zip(firsts, predictor.tagged([text for text, _ in firsts])[0], strict=True):
        if not len(tagged.units):
            suggestions.append(NextText(place, 0.0, "it has no words"))
            continue
        scores = torch.as_tensor(tagged.scores)
        chances = marginals(scores, moves.transitions.double(), moves.start.double(), torch.ones(len(scores))).numpy()
        entropy = -(chances * np.log(np.maximum(chances, 1e-12))).sum(1)  # of each unit
        start, end = tagged.units[int(entropy.argmax())]
        likely = [predictor.columns[column] for column in chances[int(entropy.argmax())].argsort()[::-1][:2]]
        why = f"least certain of {text[start:end]!r}: {likely[0]} or {likely[1]}"
        suggestions.append(NextText(place, float(entropy.sum()), why))
    return sorted(suggestions, key=lambda one: (-one.uncertainty, one.place))[:n]
