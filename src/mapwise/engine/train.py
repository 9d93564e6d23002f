"""Meta-training: the loop whose update is a step down the weighted objective of a batch of tasks."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, cast

from mapwise.core import tree
from mapwise.core.capabilities import Unrolled
from mapwise.core.execution import How, Precision
from mapwise.core.fields import check_arguments, check_text
from mapwise.core.learner import Learner, built_nets, check_loss, check_params, check_tasks
from mapwise.core.map_tasks import tasks_in
from mapwise.core.older_source import with_problem
from mapwise.core.source import TaskSource
from mapwise.core.tree import Params
from mapwise.data.files import path_of
from mapwise.engine import loop
from mapwise.engine.aggregate import Aggregate, aggregate_named
from mapwise.engine.evaluate import episode_values
from mapwise.engine.folder import RunFolder
from mapwise.engine.gradient import fastest, meta_gradient
from mapwise.engine.loop import Outcome, Progress
from mapwise.engine.optimizer_state import OptimizerState
from mapwise.engine.ranks import ALONE, Ranks
from mapwise.engine.settings import Execution, Training
from mapwise.engine.unrolled import UnrolledState, check_unrolled, unrolled_update

_EARLIER = {field.name: field.default for part in (Training, Execution) for field in fields(part)}
"""The values of settings that runs of earlier versions lack."""


@dataclass(frozen=True)
class Trained(Outcome):
    """The result of a training: the selected params, measured, and its records."""

    how: How


_FEWEST_EPISODES, _MOST_EPISODES = 20, 200
"""Of a validation, where their number isn't given."""


