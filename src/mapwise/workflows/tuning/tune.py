"""mapwise tune: a search over a run's settings, judged on the validation split and on nothing else.

A search is a folder:

tune.toml       what is searched, and the settings that every trial shares
search.sqlite3  what Optuna knows of the trials
trial-NNN/      the run of each trial, as mapwise train would have left it
search.html     the search in figures

A trial that was stopped by Ctrl-C goes on from its checkpoint. One that was killed is a failed trial: what killed
it once, such as a net too large for the memory, would kill it again.
"""

import math
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict

from mapwise.core.problem import Metric, Problem
from mapwise.core.source import TaskSource
from mapwise.data.files import claimed, write_atomically
from mapwise.engine.folder import records_of
from mapwise.engine.loop import Progress
from mapwise.engine.results import Search, Trial
from mapwise.runs.settings import SETTINGS, RunSettings
from mapwise.runs.sources import source_of
from mapwise.runs.toml import read_toml, write_toml
from mapwise.workflows.display import SILENT, Display
from mapwise.workflows.errors import FAILED, Stopped, WrongUse, line_and_code, sentence
from mapwise.workflows.tracking import installed
from mapwise.workflows.train import free_folder, train_run
from mapwise.workflows.tuning.search_space import Choice, Dimension, dimensions, keeps_the_source, presently
from mapwise.workflows.tuning.study import (
    best_of,
    check_optuna,
    distribution,
    fail,
    importances,
    open_again,
    sampler,
    stopped_trial,
    study_in,
)

if TYPE_CHECKING:
    import optuna

