"""Meta-training: steps down the weighted objective, validation, checkpoints, and an exact way back in."""

import hashlib
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, cast

import torch

from mapwise.core import tree
from mapwise.core.execution import How, Precision
from mapwise.core.learner import Learner
from mapwise.core.map_tasks import tasks_in
from mapwise.core.task import TaskSource
from mapwise.core.tree import Params
from mapwise.engine import checkpoint
from mapwise.engine.aggregate import Aggregate, aggregate_named
from mapwise.engine.evaluate import episode_values
from mapwise.engine.gradient import fastest, meta_gradient
from mapwise.engine.ranks import ALONE, Ranks
from mapwise.engine.settings import Execution, Training
from mapwise.engine.state import State

LAST = "last.safetensors"
BEST = "best.safetensors"
METRICS = "metrics.jsonl"

RECORDS = 1000
"""About how many records a training leaves, beside those of its validations."""

SAVE_SECONDS = 30.0
"""How much work a crash may cost: the last checkpoint is written at least this often, and at every validation."""


@dataclass(frozen=True)
class Progress:
    """Where a training stands, for whoever wants to show it."""

    step: int
    steps: int
    loss: float
    """Mean objective since the last record."""
    validation: float | None
    """The latest validation, in the metric of the tasks' kind."""
    best: float | None
    tasks_per_second: float
    """Of this process: what a resumed run did before doesn't count."""
    seconds: float
    """Of the whole run."""
    record: dict[str, Any] | None = None
    """The line of metrics.jsonl that this step left; None when it left none."""


