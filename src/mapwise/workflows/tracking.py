"""mapwise train --track: the records of metrics.jsonl, passed on to a tracker as they are written.

A tracker only receives records, so that no bit of the run depends on one. What goes wrong with it
before the first step is an error, since nothing is lost yet; what goes wrong later is a note, and the
training goes on without it.
"""

import importlib.util
import json
import logging
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from mapwise.data.files import write_atomically
from mapwise.workflows.display import SILENT, Display
from mapwise.workflows.errors import Stopped, sentence

if TYPE_CHECKING:
    from mapwise.engine.loop import Progress

KEYS = "tracking.json"
"""By what each tracker knows the run, so that a resumed run is appended to."""

Ended = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True)
class Tracked:
    """A run, as a tracker receives it."""

    folder: Path
    settings: Mapping[str, Any]
    """By the names of their flags; nothing that was left out."""
    key: str | None
    """What `start` returned for the run's earlier part; None when it begins."""
    least: bool
    """The validation is an error: less is better."""
    display: Display = SILENT


class Tracker(Protocol):
    """Something that keeps the records of runs."""

    def start(self, run: Tracked) -> str:
        """Begin, or go on where the run has a key; returns the key."""

    def log(self, record: Mapping[str, float]) -> None:
        """Keep one record; its "step" never falls within a run, and after a resume it may repeat."""

    def finish(self, ended: Ended) -> None:
        """Close; nothing is logged afterwards."""


class TensorBoard:
    """Event files in the run's folder: tensorboard --logdir runs."""

    def start(self, run: Tracked) -> str:
        """Nothing is written yet: what is to be written over after a resume is known with the first record."""
        import torch.utils.tensorboard  # noqa: F401

        self.run = run
        self.writer: Any = None
        return "tensorboard"

    def log(self, record: Mapping[str, float]) -> None:
        """One scalar for each number."""
        if self.writer is None:
            self.writer = self._opened(int(record["step"]))
        for name, value in record.items():
            if name != "step":
                self.writer.add_scalar(name, value, int(record["step"]))
        self.writer.flush()  # a kill then loses nothing

    def _opened(self, step: int) -> Any:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        # Steps that were done after the last checkpoint are done again: their first records are to be forgotten.
        purge = step if self.run.key else None
        writer: Any = SummaryWriter(self.run.folder / "tensorboard", purge_step=purge)
        if self.run.key is None:
            plain = {n: v if isinstance(v, (bool, int, float)) else str(v) for n, v in self.run.settings.items()}
            writer.add_text("settings", "\n".join(f"    {name} = {value}" for name, value in plain.items()))
            for summary in hparams(plain, {"best_validation": 0.0}):  # type: ignore[no-untyped-call]
                writer.file_writer.add_summary(summary)
        return writer

    def finish(self, ended: Ended) -> None:
        """Close the event file."""
        if self.writer is not None:
            self.writer.close()


class Wandb:
    """Weights & Biases: online when it is logged in, otherwise in the run's folder, for `wandb sync`."""

    def start(self, run: Tracked) -> str:
        """WANDB_MODE, WANDB_PROJECT and its other variables mean what they always mean."""
        import wandb

        mode = os.environ.get("WANDB_MODE") or ("online" if wandb.login(prompt=False) else "offline")
        key = run.key or secrets.token_hex(4)
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "mapwise"),
            name=str(run.folder),
            id=key,
            resume="allow",
            dir=str(run.folder),
            config=dict(run.settings),
            mode=mode,
            # A run of its own, beside whatever else this process tracks; and standard output is the command's.
            settings=wandb.Settings(silent=True, console="off", reinit="create_new"),
        )
        for name in ("validation", "best_validation"):
            self.run.define_metric(name, summary="min" if run.least else "max")
        if mode == "offline":
            run.display.note(
                f"note: wandb works offline here: send the run later with wandb sync {run.folder}/wandb/offline-run-*"
            )
        return key

    def log(self, record: Mapping[str, float]) -> None:
        """One row; a step that was logged already keeps its first row, which has the same numbers."""
        self.run.log({name: value for name, value in record.items() if name != "step"}, step=int(record["step"]))

    def finish(self, ended: Ended) -> None:
        """Close the run."""
        self.run.finish(exit_code=0 if ended == "finished" else 1)


