"""mapwise bench: every learner of the catalog under one protocol and one budget, one file a row.

A comparison is a folder:

NAME.json     the row of one learner: what was tuned, trained and judged, and the commands that do it again
NAME/         its runs: tuning-N, a candidate each, and full
table.md      the rows beside each other
figure.svg    accuracy against training time

A row that is there is not made again, so a comparison goes on where it stopped, down to the step of a training.
Several processes may be given one folder: each row is claimed by one of them.
"""

import itertools
import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from mapwise.catalog.learners import LEARNERS
from mapwise.catalog.nets import net_options
from mapwise.catalog.rows import named
from mapwise.catalog.sources import training_source
from mapwise.core import tree
from mapwise.core.map_tasks import task_at
from mapwise.core.task import Task
from mapwise.data.files import claimed, read_bytes, write_atomically
from mapwise.engine.results import Contender, Report
from mapwise.learners.row import LearnerRow
from mapwise.runs.learner import learner_of
from mapwise.runs.run import initial_params
from mapwise.runs.settings import RunSettings, words_of
from mapwise.runs.sources import source_of
from mapwise.workflows.comparison.training import spent, trained_apart, trained_in
from mapwise.workflows.display import SILENT, Display
from mapwise.workflows.errors import Stopped, sentence, wrong_use
from mapwise.workflows.evaluate import Judging, Opened, opened
from mapwise.workflows.machine import machine
from mapwise.workflows.train import RUNS

TABLE, FIGURE = "table.md", "figure.svg"
AGAINST = "protonet"
"""The learner that the paired differences are taken to."""
TUNING = 10
"""A candidate is trained for this part of the budget."""


@dataclass(frozen=True)
class Bench:
    """What is held equal for all learners; what isn't, their catalog rows say."""

    source: str
    net: str = "conv4"
    net_options: dict[str, Any] = field(default_factory=lambda: {"filters": 32, "down": "stride"})
    ways: int = 5
    shots: int = 1
    queries: int = 15
    budget: int = 6000
    """Tasks seen in training. A learner that sees no tasks sees as many images."""
    tasks: int = 4
    """Of a step, unless a recipe says otherwise."""
    schedule: str = "cosine"
    """Of the outer rate, unless a recipe says otherwise."""
    validation_episodes: int = 200
    """What judges a candidate."""
    episodes: int = 1000
    """What judges the trained learner: the first ones of the test split."""
    seed: int = 0
    quick: bool = False
    """A smoke test, which measures nothing."""

    @property
    def rows(self) -> int:
        """Images of a class in a task, whether they are support or query."""
        return self.shots + self.queries

    @property
    def images(self) -> int:
        """That a learner sees in training."""
        return self.budget * self.ways * self.rows

    @property
    def line(self) -> str:
        """The protocol in words."""
        options = ", ".join(f"{name} {value}" for name, value in self.net_options.items())
        return (
            f"{self.net} ({options}), {self.ways}-way {self.shots}-shot, {self.queries} queries a class, "
            f"{self.budget:,} training tasks seen, one seed"
        )


BENCHES = {"glyphs": Bench("glyphs")}


def asked_bench(name: str, *, episodes: int | None, quick: bool) -> Bench:
    """The comparison of this name; raises WrongUse for one that isn't there."""
    with wrong_use():
        bench: Bench = named(BENCHES, name, "comparison")
    if quick:
        small = {**bench.net_options, "filters": 4}
        bench = replace(bench, net_options=small, budget=24, validation_episodes=4, episodes=8, quick=True)
    return bench if episodes is None else replace(bench, episodes=episodes)


def asked_learners(only: Sequence[str]) -> list[str]:
    """The learners asked for, or all that take classes; raises WrongUse for one that isn't there."""
    with wrong_use():
        for name in only:
            named(LEARNERS, name, "learner")
            if LEARNERS[name].of_runs:
                raise ValueError(f"{name} is made of trained runs and has no row: leave it out")
    return [
        name
        for name, row in LEARNERS.items()
        if (name in only if only else row.takes("classification") and not row.of_runs)
    ]


