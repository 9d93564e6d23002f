"""A trained run as what stands behind an encoder: its learner and params, without its data."""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from mapwise.core import functional
from mapwise.core.embedding import EmbeddingLearner
from mapwise.core.learner import Learner
from mapwise.core.task import TaskShape
from mapwise.core.tree import Params
from mapwise.encoders.encoder import Encoder
from mapwise.run import LearnerSettings, RunSettings, fits, load_params, source_row

_EMBEDDED = 256
"""Rows that a network is given together."""


@dataclass(frozen=True, eq=False)
class TrainedLearner:
    """The learner of a run with the params that it selected: all that is needed to teach it a task, without its data.

    settings: what the learner is made by.
    encoder:  what makes rows such as it was trained on of raw ones; None: nothing does.
    """

    settings: LearnerSettings
    learner: Learner
    params: Params
    encoder: Encoder | None

    @classmethod
    def of_run(cls, folder: Path) -> "TrainedLearner":
        """That of a run's folder.

        Raises ValueError for a folder that is no finished run, and for a learner that answers a query by its
        neighbours.
        """
        settings = RunSettings.read(folder)
        params, _ = load_params(folder)
        if settings.kind is None or settings.input_shape is None or settings.outputs is None:
            raise ValueError(f"{folder} doesn't say what rows it was trained on: train it again")
        shape = TaskShape(settings.kind, settings.input_shape, settings.outputs)
        make = source_row(settings.source)[0].encoder
        found = cls.of(LearnerSettings.of(settings, shape), params, make and make(shape.input_shape))
        if {"alone", "padding"} - found.learner.keeps:
            raise ValueError(
                f"{folder} answers a row by the rows that are asked beside it, so that it can't stand behind a "
                "predictor: train it with --net.norm support, or frozen"
            )
        return found

    @classmethod
    def of(cls, settings: LearnerSettings, params: Params, encoder: Encoder | None) -> "TrainedLearner":
        """Raises ValueError for settings of no learner, and for params that are not of it."""
        learner = settings.made()
        if not fits(learner, params):
            raise ValueError(f"its weights are not those of {settings.learner}")
        return cls(settings, learner, params, encoder)

    @cached_property
    def behind(self) -> tuple[Learner, Params]:
        """What is taught: the learner over rows as `embedded` gives them, and its params."""
        return self._over_embedded or (self.learner, self.params)

    @cached_property
    def _over_embedded(self) -> tuple[Learner, Params] | None:
        return self.learner.over_embedded(self.params) if isinstance(self.learner, EmbeddingLearner) else None

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of a row as `embedded` gives it."""
        learner = self.learner
        if self._over_embedded is None or not isinstance(learner, EmbeddingLearner):
            return self.settings.shape.input_shape
        return (math.prod(functional.output_shape(learner.encoder)),)

    @torch.no_grad()
    def embedded(self, rows: Float[np.ndarray, "N *input"]) -> Float[np.ndarray, "N *D"]:
        """Rows in the learned space, where the learner has one in which a row stands by itself; else as they are."""
        learner = self.learner
        if self._over_embedded is None or not isinstance(learner, EmbeddingLearner):
            return rows
        parts = torch.split(torch.as_tensor(rows, dtype=torch.float32), _EMBEDDED)
        found: np.ndarray = torch.cat([learner.encode(self.params, part) for part in parts]).numpy()
        return found