class MLflow:
    """MLflow: where MLFLOW_TRACKING_URI says, otherwise in this folder, where `mlflow ui` looks."""

    def start(self, run: Tracked) -> str:
        """MLFLOW_EXPERIMENT_NAME and its other variables mean what they always mean."""
        import mlflow

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)  # it tells of every table it makes
        where, _, known = (run.key or "").rpartition("#")
        self.client = mlflow.MlflowClient(where or mlflow.get_tracking_uri())
        self.done = -1
        if known:
            self.id = known
            self.client.update_run(known, status="RUNNING")
            self.done = max((point.step for point in self.client.get_metric_history(known, "loss")), default=-1)
        else:
            experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", "mapwise")
            entry = self.client.get_experiment_by_name(experiment)
            place = entry.experiment_id if entry else self.client.create_experiment(experiment)
            self.id = self.client.create_run(place, run_name=str(run.folder)).info.run_id
            for name, value in run.settings.items():
                self.client.log_param(self.id, name, value)
        return f"{where or mlflow.get_tracking_uri()}#{self.id}"

    def log(self, record: Mapping[str, float]) -> None:
        """One batch of metrics; steps that were logged before a resume are not logged twice."""
        from mlflow.entities import Metric

        step = int(record["step"])
        if step > self.done:
            now = int(1000 * time.time())
            metrics = [Metric(name, value, now, step) for name, value in record.items() if name != "step"]
            self.client.log_batch(self.id, metrics=metrics)

    def finish(self, ended: Ended) -> None:
        """Close the run."""
        status = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}[ended]
        self.client.set_terminated(self.id, status)


TRACKERS: dict[str, type[Tracker]] = {"tensorboard": TensorBoard, "wandb": Wandb, "mlflow": MLflow}
"""By the name of the package, which is also the name of the extra that installs it."""


def installed(names: Sequence[str]) -> None:
    """Raises ValueError for a tracker whose package is missing, naming the extra that brings it."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise ValueError(f'{name} is not installed: pip install "mapwise[{name}]", or leave out --track {name}')


class Tracking:
    """The trackers of one run, none of which can harm it.

    names:    of TRACKERS.
    settings: by the names of their flags.
    resume:   the run goes on; a tracker that can't is left out with a note.
    least:    the validation is an error: less is better.
    display:  where remarks go.
    """

    def __init__(
        self,
        names: Sequence[str],
        folder: Path,
        settings: Mapping[str, Any],
        *,
        resume: bool = False,
        least: bool = False,
        display: Display = SILENT,
    ) -> None:
        self.names, self.folder, self.settings = list(dict.fromkeys(names)), folder, settings
        self.resume, self.least, self.display = resume, least, display
        self.trackers: dict[str, Tracker] = {}

    def __enter__(self) -> "Tracking":
        path = self.folder / KEYS
        if self.names:
            self.folder.mkdir(parents=True, exist_ok=True)
        keys: dict[str, str] = {}
        with suppress(OSError, ValueError):
            keys = json.loads(path.read_bytes()) if self.resume else {}
        for name in self.names:
            tracker = TRACKERS[name]()
            run = Tracked(self.folder, self.settings, keys.get(name), self.least, self.display)
            try:
                installed([name])
                keys[name] = tracker.start(run)
            except Exception as error:
                if not self.resume:
                    raise ValueError(f"{name} can't begin ({sentence(error)}): leave out --track {name}") from error
                self.display.note(f"note: {name} can't go on ({sentence(error)}), and the run goes on without it")
            else:
                self.trackers[name] = tracker
        if self.trackers:
            text = json.dumps(keys)
            write_atomically(path, lambda file: file.write(text.encode()))
        return self

    def __call__(self, progress: "Progress") -> None:
        """Pass on the record of this step, if it left one, and the best validation beside each new one."""
        if progress.record is None:
            return
        record = dict(progress.record)
        if "validation" in record and progress.best is not None:
            record["best_validation"] = progress.best
        for name, tracker in list(self.trackers.items()):
            self._tell(name, lambda tracker=tracker: tracker.log(record))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ended: Ended = "finished" if kind is None else "failed"
        if kind is not None and issubclass(kind, (KeyboardInterrupt, Stopped)):
            ended = "stopped"
        for name, tracker in list(self.trackers.items()):
            self._tell(name, lambda tracker=tracker: tracker.finish(ended))

    def _tell(self, name: str, say: Any) -> None:
        try:
            say()
        except Exception as error:
            self.trackers.pop(name)
            self.display.note(f"note: {name} stopped tracking ({sentence(error)}), and the training goes on without it")
