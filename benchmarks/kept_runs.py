"""Trainings of a benchmark by the command line, each in a folder that is kept; and what their seeds allow to say."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mapwise.core.interval import half_width
from mapwise.engine.folder import METRICS
from mapwise.runs.settings import RunSettings


def finished(folder: Path, words: Sequence[str]) -> Path:
    """The folder of `mapwise train WORDS`: trained now, taken up where it stopped, or as it is when it has ended."""
    resume = (folder / "last.safetensors").exists()
    if resume and records(folder)[-1]["step"] == RunSettings.read(folder).steps:
        return folder
    options = ["--resume", str(folder)] if resume else [*words, "--out", str(folder)]
    command = [sys.executable, "-m", "mapwise", "train", *options]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(ran.stderr.strip())
    return folder


def records(folder: Path) -> list[dict[str, Any]]:
    """What the training wrote down, step by step."""
    return [json.loads(line) for line in (folder / METRICS).read_text(encoding="utf-8").splitlines()]


def with_interval(values: np.ndarray, digits: int = 2) -> str:
    """A mean over seeds or episodes with its 95 % interval, by Student's t."""
    return f"{values.mean():.{digits}f} ± {half_width(values):.{digits}f}"
