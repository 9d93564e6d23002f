"""The loop around updates: records, validations, the best and the last state, checkpoints, resuming and interrupts.

What is learned, and how, is an update: `update(state, step) -> (state, loss, count)`. Training is one, and so are a
round of federated averaging and a prediction that is learned from afterwards.
"""

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from pydantic import StrictFloat

from mapwise.core import tree
from mapwise.core.problem import Metric
from mapwise.core.tree import Params, Tree
from mapwise.data.tensor_file import DAMAGE
from mapwise.engine import checkpoint
from mapwise.engine.folder import IN_MEMORY, LAST, Count, RunFolder
from mapwise.engine.interrupts import interrupts
from mapwise.engine.ranks import ALONE, Ranks
from mapwise.engine.state import Consumed, State

RECORDS = 1000
"""About how many records a run of known length leaves, besides those of its validations."""

RECORD_SECONDS = 10.0
"""The seconds between two records of a run of unknown length."""

SAVE_SECONDS = 30.0
"""The work that a crash may cost: the last checkpoint is written at least this often, and at every validation."""


VALUE = Metric("validation", "Validation", "validation", percent=False)
"""The default metric of a validation: higher is better."""


S = TypeVar("S", bound=State)


@dataclass(frozen=True)
class Progress:
    """Where a run stands, for whoever wants to show it."""

    step: int
    steps: int | None
    """None: unknown."""
    loss: float
    """Mean loss since the last record."""
    validation: float | None
    """The latest validation."""
    best: float | None
    tasks_per_second: float
    """Or whatever an update counts; in this process, without the steps before a run was resumed."""
    seconds: float
    """Of the whole run."""
    record: dict[str, Any] | None = None
    """The line of metrics.jsonl that this step left; None when it left none."""


@dataclass(frozen=True)
class Outcome:
    """What a run leaves: the selected params, and how it went."""

    params: Params
    """The params of the best validation, or the last."""
    step: int
    """The step they are from."""
    validation: float | None
    history: list[dict[str, Any]]
    """One record per line of metrics.jsonl."""


@dataclass(frozen=True)
class _Position:
    """Where a run stands, beside its state."""

    step: Count = 0
    best: StrictFloat | None = None
    best_step: Count = 0
    stale: Count = 0
    """Validations since the best."""
    validation: StrictFloat | None = None
    sum: StrictFloat = 0.0
    """Of the losses since the last record."""
    count: Count = 0


