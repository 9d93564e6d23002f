"""mapwise eval and compare: how good a run is on tasks it has not seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from mapwise.catalog.learners import LEARNERS
from mapwise.core.execution import How
from mapwise.core.learner import Learner
from mapwise.core.source import TaskSource, inputs_of
from mapwise.core.spec import is_plain
from mapwise.core.tree import Params
from mapwise.data.rows import ALL
from mapwise.engine.evaluate import evaluate, fitted_temperature
from mapwise.engine.results import Paired, Report
from mapwise.runs.flags import FLAGS
from mapwise.runs.run import Run
from mapwise.runs.settings import RunSettings
from mapwise.runs.sources import span
from mapwise.workflows.errors import WrongUse, wrong_use

BASELINE = "nearest_mean"
"""What stands beside every classifier: the nearest class mean of the raw inputs."""


@dataclass(frozen=True)
class Judging:
    """How runs are judged.

    split:          whose classes; "all", of other data than the run was trained on, are all there are.
    changes:        settings of the run to change, by their addresses: {"inner_steps": 10, "test_shots": "5"}.
    shuffle_labels: deal the support's labels out at random: every learner must then fall to chance.
    """

    episodes: int = 1000
    split: Literal["test", "val", "train", "all"] = "test"
    seed: int = 0
    changes: Mapping[str, Any] = field(default_factory=dict)
    shuffle_labels: bool = False

    @property
    def of_others(self) -> "Judging":
        """The same for another run, whose learner keeps its own settings."""
        return replace(self, changes={name: value for name, value in self.changes.items() if name in FLAGS})


@dataclass(frozen=True)
class Opened:
    """A run ready to be judged."""

    settings: RunSettings
    learner: Learner
    params: Params
    source: TaskSource
    how: How
    validation: TaskSource | None = None
    """The episodes that may choose a temperature; None where there is none to choose."""
    others: bool = False
    """Whether the episodes are of data on which the run wasn't trained."""

    def classes_judged(self) -> str:
        """How many classes of all judge, in a sentence; "" without classes."""
        counts, split = getattr(self.source, "class_counts", None), self.source.about.split
        if counts is None:
            return ""
        seen = "" if self.others or split != self.settings.part else ", which the run was trained on"
        whose = "" if split == ALL else f" (the {split} split{seen})"
        more = "; --split all judges on all" if self.others and counts[0] < counts[1] else ""
        return f"judged on {counts[0]:,} of {counts[1]:,} classes{whose}{more}"

    def judge(self, episodes: int, *, name: str = "", command: str = "", calibrate: bool = False) -> Report:
        """The run on its episodes; calibrated, too, if that is asked and there are validation episodes to do it on."""
        temperature = None
        if calibrate and self.validation is not None:
            count = self.settings.validation_episodes
            temperature = fitted_temperature(self.learner, self.params, self.validation, episodes=count, how=self.how)
        return evaluate(
            self.learner,
            self.params,
            self.source,
            episodes=episodes,
            name=name or self.settings.learner,
            command=command,
            how=self.how,
            temperature=temperature,
        )

    def raw(self) -> Learner | None:
        """The nearest mean of raw inputs; None without classes, without plain rows, and beside itself."""
        plain = self.source.problem.columns == "classes" and is_plain(inputs_of(self.source))
        return LEARNERS[BASELINE].build() if plain and self.settings.learner != BASELINE else None

    def baseline(self, episodes: int, *, command: str = "") -> Report | None:
        """The nearest mean of raw inputs on the same episodes; None where there is none."""
        learner = self.raw()
        if learner is None:
            return None
        return evaluate(learner, learner.init(0), self.source, episodes=episodes, name=BASELINE, command=command)


def use_threads(folder: Path, judging: Judging) -> None:
    """Give the whole process the threads that are asked for, or those of the run: once, as a command starts.

    Raises WrongUse for changes that can't be.
    """
    settings = RunSettings.read(folder)
    with wrong_use():
        threads = settings.judged_with(judging.changes).threads
    if threads is not None:
        torch.set_num_threads(threads)


