"""mapwise average: one run of several, by their predictions or by their weights."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mapwise.catalog.sources import training_source
from mapwise.core.execution import How
from mapwise.core.learner import Learner
from mapwise.core.source import TaskSource
from mapwise.core.tree import Params, forms
from mapwise.engine.averaging import Barrier, barriers, episode_losses, greedy_soup, mean_params
from mapwise.engine.evaluate import episode_values
from mapwise.engine.folder import RunFolder
from mapwise.learners.generation.model_averaging import joined_params
from mapwise.runs.learner import LearnerSettings
from mapwise.runs.run import Run, load_params
from mapwise.runs.settings import SEEDS, RunSettings, TrainedOn
from mapwise.workflows.display import SILENT, Display
from mapwise.workflows.evaluate import Judging, use_threads
from mapwise.workflows.train import check_empty, free_folder

AVERAGE = "model_averaging"
"""The learner that averages predictions."""
ALLOWED = 0.02
"""The largest excess of the loss over which weights are averaged: of a cross-entropy, in nats."""


@dataclass(frozen=True)
class Averaging:
    """What is averaged, and how it is judged.

    of:       "predictions", or "weights".
    greedy:   of weights, only those of the greedy soup; else all.
    episodes: of the validation split, for barriers, soups and the result.
    allowed:  see ALLOWED.
    """

    of: Literal["predictions", "weights"]
    greedy: bool = False
    episodes: int = 200
    allowed: float = ALLOWED


@dataclass(frozen=True)
class Members:
    """Runs of one problem and one source, opened once; the first says how all are judged."""

    runs: tuple[Run, ...]
    settings: tuple[LearnerSettings, ...]
    steps: int
    episodes: int

    @classmethod
    def open(cls, folders: Sequence[Path], request: Averaging) -> "Members":
        """Raises ValueError for a folder that is no finished run, and for runs that can't be averaged."""
        places = [run for folder in folders for run in _runs_in(folder)]
        if len(places) < 2:
            raise ValueError(f"an average is of two runs or more and {len(places)} is given: give further runs")
        if len({place.resolve() for place in places}) < len(places):
            raise ValueError("a run is given twice: give each once")
        use_threads(places[0], Judging())
        read = [RunSettings.read(place) for place in places]
        trained = [_trained_on(place, one) for place, one in zip(places, read, strict=True)]
        settings = [LearnerSettings.of(one, on.shape) for one, on in zip(read, trained, strict=True)]
        for place, one, on, its in list(zip(places, read, trained, settings, strict=True))[1:]:
            _check_alike(places[0], read[0], trained[0], place, one, on)
            if request.of == "weights" and its != settings[0]:
                _refuse(places[0], settings[0], place, its)
        for place, its in zip(places, settings, strict=True):
            if its.members:
                raise ValueError(f"{place} is an average of runs itself: give the runs that it was made of")
        runs = tuple(Run.open(place) for place in places)
        for run in runs[1:]:
            if request.of == "weights" and forms(run.params, "measured/") != forms(runs[0].params, "measured/"):
                raise ValueError(
                    f"the weights of {run.folder} have other shapes than those of {runs[0].folder}: take --predictions"
                )
        return cls(runs, tuple(settings), max(load_params(place)[1] for place in places), request.episodes)

    @property
    def first(self) -> Run:
        """The run whose settings judge all."""
        return self.runs[0]

    @property
    def learner(self) -> Learner:
        """That of the first run, and of all where weights are averaged."""
        return self.first.learner

    @property
    def how(self) -> How:
        """How tasks are mapped."""
        how = self.first.settings.how
        return "vmap" if how == "auto" else how

    @cached_property
    def training(self) -> TaskSource:
        """What statistics are measured on."""
        return training_source(self.first.settings.row, self.first.source)

    @cached_property
    def validation(self) -> TaskSource:
        """The episodes that judge barriers and soups."""
        return self.first.judging("val")

    def value(self, learner: Learner, params: Params) -> float:
        """The mean of the metric on the validation episodes."""
        return float(episode_values(learner, params, self.validation, self.episodes, self.how).mean())

    def value_of_mean(self, params: Params) -> float:
        """The same of weights, their statistics measured again where that was not done."""
        return self.value(self.learner, self.measured(params))

    def losses(self, params: Params) -> np.ndarray:
        """The loss of every validation episode, statistics measured again where that was not done."""
        return episode_losses(self.learner, self.measured(params), self.validation, self.episodes, self.how)

    def measured(self, params: Params) -> Params:
        """The params with statistics."""
        return params if "measured" in params else self.learner.measure(params, self.training)


