"""mapwise eval and compare: how good a run is on tasks it has not seen."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from mapwise.catalog import LEARNERS
from mapwise.core.execution import How
from mapwise.core.learner import Learner
from mapwise.core.task import TaskSource
from mapwise.core.tree import Params
from mapwise.engine.evaluate import evaluate, fitted_temperature
from mapwise.engine.results import Paired, Report
from mapwise.interfaces.allocator import keep_freed_memory
from mapwise.interfaces.errors import WrongUse, wrong_use
from mapwise.interfaces.flags import assigned
from mapwise.runs.flags import flag
from mapwise.runs.run import Run
from mapwise.runs.settings import RunSettings
from mapwise.runs.sources import span
from mapwise.tasks.episodes import Episodes
from mapwise.tasks.stream import Stream

BASELINE = "nearest_mean"
"""What stands beside every classifier: the nearest class mean of the raw inputs."""


@dataclass(frozen=True)
class Asked:
    """What an evaluation is asked for; None means as in the run's settings."""

    run: Path
    episodes: int = 1000
    split: str = "test"
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of RunSettings: test_ways, test_shots, test_queries, data, device, threads."""
    assignments: tuple[str, ...] = ()
    """NAME=VALUE for the learner's fields and the net's options."""
    shuffle_labels: bool = False
    """Deal the support's labels out at random: a check that every learner then falls to chance."""
    beside: tuple[Path, ...] = ()
    """Other runs, to be judged on the same episodes."""


@dataclass(frozen=True)
class Opened:
    """A run ready to be judged."""

    settings: RunSettings
    learner: Learner
    params: Params
    source: TaskSource
    how: How
    validation: TaskSource | None = None
    """The episodes that may choose a temperature; None where there is none to choose."""

    def judge(self, episodes: int, *, name: str = "", command: str = "", calibrate: bool = False) -> Report:
        """The run on its episodes; calibrated, too, if that is asked and there are validation episodes to do it on."""
        temperature = None
        if calibrate and self.validation is not None:
            count = self.settings.validation_episodes
            temperature = fitted_temperature(self.learner, self.params, self.validation, episodes=count, how=self.how)
        return evaluate(
            self.learner,
            self.params,
            self.source,
            episodes=episodes,
            name=name or self.settings.learner,
            command=command,
            how=self.how,
            temperature=temperature,
        )

    def baseline(self, episodes: int, *, command: str = "") -> Report | None:
        """The nearest mean of raw inputs on the same episodes; None without classes."""
        if self.source.problem.columns != "classes" or self.settings.learner == BASELINE:
            return None
        learner = LEARNERS[BASELINE].build()
        return evaluate(learner, learner.init(0), self.source, episodes=episodes, name=BASELINE, command=command)


def opened(asked: Asked) -> Opened:
    """The run with the changes asked for, and the episodes that judge it."""
    keep_freed_memory()
    settings = RunSettings.read(asked.run)
    values = assigned(asked.assignments)
    for address in values:
        if not (address.startswith(("net.", "source.")) or address.replace("-", "_") in settings.row.fields):
            raise WrongUse(f"{flag(address)} is no option here and no field of {settings.learner}: leave it out")
    with wrong_use():
        for what in ("ways", "shots"):
            if asked.settings.get(f"test_{what}") is not None:
                span(asked.settings[f"test_{what}"], f"--{what}")
    if asked.split not in ("train", "val", "test"):
        raise WrongUse(f"--split is {asked.split!r}: give test, val or train")
    changes = {**{name: value for name, value in asked.settings.items() if value is not None}, **values}
    with wrong_use():
        settings = settings.judged_with(changes)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    run = Run.open(asked.run, changes)
    source = run.judging(asked.split, seed=asked.seed)
    if asked.shuffle_labels:
        if not isinstance(source, (Episodes, Stream)):
            raise WrongUse(f"{source.about.source} has no class labels to shuffle: leave out --shuffle-labels")
        source = replace(source, shuffle_labels=True)
    how = run.settings.how
    chooses = source.problem.columns == "classes" and asked.split == "test" and not asked.shuffle_labels
    validation = _validation(run) if chooses else None
    return Opened(run.settings, run.learner, run.params, source, "vmap" if how == "auto" else how, validation)


def _validation(run: Run) -> TaskSource | None:
    """The validation split, asked as the test is; None where its classes are too few for that."""
    try:
        return run.judging("val")
    except ValueError:
        return None


def eval_run(asked: Asked, *, baselines: bool, command: str) -> tuple[dict[str, Any], list[Report]]:
    """The run's report and those of what stands beside it, as one JSON-ready object and as they are."""
    run = opened(asked)
    own = run.judge(asked.episodes, command=command, calibrate=True)
    others = beside(run, asked, baselines=baselines, command=command)
    found = {"run": str(asked.run), **own.to_json()}
    if baselines or asked.beside:
        pairs = [(other, Paired.of(own, other).difference) for other in others]
        found["beside"] = [
            {**other.to_json(), "difference": difference.mean, "difference_ci95": difference.ci95}
            for other, difference in pairs
        ]
    return found, [own, *others]


def beside(run: Opened, asked: Asked, *, baselines: bool, command: str) -> list[Report]:
    """Reports on the same episodes: the raw inputs' nearest mean, then the other runs that were named.

    Raises ValueError for a run that can't be judged on these episodes.
    """
    raw = run.baseline(asked.episodes, command=command) if baselines else None
    reports = [] if raw is None else [raw]
    for folder in asked.beside:
        other = opened(replace(asked, run=folder, assignments=()))
        _same_episodes(asked.run, run, folder, other)
        reports.append(other.judge(asked.episodes, command=command, calibrate=True))
    return reports


def _same_episodes(first: Path, a: Opened, second: Path, b: Opened) -> None:
    left, right = a.source.about, b.source.about
    differing = [name for name in left._fields if getattr(left, name) != getattr(right, name)]
    if not differing and a.source.names(0) != b.source.names(0):
        differing = ["classes"]
    if differing:
        raise ValueError(
            f"{first} and {second} can't be paired, their {' and '.join(differing)} differ: "
            "compare runs on the same data, with the same --ways, --shots and --queries"
        )


def compare_runs(first: Asked, second: Asked, command: str) -> tuple[dict[str, Any], Paired, Report]:
    """Two runs on the same episodes: first minus second; raises ValueError when their episodes differ."""
    a, b = opened(first), opened(second)
    _same_episodes(first.run, a, second.run, b)
    reports = [
        run.judge(asked.episodes, name=str(asked.run), command=command) for run, asked in ((a, first), (b, second))
    ]
    pair = Paired.of(*reports)
    found = {
        "first": reports[0].to_json(),
        "second": reports[1].to_json(),
        "metric": reports[0].metric,
        "difference": pair.difference.mean,
        "ci95": pair.difference.ci95,
        "episodes": pair.difference.episodes,
    }
    return found, pair, reports[0]
