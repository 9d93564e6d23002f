"""A predictor as the server holds it: a value with a version, which may have too few examples to predict yet."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float

from mapwise.data.modality import Modality
from mapwise.predictors.classes import Predictor
from mapwise.predictors.diagnostics import novelty
from mapwise.predictors.diagnostics.plane import Plane
from mapwise.predictors.evidence.held_out import HeldOut
from mapwise.predictors.evidence.novelty import REFUSE, ClassCentres


@dataclass(frozen=True)
class Draft:
    """What a predictor is besides its examples.

    name:     what people call it.
    encoder:  by its name.
    learner:  by its name.
    auto:     whether the learner was left to mapwise.
    classes:  the number, which never changes, and the name of each, in the predictor's order.
    next_class: the number of the next class.
    names:    whether the names of classes are descriptions.
    sentences: class number -> sentences about it.
    state:    what the encoder was fitted to, JSON-ready.
    base:     the file, in the folder, from which encoder and learner come; "" for none.
    optimism: by how much its accuracy is too high for having been chosen.
    """

    name: str
    modality: Modality
    encoder: str
    learner: str
    auto: bool
    classes: tuple[tuple[int, str], ...] = ()
    next_class: int = 1
    names: bool = True
    sentences: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)
    base: str = ""
    optimism: float = 0.0

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names, in the predictor's order."""
        return tuple(name for _, name in self.classes)

    def number_of(self, name: str) -> int:
        """The number of a class that is there."""
        return next(number for number, other in self.classes if other == name)

    def with_classes(self, names: tuple[str, ...]) -> Self:
        """With these classes: those of before by their name, and the others with numbers of their own."""
        known = {name: number for number, name in self.classes}
        classes, following = [], self.next_class
        for name in names:
            if name not in known:
                known[name], following = following, following + 1
            classes.append((known[name], name))
        return replace(self, classes=tuple(classes), next_class=following)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> Self:
        """The draft that `to_json` gave."""
        classes = tuple((number, name) for number, name in content["classes"])
        sentences = {int(number): tuple(texts) for number, texts in content["sentences"].items()}
        return cls(**{**content, "classes": classes, "sentences": sentences})


@dataclass(frozen=True)
class Evidence:
    """What cross-validation says of one version of a predictor.

    seconds: that it took.
    """

    report: HeldOut
    temperature: float
    detection: Mapping[str, Any]
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Live:
    """One version of a predictor.

    predictor: None where there is nothing to predict from: no example, and no names that say something.
    examples:  the number of each of its rows.
    parent:    the version that an undo returns to; 0 for none.
    temperature: of its probabilities, as far as it is known: that of an earlier version until its own is computed.
    evidence:  None until it is computed.
    """

    id: str
    version: int
    draft: Draft
    predictor: Predictor | None = None
    examples: tuple[int, ...] = ()
    parent: int = 0
    next_example: int = 1
    temperature: float | None = None
    evidence: Evidence | None = None
    created: float = 0.0
    updated: float = 0.0

    @property
    def tag(self) -> str:
        """The entity tag of this version."""
        return f'"{self.version}"'

    @cached_property
    def missing(self) -> str:
        """What is missing before it can predict; "" where nothing is."""
        predictor = self.predictor
        if predictor is None:
            names = ", or names that say what they are about" if self.reads_texts else ""
            return f"there is nothing to learn from yet: give two classes an example each{names}"
        known = [] if predictor.description_rows is None else predictor.description_rows.y.argmax(1).tolist()
        present = {*predictor.columns.tolist(), *known}
        if len(present) < 2:
            names = ", ".join(predictor.classes[place] for place in sorted(present)) or "no class"
            return f"two classes with an example are needed, and there are examples of {names}: give one of another"
        return ""

    @property
    def reads_texts(self) -> bool:
        """Whether its rows are texts."""
        return self.draft.modality == "texts"

    @cached_property
    def furthest(self) -> tuple[float | None, str]:
        """Beyond which novelty a row is none of the classes; None where that is unknown, and why."""
        assert self.predictor is not None
        try:
            return novelty.furthest(self.predictor, REFUSE), ""
        except ValueError as few:
            return None, f"what is none of these is unknown: {few}"

    @cached_property
    def centres(self) -> ClassCentres:
        """The means of its classes, from which novelty is measured."""
        assert self.predictor is not None
        return novelty.centres_of(self.predictor)

    @cached_property
    def plane(self) -> Plane | None:
        """The plane of the map of its examples; None where there is none."""
        return None if self.predictor is None or not len(self.predictor.rows) else Plane.of(self.predictor)

    def chances(self, rows: Float[np.ndarray, "Q D"]) -> Float[np.ndarray, "Q W"]:
        """The probabilities of the classes, by the temperature that is known so far."""
        assert self.predictor is not None
        scores = torch.as_tensor(self.predictor.scores_of(rows))
        chances: np.ndarray = torch.softmax(scores / (self.temperature or 1.0), dim=-1).numpy()
        return chances

    def unknown(self, rows: Float[np.ndarray, "Q D"]) -> list[bool | None]:
        """Whether each encoded row is none of the classes; None where that is unknown."""
        assert self.predictor is not None
        end, _ = self.furthest
        if end is None:
            return [None] * len(rows)
        far: list[bool | None] = (novelty.novelties(self.predictor, rows, self.centres) > end).tolist()
        return far