def run(
    state: S,
    update: Callable[[S, int], tuple[S, float, int]],
    validate: Callable[[S], tuple[float, Params]] | None = None,
    *,
    steps: int | None,
    until: Callable[[S, int], bool] | None = None,
    validate_every: int | None = None,
    metric: Metric = VALUE,
    patience: int | None = None,
    select: Literal["best", "last"] = "best",
    finish: Callable[[S], Params] | None = None,
    figures: Callable[[S], dict[str, Any]] | None = None,
    folder: RunFolder = IN_MEMORY,
    progress: Callable[[Progress], None] | None = None,
    ranks: Ranks = ALONE,
) -> Outcome:
    """Update a state step by step, and return the params of the best validation, or the last.

    state:    where to begin.
    update:   (state, step) -> (the next state, its loss, how many tasks or rows it took).
    validate: state -> (value, params to keep when it is the best); None: the last params are returned.
    steps:    number of updates; None: as many as `until` allows. Records are then left by the clock.
    until:    (state, step) -> whether the run is finished after so many steps; a pure function.
    validate_every: steps between two validations; None: one at the end.
    metric:   which of two validations is better.
    patience: stop after this many validations without an improvement.
    select:   return the params of the "best" validation, or the "last".
    finish:   state -> the last params to return; None: the state's own.
    figures:  state -> what a record holds of it, besides step, loss, seconds and validation.
    folder:   where checkpoints and records are written, and the run to go on with.
    progress: called after every step; KeyboardInterrupt from it stops the run, on all ranks.

    A first Ctrl-C ends the run after the step under way, and a second one at once; the last state is saved both times,
    unless an update in place was interrupted: then the last checkpoint stands.

    Raises ValueError when the loss stops being a number and when the folder is gone, damaged or of another state, and
    LostRank when another process is gone.
    """
    position, history = _Position(), list[dict[str, Any]]()
    best: Params | None = None
    if folder.about is not None:
        state, position, history, best = _resumed(folder, state, steps, ranks)
    log_every = None if steps is None else max(1, steps // RECORDS)

    def save() -> None:
        tensors, about = state.to_file()
        folder.save_last(tensors, {**asdict(position), **about})

    def finished(state: S, step: int) -> bool:
        return step == steps or (until is not None and until(state, step))

    with ranks.alike():
        if position.step == 0:
            folder.clear()
            save()  # with what was chosen, so that a run killed before its first validation goes on in the way it began

    clock = _Clock(history)
    saved = recorded = time.perf_counter()
    done = 0
    over = finished(state, position.step)
    with interrupts() as raise_noted:
        try:
            while not over and not (patience is not None and position.stale >= patience):
                new, loss, count = update(state, position.step)
                if not math.isfinite(loss):
                    with ranks.alike():  # the loss is that of all ranks, so they come here together
                        raise ValueError(
                            f"the loss is {loss} at step {position.step}: "
                            "lower the learning rate, or set clip (such as clip=10)"
                        )
                done += count
                step = position.step + 1
                moved = replace(position, step=step, sum=position.sum + loss, count=position.count + 1)
                over = finished(new, step)
                recent = moved.sum / moved.count
                better = best
                validates = over or (validate_every is not None and step % validate_every == 0)
                if validate is not None and validates:
                    value, params = validate(new)
                    moved = replace(moved, validation=float(value), stale=moved.stale + 1)
                    if metric.improves(float(value), moved.best):
                        moved = replace(moved, best=moved.validation, best_step=step, stale=0)
                        # A copy: params may share memory with those of an optimizer.
                        better = tree.map(torch.clone, params)
                        # Best before last: a crash between the two repeats this validation and writes the same again.
                        folder.save_best(better, step, moved.validation)
                    del params  # a validation's params may be measured, and the next ones are others
                now = time.perf_counter()
                record: dict[str, Any] | None = None
                due = now - recorded > RECORD_SECONDS if log_every is None else step % log_every == 0
                if validates or due:
                    record = {"step": step, "loss": recent, **(figures(new) if figures else {}), **clock.times()}
                    if validate is not None and validates:
                        record["validation"] = moved.validation
                    moved, recorded = replace(moved, sum=0.0, count=0), now
                    folder.append(record)
                    history.append(record)
                # Only here has the step happened; whatever ends it before leaves the state as it was.
                state, position, best = new, moved, better
                if validates or now - saved > SAVE_SECONDS:
                    save()
                    saved = time.perf_counter()
                stopped = False
                try:
                    if progress is not None:
                        speed = done / max(clock.here, 1e-9)
                        validation, best_value = position.validation, position.best
                        progress(Progress(step, steps, recent, validation, best_value, speed, clock.seconds, record))
                    raise_noted()
                except KeyboardInterrupt:
                    stopped = True
                if ranks.either(stopped):  # a signal may reach the ranks at different steps
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            with suppress(Consumed):
                save()
            raise
    if best is not None and select == "best":
        return Outcome(best, position.best_step, position.best, history)
    last = tree.map(torch.clone, state.params if finish is None else finish(state))
    folder.save_best(last, position.step, position.validation)
    return Outcome(last, position.step, position.validation, history)


class _Clock:
    """The time of a run, over all its parts."""

    def __init__(self, history: list[dict[str, Any]]) -> None:
        self.began, self.worked = time.perf_counter(), time.process_time()
        self.earlier = history[-1]["seconds"] if history else 0.0
        # None: an earlier part didn't count its processor time, so that of the whole is unknown.
        self.worked_earlier = history[-1].get("processor_seconds") if history else 0.0

    @property
    def here(self) -> float:
        """Seconds of this process."""
        return time.perf_counter() - self.began

    @property
    def seconds(self) -> float:
        """Seconds of the whole run."""
        return float(self.earlier + self.here)

    def times(self) -> dict[str, float]:
        """The times as a record holds them."""
        times: dict[str, float] = {"seconds": self.seconds}
        if self.worked_earlier is not None:
            times["processor_seconds"] = self.worked_earlier + time.process_time() - self.worked
        return times


def _resumed(
    folder: RunFolder, state: S, steps: int | None, ranks: Ranks
) -> tuple[S, _Position, list[dict[str, Any]], Params | None]:
    """Go on where the run in this folder stopped: rank 0 reads it, and the others receive it."""
    tensors: Tree = {}
    history: list[dict[str, Any]] = []
    best: Params | None = None
    about: dict[str, Any] = folder.about or {}
    position = _Position()
    with ranks.alike():
        if folder.path is not None:
            tensors, about = checkpoint.load(folder.path / LAST, _Position)
            state, position = _restored(state, tensors, about, folder.path / LAST)
            if steps is not None and position.step > steps:
                problem = f"it is of step {position.step} of {steps}"
                raise ValueError(checkpoint.damaged_checkpoint(folder.path / LAST, problem))
            if position.best is not None:
                best = folder.load_best(position.step, position.best_step, tree.forms(state.params))
            history = folder.cut_records(position.step)
    history, some = ranks.agree((history, best is not None))
    received = ranks.hand_out({"last": tensors, "best": best or {}})
    if not ranks.leads:
        state, position = _restored(state, received.get("last", {}), about, Path(LAST))
        best = received.get("best", {}) if some else None
    return state, position, history, best


def _restored(state: S, tensors: Tree, about: dict[str, Any], path: Path) -> tuple[S, _Position]:
    try:
        position = _Position(**{field.name: about[field.name] for field in fields(_Position)})
        return state.of_file(tensors, about), position
    except ValueError as error:
        raise ValueError(f"the run in {path} can't be resumed: {error}") from None
    except DAMAGE as error:
        raise ValueError(checkpoint.damaged_checkpoint(path, error)) from None