def opened(folder: Path, judging: Judging, of: TaskSource | None = None) -> Opened:
    """The run with the changes asked for, and the episodes that judge it.

    of: episodes of the same data that judge another run, so that they aren't read again.

    Raises WrongUse for changes that can't be, and ValueError for a folder that is no finished run.
    """
    with wrong_use():
        for name in ("ways", "shots"):
            if text := judging.changes.get(f"test_{name}"):
                span(text, f"--{name}")
        RunSettings.read(folder).judged_with(judging.changes)  # raises
    run = Run.open(folder, judging.changes)
    source = run.judging(judging.split, seed=judging.seed, opened=of)
    if judging.shuffle_labels:
        if source.problem.columns != "classes":
            raise WrongUse(f"{source.about.source} has no class labels to shuffle: leave out --shuffle-labels")
        source = source.with_(shuffle_labels=True)
    how = run.settings.how
    chooses = source.problem.columns == "classes" and judging.split == "test" and not judging.shuffle_labels
    validation = _validation(run, source) if chooses else None
    others = not run.knows(source)
    return Opened(run.settings, run.learner, run.params, source, "vmap" if how == "auto" else how, validation, others)


def _validation(run: Run, source: TaskSource) -> TaskSource | None:
    """The validation split, asked as the test is; None where its classes are too few for that."""
    try:
        return run.judging("val", opened=source)
    except ValueError:
        return None


def evaluate_run(
    folder: Path, judging: Judging, *, others: Sequence[Path] = (), baselines: bool, command: str
) -> tuple[dict[str, Any], list[Report], str]:
    """The run's report and those of what stands beside it, as one JSON-ready object and as they are.

    The last is how many classes judge, in a sentence.
    """
    use_threads(folder, judging)
    run = opened(folder, judging)
    own = run.judge(judging.episodes, command=command, calibrate=True)
    reports = beside(folder, run, judging, others, baselines=baselines, command=command)
    judged = run.classes_judged()
    answer = {"run": str(folder), **own.to_json()} | ({"classes": judged} if judged else {})
    if baselines or others:
        pairs = [(report, Paired.of(own, report).difference) for report in reports]
        answer["beside"] = [
            {**report.to_json(), "difference": difference.mean, "difference_ci95": difference.ci95}
            for report, difference in pairs
        ]
    return answer, [own, *reports], judged


def beside(
    folder: Path, run: Opened, judging: Judging, others: Sequence[Path], *, baselines: bool, command: str
) -> list[Report]:
    """Reports on the same episodes: the raw inputs' nearest mean, then other runs.

    Raises ValueError for a run that can't be judged on these episodes.
    """
    raw = run.baseline(judging.episodes, command=command) if baselines else None
    reports = [] if raw is None else [raw]
    for path in others:
        other = opened(path, judging.of_others)
        check_same_episodes(folder, run, path, other)
        reports.append(other.judge(judging.episodes, command=command, calibrate=True))
    return reports


def check_same_episodes(first: Path, a: Opened, second: Path, b: Opened) -> None:
    """Raises ValueError for two runs that other episodes judge."""
    left, right = a.source.about, b.source.about
    differing = [name for name in left._fields if getattr(left, name) != getattr(right, name)]
    if not differing and a.source.names(0) != b.source.names(0):
        differing = ["classes"]
    if differing:
        raise ValueError(
            f"{first} and {second} can't be paired, their {' and '.join(differing)} differ: "
            "compare runs on the same data, with the same --ways, --shots and --queries"
        )


def compare_runs(first: Path, second: Path, judging: Judging, *, command: str) -> tuple[dict[str, Any], Paired, Report]:
    """Two runs on the same episodes: first minus second; raises ValueError when their episodes differ."""
    use_threads(first, judging)
    a, b = opened(first, judging), opened(second, judging)
    check_same_episodes(first, a, second, b)
    own, other = (
        run.judge(judging.episodes, name=str(folder), command=command) for run, folder in ((a, first), (b, second))
    )
    pair = Paired.of(own, other)
    answer = {
        "first": own.to_json(),
        "second": other.to_json(),
        "metric": own.metric,
        "difference": pair.difference.mean,
        "ci95": pair.difference.ci95,
        "interval": "episodes",
        "episodes": pair.difference.episodes,
    }
    return answer, pair, own
