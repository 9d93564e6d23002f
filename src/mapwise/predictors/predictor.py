"""What every predictor shares: encoded rows, a learner behind them, and the file of both."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mapwise.catalog.encoders import encoder_named, has_encoder
from mapwise.core import tree
from mapwise.core.families.embedding import learned_features
from mapwise.core.learner import Learner
from mapwise.core.renamed import renamed
from mapwise.core.scores import means
from mapwise.core.spelling import suggestion
from mapwise.core.task import Examples
from mapwise.core.tree import Fast, Params
from mapwise.data import tensor_file
from mapwise.data.files import path_of
from mapwise.encoders.encoder import Encoder
from mapwise.predictors.heads.head import Head, head_of, head_of_file
from mapwise.predictors.kind import AGAIN

CARD = (
    "A predictor of mapwise. It holds the embeddings of the examples it was fitted to (of some trained learners the "
    "pixels themselves), and what a table's columns held: from these, something of the examples can be guessed. It may "
    "name the files or lines they came from. Share it as you would share the examples."
)
_OPENED_BY: dict[Any, str] = {
    "classification": "holds a predictor of classes: open it with FewShotClassifier",
    "regression": "holds a predictor of numbers: open it with FewShotRegressor",
    "spans": "holds a finder of spans: ask it with mapwise predict or mapwise report, change it by mapwise fit "
    "--spans, and in Python open it with FewShotTagger",
}


@renamed
class FittedPredictor:
    """A fitted encoder, a learner over encoded rows, and the support's rows with their weights: a value.

    What extends it is a frozen dataclass with these fields, and says what each row was labelled with.

    Rows are kept as the encoder gave them, and everything behind it is computed in float64: heads are small, and a
    query then scores the same alone as among others.
    """

    problem: ClassVar[str]
    """Its name, which files keep under the key `kind`."""

    encoder: Encoder
    head: Head
    rows: Float[np.ndarray, "S *D"]
    weight: Float[np.ndarray, "S"]
    note: str
    sources: tuple[str, ...]
    digests: Int64[np.ndarray, "S"]

    @classmethod
    def head_of(cls, learner: "str | Path | Learner | Head") -> Head:
        """The head of a learner's name, a run's folder, or a learner; raises ValueError as `heads.head_of` does."""
        return head_of(learner, cls.problem)

    @classmethod
    def _encoded_by(cls, encoder: Encoder, head: Head, X: Any, weight: np.ndarray) -> tuple[Encoder, np.ndarray]:
        """The encoder fitted to these raw rows, and the rows; raises ValueError for rows that either can't read."""
        fitted = encoder.fitted(X, weight)
        return fitted, head.encode(fitted(X))

    @property
    def labels(self) -> Float[np.ndarray, "S W"]:
        """What each row was labelled with, as a learner takes it."""
        raise NotImplementedError

    def scores(self, X: Any) -> Float[np.ndarray, "Q W"]:
        """The head's scores of raw rows; a class without support rows is out of reach."""
        return self.scores_of(self.encoded(X))

    def encoded(self, X: Any) -> Float[np.ndarray, "Q D"]:
        """Raw rows as the encoder makes them; raises ValueError when those of the support are of another width."""
        rows = self.head.encode(self.encoder(X))
        if rows.shape[1:] != self.rows.shape[1:]:
            raise ValueError(
                f"the encoder gives rows of shape {rows.shape[1:]} and the support holds {self.rows.shape[1:]}: the "
                "predictor is damaged, so fit it again"
            )
        return rows

    def scores_of(self, rows: Float[np.ndarray, "Q D"]) -> Float[np.ndarray, "Q W"]:
        """The head's scores of rows that are encoded already; raises ValueError for a row where one isn't finite."""
        x = torch.as_tensor(rows, dtype=torch.float64)
        with torch.no_grad():
            scores: np.ndarray = means(self.learner.predict(self.params, self.fast, x)).numpy()
        lost = np.flatnonzero(~np.isfinite(scores).all(1))
        if len(lost):
            raise ValueError(
                f"the answer to row {lost[0]} is NaN or infinite: leave out a row of extreme numbers, or fit the "
                "predictor again"
            )
        return scores

    @cached_property
    def support(self) -> Examples:
        """The encoded support, as a learner takes it."""
        x, y, weight = (torch.as_tensor(part, dtype=torch.float64) for part in (self.rows, self.labels, self.weight))
        return Examples(x, y, weight, torch.zeros((), dtype=torch.int64))

    @cached_property
    def learner(self) -> Learner:
        """The learner behind the encoder."""
        return self.learner_for(self.support)

    def learner_for(self, support: Examples) -> Learner:
        """The learner for a support of such rows."""
        return self.head.learner_for(support)

    @cached_property
    def params(self) -> Params:
        """The learner's, in float64."""
        return self.params_of(self.learner)

    def params_of(self, learner: Learner) -> Params:
        """Those of a learner that the head made, for this support or another; in float64."""
        return tree.map(Tensor.double, self.head.params_of(learner))

    @cached_property
    def fast(self) -> Fast:
        """The learner, adapted to the support."""
        return tree.detach(self.learner.adapt(self.params, self.support))

    def placed(self, x: Float[Tensor, "Q D"]) -> Float[Tensor, "Q E"]:
        """Encoded rows where the learner compares them."""
        return learned_features(self.learner, self.params, self.fast, x)

    def checked(self) -> Self:
        """Itself, once its learner took the support; raises ValueError where it can't, as with too many classes."""
        with torch.no_grad():
            scores = means(
                self.learner.predict(self.params, self.fast, torch.as_tensor(self.rows[:1], dtype=torch.float64))
            )
        if not scores.isfinite().all():
            raise ValueError(
                "its learner answers NaN or infinity: leave out rows of extreme numbers, or take another learner"
            )
        return self

    def save(self, path: str | Path) -> None:
        """Write it into one safetensors file, whole or not at all; nothing in the file is code.

        Raises ValueError for a custom learner, and OSError when the folder can't be written.
        """
        head, head_tensors = self.head.to_file()
        header, labels = self._kept_labels()
        arrays = {name: part for name, part in self.encoder.state.items() if isinstance(part, np.ndarray)}
        state = {name: part for name, part in self.encoder.state.items() if name not in arrays}
        about = {
            "card": CARD,
            "kind": self.problem,
            "encoder": {"name": self.encoder.name, "version": self.encoder.version, "state": state},
            "head": head,
            "reads": self.note,
            "sources": self.sources,
            **header,
        }
        tensors = {"rows": self.rows, "weight": self.weight.astype(np.float64), **labels}
        tensors["digests"] = self.digests_with(np.zeros(0, np.int64))
        tensors |= {_ENCODER + name: part for name, part in arrays.items()}
        tensors |= head_tensors
        tensor_file.save_tensors(path_of(path), {name: torch.tensor(part) for name, part in tensors.items()}, about)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """What a file holds; nothing in it is run, and all of it is looked at before it is believed.

        Raises ValueError for a file that is missing, cut short, damaged, of a later version, for another problem, or
        of another encoder.
        """
        path = path_of(path)
        leaves, about = tensor_file.load_tensors(path, "predictor", AGAIN)
        try:
            tensors = {name: leaf.numpy() for name, leaf in leaves.items()}
            if about["kind"] != cls.problem and about["kind"] in _OPENED_BY:
                raise _Refused(_OPENED_BY[about["kind"]])
            encoder = _encoder(about["encoder"], tensors)
            common = (tensors[name] for name in ("rows", "weight", "digests"))
            if fault := _fault(about, *common) or cls._label_fault(about, tensors):
                raise ValueError(fault)
            head = head_of_file(about["head"], tensors, encoder, cls.problem)
            # What the learner makes of the support is needed anyway, and shows whether its weights are whole.
            return cls._of_file(encoder, head, about, tensors).checked()
        except _Refused as refused:
            raise ValueError(f"{path} {refused}") from None
        except tensor_file.DAMAGE as problem:
            raise ValueError(tensor_file.damaged(path, "predictor", problem, AGAIN)) from None

    def _kept_labels(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What a file keeps of the labels: in its header, JSON-ready, and as arrays."""
        raise NotImplementedError

    @classmethod
    def _label_fault(cls, about: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
        """What is wrong with that; "" when nothing is."""
        raise NotImplementedError

    @classmethod
    def _of_file(
        cls, encoder: Encoder, head: Head, about: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
    ) -> Self:
        """The predictor of a file in which nothing is wrong."""
        raise NotImplementedError

    def digests_with(self, new: Int64[np.ndarray, "N"]) -> Int64[np.ndarray, "S"]:
        """The digests of the rows and of more; 0 where unknown."""
        known = self.digests if len(self.digests) else np.zeros(len(self.rows), np.int64)
        return np.concatenate([known, new])

    def source_of(self, row: int) -> str:
        """Where a row came from, or its place where that is unknown."""
        return (self.sources[row] if self.sources else "") or f"example {row}"

    def row_named(self, name: str) -> int:
        """The place of the row that came from there, or is called by its place: 7, or "example 7".

        Raises ValueError for a name that no row has, with the nearest, and for one of several rows, with their places.
        """
        rows = [row for row, source in enumerate(self.sources) if source == name]
        place = name.removeprefix("example ")
        if not rows and place.isascii() and place.isdigit() and len(place) < 19:
            rows = [int(place)] if int(place) < len(self.rows) else []
        if len(rows) == 1:
            return rows[0]
        if rows:
            raise ValueError(f"{len(rows)} rows are called {name!r}: give one by its place, {_listed(rows)}")
        near = suggestion(name, [source for source in self.sources if source]) if any(self.sources) else ""
        there = f"give a place from 0 to {len(self.rows) - 1}" if len(self.rows) else "there are no examples"
        raise ValueError(f"there is no row {name!r}: {near or there}")

    def sources_with(self, count: int, sources: Sequence[str]) -> tuple[str, ...]:
        """Where the rows came from, with so many more; empty where unknown."""
        known, new = self.sources or ("",) * len(self.rows), tuple(sources) or ("",) * count
        return known + new if any(known + new) else ()


def _listed(rows: Sequence[int]) -> str:
    return ", ".join(map(str, rows[:20])) + (" or another" if len(rows) > 20 else "")


_ENCODER = "encoder/"
"""Before the names of an encoder's arrays, in a file."""


class _Refused(Exception):
    """Why a whole file is not taken, as the end of a sentence that begins with its name."""


def _encoder(about: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Encoder:
    name, version, state = about["name"], about["version"], about["state"]
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
    arrays = {path.removeprefix(_ENCODER): part for path, part in tensors.items() if path.startswith(_ENCODER)}
    restored = encoder.with_state({**state, **arrays})
    # A name in both, or an array for an encoder that has none, is nothing that was saved.
    if arrays and (state.keys() & arrays.keys() or not arrays.keys() <= restored.state.keys()):
        raise ValueError(f"the encoder {name} has no arrays {', '.join(sorted(arrays))[:80]}")
    return restored


def _fault(
    about: Mapping[str, Any],
    rows: np.ndarray,
    weight: np.ndarray,
    digests: np.ndarray,
) -> str:
    """What is wrong with the parts that every file has; "" when nothing is."""
    note, sources = about["reads"], about["sources"]
    if about["kind"] not in _OPENED_BY:
        return f"it is for a problem that is unknown, {about['kind']!r}"
    if not isinstance(note, str):
        return "its note is no text"
    if not isinstance(sources, list) or not all(isinstance(source, str) for source in sources):
        return "what its rows came from is no list of texts"
    if len(sources) not in (0, len(rows)):
        return f"there are {len(rows)} rows, and {len(sources)} places they came from"
    empty = 0 in (rows.shape[1:] if about.get("descriptions") else rows.shape)
    if rows.ndim < 2 or rows.dtype.kind != "f" or empty or not np.isfinite(rows).all():
        return f"its rows are {rows.dtype} of shape {rows.shape}, or hold NaN"
    if weight.shape != (len(rows),) or not (np.isfinite(weight).all() and (weight > 0).all()):
        return "its weights are no positive number for each row"
    if digests.shape != (len(rows),) or digests.dtype != np.int64:
        return f"there are {len(rows)} rows, and digests {digests.dtype} of shape {digests.shape}"
    return ""