def run_bench(
    bench: Bench, learners: Sequence[str], out: Path | None, threads: int, display: Display = SILENT
) -> tuple[dict[str, Any], list[Contender]]:
    """Make the rows that are missing, then the table and the figure of all that are there.

    Returns what came of it as one JSON-ready object, and the contenders.

    Raises Stopped on Ctrl-C, and ValueError for rows of another protocol.
    """
    folder = RUNS / f"bench-{bench.source}" if out is None else out
    known = {name: path for name in LEARNERS if (path := folder / f"{name}.json").exists()}
    for path in known.values():
        _read(path, bench)
    failed: dict[str, str] = {}
    elsewhere: list[str] = []
    try:
        for name in learners:
            with claimed(folder / f".{name}.lock") as mine:
                path = folder / f"{name}.json"
                if path.exists():
                    continue
                if not mine:
                    elsewhere.append(name)
                    continue
                try:
                    row = make_row(bench, name, folder, threads, display)
                except ValueError as error:
                    failed[name] = sentence(error)
                    display.note(f"{name}: failed, {failed[name]}")
                    continue
                text = json.dumps(row, indent=1, ensure_ascii=False) + "\n"
                write_atomically(path, lambda file, text=text: file.write(text.encode()))  # type: ignore[misc]
                display.note(_describe(_read(path, bench)))
                draw(folder, bench)
    except (KeyboardInterrupt, Stopped):
        raise Stopped("stopped: the same command goes on where this one was") from None
    contenders = draw(folder, bench)
    result = {
        "bench": bench.source,
        "folder": str(folder),
        "protocol": asdict(bench),
        "rows": {one.name: one.own.to_json() for one in contenders},
        "failed": failed,
        "elsewhere": elsewhere,
    }
    return result, contenders


def make_row(bench: Bench, learner: str, folder: Path, threads: int, display: Display = SILENT) -> dict[str, Any]:
    """The row of one learner: tuned, trained, and judged on the test split, JSON-ready.

    Raises ValueError when no candidate could be trained, and when its folder holds runs of other settings.
    """
    place = folder / learner
    settings, tuning = tuned(bench, learner, place, threads, display)
    full = place / "full"
    peak = None
    if settings.steps:
        peak = trained_apart(settings, full)
    else:
        trained_in(settings, full, display=display)
    run = RunSettings.read(full)
    # In commands the run lies where it lies by default, on whichever machine.
    shown = RUNS / f"bench-{bench.source}" / learner / "full"
    trained, own, by_rows = judged(bench, full, shown, threads)
    cost = spent(full)
    contender = Contender(
        learner,
        own,
        by_rows,
        cost["seconds"],
        cost["processor_seconds"],
        peak,
        adapted_numbers(trained),
        next((one["values"] for one in tuning if one.get("best")), {}),
    )
    whole = spent(full, validation=True)
    return {
        "row": f"{bench.source}-{learner}",
        "learner": learner,
        "source": bench.source,
        "protocol": bench.line,
        "train_command": shlex.join([*run.words(), "--out", str(shown)]),
        "train_seconds": round(whole["seconds"], 1),
        "train_processor_seconds": round(whole["processor_seconds"], 1),
        "threads": threads,
        "eval_command": own.protocol.command,
        "machine": machine(),
        "result": {**own.to_json(), **({"quick": True} if bench.quick else {})},
        "bench": {
            "name": bench.source,
            "command": f"mapwise bench {bench.source} --only {learner}{' --quick' if bench.quick else ''}",
            "protocol": asdict(bench),
            "steps": run.steps,
            "tuning": tuning,
            **contender.to_json(),
        },
    }


