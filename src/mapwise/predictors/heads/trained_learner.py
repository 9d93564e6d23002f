"""A trained run as what stands behind an encoder: its learner and params, without its data."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from jaxtyping import Float
from pydantic import ValidationError

from mapwise.catalog.sources import SOURCES
from mapwise.core import random, tree
from mapwise.core.capabilities import Embeds, OverEmbedded
from mapwise.core.learner import Learner, nets_of
from mapwise.core.spec import plain_shape
from mapwise.core.task import Examples
from mapwise.core.tree import Params
from mapwise.data.modality import Modality
from mapwise.encoders.encoder import Encoder
from mapwise.runs.learner import LearnerSettings
from mapwise.runs.run import fits, load_params
from mapwise.runs.settings import RunSettings

_EMBEDDED = 256
"""Rows that a network is given together."""
LARGEST = 1 << 24
"""Numbers of one row that a file may ask for: a picture of 4096 x 4096."""
_WEIGHTS = "learner/"
"""Before the path of a weight, in a file."""


@dataclass(frozen=True, eq=False)
class TrainedLearner:
    """The learner of a run with the params that it selected, without its data: a head, see `predictors.heads`.

    settings: what the learner is made by.
    encoder:  what makes rows such as it was trained on of raw ones; None: nothing does.
    """

    by_class: ClassVar[bool] = False
    """Not known of any learner."""
    tunes: ClassVar[bool] = False
    """No: its encoder makes rows such as it was trained on."""

    settings: LearnerSettings
    learner: Learner
    params: Params
    encoder: Encoder | None

    @classmethod
    def of_run(cls, folder: Path) -> "TrainedLearner":
        """That of a run's folder; nothing else is read.

        Raises ValueError for a folder that is no finished run, and for a learner that can't stand behind a predictor.
        """
        settings = RunSettings.read(folder)
        params, _ = load_params(folder)
        on = settings.trained_on
        if on is None:
            raise ValueError(
                f"{folder} is of an earlier version and doesn't say what it was trained on: mapwise train --resume "
                f"{folder} writes that down, where its data are"
            )
        make = SOURCES[on.source].encoder
        learner_settings = LearnerSettings.of(settings, on.shape)
        try:
            return cls.of(learner_settings, params, make and make(plain_shape(on.shape.inputs, "a predictor")))
        except ValueError as problem:
            raise ValueError(f"{folder} can't stand behind a predictor: {problem}") from None

    @classmethod
    def of(cls, settings: LearnerSettings, params: Params, encoder: Encoder | None) -> "TrainedLearner":
        """The learner that these settings make, with these params; the settings are not believed before they fit them.

        Raises ValueError for settings of no learner, for params that are not of it, and for a learner that answers a
        row by others.
        """
        plain_shape(settings.shape.inputs, "a predictor")
        parts = settings.parts(params)
        for part, own in parts:
            _check_sizes(part, own)
        learner = settings.build()
        if not fits(learner, params):
            raise ValueError(f"its weights are not those of {settings.learner}")
        if "alone" not in learner.keeps:
            raise ValueError(
                "it answers a row by the rows that are asked beside it, so train it with --net.norm support, or frozen"
            )
        if "padding" not in learner.keeps:
            raise ValueError(
                f"{settings.learner} reads its examples one after another, where a predictor's have no order"
            )
        for part, own in parts:
            _check_measured(part.build(), own)
        return cls(settings, learner, params, encoder)

    @classmethod
    def of_file(cls, about: Any, tensors: dict[str, np.ndarray], encoder: Encoder) -> "TrainedLearner":
        """That of a predictor's file, as `to_file` wrote it; raises ValueError for anything else."""
        try:
            settings = LearnerSettings.model_validate(about)
        except ValidationError as problem:
            first = problem.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(f"its learner's settings are damaged, {where}: {first['msg']}") from None
        weights = {
            path.removeprefix(_WEIGHTS): torch.as_tensor(leaf)
            for path, leaf in tensors.items()
            if path.startswith(_WEIGHTS)
        }
        shape = plain_shape(settings.shape.inputs, "a predictor")
        if math.prod(shape) > LARGEST:
            raise ValueError(f"its learner takes rows of shape {shape}, more than {LARGEST:,} numbers each")
        head = cls.of(settings, tree.unflatten(weights), encoder)
        if head.row_shape != shape == tensors["rows"].shape[1:]:  # an earlier file
            tensors["rows"] = head.encode(tensors["rows"])
        if tensors["rows"].shape[1:] != head.row_shape:
            raise ValueError(
                f"its learner takes rows of shape {head.row_shape}, and its rows are {tensors['rows'].shape}"
            )
        return head

    def to_file(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What a file keeps: the settings, and the weights as arrays."""
        leaves = tree.flatten(self.params)
        return self.settings.to_file(), {_WEIGHTS + path: leaf.numpy() for path, leaf in leaves.items()}

    @property
    def name(self) -> str:
        """What reports call it."""
        return f"{self.settings.learner}, trained"

    @property
    def setting(self) -> Self:
        """Itself: an estimator takes it as its learner."""
        return self

    @property
    def problem(self) -> str:
        """The name of the problem it was trained for."""
        return self.settings.shape.problem

    def encoders_called(self, name: str, reads: Modality) -> list[Encoder]:
        """Its own encoder; raises ValueError when another is asked for, and where it has none."""
        if self.encoder is None:
            raise ValueError(
                f"this run of {self.settings.learner} takes inputs that can't be made from {reads} as in its training: "
                "take a run trained on pictures"
            )
        if name not in ("auto", self.encoder.name):
            raise ValueError(
                f"the learner was trained on rows of the encoder {self.encoder.name} and {name} is asked for: leave "
                "the encoder out"
            )
        return [self.encoder]

    def learner_for(self, support: Examples) -> Learner:
        """The learner over rows as `encode` gives them, whatever the support."""
        return self.learner if self._over_embedded is None else self._over_embedded.learner

    def params_of(self, learner: Learner) -> Params:
        """The params of that learner."""
        return self.params if self._over_embedded is None else self._over_embedded.params

    def whole(self, support: Examples) -> tuple[Learner, Params, Examples]:
        """The learner with its network, its params, and a support of random inputs: the network's own aren't kept."""
        shape = (len(support.y), *self.input_shape)
        return self.learner, self.params, support._replace(x=random.uniform(torch.tensor(0), shape).double())

    @cached_property
    def _over_embedded(self) -> OverEmbedded[Learner] | None:
        return self.learner.over_embedded(self.params) if isinstance(self.learner, Embeds) else None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of a row as it was trained on."""
        return plain_shape(self.settings.shape.inputs, "a predictor")

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of a row as `encode` gives it."""
        return self.encode(np.zeros((1, *self.input_shape), np.float32)).shape[1:]

    @torch.no_grad()
    def encode(self, rows: Float[np.ndarray, "N *input"]) -> Float[np.ndarray, "N *D"]:
        """Rows in the learned space, where the learner has one in which a row stands by itself; else as they are.

        Raises ValueError for rows of another shape than in its training.
        """
        if rows.shape[1:] != self.input_shape:
            raise ValueError(
                f"the learner was trained on rows of shape {self.input_shape} and the encoder gives "
                f"rows of shape {rows.shape[1:]}: leave the encoder out, or take another learner"
            )
        over = self._over_embedded
        if over is None:
            return rows
        parts = torch.split(torch.as_tensor(rows, dtype=torch.float32), _EMBEDDED)
        embedded: np.ndarray = torch.cat([over.encode(part) for part in parts]).numpy()
        return embedded


def _check_sizes(settings: LearnerSettings, params: Params) -> None:
    """Raises ValueError for settings whose learner would be larger than these params, before any of it is made."""
    leaves = tree.flatten(params)
    if any(leaf.dtype != torch.float32 or not leaf.isfinite().all() for leaf in leaves.values()):
        raise ValueError("its weights are no numbers of 32 bits, or hold NaN")
    largest = max([_SMALL, *(size for leaf in leaves.values() for size in leaf.shape)])
    if any(math.isnan(number) or number > largest for number in _sizes(settings.typed_fields())):
        raise ValueError(f"a setting of {settings.learner} is NaN or above {largest}, which is larger than its weights")
    net = settings.built_net()
    if not isinstance(net, partial):
        return
    # On no device: only shapes.
    with torch.device("meta"):
        shapes = [leaf.shape for leaf in net().parameters()]
    if sum(shape.numel() for shape in shapes) > sum(leaf.numel() for leaf in leaves.values()):
        raise ValueError(f"its weights are not those of {settings.learner}")


def _sizes(value: Any) -> Iterator[float]:
    """The whole numbers in a setting, and its NaN."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            yield from _sizes(part)
    elif isinstance(value, int) or (isinstance(value, float) and math.isnan(value)):
        yield value


def _check_measured(learner: Learner, params: Params) -> None:
    """Raises ValueError unless every layer that needs measured statistics has them."""
    statistics = tree.flatten(params.get("measured", {}))
    needed = {
        name: layer
        for net in nets_of(learner).values()
        for name, layer in net.named_modules()
        if getattr(layer, "keep_in", None) == "measured"
    }
    if missing := sorted(needed.keys() - statistics.keys()):
        raise ValueError(f"it has no statistics of layer {missing[0]!r}")
    for name, layer in needed.items():
        if statistics[name].shape != (2, len(layer.weight)) or bool((statistics[name][1] < 0).any()):
            raise ValueError(f"the statistics of layer {name!r} are no means and variances of its channels")


_SMALL = 4096
"""A setting up to this is never too large."""
