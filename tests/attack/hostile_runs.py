"""Runs whose settings were edited or whose checkpoint was damaged, and flags that can't be meant."""

import json
import math
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from unittest.mock import patch

from hostile_files import damaged, resealed
from mapwise.interfaces.progress import Bar
from outcomes import Case, Refusal, command

SETTINGS, LAST = "run.toml", "last.safetensors"
DEEP = "[" * 100_000 + "]" * 100_000
BEYOND = 2**70
TINY = ("--tasks", "2", "--validation-episodes", "4")


def stopped(folder: Path) -> Path:
    """A run that was stopped at step 3 of 4, after its first validation."""

    def stop(bar: Bar, progress: object) -> None:
        if progress.step == 3:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    run = folder / "stopped"
    words = ("--steps", "4", "--validate-every", "2", "--schedule", "cosine", "--how", "vmap", *TINY)
    with patch.object(Bar, "__call__", stop):
        try:
            command("train", "maml", "digits", "--ways", "2", "--out", run, *words)
        except Refusal:
            return run
    raise AssertionError("the run wasn't stopped")


def _judges(run: Path) -> str:
    return command("eval", run, "--episodes", "2", "--no-baselines", "--json")


def _resumes(run: Path) -> str:
    return command("train", "--resume", run, "--json")


def _is_answer(out: str) -> bool:
    """Whether this is an answer in numbers, and no error."""
    answer = json.loads(out)
    return "error" not in answer and not any(isinstance(part, float) and math.isnan(part) for part in answer.values())


def _on_a_copy(whole: Path, name: str, change: Callable[[Path], None], door: Callable[[Path], str]) -> Case:
    """A case that changes a copy of a run, which is removed again."""

    def run() -> str:
        copy = Path(shutil.copytree(whole, whole.with_name("copy")))
        try:
            change(copy)
            return door(copy)
        finally:
            shutil.rmtree(copy, ignore_errors=True)

    return Case(name, run, _is_answer)


