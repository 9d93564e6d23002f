"""mapwise train --seeds: one learner under several seeds, each in a run of its own, judged on the same episodes.

seeds.toml  the settings of all, the seeds, and how many episodes judge each
seed-N/     the run of each seed, as mapwise train would have left it
seeds.json  the mean over seeds, and each seed's own number
"""

import json
import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ConfigDict

from mapwise.core.source import TaskSource
from mapwise.data.files import write_atomically
from mapwise.engine.ranks import Ranks, usable_device
from mapwise.engine.results import Protocol, Report
from mapwise.engine.seeds import OverSeeds, PairedSeeds, check_same_seeds, seeds_of
from mapwise.runs.settings import SEEDS, SETTINGS, RunSettings
from mapwise.runs.sources import source_of
from mapwise.runs.toml import read_toml, write_toml
from mapwise.tasks.episodes import Episodes
from mapwise.tasks.stream import Stream
from mapwise.workflows.display import SILENT, Display
from mapwise.workflows.errors import Stopped, wrong_use
from mapwise.workflows.evaluate import Judging, Opened, check_same_episodes, opened, use_threads
from mapwise.workflows.processes import ranks_started
from mapwise.workflows.train import check_empty, free_folder, train_run

NUMBERS = "seeds.json"
SCHEMA = 1
EPISODES = 1000


@dataclass(frozen=True, kw_only=True)
class SeedsSettings:
    """What was asked for; seeds.toml holds exactly this."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    schema_version: int = SCHEMA
    run: RunSettings
    """The settings of every run but for its seed, which is the first here."""
    seeds: list[int]
    episodes: int = EPISODES
    """That judge each run."""
    command: str = ""

    def to_file(self) -> dict[str, Any]:
        """The settings as plain values."""
        return {**asdict(self), "run": self.run.to_file()}

    @classmethod
    def of_file(cls, values: dict[str, Any]) -> "SeedsSettings":
        """The settings from plain values."""
        return cls(**{**values, "run": RunSettings.of_file(values["run"])})

    @classmethod
    def read(cls, folder: Path) -> "SeedsSettings":
        """Those of a folder; raises ValueError for one that holds no runs of several seeds."""
        if not (folder / SEEDS).is_file():
            raise ValueError(f"{folder} holds no runs of several seeds (it has no {SEEDS}): give a folder of --seeds")
        return read_toml(cls, folder / SEEDS, SCHEMA, "train again in another folder", last="command")

    def of_seed(self, seed: int) -> RunSettings:
        """The settings of one run."""
        run = self.run.with_values({"seed": seed})
        return run.stamped(shlex.join(run.words()))


def holds_seeds(folder: Path) -> bool:
    """Whether a folder holds a run for each of several seeds."""
    return (folder / SEEDS).is_file()


def begin_seeds(
    request: Callable[[], RunSettings],
    count: int,
    out: Path | None,
    command: str,
    *,
    episodes: int = EPISODES,
    display: Display = SILENT,
) -> tuple[Path, OverSeeds]:
    """Train a run for each of so many seeds, from that of the settings up, and judge each.

    request: makes the settings; called once for all processes of a training.
    out:     the folder, by default runs/seeds-LEARNER-SOURCE with a number where that is taken. A folder of the same
             settings is gone on with: what is finished there isn't trained again.

    Raises ValueError when the folder holds runs of other settings.
    """

    def plan() -> tuple[str, dict[str, Any]]:
        run = request()
        with wrong_use():
            numbers = seeds_of(count, run.seed)
        folder = free_folder(f"seeds-{run.learner}", run.source) if out is None else out
        settings = SeedsSettings(run=run.stamped(""), seeds=list(numbers), episodes=episodes, command=command)
        if holds_seeds(folder):
            _check_same(folder, settings.run, SeedsSettings.read(folder).run)
        else:
            check_empty(folder)
            folder.mkdir(parents=True, exist_ok=True)
        write_toml(settings.to_file(), folder / SEEDS)
        return str(folder), settings.to_file()

    with ranks_started() as ranks:
        place, values = ranks.first(plan)
        return Path(place), _trained(Path(place), SeedsSettings.of_file(values), ranks, display)


def resume_seeds(folder: Path, display: Display = SILENT) -> tuple[Path, OverSeeds]:
    """Go on with the runs of a folder, with their own settings."""
    with ranks_started() as ranks:
        settings = SeedsSettings.of_file(ranks.first(lambda: SeedsSettings.read(folder).to_file()))
        return folder, _trained(folder, settings, ranks, display)


def opened_seeds(folder: Path, judging: Judging) -> dict[int, Opened]:
    """The runs of a folder by their seeds, ready to be judged; raises ValueError for one that isn't finished."""
    settings = SeedsSettings.read(folder)
    runs: dict[int, Opened] = {}
    source: TaskSource | None = None  # the data are read once
    for seed in settings.seeds:
        runs[seed] = opened(folder / _name(seed), judging, source)
        source = runs[seed].source
    return runs