def tuned(
    bench: Bench, learner: str, place: Path, threads: int, display: Display = SILENT
) -> tuple[RunSettings, list[dict[str, Any]]]:
    """The settings of the full training, and the candidates with their validation, the best one marked.

    Every candidate is trained for a part of the budget, from one seed. One that can't be trained is a candidate
    with a sentence that says why. Raises ValueError when none can.
    """
    row = LEARNERS[learner]
    base = base_settings(bench, learner, threads)
    if _learns_nothing(base):
        return replace(base, steps=0), []
    tried: list[dict[str, Any]] = []
    runs: list[RunSettings | None] = []
    for number, values in enumerate(candidates(bench, row), start=1):
        settings = sized(bench, base.with_values(values), bench.budget // TUNING)
        run = place / f"tuning-{number}"
        candidate: dict[str, Any] = {"values": values, "steps": settings.steps}
        try:
            validation = trained_in(settings, run, display=display)
            candidate["validation"] = None if validation is None else round(validation, 5)
            runs.append(RunSettings.read(run))
        except ValueError as error:
            candidate |= {"validation": None, "failure": sentence(error)}
            runs.append(None)
        tried.append(candidate)
    best = max(range(len(tried)), key=lambda place: tried[place]["validation"] or -1.0)
    chosen = runs[best]
    if chosen is None:
        raise ValueError(f"no candidate of {learner} could be trained, the first one: {tried[0]['failure']}")
    tried[best]["best"] = True
    # Mapped as that candidate was: measured again beside the training, memory would be that of the measurement.
    whole = sized(bench, base.with_values(tried[best]["values"]), bench.budget)
    return replace(whole, how=chosen.how), tried


def base_settings(bench: Bench, learner: str, threads: int) -> RunSettings:
    """What all trainings of a learner share: its recipe where it has one, and the protocol."""
    return RunSettings(
        **{
            "tasks": bench.tasks,
            "schedule": bench.schedule,
            **LEARNERS[learner].recipe,
            "learner": learner,
            "source": bench.source,
            "net": bench.net,
            "net_options": bench.net_options if LEARNERS[learner].blueprint else {},
            "ways": str(bench.ways),
            "shots": str(bench.shots),
            "queries": bench.queries,
            "test_ways": str(bench.ways),
            "test_shots": str(bench.shots),
            "test_queries": bench.queries,
            "select": "last",
            "validation_episodes": bench.validation_episodes,
            "seed": bench.seed,
            "threads": threads,
        }
    )


def candidates(bench: Bench, row: LearnerRow) -> list[dict[str, float | str]]:
    """Every combination of the rates that a row names."""
    combinations = [dict(zip(row.tuned, values, strict=True)) for values in itertools.product(*row.tuned.values())]
    return combinations[:2] if bench.quick else combinations


def sized(bench: Bench, settings: RunSettings, budget: int) -> RunSettings:
    """The settings with the steps in which so many tasks, or as many images, are seen, validated once at the end.

    A task holds as many rows of a class, whichever part of them is support.
    """
    settings = replace(settings, queries=bench.rows - int(settings.shots))
    batch = training_source(LEARNERS[settings.learner], source_of(settings))(0)
    images = sum(part.y.shape[0] * part.y.shape[1] for part in (batch.support, batch.query))
    steps = max(1, round(budget * bench.ways * bench.rows / images))
    return replace(settings, steps=steps, validate_every=steps)


def judged(bench: Bench, run: Path, shown: Path, threads: int) -> tuple[Opened, Report, Report | None]:
    """The run, its report on the test split, and the one by the statistics of the queries, where that differs."""

    def judge(changes: dict[str, Any]) -> tuple[Opened, Report]:
        words = ["mapwise", "eval", str(shown), *(word for name in changes for word in words_of(name, changes[name]))]
        words += ["--episodes", str(bench.episodes), "--seed", "0"]
        judged = opened(run, Judging(bench.episodes, changes={**changes, "threads": threads}))
        command = shlex.join([*words, "--threads", str(threads), "--no-baselines", "--json"])
        return judged, judged.judge(bench.episodes, command=command)

    trained, own = judge({})
    settings = trained.settings
    has_norm = LEARNERS[settings.learner].blueprint is not None and "norm" in net_options(settings.net_name)
    if own.protocol.transductive or not has_norm:
        return trained, own, None
    by_rows = judge({"net.norm": "batch"})[1]
    return trained, own, by_rows if by_rows.protocol.transductive else None


def adapted_numbers(run: Opened) -> int:
    """Numbers that a task changes: of all floating-point tensors in fast that differ between two test tasks."""
    source: Any = run.source
    tasks: Task = source.with_(tasks=2)(0)
    with torch.no_grad():
        supports = (task_at(tasks, place).support for place in range(2))
        first, second = (tree.flatten(run.learner.adapt(run.params, support)) for support in supports)
    return sum(
        leaf.numel() for path, leaf in first.items() if leaf.is_floating_point() and not torch.equal(leaf, second[path])
    )


def draw(folder: Path, bench: Bench) -> list[Contender]:
    """Write the table and the figure of the rows that are there; returns them, in the order of the catalog."""
    from mapwise.report.comparison import comparison_markdown, notes
    from mapwise.report.plots import against_time, standalone

    contenders = [_read(path, bench) for name in LEARNERS if (path := folder / f"{name}.json").exists()]
    if contenders:
        smoke = ["A smoke test: these numbers measure nothing."] if bench.quick else []
        parts = [*smoke, f"{bench.source}: {bench.line}.", comparison_markdown(contenders, AGAINST), *notes(contenders)]
        text = "\n\n".join(parts) + "\n"
        write_atomically(folder / TABLE, lambda file: file.write(text.encode()))
        figure = standalone(against_time(contenders))
        write_atomically(folder / FIGURE, lambda file: file.write(figure.encode()))
    return contenders


def _read(path: Path, bench: Bench) -> Contender:
    """The contender of a row's file; raises ValueError for a damaged file, and for a row of another protocol."""
    try:
        row = json.loads(read_bytes(path))
        contender = Contender.from_json(row["result"], row["bench"])
        protocol = row["bench"]["protocol"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({sentence(error)}): remove it, and it is made again") from None
    for name, value in json.loads(json.dumps(asdict(bench))).items():
        if protocol.get(name) != value:
            raise ValueError(
                f"{path} is of another protocol ({name} {protocol.get(name)!r}, asked for is {value!r}): "
                "give another --out, or remove it"
            )
    return contender


def _describe(one: Contender) -> str:
    from mapwise.report.table import percent

    alone = "" if one.inductive is None else f"{percent(one.inductive.estimate)} inductive, "
    rows = "the same" if one.transductive is None else percent(one.transductive.estimate)
    return f"{one.name}: {alone}{rows} transductive; trained in {one.seconds:.0f} s"


def _learns_nothing(settings: RunSettings) -> bool:
    training = training_source(LEARNERS[settings.learner], source_of(settings))
    return all(name == "measured" for name in initial_params(learner_of(settings, training), settings))
