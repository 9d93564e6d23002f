"""What a few examples taught, of whatever they hold: encoded rows, a learner behind them, and the file of both."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
import safetensors
import safetensors.numpy
import torch
from jaxtyping import Float, Int64
from pydantic import ValidationError
from torch import Tensor

from mapwise.catalog import encoder_named, encoder_of, has_encoder, named
from mapwise.core import tree
from mapwise.core.files import write_atomically
from mapwise.core.learner import Learner
from mapwise.core.losses import means
from mapwise.core.task import Examples, Kind
from mapwise.core.tree import Fast, Params
from mapwise.encoders.encoder import Encoder, Raw
from mapwise.predictors.trained_learner import TrainedLearner
from mapwise.run import LearnerSettings

AUTO = "auto"
"""What fits, whatever it is called."""
VERSION = 1
CARD = (
    "A predictor of mapwise. It holds the embeddings of the examples it was taught with (of some trained learners the "
    "pixels themselves), and what a table's columns held: from these, something of the examples can be guessed. It may "
    "name the files or lines they came from. Share it as you would share the examples."
)
_OPENED_BY: dict[Any, str] = {
    "classification": "holds a predictor of classes: open it with FewShotClassifier",
    "regression": "holds a predictor of numbers: open it with FewShotRegressor",
}


Head: TypeAlias = str | Learner | TrainedLearner
"""What stands behind an encoder."""


class Taught:
    """A fitted encoder, a learner over encoded rows, and the support's rows with their weights: a value.

    What extends it is a frozen dataclass with these fields, and says what each row was labelled with.

    head: the name of one of `heads`, a learner over encoded rows, or one that a run trained.

    Rows are kept as the encoder gave them, and everything behind it is computed in float64: heads are small, and a
    query then scores the same alone as among others.
    """

    kind: ClassVar[Kind]
    heads: ClassVar[Mapping[str, Callable[[Examples], Learner]]]
    """The learners that have a name here."""

    encoder: Encoder
    head: Head
    rows: Float[np.ndarray, "S *D"]
    weight: Float[np.ndarray, "S"]
    note: str
    sources: tuple[str, ...]
    digests: Int64[np.ndarray, "S"]

    @classmethod
    def head_called(cls, name: str | Path) -> Head:
        """The learner of this name, or the one that was trained into this run's folder.

        Raises ValueError for a name that isn't there, and for a folder whose learner can't stand behind an encoder.
        """
        folder = Path(name).expanduser()
        if isinstance(name, str) and (name in cls.heads or not (len(folder.parts) > 1 or folder.is_dir())):
            named(cls.heads, name, "learner")
            return name
        found = TrainedLearner.of_run(folder)
        if found.settings.shape.kind != cls.kind:
            raise ValueError(
                f"{folder} was trained on tasks of kind {found.settings.shape.kind} and this is one of {cls.kind}: "
                "take another run"
            )
        return found

    @classmethod
    def _encoded_by(cls, encoder: Encoder, head: Head, X: Any, weight: np.ndarray) -> tuple[Encoder, np.ndarray]:
        """The encoder fitted to these raw rows, and the rows.

        Raises ValueError for a head that isn't there or reads other rows, and for rows that the encoder can't read.
        """
        if isinstance(head, str):
            named(cls.heads, head, "learner")  # now, and not after a minute of encoding
        fitted = encoder.fitted(X, weight)
        rows = fitted(X)
        if not isinstance(head, TrainedLearner):
            return fitted, rows
        if rows.shape[1:] != head.settings.shape.input_shape:
            raise ValueError(
                f"the learner was trained on rows of shape {head.settings.shape.input_shape} and the encoder "
                f"{encoder.name} gives rows of shape {rows.shape[1:]}: leave the encoder out, or take another learner"
            )
        return fitted, head.embedded(rows)

    @property
    def labels(self) -> Float[np.ndarray, "S W"]:
        """What each row was labelled with, as a learner takes it."""
        raise NotImplementedError

    def scores(self, X: Any) -> Float[np.ndarray, "Q W"]:
        """The head's scores of raw rows; a class without support rows is out of reach."""
        return self.scores_of(self.encoded(X))

    def encoded(self, X: Any) -> Float[np.ndarray, "Q D"]:
        """Raw rows as the encoder makes them; raises ValueError when those of the support are of another width."""
        rows = self.encoder(X)
        if isinstance(self.head, TrainedLearner):
            rows = self.head.embedded(rows)
        if rows.shape[1:] != self.rows.shape[1:]:
            raise ValueError(
                f"the encoder gives rows of shape {rows.shape[1:]} and the support holds {self.rows.shape[1:]}: the "
                "predictor is damaged, so fit it again"
            )
        return rows

    def scores_of(self, rows: Float[np.ndarray, "Q D"]) -> Float[np.ndarray, "Q W"]:
        """The head's scores of rows that are encoded already."""
        x = torch.as_tensor(rows, dtype=torch.float64)
        with torch.no_grad():
            return means(self.learner.predict(self._params, self._fast, x)).numpy()

    @cached_property
    def support(self) -> Examples:
        """The encoded support, as a learner takes it."""
        x, y, weight = (torch.as_tensor(part, dtype=torch.float64) for part in (self.rows, self.labels, self.weight))
        return Examples(x, y, weight, torch.zeros((), dtype=torch.int64))

    @cached_property
    def learner(self) -> Learner:
        """The learner behind the encoder."""
        return self._made_for(self.support)

    def _made_for(self, support: Examples) -> Learner:
        if isinstance(self.head, TrainedLearner):
            return self.head.behind[0]
        return self.heads[self.head](support) if isinstance(self.head, str) else self.head

    @cached_property
    def _params(self) -> Params:
        params = self.head.behind[1] if isinstance(self.head, TrainedLearner) else self.learner.init(0)
        return tree.map(Tensor.double, params)

    @property
    def called(self) -> str:
        """What stands behind the encoder, by its name."""
        if isinstance(self.head, TrainedLearner):
            return f"{self.head.settings.learner}, trained"
        return self.head if isinstance(self.head, str) else type(self.head).__name__

    @cached_property
    def _fast(self) -> Fast:
        return tree.detach(self.learner.adapt(self._params, self.support))

    def checked(self) -> Self:
        """Itself, once its learner took the support; raises ValueError where it can't, as with too many classes."""
        with torch.no_grad():
            said = means(self.learner.predict(self._params, self._fast, self.support.x[:1]))
        if not said.isfinite().all():
            raise ValueError(
                "its learner answers NaN or infinity: leave out rows of extreme numbers, or take another learner"
            )
        return self

    def save(self, path: str | Path) -> None:
        """Write it into one safetensors file, whole or not at all; nothing in the file is code.

        Raises ValueError for a learner without a name, and OSError when the folder can't be written.
        """
        if isinstance(self.head, Learner):
            raise ValueError(
                f"a learner of one's own ({type(self.head).__name__}) has no name that a file could keep: take one of "
                f"{', '.join(self.heads)}, or a run's folder"
            )
        said, labels = self._kept_labels()
        trained = self.head if isinstance(self.head, TrainedLearner) else None
        arrays = {name: part for name, part in self.encoder.state.items() if isinstance(part, np.ndarray)}
        state = {name: part for name, part in self.encoder.state.items() if name not in arrays}
        about = {
            "version": VERSION,
            "kind": self.kind,
            "encoder": {"name": self.encoder.name, "version": self.encoder.version, "state": state},
            "head": self.head if trained is None else trained.settings.model_dump(),
            "reads": self.note,
            "sources": self.sources,
            **said,
        }
        header = {"mapwise": json.dumps(about), "card": CARD}
        tensors = {"rows": self.rows, "weight": self.weight.astype(np.float64), **labels}
        tensors["digests"] = self._digests_with(np.zeros(0, np.int64))
        tensors |= {_ENCODER + name: part for name, part in arrays.items()}
        if trained is not None:
            tensors |= {_WEIGHTS + path: leaf.numpy() for path, leaf in tree.flatten(trained.params).items()}
        data = safetensors.numpy.save({name: np.asarray(part, order="C") for name, part in tensors.items()}, header)
        write_atomically(path, lambda file: file.write(data))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """What a file holds; nothing in it is run, and all of it is looked at before it is believed.

        Raises ValueError for a file that is missing, cut short, damaged, of a later version, of another kind of task or
        another encoder.
        """
        path = Path(path)
        try:
            with safetensors.safe_open(str(path), framework="np") as file:
                about = json.loads((file.metadata() or {})["mapwise"])
                version, kind = about["version"], about["kind"]
                if isinstance(version, int) and version > VERSION:
                    raise _Refused(f"is of format {version} and this mapwise reads up to {VERSION}: upgrade mapwise")
                if kind != cls.kind and kind in _OPENED_BY:
                    raise _Refused(_OPENED_BY[kind])
                tensors = {name: np.array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118 (no mapping)
            encoder = _encoder(about["encoder"], tensors)
            common = (tensors[name] for name in ("rows", "weight", "digests"))
            if fault := _fault(about, *common) or cls._label_fault(about, tensors):
                raise ValueError(fault)
            found = cls._of_file(encoder, cls._head_of_file(about["head"], tensors, encoder), about, tensors)
            # What a trained learner makes of the support is needed anyway, and shows whether its weights are whole.
            return found.checked() if isinstance(found.head, TrainedLearner) else found
        except FileNotFoundError:
            raise ValueError(f"there is no file {path}: check the path, or make it with mapwise fit") from None
        except _Refused as refused:
            raise ValueError(f"{path} {refused}") from None
        except _DAMAGE as problem:
            why = _short(problem)
            raise ValueError(f"{path} is no whole predictor ({why}): restore it or fit it again") from None

    def _kept_labels(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What a file keeps of the labels: in its header, JSON-ready, and as arrays."""
        raise NotImplementedError

    @classmethod
    def _label_fault(cls, about: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
        """What is wrong with that; "" when nothing is."""
        raise NotImplementedError

    @classmethod
    def _head_of_file(cls, head: Any, tensors: Mapping[str, np.ndarray], encoder: Encoder) -> Head:
        """Raises ValueError for a head that isn't there, and for weights that aren't those of it."""
        if isinstance(head, str):
            named(cls.heads, head, "learner")
            return head
        try:
            settings = LearnerSettings.model_validate(head)
        except ValidationError as problem:
            first = problem.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(f"its learner's settings are damaged, {where}: {first['msg']}") from None
        if settings.shape.kind != cls.kind:
            raise ValueError(f"its learner is for tasks of kind {settings.shape.kind}")
        weights = {path: leaf for path, leaf in tensors.items() if path.startswith(_WEIGHTS)}
        params = {path.removeprefix(_WEIGHTS): torch.as_tensor(leaf) for path, leaf in weights.items()}
        found = TrainedLearner.of(settings, tree.unflatten(params), encoder)
        if tensors["rows"].shape[1:] != found.row_shape:
            raise ValueError(
                f"its learner takes rows of shape {found.row_shape}, and its rows are {tensors['rows'].shape}"
            )
        return found

    @classmethod
    def _of_file(
        cls, encoder: Encoder, head: Head, about: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
    ) -> Self:
        """The predictor of a file in which nothing is wrong."""
        raise NotImplementedError

    def _digests_with(self, new: Int64[np.ndarray, "N"]) -> Int64[np.ndarray, "S"]:
        """The digests of the rows and of more; 0 for those of which nobody said."""
        known = self.digests if len(self.digests) else np.zeros(len(self.rows), np.int64)
        return np.concatenate([known, new])

    def _sources_with(self, count: int, sources: Sequence[str]) -> tuple[str, ...]:
        """Where the rows came from, with so many more; empty when nobody said."""
        known, new = self.sources or ("",) * len(self.rows), tuple(sources) or ("",) * count
        return known + new if any(known + new) else ()


def encoder_for(name: str, kind: Raw, head: Head) -> Encoder:
    """The encoder of this name; for "auto" the first that reads such rows. A trained learner has its own.

    kind: what the rows look like.

    Raises ValueError for a name that isn't there, for an encoder that reads something else, and for a trained learner
    whose rows nothing makes as its training did.
    """
    if not isinstance(head, TrainedLearner):
        encoder = encoder_of(kind) if name == AUTO else encoder_named(name, fetch=True)
    elif head.encoder is None:
        raise ValueError(
            f"the run of {head.settings.learner} was trained on rows that nothing makes of {kind} as its training did: "
            "take a run on pictures"
        )
    elif name not in (AUTO, head.encoder.name):
        raise ValueError(
            f"the learner was trained on rows of the encoder {head.encoder.name} and {name} is asked for: leave the "
            "encoder out"
        )
    else:
        encoder = head.encoder
    if kind != encoder.reads and not (encoder.reads == "pictures" and kind == "texts"):  # paths of unusual names
        raise ValueError(
            f"the encoder {encoder.name} reads {encoder.reads} and the rows look like {kind}: take another encoder, or "
            "leave it to auto"
        )
    return encoder


_ENCODER = "encoder/"
"""Before the names of an encoder's arrays, in a file."""
_WEIGHTS = "learner/"
"""Before the path of a weight of a trained learner, in a file."""
_DAMAGE = (
    *(safetensors.SafetensorError, KeyError, TypeError, ValueError, RecursionError, MemoryError, OSError),
    RuntimeError,  # torch's, for sizes that no memory holds
)
"""What reading a file that was cut short, or written by an enemy, may end in."""


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
    found = encoder.with_state({**state, **arrays})
    # A name in both, or an array for an encoder that has none, is nothing that was saved.
    if arrays and (state.keys() & arrays.keys() or not arrays.keys() <= found.state.keys()):
        raise ValueError(f"the encoder {name} has no arrays {', '.join(sorted(arrays))[:80]}")
    return found


def _fault(
    about: Mapping[str, Any],
    rows: np.ndarray,
    weight: np.ndarray,
    digests: np.ndarray,
) -> str:
    """What is wrong with the parts that every file has; "" when nothing is."""
    note, sources = about["reads"], about["sources"]
    if about["version"] != VERSION:
        return f"its format is {about['version']!r}"
    if about["kind"] not in _OPENED_BY:
        return f"it is for no kind of task that is known, {about['kind']!r}"
    if not isinstance(note, str):
        return "its note is no text"
    if not isinstance(sources, list) or not all(isinstance(source, str) for source in sources):
        return "what its rows came from is no list of texts"
    if len(sources) not in (0, len(rows)):
        return f"there are {len(rows)} rows, and {len(sources)} places they came from"
    if rows.ndim < 2 or rows.dtype.kind != "f" or 0 in rows.shape or not np.isfinite(rows).all():
        return f"its rows are {rows.dtype} of shape {rows.shape}, or hold NaN"
    if weight.shape != (len(rows),) or not (np.isfinite(weight).all() and (weight > 0).all()):
        return "its weights are no positive number for each row"
    if digests.shape != (len(rows),) or digests.dtype != np.int64:
        return f"there are {len(rows)} rows, and digests {digests.dtype} of shape {digests.shape}"
    return ""


def _short(problem: BaseException) -> str:
    text = " ".join(str(problem).split()) or type(problem).__name__
    return f"it has no {text}" if isinstance(problem, KeyError) else text[:200]