SEARCH, STORAGE, PAGE, LOCK = "tune.toml", "search.sqlite3", "search.html", ".tune.lock"
SCHEMA = 1
TRIALS = 20
WARM = 0.2
"""The share of a trial's steps in which it is never pruned: early validations say little of later ones."""
STOPPED, KILLED = "stopped", "killed"
"""The mark of a trial that Ctrl-C stopped, and of the steps at which its process was killed."""
KILLS = 3
"""Times that a trial may be killed at one step before it counts as failed."""


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """What a search was asked for; tune.toml holds exactly this."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    schema_version: int = SCHEMA
    run: RunSettings
    """The settings of every trial but for what is searched."""
    search: list[str]
    """NAME=RANGE, as workflows/tuning/search_space.py reads it."""
    trials: int | None = None
    """How many in all; None: as many as the minutes allow."""
    minutes: float | None = None
    """No trial begins later than this; None: no limit."""
    prune: bool = True
    command: str = ""

    def to_file(self) -> dict[str, Any]:
        """The settings as plain values."""
        return {**asdict(self), "run": self.run.to_file()}

    @property
    def dimensions(self) -> list[Dimension]:
        """What is searched."""
        return dimensions(self.search, self.run, ())

    @property
    def problem(self) -> Problem:
        """What a trial is judged by."""
        return self.run.problem

    @property
    def least(self) -> bool:
        """The validation is an error: less is better."""
        return self.problem.metric.lower_is_better


def asked_search(
    run: RunSettings,
    searched: Sequence[str],
    fixed: Sequence[str],
    *,
    trials: int | None,
    minutes: float | None,
    prune: bool,
    command: str,
) -> SearchSettings:
    """The search a command line asks for, checked as far as can be without looking at any data.

    fixed: names that the command line gave one value.

    Raises WrongUse.
    """
    if run.steps < 1:
        raise WrongUse("trials of 0 steps are all the same: give --steps 1 or more")
    texts = [f"{dimension.name}={dimension.text}" for dimension in dimensions(searched, run, fixed)]
    if trials is None and minutes is None:
        trials = TRIALS
    return SearchSettings(run=run, search=texts, trials=trials, minutes=minutes, prune=prune, command=command)


def begin_search(settings: SearchSettings, out: Path | None, display: Display = SILENT) -> tuple[Path, Search]:
    """A new search in its folder, by default runs/tune-LEARNER-SOURCE with a number where that is taken.

    Raises ValueError when the folder holds a search already, and when Optuna isn't installed.
    """
    check_optuna()
    installed(settings.run.track)
    folder = free_folder(f"tune-{settings.run.learner}", settings.run.source) if out is None else out
    if (folder / SEARCH).exists() or (folder / SETTINGS).exists():
        what = "search" if (folder / SEARCH).exists() else "run"
        more = f"go on with it by mapwise tune --resume {folder}, or " if what == "search" else ""
        raise ValueError(f"{folder} holds a {what} already: {more}give another --out")
    folder.mkdir(parents=True, exist_ok=True)
    write_toml(settings.to_file(), folder / SEARCH)
    return folder, _searched(folder, settings, display)


def resume_search(
    folder: Path, *, trials: int | None, minutes: float | None, display: Display = SILENT
) -> tuple[Path, Search]:
    """Go on with a search by its own settings, up to another number of trials or minutes where they are given."""
    check_optuna()
    if not (folder / SEARCH).is_file():
        raise ValueError(f"{folder} is not a search (it has no {SEARCH}): give a folder that mapwise tune wrote")
    settings = read_toml(SearchSettings, folder / SEARCH, SCHEMA, "search again in another folder", last="command")
    if trials is not None or minutes is not None:
        settings = replace(settings, trials=trials, minutes=minutes)
        write_toml(settings.to_file(), folder / SEARCH)
    return folder, _searched(folder, settings, display)


def _searched(folder: Path, settings: SearchSettings, display: Display) -> Search:
    """Run trials until there are enough; what was found, also drawn into the folder."""
    with _alone(folder), _study(folder, settings) as study:
        try:
            _run_trials(study, folder, settings, display)
        except (Stopped, KeyboardInterrupt):
            _draw(folder, _read_search(study, folder, settings))
            done = sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))
            of = "" if settings.trials is None else f" of {settings.trials}"
            raise Stopped(f"stopped after {done}{of} trials: go on with mapwise tune --resume {folder}") from None
        search = _read_search(study, folder, settings)
        _draw(folder, search)
        return search


def _run_trials(study: "optuna.Study", folder: Path, settings: SearchSettings, display: Display) -> None:
    from optuna.trial import TrialState

    began = time.monotonic()
    ranges = settings.dimensions
    space = {dimension.name: distribution(dimension) for dimension in ranges}
    for left in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if not left.user_attrs.get(STOPPED):
            reached = _reached(folder / _run_name(left.number))[0]
            kills = [*left.user_attrs.get(KILLED, ()), reached]
            trial = open_again(study, left)
            trial.set_user_attr(KILLED, kills)
            if kills.count(reached) >= KILLS:
                fail(study, trial, f"its process was killed {KILLS} times at step {reached}")
    # The source is read once, where no trial asks another one of it.
    opened = source_of(settings.run) if keeps_the_source(ranges) else None
    while True:
        known = study.get_trials(deepcopy=False)
        done = sum(trial.state.is_finished() for trial in known)
        late = settings.minutes is not None and time.monotonic() - began >= 60 * settings.minutes
        if late or (settings.trials is not None and done >= settings.trials):
            return
        study.sampler = sampler(settings.run.seed, done)
        trial = stopped_trial(study) or study.ask(space)
        for name, kind in space.items():  # which a kill may have kept from being written
            trial._suggest(name, kind)
        values = ", ".join(f"{name} {_format_value(trial.params[name])}" for name in space)
        title = (
            f"trial {trial.number}{'' if settings.trials is None else f' ({done + 1} of {settings.trials})'}: {values}"
        )
        _run_trial(study, trial, folder, settings, opened, title, display)
        display.note(f"{title}: {_came_to(study, trial.number, settings.problem.metric)}")


class _Pruned(Stopped):
    """Raised inside a training that is not worth its remaining steps."""


def _run_trial(
    study: "optuna.Study",
    trial: "optuna.Trial",
    folder: Path,
    settings: SearchSettings,
    opened: TaskSource | None,
    title: str,
    display: Display,
) -> None:
    """Train one trial's run, and tell the study what came of it.

    Raises Stopped or KeyboardInterrupt on Ctrl-C, with the trial left to go on.
    """
    from optuna.trial import TrialState

    place = folder / _run_name(trial.number)
    trial.set_user_attr(STOPPED, False)
    known = set(study.get_trials(deepcopy=False)[trial.number].intermediate_values)

    def watch(progress: Progress) -> None:
        if progress.record is None or "validation" not in progress.record:
            return
        if progress.step not in known:  # after a kill, a validation may come again
            trial.report(float(progress.record["validation"]), progress.step)
        if settings.prune and progress.step != progress.steps and trial.should_prune():
            raise _Pruned

    try:
        run = settings.run.with_values(trial.params)
        resume = (place / SETTINGS).exists()
        run = RunSettings.read(place) if resume else run.stamped(shlex.join(run.words()))
        value = train_run(run, place, resume=resume, opened=opened, watch=watch, title=title, display=display)[
            2
        ].validation
        if value is None:
            raise ValueError("it has nothing to train, so nothing was validated")
        if not math.isfinite(value):
            raise ValueError(f"its validation is {value}: lower the learning rate, or set clip (such as clip=10)")
        study.tell(trial, value)
    except _Pruned:
        study.tell(trial, state=TrialState.PRUNED)
    except (Stopped, KeyboardInterrupt):
        trial.set_user_attr(STOPPED, True)
        raise
    except Exception as error:
        line = line_and_code(error)
        fail(study, trial, line[0] if line else sentence(error))
        # What the settings did ends the trial alone. A full disk, or a fault of ours, would end all that follow.
        if line is None or line[1] != FAILED or isinstance(error, OSError):
            raise


def _came_to(study: "optuna.Study", number: int, metric: Metric) -> str:
    trial = study.get_trials(deepcopy=False)[number]
    if "failure" in trial.user_attrs:
        return f"failed, {trial.user_attrs['failure']}"
    value = best_of(trial, metric.lower_is_better)
    assert value is not None
    shown = f"{metric.short} {metric.format(value)}" if metric.lower_is_better else metric.format(value)
    complete = [t.number for t in study.best_trials] if trial.state.name == "COMPLETE" else []
    if number in complete:
        return f"{shown}, the best so far"
    return shown if trial.state.name == "COMPLETE" else f"{shown}, pruned"


def _read_search(study: "optuna.Study", folder: Path, settings: SearchSettings) -> Search:
    """The search as plain numbers."""
    states = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": STOPPED}
    trials = []
    for trial in study.get_trials(deepcopy=False):
        if trial.state.name in states:
            name = _run_name(trial.number)
            step, seconds = _reached(folder / name)
            trials.append(
                Trial(
                    trial.number,
                    dict(trial.params),
                    states[trial.state.name],
                    best_of(trial, settings.least),
                    step,
                    seconds,
                    str(trial.user_attrs.get("failure", "")),
                    str(folder / name) if (folder / name / SETTINGS).exists() else "",
                )
            )
    ranges = settings.dimensions
    run = settings.run
    task = settings.problem.task.format(ways=run.test_ways or run.ways, shots=run.test_shots or run.shots)
    name = Path(run.test_source or run.source).name
    judged = f"{name} val, {task}, {run.validation_episodes:,} episodes, seed {run.seed}"
    search = Search(
        f"search over {run.learner} on {Path(run.source).name}",
        settings.problem.metric.name,
        judged,
        run.steps,
        {dimension.name: dimension.text for dimension in ranges},
        frozenset(d.name for d in ranges if not isinstance(d, Choice) and d.log),
        trials,
        importances(study, ranges),
        settings.command,
    )
    if search.best is None or not search.best.run:
        return search
    best = shlex.join(RunSettings.read(Path(search.best.run)).words())
    return Search(**{**vars(search), "best_command": best})


def _reached(run: Path) -> tuple[int, float]:
    """The step and the seconds of a run's last record."""
    records = records_of(run)
    return (records[-1]["step"], records[-1]["seconds"]) if records else (0, 0.0)


