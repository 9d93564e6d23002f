"""The settings of a training, each documented and checked once.

Nothing here needs torch, so that a command line can read the fields before torch is loaded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from mapwise.core.execution import How, Precision
from mapwise.core.fields import check_fields, check_flag, check_one_of, check_whole, is_whole, quote
from mapwise.core.seeds import check_seed


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a training does, whatever it runs on.

    steps:               meta-updates, each on one batch of tasks.
    optimizer:           optimizer of torch.optim with options: "Adam lr=0.001", "SGD lr=0.1 momentum=0.9".
    schedule:            schedule of the rate: "cosine", "linear", or a torch.optim.lr_scheduler name with options:
                         "StepLR step_size=2000 gamma=0.5". It moves once a step.
    warmup:              number of first steps in which the rate rises linearly to the rate the schedule begins
                         with, which is the optimizer's except for schedules that set their own; the schedule covers
                         the steps after them.
    clip:                largest norm of the meta-gradient; None: no clipping.
    aggregate:           weighting of tasks: "mean", "max", "inverse" or "pyramid"; in Python also a function from
                         detached losses [T] to weights [T] that sum to one.
    seed:                seed for the initial weights, and of a run for its episodes too.
    validate_every:      steps between two validations; None: ten validations in all.
    validation_episodes: episodes of a validation.
    patience:            stop after this many validations without an improvement; None: never.
    select:              params to return: those of the "best" validation, or the "last".

    Raises ValueError for a value out of range.
    """

    steps: int
    optimizer: str = "Adam lr=0.001"
    schedule: str | None = None
    warmup: int = 0
    clip: float | None = None
    aggregate: str | Callable[[Any], Any] = "mean"
    seed: int = 0
    validate_every: int | None = None
    validation_episodes: int = 200
    patience: int | None = None
    select: Literal["best", "last"] = "best"

    def __post_init__(self) -> None:
        check_whole("steps", self.steps, 0)
        check_whole("validation_episodes", self.validation_episodes, 1)
        check_seed(self.seed)
        for name in ("validate_every", "patience"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name), 1)
        check_one_of("select", self.select, ("best", "last"))
        check_fields(self)
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip is {self.clip!r}: give a norm above 0, or None for no clipping")
        if not (is_whole(self.warmup) and 0 <= self.warmup < max(1, self.steps)):
            given = f"warmup is {quote(self.warmup)} and steps is {self.steps}"
            raise ValueError(f"{given}: give a warm-up of 0 or more steps, below steps")


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How a meta-gradient is computed; the result is the same but for rounding.

    how:       how tasks are mapped: "vmap" (all at once), "loop" (one after another), the number of tasks to do at a
               time, or "auto", which measures and takes the fastest.
    compile:   compile the meta-gradient; worthwhile for small networks, after seconds to minutes at the first call.
               Warns, and goes on without, where it can't be compiled.
    remat:     recompute inner steps in the backward pass: memory then hardly grows with their number, and each costs
               about two thirds more time.
    precision: precision of nets, forward and backward: "full", that of the params, or "bfloat16", 16 bits by
               torch.autocast; statistics, distances and losses stay as they are.

    Raises ValueError for a value that none of these is.
    """

    how: How | Literal["auto"] = "auto"
    compile: bool = False
    remat: bool = False
    precision: Precision = "full"

    def __post_init__(self) -> None:
        if not (isinstance(self.how, str) and self.how in ("auto", "vmap", "loop")) and not (
            is_whole(self.how) and int(self.how) > 0
        ):
            raise ValueError(
                f"how is {quote(self.how)}: give 'auto', 'vmap', 'loop', or the number of tasks to do at a time"
            )
        for name in ("compile", "remat"):
            check_flag(name, getattr(self, name))
        check_one_of("precision", self.precision, get_args(Precision))
