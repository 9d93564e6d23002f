"""A predictor whose learner sees descriptions of its classes behind the support."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Self

import numpy as np
from jaxtyping import Float

from mapwise.core.families.described import Described, described_params, joined_support
from mapwise.core.learner import Learner
from mapwise.core.task import Examples
from mapwise.core.tree import Params
from mapwise.encoders.encoder import description_rows
from mapwise.predictors.descriptions.texts import Descriptions, Texts, texts_of
from mapwise.predictors.evidence.belief import UNASKED, belief_in
from mapwise.predictors.predictor import FittedPredictor


class DescribedPredictor(FittedPredictor):
    """A predictor of classes of which some have descriptions, which its learner sees behind the support."""

    classes: tuple[str, ...]
    descriptions: Descriptions | None

    @cached_property
    def description_rows(self) -> Examples | None:
        """The descriptions as rows, with the weight that the examples give them; None where there is nothing."""
        return self._description_rows_of(self.classes)

    def _description_rows_of(self, classes: Sequence[str]) -> Examples | None:
        """The same of some of the classes, in the order given."""
        if self.descriptions is None or not self.descriptions.belief.weight:
            return None
        rows = self.descriptions.examples(classes)
        return rows._replace(weight=rows.weight * self.descriptions.belief.weight) if len(rows.y) else None

    def learner_for(self, support: Examples) -> Learner:
        """The learner for a support of such rows, which sees the descriptions behind it."""
        if self.description_rows is None:
            return super().learner_for(support)
        return Described(super().learner_for(joined_support(support, self.description_rows)))

    def params_of(self, learner: Learner) -> Params:
        """Those of a learner that `learner_for` made; in float64."""
        if not isinstance(learner, Described):
            return super().params_of(learner)
        assert self.description_rows is not None
        return described_params(super().params_of(learner.learner), self.description_rows)

    @property
    def joined_support(self) -> Examples:
        """The support with the descriptions that are believed as its last rows, for a learner that takes no others."""
        return self.support if self.description_rows is None else joined_support(self.support, self.description_rows)

    @property
    def known_rows(self) -> Float[np.ndarray, "K *D"]:
        """The encoded examples and descriptions that count."""
        rows = self.rows[self.weight > 0]
        if self.description_rows is None or self.descriptions is None:
            return rows
        believed = np.delete(self.descriptions.rows, list(self.descriptions.belief.doubted), axis=0)
        return np.concatenate([rows, believed.astype(rows.dtype)])

    @property
    def joined_sources(self) -> tuple[str, ...]:
        """Where each of those rows came from; a description is quoted."""
        if self.description_rows is None or self.descriptions is None:
            return self.sources
        quoted = [f"the {'name' if named else 'description'} {text!r}" for _, text, named in self.descriptions.texts]
        return self.sources_with(len(quoted), quoted)

    def with_descriptions(self, sentences: Mapping[str, Sequence[str]], *, names: bool) -> Self:
        """With descriptions of its classes, as far as the examples agree with them, in place of those of before.

        sentences: class -> sentences about it.
        names:     whether the names of the classes, and of later ones, are descriptions too.

        Raises ValueError for sentences about a class that isn't there, and for texts that the encoder can't read.
        """
        texts = texts_of(self.classes, sentences, names)
        if not (texts or names):
            return self
        return self._with_texts(texts, Descriptions((), self.rows[:0], names)).with_belief()

    def _with_texts(self, texts: Texts, known: Descriptions) -> Self:
        """With these texts for its descriptions; those that are known are not encoded again."""
        row_of = {text: row for (_, text, _), row in zip(known.texts, known.rows, strict=True)}
        new = list(dict.fromkeys(text for _, text, _ in texts if text not in row_of))
        row_of |= dict(zip(new, self.encoded(description_rows(self.encoder, new)), strict=True)) if new else {}
        rows = np.stack([row_of[text] for _, text, _ in texts]) if texts else self.rows[:0]
        return self._with_descriptions_as(replace(known, texts=texts, rows=rows))

    def _with_names_of_its_classes(self, old: str = "", new: str = "") -> Self:
        """With the names that its classes have now, and the sentences about them; those of other classes are gone.

        old, new: a class of the sentences that is called otherwise now.
        """
        known = self.descriptions
        if known is None:
            return self
        sentences: dict[str, list[str]] = {}
        for owner, text, named in known.texts:
            name = new if owner == old else owner
            if not named and name in self.classes:
                sentences.setdefault(name, []).append(text)
        return self._with_texts(texts_of(self.classes, sentences, known.names), known)

    def with_belief(self) -> Self:
        """With what its examples say of its descriptions."""
        if self.descriptions is None or not self.descriptions.texts:
            return self
        rows = replace(self.descriptions, belief=UNASKED).examples(self.classes)
        examples = self._support_for_belief()
        belief = UNASKED if examples is None else belief_in(rows, examples)
        return self._with_descriptions_as(replace(self.descriptions, belief=belief))

    def _support_for_belief(self) -> Examples | None:
        """The examples that say what descriptions are worth, copies once; None where they are too many for it."""
        raise NotImplementedError

    def _with_descriptions_as(self, descriptions: Descriptions) -> Self:
        """With these descriptions."""
        raise NotImplementedError