def judge_seeds(runs: dict[int, Opened], episodes: int, *, name: str = "", command: str = "") -> OverSeeds:
    """The runs of several seeds on the same episodes."""
    reports = [run.judge(episodes, name=name, command=command) for run in runs.values()]
    return OverSeeds(tuple(runs), tuple(reports))


def compare_seeds(
    first: Path, second: Path, judging: Judging, *, command: str
) -> tuple[dict[str, Any], PairedSeeds, Protocol]:
    """Two learners on the same episodes, seed by seed: first minus second.

    Raises ValueError for a folder of one run, for other seeds and for other episodes.
    """
    for folder, other in ((first, second), (second, first)):
        if not holds_seeds(folder):
            raise ValueError(
                f"{other} holds the runs of several seeds and {folder} doesn't: train both with --seeds, or give one "
                f"run of each, such as {other}/{_name(SeedsSettings.read(other).seeds[0])}"
            )
    use_threads(first / _name(SeedsSettings.read(first).seeds[0]), judging)
    runs = {folder: opened_seeds(folder, judging) for folder in (first, second)}
    openings = [next(iter(runs[folder].values())) for folder in (first, second)]
    check_same_episodes(first, openings[0], second, openings[1])
    check_same_seeds(*(tuple(runs[folder]) for folder in (first, second)))
    a, b = (
        judge_seeds(runs[folder], judging.episodes, name=str(folder), command=command) for folder in (first, second)
    )
    pair = PairedSeeds.of(a, b)
    answer = {
        "first": a.to_json(),
        "second": b.to_json(),
        "metric": a.reports[0].metric,
        "difference": pair.difference.mean,
        "ci95": pair.difference.ci95,
        "interval": "seeds",
        "seeds": [
            {"seed": seed, "difference": one.difference.mean, "ci95": one.difference.ci95}
            for seed, one in zip(pair.seeds, pair.pairs, strict=True)
        ],
        "episodes": judging.episodes,
    }
    return answer, pair, a.reports[0].protocol


def _trained(folder: Path, settings: SeedsSettings, ranks: Ranks, display: Display) -> OverSeeds:
    source: TaskSource | None = None
    for number, seed in enumerate(settings.seeds, 1):
        place = folder / _name(seed)
        resume, values = ranks.first(partial(_of_seed, place, settings.of_seed(seed)))
        title = f"{settings.run.learner}, seed {seed} ({number} of {len(settings.seeds)})"
        run = RunSettings.of_file(values)
        with ranks.alike():
            # Rows are read once; what draws its tasks itself is opened anew.
            if isinstance(source, Episodes | Stream):
                source = source.with_(seed=seed)
            else:
                source = source_of(replace(run, device=usable_device(run.device)))
        try:
            train_run(run, place, resume=resume, ranks=ranks, opened=source, title=title, display=display)
        except Stopped:
            raise Stopped(f"stopped in seed {seed}: go on with mapwise train --resume {folder}") from None
        except ValueError as error:
            if type(error) is not ValueError:  # of another process, which says it
                raise
            raise ValueError(f"seed {seed}: {error}") from None
    judged = ranks.first(lambda: _judged(folder, settings))
    return OverSeeds(
        tuple(settings.seeds), tuple(Report.from_json(report, np.array(values)) for report, values in judged)
    )


def _of_seed(place: Path, settings: RunSettings) -> tuple[bool, dict[str, Any]]:
    """Whether there is a run to go on with, and its settings; raises ValueError for a run of other settings."""
    if not (place / SETTINGS).exists():
        check_empty(place)
        return False, settings.to_file()
    there = RunSettings.read(place)
    _check_same(place, settings, there)
    return True, there.to_file()


def _check_same(folder: Path, request: RunSettings, there: RunSettings) -> None:
    if request.id != there.id:
        wanted, known = request.to_file(), there.to_file()
        names = [name for name in wanted if name in known and wanted[name] != known[name]]
        differing = next((name for name in names if name not in ("command", "id", "how", "trained_on")), "settings")
        raise ValueError(
            f"{folder} holds runs with {differing} {known.get(differing)!r}, and {wanted.get(differing)!r} is asked "
            "for: give another --out"
        )


def _judged(folder: Path, settings: SeedsSettings) -> list[tuple[dict[str, Any], list[float]]]:
    """The report of each seed, and what it is over all, written beside the runs."""
    judging = Judging(settings.episodes)
    use_threads(folder / _name(settings.seeds[0]), judging)
    over = judge_seeds(opened_seeds(folder, judging), settings.episodes, command=settings.command)
    numbers = json.dumps(seeds_json(folder, over), indent=1, default=float)
    write_atomically(folder / NUMBERS, lambda file: file.write(numbers.encode()))
    return [(report.to_json(), report.values.tolist()) for report in over.reports]


def seeds_json(folder: Path, over: OverSeeds) -> dict[str, Any]:
    """The mean over seeds and each seed's number, with its run, as one JSON-ready object."""
    answer = over.to_json()
    for one in answer["seeds"]:
        one["run"] = str(folder / _name(one["seed"]))
    return {"folder": str(folder), **answer, "command": over.reports[0].protocol.command}


def _name(seed: int) -> str:
    return f"seed-{seed}"
