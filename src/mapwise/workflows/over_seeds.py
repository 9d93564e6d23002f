"""Trainings under several seeds, in memory or in a folder of checkpoints each."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from mapwise.core.learner import Learner, built_nets
from mapwise.core.source import TaskSource
from mapwise.core.tree import Params
from mapwise.data.files import path_of
from mapwise.engine.evaluate import evaluate
from mapwise.engine.seeds import OverSeeds, seeds_of
from mapwise.engine.train import Trained, train, warn_of_own_start


@dataclass(frozen=True)
class TrainedSeeds(OverSeeds):
    """The trainings too, in the order of the seeds."""

    trainings: tuple[Trained, ...]


def train_seeds(
    learner: Learner,
    source: TaskSource,
    *,
    seeds: int | Sequence[int] = 3,
    episodes: int = 1000,
    test: TaskSource | None = None,
    params: Params | None = None,
    out: str | Path | None = None,
    **settings: Any,
) -> TrainedSeeds:
    """Train a learner under several seeds, and evaluate each training on the same episodes.

    A seed moves the initial params and the training tasks. A net that is given as a built module starts from the
    weights it has under every seed, and a warning says so: give what builds it, as `lambda: Net()`.

    seeds:    how many, from 0; or the seeds themselves.
    episodes: of the evaluation of each.
    test:     episodes to evaluate on; None: the source's split "test".
    params:   params to start from under every seed, instead of the seed's.
    out:      a folder of checkpoints, one folder seed-N for each seed. A training that is there already goes on, and
              one that is finished isn't repeated.
    settings: the others of `train`, such as steps.

    Raises ValueError for fewer than two seeds, and as `train` and `evaluate` do.
    """
    numbers = seeds_of(seeds)
    test = source.split("test") if test is None else test
    if params is None and isinstance(learner, Learner) and (built := built_nets(learner)):
        warn_of_own_start(learner, built[0])
    trainings = []
    for seed in numbers:
        trainings.append(
            train(
                learner,
                reseeded(source, seed),
                seed=seed,
                # What the seed would give, so that the warning isn't repeated.
                params=learner.init(seed) if params is None and isinstance(learner, Learner) else params,
                out=None if out is None else path_of(out or ".") / f"seed-{seed}",
                resume=out is not None,
                **settings,
            )
        )
    reports = [evaluate(learner, trained.params, test, episodes=episodes) for trained in trainings]
    return TrainedSeeds(numbers, tuple(reports), tuple(trainings))


def reseeded(source: TaskSource, seed: int) -> TaskSource:
    """The tasks of another seed; a source without one gives the same tasks under all."""
    settings: Any = source
    known = {field.name for field in fields(settings)} if is_dataclass(settings) else set()
    return source.with_(seed=seed) if "seed" in known else source