def average_runs(
    folders: Sequence[Path], request: Averaging, out: Path | None, command: str, display: Display = SILENT
) -> tuple[Path, dict[str, Any]]:
    """Make a run of several, in its folder, by default runs/average-LEARNER-SOURCE with a number where that is taken.

    folders: of runs, or of the runs of several seeds.

    Returns the folder, and what came of it as one JSON-ready object.

    Raises ValueError for runs that can't be averaged, and for weights with a barrier between them, with its height.
    """
    if out is not None:
        check_empty(out)
    members = Members.open(folders, request)
    values = [members.value(run.learner, run.params) for run in members.runs]
    answer: dict[str, Any] = {"of": request.of}
    own = members.first.settings
    if request.of == "weights":
        display.note(f"note: {len(values)} runs: the barrier between every two is measured first")
        heights = barriers(members.losses, [run.params for run in members.runs])
        answer["barriers"] = [_barrier_json(members, pair, height) for pair, height in heights.items()]
        _check_barriers(members, heights, request.allowed)
        chosen = list(range(len(values)))
        if request.greedy:
            params = [run.params for run in members.runs]
            chosen = greedy_soup(members.value_of_mean, params, members.validation.problem.metric)
        answer["averaged"] = [str(members.runs[place].folder) for place in chosen]
        result = members.measured(mean_params([members.runs[place].params for place in chosen]))
        learner, settings = members.learner, replace(own, average_of=[members.runs[i].settings.id for i in chosen])
    else:
        settings = replace(
            own,
            learner=AVERAGE,
            fields={},
            net_options={},
            members=[one.to_file() for one in members.settings],
            average_of=[run.settings.id for run in members.runs],
        )
        result = joined_params([run.params for run in members.runs])
        assert own.trained_on is not None
        learner = LearnerSettings.of(settings, own.trained_on.shape).build()
    value = members.value(learner, result)
    folder = free_folder(f"average-{own.learner}", own.source) if out is None else out
    _write(folder, settings.stamped(command), result, members.steps, value)
    metric = members.validation.problem.metric
    answer |= {"run": str(folder), "learner": settings.learner, "source": own.source, "metric": metric.name}
    answer |= {"validation": value, "validation_episodes": request.episodes}
    answer["members"] = [
        {"run": str(run.folder), "learner": run.settings.learner, "validation": one}
        for run, one in zip(members.runs, values, strict=True)
    ]
    return folder, answer


def _runs_in(folder: Path) -> list[Path]:
    """The runs of a folder of several seeds, or the folder itself."""
    if not (folder / SEEDS).is_file():
        return [folder]
    return sorted(folder.glob("seed-*"), key=lambda run: int(run.name.removeprefix("seed-")))


def _write(folder: Path, settings: RunSettings, params: Params, step: int, validation: float) -> None:
    """The run's folder; its settings come last, so that it is a run only when it is whole."""
    check_empty(folder)
    folder.mkdir(parents=True, exist_ok=True)
    RunFolder(folder, run=settings.id).save_best(params, step, validation)
    settings.write(folder)


def _barrier_json(members: Members, pair: tuple[int, int], barrier: Barrier) -> dict[str, Any]:
    first, second = (str(members.runs[place].folder) for place in pair)
    excess = barrier.excess
    return {"first": first, "second": second, "barrier": excess.mean, "ci95": excess.ci95, "at": barrier.at}


def _check_barriers(members: Members, heights: dict[tuple[int, int], Barrier], allowed: float) -> None:
    """Raises ValueError for the highest barrier that stops an average."""
    pair, highest = max(heights.items(), key=lambda item: item[1].excess.mean)
    if highest.stops(allowed):
        first, second = (members.runs[place].folder for place in pair)
        raise ValueError(
            f"between {first} and {second} the loss rises by {highest.excess.mean:.3g} ± {highest.excess.ci95:.2g} "
            f"above the line between theirs, and {allowed:g} is allowed: their weights lie in different basins, so "
            "take --predictions, or runs that began with one --init"
        )


def _trained_on(folder: Path, settings: RunSettings) -> TrainedOn:
    if settings.trained_on is None:
        raise ValueError(
            f"{folder} is of an earlier version and doesn't say what it was trained on: mapwise train --resume "
            f"{folder} writes that down, where its data are"
        )
    return settings.trained_on


def _check_alike(
    first: Path, own: RunSettings, own_on: TrainedOn, second: Path, other: RunSettings, other_on: TrainedOn
) -> None:
    """Raises ValueError for runs of other tasks, or of other data."""
    differing = {
        "problem": (own_on.shape.problem, other_on.shape.problem),
        "rows": (own_on.shape.inputs, other_on.shape.inputs),
        "source": (own.judging_data, other.judging_data),
        "classes": (own_on.classes, other_on.classes),
        "source settings": (own.source_options, other.source_options),
    }
    for name, (left, right) in differing.items():
        if left != right:
            raise ValueError(
                f"{first} and {second} differ in their {name}: give runs that were trained on the same data"
            )


def _refuse(first: Path, own: LearnerSettings, second: Path, other: LearnerSettings) -> None:
    """Raises ValueError with the first setting in which two learners differ."""
    mine, theirs = own.to_file(), other.to_file()
    name = next(name for name in mine if mine[name] != theirs.get(name))
    raise ValueError(
        f"{first} has {name} {mine[name]} and {second} {theirs.get(name)}: weights are averaged of runs with the same "
        "learner and the same net, so take --predictions"
    )