def edited(folder: Path, count: int) -> list[Case]:
    """Settings edited by hand, their digest taken out, as the error for an edited file advises."""
    whole = stopped(folder)
    text = (whole / SETTINGS).read_text()
    lines = text[: text.index("digest = ")]

    def write(new: str, run: Path) -> None:
        (run / SETTINGS).write_text(new)

    edits = {name: lines.replace(*edit, 1) for name, edit in EDITS.items()}
    unchanged = [name for name, new in edits.items() if new == lines]
    assert not unchanged, f"these edit nothing: {unchanged}"
    edits |= dict(_odd_lines(lines))
    doors = {"eval": _judges, "resume": _resumes}
    cases = [
        _on_a_copy(whole, f"run.toml, {name}: {word}", partial(write, new), door)
        for name, new in edits.items()
        for word, door in doors.items()
    ]
    return cases[:: max(1, len(cases) // count)][:count]


def _odd_lines(text: str) -> Iterator[tuple[str, str]]:
    """Every setting with a value of each other type."""
    for line in text.splitlines():
        name, equals, value = line.partition(" = ")
        if not equals or name == "schema_version":
            continue
        for odd in ('"x"', "-7", "nan", "[]", "{a = 1}", "true", str(BEYOND)):
            if odd != value:
                yield f"{name} = {odd}", text.replace(line, f"{name} = {odd}", 1)


def checkpoints(folder: Path, count: int) -> list[Case]:
    """Damaged last checkpoints of a run that goes on; every second one has a fresh digest."""
    whole = stopped(folder)
    data = (whole / LAST).read_bytes()

    def write(new: bytes, run: Path) -> None:
        (run / LAST).write_bytes(new)

    cases = []
    for number, (name, new) in enumerate(damaged(data, count, 5)):
        sealed = number % 2 == 1
        label = f"{LAST} {name}{', sealed' if sealed else ''}"
        cases.append(_on_a_copy(whole, label, partial(write, resealed(new) if sealed else new), _resumes))
    return cases


def flags(folder: Path, count: int) -> list[Case]:
    """Flags of commands with values that can't be meant; what is taken must end in a run that is whole."""
    run = folder / "trained"
    command("train", "maml", "digits", "--ways", "2", "--out", run, "--steps", "2", *TINY)
    new = folder / "new"
    train = ("train", "maml", "digits", "--ways", "2", "--steps", "2", *TINY, "--out", new, "--json")
    judge = ("eval", run, "--episodes", "2", "--no-baselines", "--json")

    def call(*words: object) -> str:
        try:
            return command(*words)
        finally:
            shutil.rmtree(new, ignore_errors=True)

    odd = [(*train, f"--{name}", value) for name in FLAGS for value in VALUES if (name, value) not in ENDLESS]
    odd += [(*judge, f"--{name}", value) for name in ("episodes", "seed", "threads", "device") for value in VALUES[1:]]
    lines = [" ".join(map(str, words[-2:]))[:80] for words in odd]
    cases = [
        Case(f"{words[0]} {line}", partial(call, *words), _is_answer) for words, line in zip(odd, lines, strict=True)
    ]
    return cases[:: max(1, len(cases) // count)][:count]


VALUES = (str(BEYOND), "0", "-1", "1e999", "nan", "", "none", "[]", "\x00", "é" * 300)
FLAGS = (
    *("ways", "shots", "queries", "tasks", "validate-every", "validation-episodes", "patience", "warmup", "clip"),
    *("how", "schedule", "aggregate", "augment", "net", "net.hidden", "inner-lr", "inner-steps", "params-that-move"),
    *("source.noise", "test-source", "test-ways", "test-shots", "init", "data", "label", "select", "part", "set"),
    *("seed", "threads"),
)
ENDLESS = {("validation-episodes", str(BEYOND)), ("inner-steps", str(BEYOND))}
"""These say how much work there is, and are taken at their word."""
EDITS = {
    "learner unknown": ('learner = "maml"', 'learner = "mmal"'),
    "learner a number": ('learner = "maml"', "learner = 3"),
    "learner a table": ('learner = "maml"', "learner = {a = 1}"),
    "another learner": ('learner = "maml"', 'learner = "protonet"'),
    "source unknown": ('source = "digits"\n', 'source = "digit"\n'),
    "source of no file": ('source = "digits"\n', 'source = "/nowhere/at/all.csv"\n'),
    "source with NUL": ('source = "digits"\n', 'source = "a\\u0000b"\n'),
    "ways in words": ('ways = "2"', 'ways = "two"'),
    "ways beyond the classes": ('ways = "2"', 'ways = "4000"'),
    "ways none": ('ways = "2"', 'ways = ""'),
    "ways huge": ('ways = "2"', f'ways = "{10**30}"'),
    "shots negative": ('shots = "1"', 'shots = "-1"'),
    "shots huge": ('shots = "1"', f'shots = "{10**12}"'),
    "device unknown": ('device = "cpu"', 'device = "quantum"'),
    "device absent": ('device = "cpu"', 'device = "cuda:9"'),
    "device meta": ('device = "cpu"', 'device = "meta"'),
    "device empty": ('device = "cpu"', 'device = ""'),
    "threads none": ("threads = 1", "threads = 0"),
    "threads beyond reason": ("threads = 1", "threads = 100000"),
    "threads beyond int64": ("threads = 1", f"threads = {2**70}"),
    "seed beyond int64": ("seed = 0", f"seed = {2**70}"),
    "seed in words": ("seed = 0", 'seed = "x"'),
    "field unknown": ("fields = {}", 'fields = {"lr" = 1}'),
    "field of another type": ("fields = {}", 'fields = {"inner_lr" = "x"}'),
    "field out of range": ("fields = {}", 'fields = {"inner_steps" = -1}'),
    "field a table": ("fields = {}", 'fields = {"inner_steps" = {"a" = 1}}'),
    "fields a list": ("fields = {}", "fields = [1]"),
    "net option unknown": ("net_options = {}", 'net_options = {"norrm" = "batch"}'),
    "net option of another type": ("net_options = {}", 'net_options = {"hidden" = "x"}'),
    "net option of other weights": ("net_options = {}", 'net_options = {"hidden" = [3]}'),
    "net option negative": ("net_options = {}", 'net_options = {"hidden" = [-3]}'),
    "net option huge": ("net_options = {}", f'net_options = {{"hidden" = [{10**12}]}}'),
    "source option unknown": ("source_options = {}", 'source_options = {"noise" = 1}'),
    "trained on another shape": ("[1, 8, 8], 2", "[1, 8, 9], 2"),
    "trained on a negative shape": ("[1, 8, 8], 2", "[1, -8, 8], 2"),
    "trained on a huge shape": ("[1, 8, 8], 2", f"[1, {10**10}, 8], 2"),
    "trained on no problem": ('["classification", ', '["classing", '),
    "trained on another problem": ('["classification", ', '["regression", '),
    "trained on no source": ('{"source" = "digits"', '{"source" = "digit"'),
    "trained on no net": ('"net" = "mlp"', '"net" = "mlpp"'),
    "how in words": ('how = "vmap"', 'how = "fast"'),
    "how huge": ('how = "vmap"', f"how = {10**30}"),
    "augment unknown": ("augment = []", 'augment = ["shake"]'),
    "track unknown": ("track = []", 'track = ["tracker"]'),
    "aggregate unknown": ('aggregate = "mean"', 'aggregate = "median"'),
    "optimizer unknown": ('optimizer = "Adam lr=0.001"', 'optimizer = "Adamm"'),
    "optimizer empty": ('optimizer = "Adam lr=0.001"', 'optimizer = ""'),
    "optimizer another": ('optimizer = "Adam lr=0.001"', 'optimizer = "SGD lr=0.1"'),
    "schedule unknown": ('schedule = "cosine"', 'schedule = "cosin"'),
    "steps negative": ("steps = 4", "steps = -4"),
    "steps fewer": ("steps = 4", "steps = 1"),
    "deep": ("fields = {}", f"fields = {DEEP}"),
    "a number of 5,000 digits": ("tasks = 2", f"tasks = {'9' * 5000}"),
    "a schema in words": ("schema_version = 1", 'schema_version = "x"'),
    "a setting twice": ("tasks = 2", "tasks = 2\ntasks = 3"),
    "a table that is none": ("tasks = 2", "tasks.a = 2"),
    "a date": ("tasks = 2", "tasks = 2020-01-01"),
    "infinity": ("steps = 4", "steps = 4\nclip = inf"),
    "command a number": ("command = ", "command = 3 #"),
    "id a number": ('id = "', 'id = 3 #"'),
}
TABLES = {
    "settings of runs": (edited, 160, 12),
    "checkpoints to go on from": (checkpoints, 60, 6),
    "flags": (flags, 60, 6),
}
"""As of files: so many, spread over all that there are."""
