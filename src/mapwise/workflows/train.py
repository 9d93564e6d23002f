"""mapwise train: from the settings to a finished run."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast

import torch

from mapwise.catalog.learners import LEARNERS
from mapwise.catalog.sources import training_source
from mapwise.core.execution import How
from mapwise.core.learner import Learner
from mapwise.core.source import TaskSource
from mapwise.core.task import Task
from mapwise.core.tree import Params
from mapwise.data.files import claimed
from mapwise.engine.aggregate import aggregate_named
from mapwise.engine.compiled import NotCompiled
from mapwise.engine.folder import BEST, LAST, METRICS
from mapwise.engine.gradient import compilation, fastest
from mapwise.engine.interrupts import interrupts
from mapwise.engine.loop import Progress
from mapwise.engine.optimizer import optimizer_of, schedule_of
from mapwise.engine.ranks import ALONE, LostRank, Ranks, usable_device
from mapwise.engine.settings import Execution, Training
from mapwise.engine.train import Trained
from mapwise.engine.train import train as meta_train
from mapwise.laws.check import Verdicts, check
from mapwise.runs.learner import learner_of
from mapwise.runs.run import initial_params
from mapwise.runs.settings import SEEDS, SETTINGS, RunSettings, named_source
from mapwise.runs.sources import classes_digest, judging, source_of, span
from mapwise.runs.words import flag
from mapwise.tasks.augment import augmentation
from mapwise.workflows.display import SILENT, Display
from mapwise.workflows.errors import Stopped, wrong_use
from mapwise.workflows.processes import ranks_started
from mapwise.workflows.tracking import TRACKERS, Tracking, installed

RUNS = Path("runs")
LOCK = ".train.lock"
_TRAINED_WITH = [field.name for field in (*fields(Training), *fields(Execution))]


def settings_of(learner: str, source: str, values: Mapping[str, Any]) -> RunSettings:
    """The settings that a command line asks for, and the learner's recipe for the rest.

    values: by their addresses.

    Checked as far as can be without any data. Raises WrongUse.
    """
    with wrong_use():
        settings = RunSettings.of(learner, source, values)
        if settings.row.of_runs:
            raise ValueError(
                f"{learner} is made of trained runs: train each, then mapwise average RUN RUN --predictions"
            )
        check_settings(settings)
    return settings


def check_settings(settings: RunSettings) -> None:
    """Raises ValueError for what is wrong with the settings whatever the data are."""
    for what in ("ways", "shots", "test_ways", "test_shots"):
        text = getattr(settings, what)
        if text is not None:
            span(text, flag(what))
    if settings.test_source is not None:
        named_source(settings.test_source, settings.text)
    aggregate_named(settings.aggregate)
    augmentation(settings.augment)
    for name in settings.track:
        if name not in TRACKERS:
            raise ValueError(f"--track is {name!r}: give {', '.join(TRACKERS)}, or several with commas")
    optimizer_of(settings.optimizer, [leaf := torch.zeros(1, requires_grad=True)])
    schedule_of(settings.schedule, torch.optim.SGD([leaf], lr=0.1), settings.steps, settings.warmup)
    usable_device(settings.device)


def check_learner(learner: str, source: str, values: Mapping[str, Any]) -> Verdicts:
    """The verdicts of all laws on a learner of the catalog, on the tasks of a source.

    values: settings by their addresses; without a network a small one is taken, since many gradients are compared, and
            `steps` are those of the training that the law `learns` looks at.

    Raises WrongUse for settings that can't be, and ValueError for a learner that isn't for such tasks.
    """
    settings = settings_of(learner, source, values)
    if settings.net is None and LEARNERS[learner].blueprint is not None:
        settings = settings_of(learner, source, {"net": "mlp", "net.hidden": "32", **values})
    tasks = training_source(LEARNERS[settings.learner], source_of(settings))
    steps = {"steps": settings.steps} if "steps" in values else {}
    return check(learner_of(settings, tasks), tasks, seed=settings.seed, **steps)


def begin_run(
    request: Callable[[], RunSettings], out: Path | None, command: str, display: Display = SILENT
) -> tuple[Path, RunSettings, Trained]:
    """Train a new run in its folder, by default runs/LEARNER-SOURCE with a number where that is taken.

    request: makes the settings; called once for all processes of a training, so that one mistake is one error.

    Raises ValueError when the folder holds a run already.
    """

    def stamped() -> tuple[str, dict[str, Any]]:
        settings = request()
        folder = free_folder(settings.learner, settings.source) if out is None else out
        check_empty(folder)
        return str(folder), settings.stamped(command).to_file()

    with ranks_started() as ranks:
        place, values = ranks.first(stamped)
        return train_run(RunSettings.of_file(values), Path(place), ranks=ranks, display=display)


def resume_run(folder: Path, display: Display = SILENT) -> tuple[Path, RunSettings, Trained]:
    """Go on with a run that was stopped, with its own settings; in as many processes as there are now."""
    with ranks_started() as ranks:
        settings = RunSettings.of_file(ranks.first(lambda: _checked(folder).to_file()))
        if settings.torch != torch.__version__:
            display.note(
                f"the run began under torch {settings.torch} and goes on under {torch.__version__}: its bits may differ"
            )
        return train_run(settings, folder, resume=True, ranks=ranks, display=display)


def _checked(folder: Path) -> RunSettings:
    """The settings of a run's folder; raises ValueError for those with which none can go on."""
    settings = RunSettings.read(folder)
    if settings.average_of:
        raise ValueError(f"{folder} is an average of runs and has no training to go on with: resume one of these")
    try:
        check_settings(settings)
    except ValueError as error:
        raise ValueError(f"{folder / SETTINGS}: {error}") from None
    return settings


