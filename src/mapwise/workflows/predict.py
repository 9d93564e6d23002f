"""Answers of a predictor of classes to raw rows."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mapwise.encoders.encoder import cut_rows
from mapwise.predictors.classes import Predictor
from mapwise.predictors.diagnostics import novelty
from mapwise.predictors.evidence.novelty import Detection
from mapwise.workflows.reading import placed


@dataclass(frozen=True)
class Prediction:
    """The answer to one row.

    input:       what was asked about.
    label:       the most probable class.
    probability: 0..1.
    unknown:     whether it is none of the classes; None where that is unknown.
    cut:         whether the encoder didn't read its end, as of a long text.
    """

    input: str
    label: str
    probability: float
    unknown: bool | None
    cut: bool = False


@dataclass(frozen=True)
class Predictions:
    """Answers to rows, and why it is unknown which are none of the classes; "" where it is known.

    detection: how many rows of other classes are found to be that; None where none is to be rejected.
    """

    predictions: tuple[Prediction, ...]
    refuse: float
    why: str = ""
    detection: Detection | None = None

    @property
    def cut(self) -> int:
        """Of how many rows the encoder didn't read the end."""
        return sum(one.cut for one in self.predictions)

    def to_json(self) -> dict[str, Any]:
        """As a JSON-ready object."""
        return {
            "refuse": self.refuse,
            "predictions": [asdict(one) for one in self.predictions],
            "why": self.why,
            "detection": self.detection and self.detection.to_json(),
        }


def predict_rows(
    predictor: Predictor, rows: Any, sources: Sequence[str] | None = None, *, refuse: float = 0.05
) -> Predictions:
    """The class of each raw row, and whether it is none of them.

    sources: what each row is called in its answer; None: its place.
    refuse:  0..1: of rows of the classes, the share that may be taken for none of them; 0: none is.

    Raises ValueError for rows that can't be read, and for another share.
    """
    if not 0 <= refuse < 1:
        raise ValueError(f"refuse is {refuse:g} and a share from 0 to below 1 is needed: give 0.05, say")
    with placed(sources or ()):
        encoded = predictor.encoded(rows)
        cut = set(cut_rows(predictor.encoder, rows))
    unknown, why = _unknown(predictor, encoded, refuse)
    names = [str(place) for place in range(len(encoded))] if sources is None else sources
    chances = predictor.probabilities_of(encoded)
    predictions = tuple(
        Prediction(name, predictor.classes[int(chance.argmax())], float(chance.max()), no, place in cut)
        for place, (name, chance, no) in enumerate(zip(names, chances, unknown, strict=True))
    )
    return Predictions(predictions, refuse, why, novelty.detection(predictor, refuse) if refuse and not why else None)


def _unknown(predictor: Predictor, encoded: np.ndarray, refuse: float) -> tuple[list[bool | None], str]:
    """Whether each row is none of the classes, None where that is unknown; and why."""
    if refuse == 0:
        return [False] * len(encoded), ""
    try:
        return novelty.unknown(predictor, encoded, refuse).tolist(), ""
    except ValueError as few:
        return [None] * len(encoded), f"what is none of these is unknown: {few}"
