"""An adapted task as a thing to keep: an encoder, a learner, and the support it was taught with."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import safetensors
import safetensors.numpy
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from mapwise.catalog import HEADS, encoder_named, has_encoder, named
from mapwise.core import tree
from mapwise.core.explanation import Explanation, explained
from mapwise.core.files import write_atomically
from mapwise.core.held_out import SECONDS, HeldOut, distinct, held_out, scores_under
from mapwise.core.learner import Learner
from mapwise.core.novelty import held_out_novelty, limit, novelty
from mapwise.core.task import Examples
from mapwise.core.tree import Fast, Params
from mapwise.core.which_next import Suggestion, which_next
from mapwise.encoders.encoder import Encoder
from mapwise.encoders.occlusion import region
from mapwise.graph import Written, write_graph

VERSION = 1
CARD = (
    "A predictor of mapwise. It holds the embeddings of the examples it was taught with, and what a table's columns "
    "held: from both, something of the examples can be guessed. It may name the files or lines they came from. Share "
    "it as you would share the examples."
)


@dataclass(frozen=True, eq=False)
class Predictor:
    """What a few examples of each class taught: a value, so that another example or class makes another predictor.

    encoder: raw rows -> [N, D], fitted.
    head:    the name of a row of `catalog.HEADS`, or a learner over encoded rows.
    rows:    the support's encoded rows.
    columns: the class of each row, by its place in `classes`.
    weight:  how often each row counts.
    classes: names; one without rows is never predicted.

    Rows are kept as the encoder gave them, and everything behind it is computed in float64: heads are small, and a
    query then scores the same alone as among others.
    """

    encoder: Encoder
    head: str | Learner
    rows: Float[np.ndarray, "S D"]
    columns: Int64[np.ndarray, "S"]
    weight: Float[np.ndarray, "S"]
    classes: tuple[str, ...]
    note: str = ""
    """What whoever made it wants to find again, such as the column that holds the texts."""
    sources: tuple[str, ...] = ()
    """Where each row came from, such as a file; empty when nobody said."""
    seconds: float = SECONDS
    """That its report may take."""

    @classmethod
    def of(
        cls,
        encoder: Encoder,
        head: str | Learner,
        X: Any,
        columns: np.ndarray,
        weight: np.ndarray,
        names: Sequence[str],
        *,
        note: str = "",
        sources: Sequence[str] = (),
    ) -> Self:
        """Fit the encoder to these raw rows, and keep them encoded.

        Raises ValueError for a head that isn't there, and for rows that the encoder can't read.
        """
        if isinstance(head, str):
            named(HEADS, head, "head")
        fitted = encoder.fitted(X, weight)
        return cls(fitted, head, fitted(X), columns, weight, tuple(names), note, tuple(sources))

    def scores(self, X: Any) -> Float[np.ndarray, "Q W"]:
        """The head's scores of raw rows; a class without support rows is out of reach."""
        return self.scores_of(self.encoded(X))

    def encoded(self, X: Any) -> Float[np.ndarray, "Q D"]:
        """Raw rows as the encoder makes them; raises ValueError when those of the support are of another width."""
        rows = self.encoder(X)
        if rows.shape[1] != self.rows.shape[1]:
            raise ValueError(
                f"the encoder gives {rows.shape[1]} numbers a row and the support holds {self.rows.shape[1]}: the "
                "predictor is damaged, so fit it again"
            )
        return rows

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
        furthest = limit(held_out_novelty(distinct(self.support)[0]), share, self.encoder.usual)
        return novelty(self.support, torch.as_tensor(rows, dtype=torch.float64)) > furthest

    def scores_of(self, rows: Float[np.ndarray, "Q D"]) -> Float[np.ndarray, "Q W"]:
        """The head's scores of rows that are encoded already."""
        x = torch.as_tensor(rows, dtype=torch.float64)
        with torch.no_grad():
            scores = self.learner.predict(self._params, self._fast, x)
        assert isinstance(scores, Tensor)
        return scores.numpy()

    def with_rows(self, X: Any, columns: np.ndarray, weight: np.ndarray, sources: Sequence[str] = ()) -> Self:
        """With more raw rows; the encoder stays as it was fitted, so the rows that are there need not be read again."""
        return self._with_encoded(self.encoded(X), columns, weight, sources)

    def _with_encoded(
        self, rows: Float[np.ndarray, "N D"], columns: np.ndarray, weight: np.ndarray, sources: Sequence[str]
    ) -> Self:
        known, new = self.sources or ("",) * len(self.rows), tuple(sources) or ("",) * len(rows)
        return replace(
            self,
            rows=np.concatenate([self.rows, rows]),
            columns=np.concatenate([self.columns, columns]),
            weight=np.concatenate([self.weight, weight]),
            sources=known + new if any(known + new) else (),
        )

    def with_classes(self, names: Sequence[str], places: np.ndarray) -> Self:
        """With these classes, among which those of before stand at these places."""
        return replace(self, columns=places[self.columns], classes=tuple(names))

    def with_class(self, name: str, X: Any, sources: Sequence[str] = ()) -> Self:
        """With one more class, of these raw rows; raises ValueError for a name that is there."""
        if name in self.classes:
            raise ValueError(f"there is a class {name!r} already: give another name, or teach it more rows")
        rows = self.encoded(X)
        wider = replace(self, classes=(*self.classes, name))
        return wider._with_encoded(rows, np.full(len(rows), len(self.classes)), np.ones(len(rows)), sources)

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
            classes=tuple(other for other in self.classes if other != name),
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
        return held_out(self.learner, self._params, self.support, self.classes, seconds=self.seconds)

    def which_next(self, X: Any, n: int = 1, *, names: Sequence[Any] | None = None) -> list[Suggestion]:
        """The raw rows most worth a label, the best first, each with its reason.

        names: of the classes, where they are called otherwise.

        Raises ValueError for no rows, an n that they don't allow, rows that can't be read, and a support of one class.
        """
        self._needs_two()
        rows = self.encoded(X)
        named = self.classes if names is None else names
        known, new = (part.astype(np.float64) for part in (self.rows[self.weight > 0], rows))
        return which_next(new, self.scores_of(rows), known, named, n)

    def save(self, path: str | Path) -> None:
        """Write it into one safetensors file, whole or not at all; nothing in the file is code.

        Raises ValueError for a learner without a name, and OSError when the folder can't be written.
        """
        if not isinstance(self.head, str):
            raise ValueError(
                f"a learner of one's own ({type(self.head).__name__}) has no name that a file could keep: take one of "
                f"{', '.join(HEADS)}"
            )
        found = self.report
        about = {
            "version": VERSION,
            "encoder": {"name": self.encoder.name, "version": self.encoder.version, "state": self.encoder.state},
            "head": self.head,
            "classes": self.classes,
            "reads": self.note,
            "sources": self.sources,
            "held_out": {"accuracy": found.accuracy, "low": found.low, "high": found.high, "rows": found.rows},
        }
        header = {"mapwise": json.dumps(about), "card": CARD}
        tensors = {
            "rows": self.rows,
            "columns": self.columns.astype(np.int64),
            "weight": self.weight.astype(np.float64),
        }
        data = safetensors.numpy.save({name: np.ascontiguousarray(part) for name, part in tensors.items()}, header)
        write_atomically(path, lambda file: file.write(data))

    def export_onnx(self, path: str | Path) -> Written:
        """Write its learner as an ONNX file, to which examples, classes and queries are given; see `write_graph`.

        Neither the support nor the names of its classes are in the file, nor is the encoder: its name is.

        Raises ValueError for a learner that no such file can hold, and when the extra isn't installed.
        """
        head = self.head if isinstance(self.head, str) else type(self.head).__name__
        about = {"learner": head, "encoder": self.encoder.name, "encoder_version": self.encoder.version}
        return write_graph(self.learner, self._params, self.support, path, about)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The predictor of a file; nothing in it is run, and all of it is looked at before it is believed.

        Raises ValueError for a file that is missing, cut short, damaged, of a later version or another encoder.
        """
        path = Path(path)
        try:
            with safetensors.safe_open(str(path), framework="np") as file:
                about = json.loads((file.metadata() or {})["mapwise"])
                tensors = {name: np.array(file.get_tensor(name)) for name in ("rows", "columns", "weight")}
            version = about["version"]
            if isinstance(version, int) and version > VERSION:
                raise _Refused(f"is of format {version} and this mapwise reads up to {VERSION}: upgrade mapwise")
            encoder = _encoder(about["encoder"])
            head, classes, note, sources = (about[name] for name in ("head", "classes", "reads", "sources"))
        except FileNotFoundError:
            raise ValueError(f"there is no file {path}: check the path, or make it with mapwise fit") from None
        except _Refused as refused:
            raise ValueError(f"{path} {refused}") from None
        except _DAMAGE as problem:
            why = _short(problem)
            raise ValueError(f"{path} is no whole predictor ({why}): restore it or fit it again") from None
        fault = _fault(version, head, classes, note, sources, **tensors)
        if fault:
            raise ValueError(f"{path} is no whole predictor ({fault}): restore it, or fit it again")
        rows, columns, weight = (tensors[name] for name in ("rows", "columns", "weight"))
        return cls(encoder, head, rows, columns, weight, tuple(classes), note=note, sources=tuple(sources))

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
        x = torch.as_tensor(rows, dtype=torch.float64)
        without = self._without_each_of(rows)
        named = self.classes if names is None else names
        found = explained(self.learner, self._params, self._fast, self.support, x, without, named, self.sources)
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
        made = [self._made_for(self.support._replace(weight=torch.as_tensor(weight))) for weight in kept]
        scores = np.empty((len(kept), len(x), len(self.classes)))
        for learner in dict.fromkeys(made):
            those = [row for row, one in enumerate(made) if one == learner]
            asked = x.expand(len(those), *x.shape)
            scores[those] = scores_under(learner, self._params, self.support, kept[those], asked)
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

    @cached_property
    def support(self) -> Examples:
        """The encoded support, as a learner takes it."""
        y = np.eye(len(self.classes))[self.columns]
        x, weight = (torch.as_tensor(values, dtype=torch.float64) for values in (self.rows, self.weight))
        return Examples(x, torch.as_tensor(y), weight, torch.zeros((), dtype=torch.int64))

    @cached_property
    def learner(self) -> Learner:
        """The learner behind the encoder."""
        return self._made_for(self.support)

    def _made_for(self, support: Examples) -> Learner:
        return HEADS[self.head](support) if isinstance(self.head, str) else self.head

    @cached_property
    def _params(self) -> Params:
        return tree.map(Tensor.double, self.learner.init(0))

    @cached_property
    def _fast(self) -> Fast:
        return tree.detach(self.learner.adapt(self._params, self.support))


_DAMAGE = (safetensors.SafetensorError, KeyError, TypeError, ValueError, RecursionError, MemoryError, OSError)
"""What reading a file that was cut short, or written by an enemy, may end in."""


class _Refused(Exception):
    """Why a whole file is not taken, as the end of a sentence that begins with its name."""


def _encoder(about: Mapping[str, Any]) -> Encoder:
    name, version = about["name"], about["version"]
    if not isinstance(name, str):
        raise TypeError(f"its encoder is called {name!r}")
    if not has_encoder(name):
        raise _Refused(f"was made with the encoder {name!r}, which this mapwise doesn't have: upgrade mapwise")
    try:
        encoder = encoder_named(name, fetch=False)
    except ValueError as problem:
        raise _Refused(f"was made with the encoder {name}, and {problem}") from None
    if version != encoder.version:
        raise _Refused(
            f"was made with another version of the encoder {name} ({version}, and this is {encoder.version}), which "
            "gives other numbers: fit it again"
        )
    return encoder.with_state(about["state"])


def _fault(
    version: Any,
    head: Any,
    classes: Any,
    note: Any,
    sources: Any,
    rows: np.ndarray,
    columns: np.ndarray,
    weight: np.ndarray,
) -> str:
    """What is wrong with the parts of a file; "" when nothing is."""
    if version != VERSION:
        return f"its format is {version!r}"
    if not isinstance(head, str) or head not in HEADS:
        return f"there is no learner {head!r}"
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes) or not classes:
        return "its classes are no list of names"
    if len(set(classes)) < len(classes):
        return "it names a class twice"
    if not isinstance(note, str):
        return "its note is no text"
    if not isinstance(sources, list) or not all(isinstance(source, str) for source in sources):
        return "what its rows came from is no list of texts"
    if len(sources) not in (0, len(rows)):
        return f"there are {len(rows)} rows, and {len(sources)} places they came from"
    if rows.ndim != 2 or rows.dtype.kind != "f" or 0 in rows.shape or not np.isfinite(rows).all():
        return f"its rows are {rows.dtype} of shape {rows.shape}, or hold NaN"
    if columns.shape != (len(rows),) or columns.dtype != np.int64:
        return f"there are {len(rows)} rows, and classes of shape {columns.shape}"
    if columns.min() < 0 or columns.max() >= len(classes):
        return "a row is of a class that isn't there"
    if weight.shape != (len(rows),) or not (np.isfinite(weight).all() and (weight > 0).all()):
        return "its weights are no positive number for each row"
    return ""


def _short(problem: BaseException) -> str:
    text = " ".join(str(problem).split()) or type(problem).__name__
    return f"it has no {text}" if isinstance(problem, KeyError) else text[:200]