def train(
    learner: Learner,
    source: TaskSource,
    *,
    steps: int,
    optimizer: str = "Adam lr=0.001",
    schedule: str | None = None,
    warmup: int = 0,
    clip: float | None = None,
    aggregate: str | Aggregate = "mean",
    seed: int = 0,
    params: Params | None = None,
    validate_every: int | None = None,
    validation: TaskSource | None = None,
    validation_episodes: int | None = None,
    patience: int | None = None,
    select: Literal["best", "last"] = "best",
    how: How | Literal["auto"] = "auto",
    compile: bool = False,
    remat: bool = False,
    precision: Precision = "full",
    out: str | Path | None = None,
    run: str = "",
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
    ranks: Ranks = ALONE,
) -> Trained:
    """Meta-train a learner on a source of tasks.

    source:     training tasks; its split "val" validates unless `validation` is given. The test split
                is never touched.
    steps:      meta-updates, each on one batch of tasks.
    optimizer:  a torch.optim name with options: "Adam lr=0.001", "SGD lr=0.1 momentum=0.9".
    schedule:   "cosine", "linear", or a torch.optim.lr_scheduler name with options:
                "StepLR step_size=2000 gamma=0.5". It moves once a step.
    warmup:     number of first steps in which the rate rises linearly to the rate the schedule begins with, which is
                the optimizer's except for schedules that set their own; the schedule covers the steps after them.
    clip:       largest norm of the meta-gradient; None: no clipping.
    aggregate:  how tasks are weighted, see `meta_gradient`.
    seed:       seed of the initial params. A net that is given as a built module starts from the weights it has, and a
                warning says so for another seed than 0; what builds one, as `lambda: Net()`, starts anew for each seed.
    params:     params to start from, instead of the seed's.
    validate_every, validation_episodes: steps between two validations (default: ten validations in all), and
                episodes of each (default: 200, or fewer where all validations together would have more than half
                as many as there are training tasks, which takes about a fifth of the time; 20 at least).
    patience:   stop after this many validations without an improvement.
    select:     return the params of the "best" validation, or the "last".
    how:        how tasks are mapped; "auto" measures once before the first step.
    compile, remat, precision: see `meta_gradient`; validation is always in full precision.
    out:        a folder for checkpoints and metrics.jsonl; None keeps all in memory. Checkpoints of an
                earlier run there are replaced, unless it is resumed.
    run:        an id of the run, which is kept in its checkpoints; by default one of these arguments.
    resume:     go on from the folder's last checkpoint, or begin when there is none. The final params
                are, on a CPU with the same `how` and threads, bit for bit those of a run that was never
                stopped; "auto" is the `how` the run began with.
    progress:   called after every step; KeyboardInterrupt from it stops the training, on all ranks. Ctrl-C
                stops it after the step under way, a second one at once.
    ranks:      the processes that train together, all with the same arguments. Every one returns the same;
                only rank 0 reads and writes `out`. Another number of them may resume the run.

    Raises ValueError for invalid settings, for a run that was begun with other settings, for a damaged
    checkpoint, when the loss stops being a number, and when the folder is deleted meanwhile; LostRank when
    another process is gone.
    """
    check_text("optimizer", optimizer, "Adam lr=0.001")
    check_arguments(train, locals())
    training = Training(
        steps=steps,
        optimizer=optimizer,
        schedule=schedule,
        warmup=warmup,
        clip=clip,
        aggregate=aggregate,
        seed=seed,
        validate_every=validate_every,
        validation_episodes=_MOST_EPISODES if validation_episodes is None else validation_episodes,
        patience=patience,
        select=select,
    )
    execution = Execution(how=how, compile=compile, remat=remat, precision=precision)
    aggregate_named(aggregate)
    every = max(1, steps // 10) if validate_every is None else validate_every
    source = with_problem(source)
    judge = source.split("val") if validation is None else with_problem(validation)
    check_tasks(learner, source(0))
    check_loss(learner, source.problem)
    if params is not None:
        check_params(learner, params)
    if validation_episodes is None:
        affordable = tasks_in(source(0)) * min(every, steps) // 2
        training = replace(training, validation_episodes=min(_MOST_EPISODES, max(_FEWEST_EPISODES, affordable)))
    if params is None and seed != 0 and (built := built_nets(learner)):
        warn_of_own_start(learner, built[0])
    start = ranks.hand_out(learner.init(seed) if params is None else params)
    first = OptimizerState.of(start, optimizer, schedule, steps=steps, warmup=warmup)
    folder = RunFolder.opened(
        None if out is None else path_of(out or "."),
        _settings(replace(training, validate_every=every), execution, learner, source, judge),
        chosen={"how": None if how == "auto" else how},
        earlier=_EARLIER,
        run=run,
        resume=resume,
        ranks=ranks,
    )
    if folder.chosen["how"] is None:
        batch = ranks.share(source(0))
        quickest = ranks.first(
            lambda: fastest(learner.at(0.0), first.params, batch, aggregate=aggregate, remat=remat, precision=precision)
        )
        folder = replace(folder, chosen={"how": quickest})
    mapping = cast(How, folder.chosen["how"])
    gradient_settings = {**vars(execution), "how": mapping, "aggregate": aggregate, "ranks": ranks}

    def descend(state: OptimizerState, step: int) -> tuple[OptimizerState, float, int]:
        batch = source(step)
        gradient, loss = meta_gradient(learner.at(step / steps), state.params, batch, **gradient_settings)
        return state.updated(gradient, step, clip), float(loss), tasks_in(batch)

    begin: Any = first
    update: Any = descend
    if isinstance(learner, Unrolled) and learner.unroll is not None:
        check_unrolled(compile, ranks)
        begin, moment = UnrolledState(first, {}), cast(Callable[[float], Unrolled], learner.at)
        update = unrolled_update(
            source,
            lambda step: moment(step / steps),
            how=mapping,
            aggregate=aggregate_named(aggregate),
            remat=remat,
            precision=precision,
            clip=clip,
        )

    def measured(state: Any) -> Params:
        # With zero steps nothing was trained: statistics measured for the given params are still right.
        measured_before = {name: start[name] for name in start if name == "measured" and steps == 0}
        return learner.measure({**tree.detach(state.params), **measured_before}, source)

    def validate(state: Any) -> tuple[float, Params]:
        params = measured(state)
        return float(
            episode_values(learner, params, judge, training.validation_episodes, mapping, ranks).mean()
        ), params

    outcome = loop.run(
        begin,
        update,
        validate,
        steps=steps,
        validate_every=every,
        metric=judge.problem.metric,
        patience=patience,
        select=select,
        finish=measured,
        figures=lambda state: {"lr": state.rate},
        folder=folder,
        progress=progress,
        ranks=ranks,
    )
    return Trained(**vars(outcome), how=mapping)


def warn_of_own_start(learner: Learner, name: str) -> None:
    """Warn, where `train` or its kin is called, that this field holds a built module, whose start no seed moves."""
    text = (
        f"{type(learner).__name__}'s {name} is a built module, so it starts from its own weights whatever the seed: "
        f"give what builds one, such as {name}=lambda: Net(), for a start of each seed"
    )
    warnings.warn(text, stacklevel=3)


def _settings(
    training: Training, execution: Execution, learner: Learner, source: TaskSource, judge: TaskSource
) -> dict[str, Any]:
    """Everything that decides the final weights and can be written as JSON."""
    plain = (str, int, float, bool, tuple, type(None))
    hyperparameters = {f.name: getattr(learner, f.name) for f in fields(learner)}
    settings = {**vars(training), **vars(execution)}
    del settings["how"]  # chosen when the run begins
    if callable(training.aggregate):
        settings["aggregate"] = getattr(training.aggregate, "__qualname__", "function")
    return {
        **settings,
        "learner": type(learner).__name__,
        **{f"learner's {name}": value for name, value in hyperparameters.items() if isinstance(value, plain)},
        "tasks": tasks_in(source(0)),
        **{f"source's {name}": value for name, value in source.about._asdict().items()},
        **{f"validation's {name}": value for name, value in judge.about._asdict().items()},
    }