def train_run(
    settings: RunSettings,
    folder: Path,
    *,
    resume: bool = False,
    ranks: Ranks = ALONE,
    opened: TaskSource | None = None,
    watch: Callable[[Progress], None] | None = None,
    title: str | None = None,
    display: Display = SILENT,
) -> tuple[Path, RunSettings, Trained]:
    """Train, or go on training, in this folder; run.toml is complete before the first step.

    ranks:  the processes that train together; the folder is that of the first, and may be there for it alone.
    opened: the episodes of these settings, where they are open already.
    watch:  called after every step; what it raises ends the training, and is passed on.
    title:  what the progress bar is called; None: the learner and its source.
    display: where remarks and progress go.

    Raises Stopped on Ctrl-C, after the step that was under way.
    """
    if not resume:
        installed(settings.track)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    with ranks.alike():
        # run.toml names the kind of device, since each process has its own.
        here = replace(settings, device=usable_device(settings.device))
        if torch.device(here.device).type == "cuda":
            torch.cuda.set_device(here.device)
        episodes = source_of(here) if opened is None else opened
        for remark in episodes.remarks:
            display.note(f"note: {remark}")
        source = training_source(settings.row, episodes)
        validation = judging(here, "val", training=episodes)
        learner = learner_of(here, source)
        earlier = settings.trained_on is None or not settings.id  # of a run that an earlier version began
        settings = settings.trained(source, classes_digest(episodes, settings.part))
        settings = settings if settings.id else settings.identified()
        # The weights of another run are read where runs are, and handed out.
        params = initial_params(learner, here if ranks.leads else replace(here, init=None))
        if settings.steps and not any(name != "measured" for name in params):
            display.note(f"note: {settings.learner} has nothing to train, so no steps are taken")
            settings = replace(settings, steps=0, warmup=0)
        if settings.steps:
            ranks.share(source(0))  # so that a number of tasks that can't be shared out leaves no run behind

    def mapped() -> How:
        """How tasks are mapped, measured by this process if it is to be."""
        if settings.how != "auto":
            return settings.how
        if not settings.steps:
            return "vmap"
        batch = ranks.share(source(0))
        return fastest(
            learner.at(0.0),
            params,
            batch,
            aggregate=settings.aggregate,
            remat=settings.remat,
            precision=settings.precision,
        )

    settings = replace(settings, how=ranks.first(mapped))
    if settings.compile and settings.steps:
        batch = ranks.share(source(0))
        able, outcome = _compiled_ahead(learner.at(0.0), params, batch, settings)
        display.note(f"note: {outcome}")
        # In every process or in none, since all of them make one run.
        settings = replace(settings, compile=not ranks.either(not able))
    at = 0

    def follow(progress: Progress) -> None:
        nonlocal at
        at = progress.step
        bar(progress)
        track(progress)
        if watch is not None:
            watch(progress)
        raise_noted()

    try:
        with (
            _told_of(folder),
            _alone(folder, ranks, resume),
            display.bar(title or f"{settings.learner} on {episodes.about.source}", episodes.problem.metric) as bar,
            interrupts(ranks) as raise_noted,
            Tracking(
                settings.track if ranks.leads else [],
                folder,
                settings.given(),
                resume=resume,
                least=episodes.problem.metric.lower_is_better,
                display=display,
            ) as track,
        ):
            if not resume or earlier:
                with ranks.alike():
                    if ranks.leads:
                        settings.write(folder)
            trained = meta_train(
                learner,
                source,
                params=params,
                validation=validation,
                out=folder,
                run=settings.id,
                resume=resume,
                progress=follow,
                ranks=ranks,
                **{name: getattr(settings, name) for name in _TRAINED_WITH},
            )
    except KeyboardInterrupt:
        where = f" after step {at:,} of {settings.steps:,}" if at else ""
        raise Stopped(f"stopped{where}: go on with mapwise train --resume {folder}") from None
    except LostRank as error:
        raise ValueError(
            f"another process of this training is gone ({error.reason}): "
            f"go on with mapwise train --resume {folder}, in as many processes as you like"
        ) from None
    return folder, settings, trained


