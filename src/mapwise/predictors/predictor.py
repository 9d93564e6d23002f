"""An adapted task as a thing to keep: an encoder, a learner, and the support it was taught with."""

import difflib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from mapwise.catalog.heads import HEADS
from mapwise.core import tree
from mapwise.core.embedding import placed
from mapwise.core.explanation import Explanation, explained
from mapwise.core.held_out import SECONDS, HeldOut, distinct, held_out, scores_under
from mapwise.core.learner import Learner
from mapwise.core.novelty import held_out_novelty, limit, novelty
from mapwise.core.task import Examples
from mapwise.core.which_next import Suggestion, which_next
from mapwise.encoders.content import digests
from mapwise.encoders.encoder import Encoder, Tunable
from mapwise.encoders.occlusion import region
from mapwise.graph import Written, write_graph
from mapwise.predictors.crossed import CHANGED, Crossed, crossed
from mapwise.predictors.heads import Head
from mapwise.predictors.taught import Taught


@dataclass(frozen=True, eq=False)
class Predictor(Taught):
    """What a few examples of each class taught: a value, so that another example or class makes another predictor.

    encoder: raw rows -> [N, D], fitted.
    head:    what stands behind it.
    rows:    the support's encoded rows.
    columns: the class of each row, by its place in `classes`.
    weight:  how often each row counts.
    classes: names; one without rows is never predicted.
    """

    kind: ClassVar[str] = "classification"

    encoder: Encoder
    head: Head
    rows: Float[np.ndarray, "S *D"]
    columns: Int64[np.ndarray, "S"]
    weight: Float[np.ndarray, "S"]
    classes: tuple[str, ...]
    note: str = ""
    """What whoever made it wants to find again, such as the column that holds the texts."""
    sources: tuple[str, ...] = ()
    """Where each row came from, such as a file; empty when nobody said."""
    digests: Int64[np.ndarray, "S"] = field(default_factory=lambda: np.zeros(0, np.int64))
    """Of each raw row's content, see `encoders.content`; 0 or empty when nobody said."""
    seconds: float = SECONDS
    """That its report may take."""
    crossed: Crossed | None = None
    """What was said of rows by predictors that saw nothing of them; None where the encoder saw no label."""

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
        seconds: float = SECONDS,
    ) -> Self:
        """Fit the encoder to these raw rows, and keep them encoded.

        seconds: that judging an encoder which is tuned may take.

        Raises ValueError for a learner that isn't there, for rows that it or the encoder can't read, and for one that
        tunes an encoder with nothing to tune.
        """
        head = cls.head_of(learner)
        fitted, rows = cls._encoded_by(encoder, head, X, weight)
        known = digests(encoder.reads, X)
        made = cls(fitted, head, rows, columns, weight, tuple(names), note, tuple(sources), known)
        return made.with_head(head, X, seconds) if head.tunes else made

    def with_head(self, learner: "str | Path | Learner | Head", X: Any, seconds: float) -> Self:
        """The same rows with another head; where it tunes the encoder, this begins as it was fitted.

        X:       the raw rows.
        seconds: that a report may take, or judging an encoder that is tuned.

        Raises ValueError for a head that tunes an encoder with nothing to tune.
        """
        assert self.crossed is None  # what was said of its rows was by the head it has
        head = self.head_of(learner)
        made = replace(self, head=head, seconds=seconds)
        if not head.tunes:
            return made
        encoder = self.encoder
        if not isinstance(encoder, Tunable):
            raise ValueError(
                f"the learner {head.name} tunes its encoder and {encoder.name} has nothing to tune: take a pretrained "
                "model (encoder hf:NAME), or another learner"
            )
        start = time.monotonic()
        tuned = encoder.tuned(X, self.columns, self.weight)
        took = time.monotonic() - start
        told = crossed(encoder, X, self.support, self.classes, head.learner_for, seconds - took, took)
        return replace(made, encoder=tuned, rows=tuned(X), crossed=told)

    def probabilities(self, X: Any) -> Float[np.ndarray, "Q W"]:
        """The softmax of the scores of raw rows."""
        return self.probabilities_of(self.encoded(X))

    def probabilities_of(self, rows: Float[np.ndarray, "Q D"]) -> Float[np.ndarray, "Q W"]:
        """The softmax of the scores of rows that are encoded already."""
        chances: np.ndarray = torch.softmax(torch.as_tensor(self.scores_of(rows)), dim=-1).numpy()
        return chances

    def unknown_of(self, rows: Float[np.ndarray, "Q D"], share: float) -> Bool[np.ndarray, "Q"]:
        """Whether each encoded row is none of the classes: farther from all of them than rows of theirs usually lie.

        share: in (0, 1): of rows of these classes that may be taken for none of them.

        Raises ValueError for another share, and for a support too small to tell how far its rows usually lie.
        """
        if self.crossed is not None and self.crossed.why:
            raise ValueError(self.crossed.why)
        x = torch.as_tensor(rows, dtype=torch.float64)
        if self.crossed is None:
            known = held_out_novelty(self._placed(distinct(self.support)[0]))
        else:
            known = self.crossed.novelty
        furthest = limit(known, share, self.encoder.usual)
        return novelty(self._placed(self.support), placed(self.learner, self.params, self.fast, x)) > furthest

    def _placed(self, support: Examples) -> Examples:
        """The support where the learner compares rows."""
        return support._replace(x=placed(self.learner, self.params, self.fast, support.x))

    def with_rows(self, X: Any, columns: np.ndarray, weight: np.ndarray, sources: Sequence[str] = ()) -> Self:
        """With more raw rows; the encoder stays as it was fitted, so the rows that are there need not be read again."""
        rows = self.encoded(X)
        return self._with_encoded(rows, columns, weight, sources, digests(self.encoder.reads, X))

    def _with_encoded(
        self,
        rows: Float[np.ndarray, "N *D"],
        columns: np.ndarray,
        weight: np.ndarray,
        sources: Sequence[str],
        new: Int64[np.ndarray, "N"],
    ) -> Self:
        return replace(
            self,
            rows=np.concatenate([self.rows, rows]),
            columns=np.concatenate([self.columns, columns]),
            weight=np.concatenate([self.weight, weight]),
            sources=self._sources_with(len(rows), sources),
            digests=self._digests_with(new),
            crossed=self._outdated,
        )

    @property
    def _outdated(self) -> Crossed | None:
        """What is known of a predictor with other rows than these, and the encoder as it is."""
        return None if self.crossed is None else Crossed(why=CHANGED)

    def with_classes(self, names: Sequence[str], places: np.ndarray) -> Self:
        """With these classes, among which those of before stand at these places."""
        moved = None if self.crossed is None else self.crossed.among(len(names), places)
        return replace(self, columns=places[self.columns], classes=tuple(names), crossed=moved)

    def with_class(self, name: str, X: Any, sources: Sequence[str] = ()) -> Self:
        """With one more class, of these raw rows; raises ValueError for a name that is there."""
        if name in self.classes:
            raise ValueError(f"there is a class {name!r} already: give another name, or teach it more rows")
        rows = self.encoded(X)
        wider = replace(self, classes=(*self.classes, name))
        columns, weight = np.full(len(rows), len(self.classes)), np.ones(len(rows))
        return wider._with_encoded(rows, columns, weight, sources, digests(self.encoder.reads, X))

    def without_class(self, name: str) -> Self:
        """Without this class and its rows; raises ValueError for a name that isn't there, and for the last but one."""
        place = self._place(name)
        if len(self.classes) < 3:
            raise ValueError(f"without {name!r} there would be one class left, and two are needed: add another first")
        others = self.columns != place
        left = self.columns[others]
        return replace(
            self,
            rows=self.rows[others],
            columns=left - (left > place),
            weight=self.weight[others],
            sources=tuple(source for source, kept in zip(self.sources, others, strict=False) if kept),
            digests=self._digests_with(np.zeros(0, np.int64))[others],
            classes=tuple(other for other in self.classes if other != name),
            crossed=self._outdated,
        )

    def renamed(self, old: str, new: str) -> Self:
        """With another name for a class; raises ValueError for a name that isn't there, and for one that is."""
        place = self._place(old)
        if new in self.classes and new != old:
            raise ValueError(f"there is a class {new!r} already: give another name")
        return replace(self, classes=(*self.classes[:place], new, *self.classes[place + 1 :]))

    @cached_property
    def report(self) -> HeldOut:
        """What the support says of how good this is, each row asked of a predictor that didn't see it."""
        if self.crossed is not None:
            return self.crossed.report(self.columns, self.classes)
        return held_out(self.learner, self.params, self.support, self.classes, seconds=self.seconds)

    def which_next(self, X: Any, n: int = 1, *, names: Sequence[Any] | None = None) -> list[Suggestion]:
        """The raw rows most worth a label, the best first, each with its reason.

        names: of the classes, where they are called otherwise.

        Raises ValueError for no rows, an n that they don't allow, rows that can't be read, and a support of one class.
        """
        self._needs_two()
        rows = self.encoded(X)
        named = self.classes if names is None else names
        known, new = (
            placed(self.learner, self.params, self.fast, torch.as_tensor(part, dtype=torch.float64)).numpy()
            for part in (self.rows[self.weight > 0], rows)
        )
        return which_next(new, self.scores_of(rows), known, named, n)

    def export_onnx(self, path: str | Path) -> Written:
        """Write its learner as an ONNX file, to which examples, classes and queries are given; see `write_graph`.

        Neither the support nor the names of its classes are in the file, nor is the encoder: its name is.

        Raises ValueError for a learner that no such file can hold, and when the extra isn't installed.
        """
        about = {
            "learner": self.head.name,
            "encoder": self.encoder.name,
            "encoder_version": self.encoder.version,
        }
        learner, params, support = self.head.whole(self.support)
        params = tree.map(Tensor.double, params)
        return write_graph(learner, params, support, path, about)

    def explain(self, X: Any, *, regions: bool = False, names: Sequence[Any] | None = None) -> list[Explanation]:
        """Why each raw row is answered as it is: the support's rows that voted, and the answer without each of them.

        regions: of pictures, also where in each its answer came from.
        names:   of the classes, where they are called otherwise.

        Raises ValueError for a support of one class, for rows that can't be read, and for regions of what is no picture
        or without Captum.
        """
        if regions and self.encoder.reads != "pictures":
            raise ValueError(
                f"regions are parts of pictures and the encoder {self.encoder.name} reads {self.encoder.reads}: leave "
                "regions out"
            )
        self._needs_two()
        rows = self.encoded(X)
        self.scores_of(rows)  # raises where an answer is not finite
        x = torch.as_tensor(rows, dtype=torch.float64)
        without = self._without_each_of(rows)
        named = self.classes if names is None else names
        found = explained(self.learner, self.params, self.fast, self.support, x, without, named, self.sources)
        if not regions:
            return found
        seen = (region(row, place, self.scores) for place, row in enumerate(X))
        return [replace(one, region=where) for one, where in zip(found, seen, strict=True)]

    def without_each(self, X: Any) -> Float[np.ndarray, "S Q W"]:
        """The scores of raw rows without each of the support's rows: exact, since every one is taught anew."""
        return self._without_each_of(self.encoded(X))

    def _without_each_of(self, rows: Float[np.ndarray, "Q D"]) -> Float[np.ndarray, "S Q W"]:
        kept = np.tile(self.weight, (len(self.weight), 1))
        np.fill_diagonal(kept, 0)
        x = torch.as_tensor(rows, dtype=torch.float64)
        # A learner made for a support set is another for a smaller one; rows of one weight share theirs.
        made = [self.head.learner_for(self.support._replace(weight=torch.as_tensor(weight))) for weight in kept]
        scores = np.empty((len(kept), len(x), len(self.classes)))
        for learner in dict.fromkeys(made):
            those = [row for row, one in enumerate(made) if one == learner]
            asked = x.expand(len(those), *x.shape)
            scores[those] = scores_under(learner, self.params_of(learner), self.support, kept[those], asked)
        return scores

    def _needs_two(self) -> None:
        present = np.unique(self.columns[self.weight > 0])
        if len(present) < 2:
            raise ValueError(
                f"there are examples of one class, {self.classes[int(present[0])]!r}, so there is no other answer: "
                "teach it another class first"
            )

    def _place(self, name: str) -> int:
        if name not in self.classes:
            near = difflib.get_close_matches(name, self.classes, n=1, cutoff=0)[0]
            raise ValueError(f"there is no class {name!r}: did you mean {near!r}?")
        return self.classes.index(name)

    @property
    def labels(self) -> Float[np.ndarray, "S W"]:
        """One-hot."""
        one_hot: np.ndarray = np.eye(len(self.classes))[self.columns]
        return one_hot

    def _kept_labels(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        found = self.report
        told = {"accuracy": found.accuracy, "low": found.low, "high": found.high, "rows": found.rows}
        about = {"classes": self.classes, "held_out": told}
        columns = {"columns": self.columns.astype(np.int64)}
        if self.crossed is None:
            return about, columns
        kept = {_CROSSED + name: array for name, array in self.crossed.arrays.items()}
        return {**about, "crossed": {"taught": self.crossed.taught, "why": self.crossed.why}}, columns | kept

    @classmethod
    def _label_fault(cls, about: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
        classes, columns, rows = about["classes"], tensors["columns"], tensors["rows"]
        if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes) or not classes:
            return "its classes are no list of names"
        if len(set(classes)) < len(classes):
            return "it names a class twice"
        if columns.shape != (len(rows),) or columns.dtype != np.int64:
            return f"there are {len(rows)} rows, and classes of shape {columns.shape}"
        if columns.min() < 0 or columns.max() >= len(classes):
            return "a row is of a class that isn't there"
        head = about["head"]
        if ("crossed" in about) != (isinstance(head, str) and head in HEADS and HEADS[head].tunes):
            return "it says in two ways whether its encoder was tuned"
        cls._crossed_of(about, tensors)  # raises
        return ""

    @classmethod
    def _crossed_of(cls, about: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Crossed | None:
        if "crossed" not in about:
            return None
        kept = {name.removeprefix(_CROSSED): array for name, array in tensors.items() if name.startswith(_CROSSED)}
        return Crossed.of_file(about["crossed"], kept, len(tensors["rows"]), len(about["classes"]))

    @classmethod
    def _of_file(
        cls, encoder: Encoder, head: Head, about: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
    ) -> Self:
        rows, columns, weight = (tensors[name] for name in ("rows", "columns", "weight"))
        classes, note, sources = (about[name] for name in ("classes", "reads", "sources"))
        made = cls(encoder, head, rows, columns, weight, tuple(classes), note, tuple(sources), tensors["digests"])
        return replace(made, crossed=cls._crossed_of(about, tensors))


_CROSSED = "crossed/"
"""Before the names of what was said of rows, in a file."""
