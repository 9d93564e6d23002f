"""What is known of a predictor's classes beside their examples: their names, and sentences about them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64

from mapwise.core.fields import quote
from mapwise.core.spelling import suggestion
from mapwise.core.task import Examples
from mapwise.data.class_names import is_telling, read_name
from mapwise.predictors.evidence.belief import UNASKED, Belief, shares

Texts = tuple[tuple[str, str, bool], ...]
"""The class of each description, the text, and whether it is the class's name."""


def texts_of(classes: Sequence[str], sentences: Mapping[str, Sequence[str]], names: bool) -> Texts:
    """What is known of classes: their names that say something, and behind each name the sentences about the class.

    Names that are read alike, as "Refund" and "refund", tell their classes apart in nothing, and are left out.

    Raises ValueError for sentences about a class that isn't there.
    """
    for name in sentences:
        if name not in classes:
            raise ValueError(f"there is no class {name!r} to describe: {suggestion(name, classes)}")
    readings = Counter(map(read_name, classes))
    texts: list[tuple[str, str, bool]] = []
    for name in classes:
        reading = read_name(name)
        texts += [(name, reading, True)] if names and is_telling(name) and readings[reading] == 1 else []
        texts += [(name, text, False) for text in sentences.get(name, ())]
    return tuple(texts)


def sentences_of(describe: Mapping[Any, str | Sequence[str]] | None) -> dict[str, tuple[str, ...]]:
    """Class -> sentences about it, from a dict of class to a sentence or several.

    Raises ValueError for anything else, and for an empty sentence.
    """
    if describe is None:
        return {}
    if not isinstance(describe, Mapping):
        raise ValueError(f"describe is {quote(describe)}: give a dict of class to a sentence, or to a list of them")
    sentences = {}
    for name, texts in describe.items():
        given = (texts,) if isinstance(texts, str) else tuple(texts) if isinstance(texts, list | tuple) else (texts,)
        for text in given:
            if not isinstance(text, str) or not text.strip():
                raise ValueError(f"class {str(name)!r} is described by {quote(text)}: give a sentence")
        sentences[str(name)] = given
    return sentences


@dataclass(frozen=True, eq=False)
class Descriptions:
    """Descriptions of classes, encoded as the predictor's rows are.

    texts:   H descriptions, each of a class.
    rows:    [H, *D].
    names:   whether the names of later classes are descriptions too.
    belief:  what the examples say of them.
    """

    texts: Texts
    rows: Float[np.ndarray, "H *D"]
    names: bool
    belief: Belief = UNASKED

    def columns(self, classes: Sequence[str]) -> Int64[np.ndarray, "H"]:
        """The place of each description's class."""
        place = {name: column for column, name in enumerate(classes)}
        return np.asarray([place[name] for name, _, _ in self.texts], np.int64)

    def examples(self, classes: Sequence[str]) -> Examples:
        """As rows of these classes; the descriptions of a class weigh 1 together, and doubted ones 0.

        classes: W names. Descriptions of others are left out.
        """
        wanted = set(classes)
        among = [place for place, (name, _, _) in enumerate(self.texts) if name in wanted]
        columns = replace(self, texts=tuple(self.texts[place] for place in among)).columns(classes)
        doubted = [row for row, place in enumerate(among) if place in self.belief.doubted]
        x, y = (
            torch.as_tensor(part, dtype=torch.float64)
            for part in (self.rows[among], columns[:, None] == np.arange(len(classes)))
        )
        return Examples(x, y, shares(y, doubted), torch.zeros((), dtype=torch.int64))

    def __str__(self) -> str:
        """What they are worth, as one sentence."""
        if not self.texts:
            return "names: none says what its class is about"
        names = any(named for _, _, named in self.texts)
        sentences = any(not named for _, _, named in self.texts)
        what = " and ".join(["names"] * names + ["descriptions"] * sentences)
        agree, total = self.belief.agree, self.belief.total
        agreement = f"; by the examples alone, {agree} of {total} would be given their own class" if total else ""
        if not self.belief.weight:
            return f"{what}: not believed, since they contradict the examples{agreement}"
        doubts = _doubts([self.texts[place][1] for place in self.belief.doubted])
        count = f"{self.belief.weight:g} example{'' if self.belief.weight == 1 else 's'}"
        return f"{what}: those of a class count as {count} of it{agreement}{doubts}"

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "classes": len({name for name, _, _ in self.texts}),
            "weight": self.belief.weight,
            "believed": self.belief.weight > 0,
            "agree": self.belief.agree,
            "total": self.belief.total,
            "doubted": [self.texts[place][1] for place in self.belief.doubted],
        }


_SHOWN = 5
"""Doubted descriptions that are quoted."""


def _doubts(texts: Sequence[str]) -> str:
    """Which descriptions are left out, as the end of a sentence; "" for none."""
    if not texts:
        return ""
    more = [f"{len(texts) - _SHOWN} more"] if len(texts) > _SHOWN else []
    return f"; left out, since examples contradict them: {', '.join([*map(repr, texts[:_SHOWN]), *more])}"