def _compiled_ahead(learner: Learner, params: Params, batch: Task, settings: RunSettings) -> tuple[bool, str]:
    """Whether the meta-gradient could be compiled; and what that brings, or why not, in a sentence."""
    try:
        timing = compilation(
            learner,
            params,
            batch,
            how=cast(How, settings.how),
            remat=settings.remat,
            precision=settings.precision,
            aggregate=settings.aggregate,
        )
    except NotCompiled as reason:
        return False, str(reason)
    steps = timing.pays_after
    pays = "which never pays: leave out --compile" if steps is None else f"which pays after {steps:,} steps"
    return True, (
        f"compiled in {timing.once:.0f} s; a meta-gradient takes {1000 * timing.compiled:.2f} ms instead of "
        f"{1000 * timing.uncompiled:.2f}, {pays}"
    )


def training_summary(folder: Path, settings: RunSettings, trained: Trained, seconds: float) -> dict[str, Any]:
    """What a training came to, as one JSON-ready object."""
    return {
        "run": str(folder),
        "learner": settings.learner,
        "source": settings.source,
        "steps": settings.steps,
        "step": trained.step,
        "validation": trained.validation,
        "validation_episodes": settings.validation_episodes,
        "how": str(settings.how),
        "seed": settings.seed,
        "seconds": round(seconds, 3),
    }


def free_folder(name: str, source: str) -> Path:
    """The folder runs/NAME-SOURCE, with a number where that is taken."""
    first = RUNS / f"{name}-{Path(source).stem or 'source'}".replace(":", "-")
    folder, number = first, 1
    while folder.exists():
        number += 1
        folder = first.with_name(f"{first.name}-{number}")
    return folder


def check_empty(folder: Path) -> None:
    """Raises ValueError for a folder that holds a run, or the runs of several seeds."""
    if (folder / SEEDS).exists():
        raise ValueError(f"{folder} holds the runs of several seeds: give another --out")
    if any((folder / name).exists() for name in (SETTINGS, LAST, BEST, METRICS)):
        raise ValueError(
            f"{folder} holds a run already: go on with it by mapwise train --resume {folder}, or give another --out"
        )


@contextmanager
def _alone(folder: Path, ranks: Ranks, resume: bool) -> Iterator[None]:
    """One training at a time in a folder: rank 0 has it to itself, and it is looked at again before a run begins."""
    with ExitStack() as stack:
        with ranks.alike():
            if ranks.leads:
                if not stack.enter_context(claimed(folder / LOCK)):
                    raise ValueError(f"another process is training in {folder}: wait for it, or stop it first")
                if not resume:
                    check_empty(folder)
        yield


@contextmanager
def _told_of(folder: Path) -> Iterator[None]:
    """An error of the disk that names no file names the run's folder."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.strerror:
            raise OSError(error.errno, error.strerror, f"{folder}") from None
        raise
