"""An adapted task as a thing to keep: an encoder, a learner, and the support it was fitted to."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import compress
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64

from mapwise.core import tree
from mapwise.core.families.described import joined_support
from mapwise.core.learner import Learner
from mapwise.core.renamed import renamed
from mapwise.core.scores import means
from mapwise.core.spelling import suggestion
from mapwise.core.task import Examples
from mapwise.core.tree import Fast
from mapwise.data.digests import digests
from mapwise.encoders.encoder import Encoder, Tunable
from mapwise.predictors.descriptions import file as class_file
from mapwise.predictors.descriptions.described import DescribedPredictor
from mapwise.predictors.descriptions.texts import Descriptions
from mapwise.predictors.evidence import calibration
from mapwise.predictors.evidence.cross_fitting import CHANGED, Crossed, crossed
from mapwise.predictors.evidence.duplicates import distinct
from mapwise.predictors.heads.head import Head

MOST = 10_000_000
"""Examples x classes whose labels are written out, in 8 bytes each."""
_TOGETHER = 1_000_000
"""Examples x classes, or queries x classes, of what is done in parts."""


@renamed
@dataclass(frozen=True, eq=False)
class Predictor(DescribedPredictor):
    """A classifier fitted to a few examples: a value, so that another example or class makes another predictor.

    encoder: raw rows -> [N, D], fitted.
    head:    what stands behind it.
    rows:    the support's encoded rows.
    columns: the class of each row, by its place in `classes`.
    weight:  how often each row counts.
    classes: names; one without rows is never predicted.
    """

    problem: ClassVar[str] = "classification"

    encoder: Encoder
    head: Head
    rows: Float[np.ndarray, "S *D"]
    columns: Int64[np.ndarray, "S"]
    weight: Float[np.ndarray, "S"]
    classes: tuple[str, ...]
    note: str = ""
    """What whoever made it wants to find again, such as the column that holds the texts."""
    sources: tuple[str, ...] = ()
    """Where each row came from, such as a file; empty where unknown."""
    digests: Int64[np.ndarray, "S"] = field(default_factory=lambda: np.zeros(0, np.int64))
    """Of each raw row's content, see `data.digests`; 0 or empty where unknown."""
    crossed: Crossed | None = None
    """What was said of rows by predictors that saw nothing of them; None where the encoder saw no label."""
    optimism: float = 0.0
    """By how much its cross-validated accuracy is too high, 0..1, since its head was chosen as the best of several."""
    known_temperature: float | None = None
    """The temperature that its file has; None: it is fitted to the examples when it is needed."""
    descriptions: Descriptions | None = None
    """What is known of the classes beside their examples, such as their names; None for nothing."""

    @classmethod
    def of(
        cls,
        encoder: Encoder,
        learner: "str | Path | Learner | Head",
        X: Any,
        columns: np.ndarray,
        weight: np.ndarray,
        names: Sequence[str],
        *,
        note: str = "",
        sources: Sequence[str] = (),
        contents: Int64[np.ndarray, "S"] | None = None,
    ) -> Self:
        """Fit the encoder to these raw rows, and keep them encoded; `with_head` tunes it where the head does so.

        contents: the digests of the rows, where they are known.

        Raises ValueError for a learner that isn't there, and for rows that it or the encoder can't read.
        """
        head = cls.head_of(learner)
        fitted, rows = cls._encoded_by(encoder, head, X, weight)
        known = digests(encoder.reads, X) if contents is None else contents
        return cls(fitted, head, rows, columns, weight, tuple(names), note, tuple(sources), known)

    def with_head(self, learner: "str | Path | Learner | Head", X: Any, seconds: float) -> Self:
        """The same rows with another head; where it tunes the encoder, this begins as it was fitted.

        X:       the raw rows.
        seconds: that judging an encoder which is tuned may take.

        Raises ValueError for a head that tunes an encoder with nothing to tune.
        """
        assert self.crossed is None  # what was said of its rows was by the head it has
        head = self.head_of(learner)
        other = replace(self, head=head, optimism=0.0, known_temperature=None)
        if not head.tunes:
            return other
        encoder = self.encoder
        if not isinstance(encoder, Tunable):
            raise ValueError(
                f"the learner {head.name} tunes its encoder and {encoder.name} has nothing to tune: take a pretrained "
                "model (encoder hf:NAME), or another learner"
            )
        start = time.monotonic()
        tuned = encoder.tuned(X, self.columns, self.weight)
        took = time.monotonic() - start
        folds = crossed(encoder, X, self.support, self.digests, self.classes, head.learner_for, seconds - took, took)
        # Descriptions are encoded as the encoder was; a tuned one has names of its own in its classes.
        return replace(other, encoder=tuned, rows=tuned(X), crossed=folds, descriptions=None)

    def probabilities(self, X: Any) -> Float[np.ndarray, "Q W"]:
        """The probabilities of the classes for raw rows: softmax(scores / temperature)."""
        return self.probabilities_of(self.encoded(X))

    def probabilities_of(self, rows: Float[np.ndarray, "Q D"]) -> Float[np.ndarray, "Q W"]:
        """The probabilities of the classes for rows that are encoded already."""
        chances: np.ndarray = torch.softmax(torch.as_tensor(self.scores_of(rows)) / self.temperature, dim=-1).numpy()
        return chances

    def with_rows(
        self,
        X: Any,
        columns: np.ndarray,
        weight: np.ndarray,
        sources: Sequence[str] = (),
        contents: Int64[np.ndarray, "N"] | None = None,
    ) -> Self:
        """With more raw rows; the encoder stays as it was fitted, so the rows that are there need not be read again.

        contents: the digests of the rows, where they are known.
        """
        rows = self.encoded(X)
        return replace(
            self,
            rows=np.concatenate([self.rows, rows]),
            columns=np.concatenate([self.columns, columns]),
            weight=np.concatenate([self.weight, weight]),
            sources=self.sources_with(len(rows), sources),
            digests=self.digests_with(digests(self.encoder.reads, X) if contents is None else contents),
            **self._outdated,
        ).with_belief()

    @property
    def _outdated(self) -> dict[str, Any]:
        """The fields of a predictor with other rows than these, and the encoder as it is."""
        if self.crossed is None:
            return {"known_temperature": None}
        return {"crossed": Crossed(why=CHANGED), "known_temperature": self.temperature}

    def _support_for_belief(self) -> Examples | None:
        return self.support if not len(self.rows) else None if self.large else self.distinct_support

    def _with_descriptions_as(self, descriptions: Descriptions) -> Self:
        return replace(self, descriptions=descriptions, known_temperature=None)

    def with_classes(self, names: Sequence[str], places: np.ndarray) -> Self:
        """With these classes, among which those of before stand at these places."""
        moved = None if self.crossed is None else self.crossed.among(len(names), places)
        wider = replace(self, columns=places[self.columns], classes=tuple(names), crossed=moved)
        return wider._with_names_of_its_classes() if len(names) > len(self.classes) else wider

    def without_class(self, name: str, *, least: int = 2) -> Self:
        """Without this class and its rows; raises ValueError for a name that isn't there, and where too few are left.

        least: so many classes are to be left.
        """
        place = self._place(name)
        if len(self.classes) <= least:
            raise ValueError(f"without {name!r} there would be one class left, and two are needed: add another first")
        others = self._among(self.columns != place)
        left = others.columns - (others.columns > place)
        narrower = replace(others, columns=left, classes=tuple(other for other in self.classes if other != name))
        return narrower._with_names_of_its_classes()

    def without_rows(self, rows: Sequence[int], *, empty: bool = False) -> Self:
        """Without the rows at these places; raises ValueError for one that isn't there, and for all rows of a class.

        empty: whether a class may lose all of its rows.
        """
        stays = np.ones(len(self.rows), dtype=bool)
        for row in rows:
            if not 0 <= row < len(stays):
                there = f"give one from 0 to {len(stays) - 1}" if len(stays) else "there are no examples to remove"
                raise ValueError(f"there is no row {row}: {there}")
            stays[row] = False
        others = self._among(stays)
        for name, count in others.counts.items():
            if not count and self.counts[name] and not empty:
                raise ValueError(f"no example of {name!r} would be left: remove the class, or keep one of its rows")
        return others

    def _among(self, stays: Bool[np.ndarray, "S"]) -> Self:
        """With these rows alone."""
        return replace(
            self,
            rows=self.rows[stays],
            columns=self.columns[stays],
            weight=self.weight[stays],
            sources=tuple(compress(self.sources, stays)),
            digests=self.digests_with(np.zeros(0, np.int64))[stays],
            **self._outdated,
        ).with_belief()

    def with_columns(self, columns: Int64[np.ndarray, "S"]) -> Self:
        """With other classes for its rows, by their places."""
        return replace(self, columns=columns, **self._outdated).with_belief()

    def renamed(self, old: str, new: str) -> Self:
        """With another name for a class; raises ValueError for a name that isn't there, and for one that is."""
        place = self._place(old)
        if new in self.classes and new != old:
            raise ValueError(f"there is a class {new!r} already: give another name")
        classes = (*self.classes[:place], new, *self.classes[place + 1 :])
        return replace(self, classes=classes)._with_names_of_its_classes(old, new).with_belief()

    def check_two_classes(self) -> None:
        """Raises ValueError when the support is of one class: then there is no other answer."""
        known = [] if self.description_rows is None else self.description_rows.y.argmax(1).tolist()
        present = np.unique([*self.columns[self.weight > 0], *known]).astype(int)
        if len(present) < 2:
            raise ValueError(
                f"there are examples of one class, {self.classes[int(present[0])]!r}, so there is no other answer: "
                "teach it another class first"
            )

    def _place(self, name: str) -> int:
        if name not in self.classes:
            raise ValueError(f"there is no class {name!r}: {suggestion(name, self.classes)}")
        return self.classes.index(name)

    @property
    def counts(self) -> dict[str, int]:
        """Class -> how many rows it has."""
        return dict(zip(self.classes, np.bincount(self.columns, minlength=len(self.classes)).tolist(), strict=True))

    @property
    def labels(self) -> Float[np.ndarray, "S W"]:
        """One-hot."""
        self._check_size()
        return _one_hot(self.columns, len(self.classes))

    @property
    def large(self) -> bool:
        """Whether there are too many examples and classes for their labels to be written out."""
        return len(self.rows) * len(self.classes) > MOST

    @property
    def size_fault(self) -> str:
        """Why something isn't done with so many examples and classes, as the beginning of a sentence."""
        return (
            f"there are {len(self.rows):,} examples of {len(self.classes):,} classes, and examples x classes may be "
            f"{MOST:,}"
        )

    def _check_size(self) -> None:
        if self.large:
            raise ValueError(f"{self.size_fault} for this, or with {self.head.name}: take nearest_mean, or fewer")

    def _blocks(self) -> Iterator[Examples]:
        """The support of a few classes at a time, each with the rows of its classes and their descriptions."""
        order = np.argsort(self.columns, kind="stable")
        ends = np.searchsorted(self.columns[order], np.arange(1, len(self.classes) + 1))  # of each class's rows
        first = 0
        while first < len(self.classes):
            begin, last = int(ends[first - 1]) if first else 0, first + 1
            while last < len(self.classes) and (ends[last] - begin) * (last + 1 - first) <= _TOGETHER:
                last += 1
            rows = order[begin : ends[last - 1]]
            labels = _one_hot(self.columns[rows] - first, last - first)
            x, y, weight = (
                torch.as_tensor(part, dtype=torch.float64) for part in (self.rows[rows], labels, self.weight[rows])
            )
            block = Examples(x, y, weight, torch.zeros((), dtype=torch.int64))
            known = self._description_rows_of(self.classes[first:last])
            yield block if known is None else joined_support(block, known)
            first = last

    @property
    def _in_parts(self) -> bool:
        """Whether a few classes are learned at a time, since the labels of all would be large."""
        return self.head.by_class and (self.large or len(self.rows) * len(self.classes) > _TOGETHER)

    @cached_property
    def learner(self) -> Learner:
        """The learner behind the encoder; raises ValueError for one that doesn't take so many examples and classes."""
        return self.head.learner_for(next(self._blocks())) if self._in_parts else self.learner_for(self.support)

    @cached_property
    def temperature(self) -> float:
        """What divides scores before their softmax, so that of answers at 80 % four fifths are right.

        It is fitted to out-of-fold answers; see `evidence.calibration`.
        """
        if self.known_temperature is not None:
            return self.known_temperature
        if self.crossed is not None:
            rows, scores = self.crossed.rows, self.crossed.scores
            return calibration.temperature(scores, self.columns[rows], self.weight[rows])
        if self.large or not len(self.rows):
            return calibration.UNKNOWN
        rows, scores = self.out_of_fold
        known = self.distinct_support
        return calibration.temperature(scores, known.y.argmax(1).numpy()[rows], known.weight.numpy()[rows])

    @cached_property
    def distinct_support(self) -> Examples:
        """The support, copies once."""
        return distinct(self.support, self.digests)[0]

    @cached_property
    def out_of_fold(self) -> tuple[Int64[np.ndarray, "A"], Float[np.ndarray, "A W"]]:
        """Rows of the distinct support, and their scores by the head's learner fitted to others of them."""
        return calibration.out_of_fold(self.distinct_support, self._scores_by)

    def _scores_by(self, support: Examples, x: Float[torch.Tensor, "Q D"]) -> Float[np.ndarray, "Q W"]:
        """The scores of encoded rows by the head's learner for another support."""
        learner = self.learner_for(support)
        params = self.params_of(learner)
        with torch.no_grad():
            scores: np.ndarray = means(learner.predict(params, learner.adapt(params, support), x)).numpy()
        return scores

    @cached_property
    def fast(self) -> Fast:
        """The learner, adapted to the support; where this is large, to a few classes at a time."""
        if not self._in_parts:
            return tree.detach(self.learner.adapt(self.params, self.support))
        parts = [tree.flatten(self.learner.adapt(self.params, part)) for part in self._blocks()]
        joined = {path: torch.cat([part[path] for part in parts]) for path in parts[0]}
        return tree.detach(tree.unflatten(joined))

    def answers(self, rows: Float[np.ndarray, "Q D"]) -> Int64[np.ndarray, "Q"]:
        """The place of the class with the highest score of each row that is encoded already."""
        together = max(1, _TOGETHER // len(self.classes))
        starts = range(0, len(rows), together)
        return np.concatenate([self.scores_of(rows[start : start + together]).argmax(1) for start in starts])

    def _kept_labels(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        about: dict[str, Any] = {"classes": self.classes, "optimism": self.optimism, "temperature": self.temperature}
        more, arrays = class_file.to_file(self.classes, self.crossed, self.descriptions)
        return about | more, {"columns": self.columns.astype(np.int64), **arrays}

    @classmethod
    def _label_fault(cls, about: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
        return class_file.classes_fault(about, tensors)

    @classmethod
    def _of_file(
        cls, encoder: Encoder, head: Head, about: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
    ) -> Self:
        rows, columns, weight = (tensors[name] for name in ("rows", "columns", "weight"))
        classes, note, sources = (about[name] for name in ("classes", "reads", "sources"))
        predictor = cls(encoder, head, rows, columns, weight, tuple(classes), note, tuple(sources), tensors["digests"])
        # Files of before have no temperature: their answers stay as they were.
        numbers = {"optimism": about.get("optimism", 0.0), "known_temperature": about.get("temperature", 1.0)}
        crossed_rows, descriptions = class_file.crossed_of(about, tensors), class_file.descriptions_of(about, tensors)
        return replace(predictor, crossed=crossed_rows, descriptions=descriptions, **numbers)


def _one_hot(columns: Int64[np.ndarray, "S"], classes: int) -> Float[np.ndarray, "S W"]:
    one_hot: np.ndarray = (columns[:, None] == np.arange(classes)).astype(np.float64)
    return one_hot