@dataclass(frozen=True)
class Trained:
    """What a training leaves: the selected params, and how it went."""

    params: Params
    """The params of the best validation (or the last, if so asked), measured."""
    step: int
    """The step they are from."""
    validation: float | None
    history: list[dict[str, Any]]
    """One record per line of metrics.jsonl."""
    how: How


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
    validation_episodes: int = 200,
    patience: int | None = None,
    select: Literal["best", "last"] = "best",
    how: How | Literal["auto"] = "auto",
    compile: bool = False,
    remat: bool = False,
    precision: Precision = "full",
    out: Path | None = None,
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
    warmup:     so many first steps rise linearly to the rate the schedule begins with, which is the
                optimizer's but for schedules that set their own; the schedule covers the steps after them.
    clip:       largest norm of the meta-gradient; None: no clipping.
    aggregate:  how tasks are weighed, see `meta_gradient`.
    seed:       of the initial params.
    params:     params to start from, instead of the seed's.
    validate_every, validation_episodes: a validation on so many episodes after every so many steps
                (default: ten in all).
    patience:   stop after so many validations without a better one.
    select:     return the params of the "best" validation, or the "last".
    how:        how tasks are mapped; "auto" measures once before the first step.
    compile, remat, precision: see `meta_gradient`; validation is always in full precision.
    out:        a folder for checkpoints and metrics.jsonl; None keeps all in memory. Checkpoints that a
                run left there before are replaced, unless it is resumed.
    run:        an id of the run, which is kept in its checkpoints; by default one of these arguments.
    resume:     go on from the folder's last checkpoint, or begin when there is none. The final params
                are, on a CPU with the same `how` and threads, bit for bit those of a run that was never
                stopped; "auto" is the `how` the run began with.
    progress:   called after every step; KeyboardInterrupt from it stops the training, on all ranks.
    ranks:      the processes that train together, all with the same arguments. Every one returns the same;
                only rank 0 reads and writes `out`. Another number of them may resume the run.

    Raises ValueError for settings that can't be, for a resumed run that was begun with others, for a
    damaged checkpoint, and when the loss stops being a number; LostRank when another process is gone.
    """
    training = Training(
        steps=steps,
        optimizer=optimizer,
        schedule=schedule,
        warmup=warmup,
        clip=clip,
        aggregate=aggregate,
        seed=seed,
        validate_every=validate_every,
        validation_episodes=validation_episodes,
        patience=patience,
        select=select,
    )
    execution = Execution(how=how, compile=compile, remat=remat, precision=precision)
    aggregate_named(aggregate)
    validate_every = max(1, steps // 10) if validate_every is None else validate_every
    judge = source.split("val") if validation is None else validation
    log_every = max(1, steps // RECORDS)

    start = ranks.hand_out(learner.init(seed) if params is None else params)
    state = State(start, optimizer, schedule, steps, warmup)
    given = {
        **vars(training),
        **vars(execution),
        "aggregate": aggregate if isinstance(aggregate, str) else getattr(aggregate, "__qualname__", "function"),
        "validate_every": validate_every,
    }
    del given["how"]  # stands in the checkpoint by itself: "auto" becomes what was measured
    asked = _settings(given, learner, source, judge)
    run = run or hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
    history: list[dict[str, Any]] = []
    best: Params | None = None

    def begun() -> bool:
        """Whether there is something to resume; the folder is there afterwards."""
        if out is None:
            return False
        out.mkdir(parents=True, exist_ok=True)
        return resume and (out / LAST).exists()

    if not ranks.leads:
        out = None  # the others hear from rank 0 what is in it
    if ranks.first(begun):
        how, history, best = _taken_up(ranks, out, run, state, asked, how)
    elif how == "auto":
        batch = ranks.share(source(0))
        quickest: How = ranks.first(
            lambda: fastest(
                learner.at(0.0), state.params(), batch, aggregate=aggregate, remat=remat, precision=precision
            )
        )
        how = quickest

    def save() -> None:
        if out is not None:
            with (out / METRICS).open("ab") as file:
                os.fsync(file.fileno())  # the records of the steps that the checkpoint counts as done
            tensors, about = state.as_file()
            checkpoint.save(out / LAST, tensors, {**about, "run": run, "settings": asked, "how": how})

    def save_best(measured: Params) -> None:
        if out is not None:
            about = {"run": run, "step": state.step, "validation": state.validation}
            checkpoint.save(out / BEST, {"params": measured}, about)

    def validated() -> None:
        nonlocal best
        measured = learner.measure(tree.detach(state.params()), source)
        state.validation = float(episode_values(learner, measured, judge, validation_episodes, how, ranks).mean())
        if judge.problem.metric.improves(state.validation, state.best):
            state.best, state.best_step, state.stale = state.validation, state.step, 0
            # A copy: params without anything measured share memory with the optimizer's.
            best = tree.map(torch.clone, measured)
            # Best before last: a crash between the two repeats this validation and writes the same best again.
            save_best(measured)
        else:
            state.stale += 1

    with ranks.alike():
        if out is not None and state.step == 0:
            # Last first: whatever is interrupted here, no file of an earlier run is taken for one of this.
            for stale in (LAST, BEST):
                (out / stale).unlink(missing_ok=True)
            (out / METRICS).write_bytes(b"")
            save()  # with `how`, so that a run killed before its first validation goes on in the way it began

    began = saved = time.perf_counter()
    worked = time.process_time()
    earlier = history[-1]["seconds"] if history else 0.0
    # A run whose first part didn't count its processor time can't say it of the whole.
    worked_earlier = history[-1].get("processor_seconds") if history else 0.0
    done_here = 0
    whole = True
    record: dict[str, Any] | None
    try:
        while state.step < steps and not (patience is not None and state.stale >= patience):
            batch = source(state.step)
            moment = learner.at(state.step / steps)
            gradient, loss = meta_gradient(
                moment,
                state.params(),
                batch,
                how=how,
                compile=compile,
                remat=remat,
                precision=precision,
                aggregate=aggregate,
                ranks=ranks,
            )
            value = float(loss)
            if not math.isfinite(value):
                with ranks.alike():  # the loss is that of all ranks, so they come here together
                    raise ValueError(
                        f"the loss is {value} at step {state.step}: "
                        "lower the learning rate, or set clip (such as clip=10)"
                    )
            whole = False
            rate = state.rate
            state.update(gradient, clip)
            state.sum += value
            state.count += 1
            done_here += tasks_in(batch)
            recent = state.sum / state.count
            validates = state.step == steps or state.step % validate_every == 0
            if validates:
                validated()
            record = None
            if validates or state.step % log_every == 0:
                record = {"step": state.step, "loss": recent, "lr": rate}
                record["seconds"] = earlier + time.perf_counter() - began
                if worked_earlier is not None:
                    record["processor_seconds"] = worked_earlier + time.process_time() - worked
                if validates:
                    record["validation"] = state.validation
                state.sum, state.count = 0.0, 0
                history.append(record)
                if out is not None:
                    with (out / METRICS).open("a") as file:
                        file.write(json.dumps(record) + "\n")
            whole = True
            if validates or time.perf_counter() - saved > SAVE_SECONDS:
                save()
                saved = time.perf_counter()
            stopped = False
            if progress is not None:
                spent = time.perf_counter() - began
                speed = done_here / max(spent, 1e-9)
                spent += earlier
                try:
                    progress(Progress(state.step, steps, recent, state.validation, state.best, speed, spent, record))
                except KeyboardInterrupt:
                    stopped = True
            if ranks.either(stopped):  # a signal may reach the ranks at different steps
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        # In the middle of an update the state is neither before nor after a step: then the last checkpoint stands.
        if whole:
            save()
        raise
    if best is None or select == "last":
        # Nothing was trained in no steps: what was measured for the given params is still true of them.
        kept = {name: start[name] for name in start if name == "measured" and state.step == 0}
        best = tree.map(torch.clone, learner.measure({**tree.detach(state.params()), **kept}, source))
        state.best_step = state.step
        save_best(best)
    chosen = state.validation if select == "last" else state.best
    return Trained(best, state.best_step, chosen, history, how)


def _settings(given: dict[str, Any], learner: Learner, source: TaskSource, judge: TaskSource) -> dict[str, Any]:
    """Everything that decides the final weights and can be written as JSON."""
    plain = (str, int, float, bool, tuple, type(None))
    chosen = {f.name: getattr(learner, f.name) for f in fields(learner)}
    everything = {
        **given,
        "learner": type(learner).__name__,
        **{f"learner's {name}": value for name, value in chosen.items() if isinstance(value, plain)},
        "tasks": tasks_in(source(0)),
        **{f"source's {name}": value for name, value in source.about._asdict().items()},
        **{f"validation's {name}": value for name, value in judge.about._asdict().items()},
    }
    found: dict[str, Any] = json.loads(json.dumps(everything, default=str))
    return found


def _agreed(out: Path, asked: dict[str, Any], how: How | Literal["auto"], about: dict[str, Any]) -> How:
    """The `how` the run began with; ValueError when it began with other settings than it is to go on with."""
    if "settings" not in about or "how" not in about:
        raise ValueError(f"{out / LAST} doesn't say with which settings it was made: train the run again")
    # A run of a version that knew none of these began without them.
    unknown = {"warmup": 0, "compile": False, "remat": False, "precision": "full"}
    begun: dict[str, Any] = {**unknown, **about["settings"], "how": about["how"]}
    wanted = {**asked, "how": about["how"] if how == "auto" else how}
    for name in sorted({*begun, *wanted}):
        if begun.get(name) != wanted.get(name):
            raise ValueError(
                f"the run in {out} began with {name} {begun.get(name)!r} and is to go on with {wanted.get(name)!r}: "
                "resume it with the settings it began with, or train in another folder"
            )
    agreed: How = begun["how"]
    return agreed


def _taken_up(
    ranks: Ranks, out: Path | None, run: str, state: State, asked: dict[str, Any], how: How | Literal["auto"]
) -> tuple[How, list[dict[str, Any]], Params | None]:
    """Go on where the run in this folder stopped: rank 0 reads it, and the others hear of it.

    Returns the `how` the run began with, its records, and its best params so far.
    """
    tensors: tree.Tree = {}
    about: dict[str, Any] = {}
    history: list[dict[str, Any]] = []
    best: Params | None = None
    with ranks.alike():
        if out is not None:
            tensors, about = checkpoint.load(out / LAST)
            how = _agreed(out, asked, how, about)
            checkpoint.check_run(out / LAST, about, run)
            state.restore(out / LAST, tensors, about)
            history = _cut(out / METRICS, state.step)
            best = _best(out, run, state)
    words: list[Any] = ranks.agree([about, how, history, best is not None])
    about, how, history, some = words
    heard = ranks.hand_out({"last": tensors, "best": best or {}})
    if not ranks.leads:
        state.restore(Path(LAST), heard.get("last", {}), about)
        best = heard.get("best", {}) if some else None
    return cast(How, how), history, best


def _best(out: Path, run: str, state: State) -> Params | None:
    """The params of the best validation so far."""
    if state.best is None:
        return None
    tensors, about = checkpoint.load(out / BEST)
    checkpoint.check_run(out / BEST, about, run)
    # Of the step the last checkpoint names, or of a later one: after a crash between the two.
    if not (about.get("step") == state.best_step or about.get("step", -1) >= state.step):
        raise ValueError(
            f"{out / BEST} is of step {about.get('step')} and {out / LAST} expects step {state.best_step}: "
            "restore both from the same moment, or train the run again"
        )
    found: Params = tensors.get("params", {})
    return found


def _cut(path: Path, step: int) -> list[dict[str, Any]]:
    """The records up to a step; what was written after the last checkpoint is cut off, to be written again."""
    records: list[dict[str, Any]] = []
    length = 0
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else []:
        try:
            record = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            record = None
        if not isinstance(record, dict) or record.get("step", step + 1) > step:
            break
        records.append(record)
        length += len(line)
    if path.exists():
        os.truncate(path, length)  # in one stroke: rewriting the file could itself be interrupted
    return records
