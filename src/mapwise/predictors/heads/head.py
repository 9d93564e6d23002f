"""What stands behind an encoder: a named row of the catalog, a custom learner, or the learner of a trained run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from jaxtyping import Float

from mapwise.catalog.encoders import encoder_named, encoders_of
from mapwise.catalog.heads import HEADS, REGRESSION_HEADS
from mapwise.catalog.rows import HeadRow, named
from mapwise.core.fields import quote
from mapwise.core.learner import Learner
from mapwise.core.task import Examples
from mapwise.core.tree import Params
from mapwise.data.modality import Modality
from mapwise.encoders.encoder import Encoder

AUTO = "auto"
"""The name of what fits best, whatever it is called."""
NAMED: dict[str, Mapping[str, HeadRow]] = {"classification": HEADS, "regression": REGRESSION_HEADS}
"""The heads that have a name, by the problem they are for."""


class Head(Protocol):
    """A learner for every support, with its params."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    @property
    def setting(self) -> Any:
        """The `learner` with which an estimator makes it again."""
        ...

    @property
    def problem(self) -> str | None:
        """The name of the problem it is for; None: any."""
        ...

    @property
    def tunes(self) -> bool:
        """Whether the encoder is tuned on the support first."""
        ...

    @property
    def by_class(self) -> bool:
        """Whether each class is learned from its own rows alone, so that many are learned a few at a time."""
        ...

    def encoders_called(self, name: str, reads: Modality) -> list[Encoder]:
        """The encoder of this name, for rows of this kind; "auto": those to compare, the cheaper before the dearer.

        Raises ValueError for a name that isn't there, and for an encoder that the head can't stand behind.
        """
        ...

    def encode(self, rows: Float[np.ndarray, "N *input"]) -> Float[np.ndarray, "N *D"]:
        """Encoded rows with all done to them that doesn't depend on the support.

        Raises ValueError for rows of a shape that the learner doesn't take.
        """
        ...

    def learner_for(self, support: Examples) -> Learner:
        """The learner for a support of such rows."""
        ...

    def params_of(self, learner: Learner) -> Params:
        """The params of a learner that it made."""
        ...

    def whole(self, support: Examples) -> tuple[Learner, Params, Examples]:
        """The learner for a support, over rows as the encoder gives them; its params; and a support of such rows."""
        ...

    def to_file(self) -> tuple[Any, dict[str, np.ndarray]]:
        """What a file keeps: JSON-ready, and as arrays; raises ValueError when no file can keep it."""
        ...


class _OverEncoded:
    """A head that takes rows as any encoder gives them."""

    def learner_for(self, support: Examples) -> Learner:
        """The learner for a support of such rows."""
        raise NotImplementedError

    def encoders_called(self, name: str, reads: Modality) -> list[Encoder]:
        """The encoder of this name; "auto": those of the catalog that can run here."""
        return encoders_of(reads) if name == AUTO else [encoder_named(name, fetch=True)]

    def encode(self, rows: Float[np.ndarray, "N *D"]) -> Float[np.ndarray, "N *D"]:
        """The same rows."""
        return rows

    def params_of(self, learner: Learner) -> Params:
        """Those before any training."""
        return learner.init(0)

    def whole(self, support: Examples) -> tuple[Learner, Params, Examples]:
        """The learner for the support, which holds such rows."""
        learner = self.learner_for(support)
        return learner, self.params_of(learner), support


@dataclass(frozen=True)
class NamedHead(_OverEncoded):
    """A row of the catalog.

    problem: the name of the problem that the catalog lists it for.
    """

    name: str
    problem: str

    @classmethod
    def of(cls, name: str, problem: str) -> "NamedHead":
        """The head of this name; raises ValueError when there is none."""
        named(NAMED[problem], name, "learner")
        return cls(name, problem)

    @property
    def setting(self) -> str:
        """The name."""
        return self.name

    @property
    def tunes(self) -> bool:
        """As its row says."""
        return NAMED[self.problem][self.name].tunes

    @property
    def by_class(self) -> bool:
        """As its row says."""
        return NAMED[self.problem][self.name].by_class

    def learner_for(self, support: Examples) -> Learner:
        """As its row makes it."""
        return NAMED[self.problem][self.name](support)

    def to_file(self) -> tuple[str, dict[str, np.ndarray]]:
        """The name."""
        return self.name, {}


@dataclass(frozen=True)
class CustomHead(_OverEncoded):
    """A learner of the user's own."""

    problem: ClassVar[str | None] = None
    tunes: ClassVar[bool] = False
    by_class: ClassVar[bool] = False

    learner: Learner

    @property
    def name(self) -> str:
        """The learner's class."""
        return type(self.learner).__name__

    @property
    def setting(self) -> Learner:
        """The learner."""
        return self.learner

    def learner_for(self, support: Examples) -> Learner:
        """The learner, whatever the support."""
        return self.learner

    def to_file(self) -> tuple[str, dict[str, np.ndarray]]:
        """Raises ValueError: another machine doesn't have its code."""
        raise ValueError(
            f"a custom learner ({self.name}) can't be saved in a file: take one by its name, such as ridge, or a run's "
            "folder"
        )


def head_of(learner: "str | Path | Learner | Head", problem: str) -> Head:
    """The head of what a user gives: a name, a run's folder, a learner, or a head; for the problem of this name.

    Raises ValueError for a name that isn't there, for a folder whose learner can't stand behind an encoder, and for a
    run that was trained for another problem.
    """
    head: Head
    if isinstance(learner, Learner):
        head = CustomHead(learner)
    elif isinstance(learner, str | Path):
        folder = Path(learner).expanduser()
        is_path = len(folder.parts) > 1 or _is_folder(folder)
        if isinstance(learner, str) and (learner in NAMED[problem] or not is_path):
            head = NamedHead.of(learner, problem)
        else:
            from mapwise.predictors.heads.trained_learner import TrainedLearner  # here, since it needs every learner

            head = TrainedLearner.of_run(folder)
    elif isinstance(learner, type) or not hasattr(learner, "learner_for"):
        raise ValueError(f"learner is {quote(learner)}: give a name, a run's folder, or a learner")
    else:
        head = learner
    if head.problem not in (None, problem):
        raise ValueError(f"the learner was trained for {head.problem} and {problem} is needed: take another run")
    return head


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name too long for a file
        return False


def head_of_file(about: Any, tensors: dict[str, np.ndarray], encoder: Encoder, problem: str) -> Head:
    """The head that `to_file` kept; raises ValueError for one that isn't there or is for another problem."""
    if isinstance(about, str):
        return NamedHead.of(about, problem)
    from mapwise.predictors.heads.trained_learner import TrainedLearner  # here, since it needs every learner

    head = TrainedLearner.of_file(about, tensors, encoder)
    if head.problem != problem:
        raise ValueError(f"its learner is for {head.problem}")
    return head


def encoders_for(given: str | Encoder, reads: Modality, head: Head) -> list[Encoder]:
    """The encoder of this name before this head; for "auto" those to compare, the cheaper before the dearer; an encoder
    stays itself.

    reads: what the rows look like.

    Raises ValueError for a name that isn't there, for an encoder that reads something else, and for a trained learner
    whose rows nothing makes as its training did.
    """
    encoders = head.encoders_called(given, reads) if isinstance(given, str) else [given]
    for encoder in encoders:
        if reads != encoder.reads and not (encoder.reads == "pictures" and reads == "texts"):  # paths of unusual names
            raise ValueError(
                f"the encoder {encoder.name} reads {encoder.reads} and the rows look like {reads}: take another "
                "encoder, or leave it to auto"
            )
    return encoders