def _draw(folder: Path, search: Search) -> None:
    from mapwise.report.search_page import search_page

    if search.trials:
        html = search_page(search)
        write_atomically(folder / PAGE, lambda file: file.write(html.encode()))


def search_json(folder: Path, search: Search) -> dict[str, Any]:
    """A search as one JSON-ready object."""
    best = search.best
    answer: dict[str, Any] = {
        "search": str(folder),
        "metric": search.metric,
        "protocol": search.protocol,
        "steps": search.steps,
        "searched": search.ranges,
        "best": None if best is None else {**_trial_json(best), "command": search.best_command},
        "importances": search.importances,
        "trials": [_trial_json(trial) for trial in search.ranked],
        "page": str(folder / PAGE),
        "command": search.command,
    }
    return answer if best is not None else {**answer, "error": without_best(search)}


def _trial_json(trial: Trial) -> dict[str, Any]:
    return {name: value for name, value in vars(trial).items() if name != "failure" or value}


def without_best(search: Search) -> str:
    """Why a search has no best trial."""
    failures = [trial.failure for trial in search.trials if trial.failure]
    return f"no trial was completed{f', the first one failed: {failures[0]}' if failures else ': allow more --trials'}"


def _format_value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _run_name(number: int) -> str:
    return f"trial-{number:03d}"


def _study(folder: Path, settings: SearchSettings) -> AbstractContextManager["optuna.Study"]:
    first = presently(settings.dimensions, settings.run)
    spared = round(WARM * settings.run.steps)
    return study_in(folder / STORAGE, least=settings.least, spared=spared, first=first)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time: a second one would take the first one's trial for a killed one."""
    with claimed(folder / LOCK) as alone:
        if not alone:
            raise ValueError(f"another mapwise tune is at work in {folder}: wait for it, or stop it first")
        yield
