"""A study of Optuna: the database of a search, its trials, and what they say of the settings."""

import importlib.util
import math
import sqlite3
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mapwise.workflows.tuning.search_space import Choice, Dimension, Value

if TYPE_CHECKING:
    import optuna

FEWEST = 5
"""Trials that are completed before any is pruned, and before importances are shown."""


@contextmanager
def study_in(path: Path, *, least: bool, spared: int, first: Mapping[str, Value]) -> Iterator["optuna.Study"]:
    """The study in a database; its failures are one sentence.

    least:  less is better.
    spared: steps in which no trial is pruned.
    first:  what the first trial tries.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = None
    try:
        # Opened by path: in a URL, a "?" or "%" of a folder's name would mean something else.
        opening = {"creator": lambda: sqlite3.connect(path, timeout=60), "poolclass": NullPool}
        storage = optuna.storages.RDBStorage("sqlite://", engine_kwargs=opening)
        study = optuna.create_study(
            storage=storage,
            study_name="search",
            direction="minimize" if least else "maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(FEWEST, n_warmup_steps=spared),
        )
        if first and not study.get_trials(deepcopy=False):
            study.enqueue_trial(dict(first))
        yield study
    except SQLAlchemyError as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())
        raise ValueError(f"{path} can't be used ({reason}): restore it, or search again in another folder") from None
    finally:
        if storage is not None:
            storage.remove_session()
            storage.engine.dispose()


def check_optuna() -> None:
    """Raises ValueError where Optuna is not installed."""
    if importlib.util.find_spec("optuna") is None:
        raise ValueError('a search needs Optuna, which is not installed: pip install "mapwise[tune]"')


def distribution(dimension: Dimension) -> "optuna.distributions.BaseDistribution":
    """What a dimension is to Optuna."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.choices)
    if dimension.whole:
        step = int(dimension.step or 1)
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log, step=step)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)


def sampler(seed: int, number: int) -> "optuna.samplers.BaseSampler":
    """The sampler of one trial, by its number: a resumed search tries what one that never stopped tries."""
    from optuna.samplers import TPESampler

    return TPESampler(seed=int(np.random.SeedSequence([seed, number]).generate_state(1)[0]))


def stopped_trial(study: "optuna.Study") -> "optuna.Trial | None":
    """The trial that Ctrl-C stopped, to go on with."""
    from optuna.trial import TrialState

    waiting = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return open_again(study, waiting[0]) if waiting else None


def open_again(study: "optuna.Study", left: "optuna.trial.FrozenTrial") -> "optuna.Trial":
    """A trial that was left unfinished, open for its value."""
    from optuna.trial import Trial as Open

    return Open(study, left._trial_id)


def fail(study: "optuna.Study", trial: "optuna.Trial", why: str) -> None:
    """Record that a trial failed."""
    from optuna.trial import TrialState

    trial.set_user_attr("failure", why)
    study.tell(trial, state=TrialState.FAIL)


def best_of(trial: "optuna.trial.FrozenTrial", least: bool) -> float | None:
    """The best validation of a trial; None where there is none."""
    if trial.state.name == "COMPLETE":
        return trial.value
    seen = [value for value in trial.intermediate_values.values() if math.isfinite(value)]
    return (min if least else max)(seen) if seen else None


def importances(study: "optuna.Study", dimensions: Sequence[Dimension]) -> dict[str, float]:
    """How much of the spread of the trials each setting explains; empty where there are too few trials."""
    from optuna.importance import get_param_importances
    from optuna.trial import TrialState

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(dimensions) < 2 or len({trial.value for trial in complete}) < FEWEST:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells of its own experimental parts
        return {name: float(share) for name, share in get_param_importances(study).items()}
