"""A training of a comparison: it goes on where it stopped, and its memory and time are measured."""

import multiprocessing
import os
import shlex
import signal
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mapwise.core.source import TaskSource
from mapwise.engine.folder import records_of
from mapwise.runs.settings import SETTINGS, STAMPS, RunSettings
from mapwise.runs.sources import source_of
from mapwise.workflows.allocator import keep_freed_memory
from mapwise.workflows.display import SILENT, Display
from mapwise.workflows.machine import resident
from mapwise.workflows.processes import end_with_parent
from mapwise.workflows.train import train_run

GRACE = 5.0
"""Seconds that a training may take to hear of Ctrl-C by itself."""


def trained_in(
    settings: RunSettings, place: Path, episodes: TaskSource | None = None, display: Display = SILENT
) -> float | None:
    """Train in this folder, or go on where an earlier call stopped: the validation at the end.

    episodes: what it is trained on, where that is open already.

    Raises ValueError when the folder holds a run of other settings.
    """
    resume = (place / SETTINGS).exists()
    if resume:
        there = RunSettings.read(place)
        for name in (field.name for field in fields(RunSettings)):
            if name not in (*STAMPS, "how") and getattr(there, name) != getattr(settings, name):
                current, wanted = getattr(there, name), getattr(settings, name)
                raise ValueError(
                    f"{place} holds a run with {name} {current!r}, and {wanted!r} is asked for: "
                    "remove it, or give another --out"
                )
        settings = there
    else:
        settings = settings.stamped(shlex.join(settings.words()))
    title = f"{settings.learner}, {place.name}"
    return train_run(settings, place, resume=resume, opened=episodes, title=title, display=display)[2].validation


def trained_apart(settings: RunSettings, place: Path) -> float:
    """Train in a process of its own: the megabytes it took at its peak, beyond those before the first gradient."""
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(1, mp_context=context, initializer=end_with_parent) as process:
            peak = process.submit(_measured_training, settings, place)
            try:
                return peak.result()
            except KeyboardInterrupt:
                # A terminal has told that process too, and it ends after its step; others told this one alone.
                if not wait([peak], GRACE).done:
                    for child in multiprocessing.active_children():
                        os.kill(child.pid or 0, signal.SIGINT)
                raise
    except BrokenProcessPool:
        raise ValueError(
            f"the training of {settings.learner} was killed, perhaps for want of memory: run the command again"
        ) from None


def _measured_training(settings: RunSettings, place: Path) -> float:
    """Inside that process."""
    keep_freed_memory()
    episodes: Any = source_of(settings)
    tiny = {"tasks": 1, "queries": 1, "test_queries": 1, "steps": 1, "validate_every": 1, "validation_episodes": 1}
    with TemporaryDirectory() as aside:
        # A tiny training first: what torch loads at the first gradient and step is not what this one needs.
        train_run(settings.with_values(tiny), Path(aside), opened=episodes.with_(tasks=1, queries=1))
    before = resident(reset=True)
    trained_in(settings, place, episodes)
    return round(resident() - before, 1)


def spent(run: Path, *, validation: bool = False) -> dict[str, float]:
    """Seconds and processor seconds of a training, with or without its one validation, at the end."""
    records = records_of(run)
    alone = [record for record in records if "validation" not in record]
    last = (alone or records)[-1] if records and not validation else records[-1] if records else {}
    return {name: float(last.get(name, 0.0)) for name in ("seconds", "processor_seconds")}
