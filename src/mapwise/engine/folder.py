"""The folder of a run: its last checkpoint, its best params, and its records."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, StrictFloat, StrictStr, TypeAdapter

from mapwise.core import tree
from mapwise.core.tree import Forms, Params, Tree
from mapwise.data.files import read_bytes
from mapwise.engine import checkpoint
from mapwise.engine.ranks import ALONE, Ranks

LAST = "last.safetensors"
BEST = "best.safetensors"
METRICS = "metrics.jsonl"
RECORDS = 1 << 30
"""Bytes of the records that are read."""


Count = Annotated[int, Field(strict=True, ge=0, lt=2**63)]


@dataclass(frozen=True)
class Best:
    """The header of the best weights; what earlier versions lack has a default."""

    step: Count
    validation: StrictFloat | None
    run: StrictStr = ""


@dataclass(frozen=True)
class Record:
    """One line of the records; it may hold more."""

    step: Count
    loss: StrictFloat
    seconds: StrictFloat
    processor_seconds: StrictFloat | None = None
    validation: StrictFloat | None = None


@dataclass(frozen=True)
class _Last:
    run: StrictStr = ""
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunFolder:
    """Where a run is kept; without a path nothing is written.

    settings: decide the result of the run, and must be the same when it is resumed.
    chosen:   decided when the run begins and kept from then on; None: not decided yet.
    run:      an id of the run, which is kept in its checkpoints.
    about:    the description in the checkpoint to resume from; None: the run begins.

    Writing raises ValueError when the folder is gone, and OSError when the disk is full.
    """

    path: Path | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    chosen: dict[str, Any] = field(default_factory=dict)
    run: str = ""
    about: dict[str, Any] | None = None

    @classmethod
    def opened(
        cls,
        path: Path | None,
        settings: Mapping[str, Any] | None = None,
        *,
        chosen: Mapping[str, Any] | None = None,
        earlier: Mapping[str, Any] | None = None,
        run: str = "",
        resume: bool = False,
        ranks: Ranks = ALONE,
    ) -> "RunFolder":
        """The folder of a new run, or of one to resume where there is a checkpoint. Only rank 0 uses it.

        earlier: settings that checkpoints of earlier versions lack, with the values those versions had.
        run:     an id of the run; by default one of its settings.

        Raises ValueError when the run began with other settings, and for a damaged checkpoint; nothing is changed then.
        """
        current: dict[str, Any] = json.loads(json.dumps(dict(settings or {}), default=str))
        decided = dict(chosen or {})
        run = run or hashlib.sha256(json.dumps(current, sort_keys=True).encode()).hexdigest()[:16]

        def description() -> dict[str, Any] | None:
            if path is None:
                return None
            path.mkdir(parents=True, exist_ok=True)
            if not (resume and (path / LAST).exists()):
                return None
            _, about = checkpoint.load(path / LAST, _Last)
            if "settings" not in about or not about.keys() >= decided.keys():
                raise ValueError(f"{path / LAST} doesn't say with which settings it was made: train the run again")
            before = {**(earlier or {}), **about["settings"], **{name: about[name] for name in decided}}
            now = {**current, **{name: about[name] if value is None else value for name, value in decided.items()}}
            for name in sorted({*before, *now}):
                if before.get(name) != now.get(name):
                    raise ValueError(
                        f"the run in {path} began with {name} {before.get(name)!r} and is to go on with "
                        f"{now.get(name)!r}: resume it with the settings it began with, or train in another folder"
                    )
            checkpoint.check_run(path / LAST, about, run)
            return about

        about = ranks.first(description)
        if about is not None:
            decided = {name: about[name] for name in decided}
        return cls(path if ranks.leads else None, current, decided, run, about)

    def clear(self) -> None:
        """Remove the files of another run."""
        if self.path is not None:
            with self._present() as path:
                # Last first: after an interruption here, no file of an earlier run is taken for one of this run.
                for name in (LAST, BEST):
                    (path / name).unlink(missing_ok=True)
                (path / METRICS).write_bytes(b"")

    def save_last(self, tensors: Tree, about: dict[str, Any]) -> None:
        """Write the checkpoint to resume from, after the records of the steps that it counts as done."""
        if self.path is not None:
            with self._present() as path:
                with (path / METRICS).open("ab") as file:
                    os.fsync(file.fileno())
                checkpoint.save(
                    path / LAST, tensors, {**about, "run": self.run, "settings": self.settings, **self.chosen}
                )

    def save_best(self, params: Params, step: int, validation: float | None) -> None:
        """Write the params of the best validation."""
        if self.path is not None:
            with self._present() as path:
                about = {"run": self.run, "step": step, "validation": validation}
                checkpoint.save(path / BEST, {"params": params}, about)

    def append(self, record: dict[str, Any]) -> None:
        """Write one line of the records."""
        if self.path is not None:
            with self._present() as path, (path / METRICS).open("a") as file:
                file.write(json.dumps(record) + "\n")

    def load_best(self, step: int, best_step: int, forms: Forms) -> Params:
        """The params of the best validation, as a checkpoint of a step expects them.

        forms: of what is learned; what was measured stands beside it.

        Raises ValueError when they are from another moment, or of another net.
        """
        assert self.path is not None
        tensors, about = checkpoint.load(self.path / BEST, Best)
        checkpoint.check_run(self.path / BEST, about, self.run)
        # Of the step the last checkpoint names, or of a later one: after a crash between the two.
        if not (about["step"] == best_step or about["step"] >= step):
            raise ValueError(
                f"{self.path / BEST} is of step {about['step']} and {self.path / LAST} expects step {best_step}: "
                "restore both from the same moment, or train the run again"
            )
        params: Params = tensors.get("params", {})
        if tree.forms(params, but="measured/") != forms:
            raise ValueError(f"{self.path / BEST} holds weights of another net than this run's: train the run again")
        return params

    def cut_records(self, step: int) -> list[dict[str, Any]]:
        """The records up to a step; later ones are cut off, to be written again."""
        assert self.path is not None
        path = self.path / METRICS
        records = [(line, record) for line, record in _lines(path) if record["step"] <= step]
        if path.exists():
            # In one stroke: rewriting the file could itself be interrupted.
            os.truncate(path, sum(len(line) + 1 for line, _ in records))
        return [record for _, record in records]

    @contextmanager
    def _present(self) -> Iterator[Path]:
        assert self.path is not None
        gone = f"the run's folder {self.path} is gone, so the run can't go on: train it again, or restore the folder"
        if not self.path.is_dir():
            raise ValueError(gone)  # and isn't made anew, without the records and settings that lay in it
        try:
            yield self.path
        except FileNotFoundError:
            if self.path.is_dir():
                raise
            raise ValueError(gone) from None


def records_of(folder: Path) -> list[dict[str, Any]]:
    """The records of a run, each with what `Record` holds and perhaps more; [] where there are none yet.

    A last line that was cut short is left out. Raises ValueError for another line that is no record, naming it.
    """
    return [record for _, record in _lines(folder / METRICS)]


def _lines(path: Path) -> list[tuple[bytes, dict[str, Any]]]:
    """The whole lines of a file of records, without their ends, and what each says."""
    if not path.exists():
        return []
    lines = read_bytes(path, RECORDS).split(b"\n")[:-1]
    records = []
    for place, line in enumerate(lines):
        try:
            record = json.loads(line)
            _RECORD.validate_python(record)
        except (ValueError, RecursionError):
            if place == len(lines) - 1:  # what a crash left
                break
            raise ValueError(
                f"line {place + 1} of {path} is no record of a step: restore the file, or train the run again"
            ) from None
        records.append((line, record))
    return records


_RECORD = TypeAdapter(Record)

IN_MEMORY = RunFolder()
"""No folder: a run whose results are only returned."""
