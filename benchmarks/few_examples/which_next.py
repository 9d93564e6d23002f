"""Is it worth asking which example to label next? `which_next` against random choice, paired over tasks.

    python -m benchmarks.few_examples.which_next --data DATA [--tasks 50] [--quick] [--json FILE]

A task has ten classes and one example of each (or of the first five alone, where that is said). Twenty more are
labelled from a pool, one at a time, or five at once; after each the predictor is judged on rows of all ten classes that
are in neither. A task's figure is the mean accuracy over the way. Beside it, on the same tasks: the row that is least
sure, and the row farthest from all examples (k-centre, Sener and Savarese 2018). The rule was chosen on Omniglot's
validation characters. --quick takes glyphs, which need no data.
"""

import argparse
import csv
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch

from benchmarks import row
from benchmarks.kept_runs import with_interval
from benchmarks.row import Line, Row, Target
from mapwise.catalog.encoders import ENCODERS
from mapwise.core.estimate import Estimate
from mapwise.core.geometry import squared_distances
from mapwise.data.glyphs import glyphs
from mapwise.data.inputs import columns
from mapwise.data.modality import Modality
from mapwise.data.omniglot import omniglot
from mapwise.data.rows import LabelledRows
from mapwise.interfaces.printing import note
from mapwise.predictors.classes import Predictor
from mapwise.predictors.diagnostics.which_next import which_next

WAYS, LABELS, DRAWS = 10, 20, 3

Groups = Mapping[str, Mapping[str, np.ndarray]]
"""Group -> class -> its rows, encoded; the classes of a task are of one group."""
Rule = Callable[[Predictor, np.ndarray, int, np.random.Generator], list[int]]
"""(what is known, the pool, how many, numbers) -> their places"""


@dataclass(frozen=True)
class Ready:
    """An encoder of rows that are encoded already, so that each is encoded once for all tasks."""

    @property
    def name(self) -> str:
        return "ready"

    @property
    def reads(self) -> Modality:
        return "table"

    @property
    def version(self) -> str:
        return ""

    @property
    def state(self) -> Mapping[str, Any]:
        return {}

    def with_state(self, state: Mapping[str, Any]) -> Self:
        return self

    def fitted(self, rows: Any, weight: np.ndarray) -> Self:
        return self

    def __call__(self, rows: Any) -> np.ndarray:
        return np.asarray(rows)


class Setting(NamedTuple):
    """What is asked."""

    rows: str
    learner: str = "nearest_mean"
    known: int = WAYS
    """Classes that have an example at the start."""
    at_once: int = 1


SETTINGS = (
    Setting("omniglot, one alphabet"),
    Setting("omniglot, one alphabet", at_once=5),
    Setting("omniglot, one alphabet", known=5),
    Setting("digits as a table"),
    Setting("digits as a table", learner="ridge"),
    Setting("banking77 as text-hash"),
    Setting("banking77 as text-hash", learner="ridge"),
)


def asked_next(known: Predictor, pool: np.ndarray, n: int, random: np.random.Generator) -> list[int]:
    return [one.row for one in which_next(known, pool, n=n)]


def at_random(known: Predictor, pool: np.ndarray, n: int, random: np.random.Generator) -> list[int]:
    return [int(place) for place in random.choice(len(pool), n, replace=False)]


def least_sure(known: Predictor, pool: np.ndarray, n: int, random: np.random.Generator) -> list[int]:
    scores = np.sort(known.scores(pool), axis=1)
    return [int(place) for place in np.argsort(scores[:, -1] - scores[:, -2], kind="stable")[:n]]


def farthest(known: Predictor, pool: np.ndarray, n: int, random: np.random.Generator) -> list[int]:
    far, result = squared_distances(torch.as_tensor(pool), torch.as_tensor(known.rows)).min(1).values, list[int]()
    for _ in range(n):
        result.append(int(far.argmax()))
        far = torch.minimum(far, squared_distances(torch.as_tensor(pool), torch.as_tensor(pool[result[-1:]]))[:, 0])
    return result


RULES: dict[str, Rule] = {"random": at_random, "which_next": asked_next, "least sure": least_sure, "farthest": farthest}


def benchmark(options: argparse.Namespace) -> Row:
    tasks = 3 if options.quick else options.tasks
    settings = [Setting("glyphs"), Setting("glyphs", at_once=5)] if options.quick else list(SETTINGS)
    result = Row(
        "which-next",
        "omniglot, digits, banking77",
        f"{tasks} tasks of {WAYS} classes, one example of each class at the start unless said, {LABELS} more labelled "
        f"from a pool; mean accuracy over the way on rows of all {WAYS} classes that are in neither, seed 0; random is "
        f"the mean of {DRAWS} draws; Omniglot's and glyphs' classes are those of the test split, through `drawings`",
        learner="none: labels",
    )
    lines, path = list[Line](), list[Line]()
    for setting in settings:
        groups = ROWS[setting.rows](options.data)
        each = [_ways(setting, groups, task) for task in range(tasks)]
        ways = {name: np.stack([way[name] for way in each]) for name in RULES}  # [tasks, questions]
        mean = {name: 100 * way.mean(1) for name, way in ways.items()}  # [tasks]
        start = "one of each" if setting.known == WAYS else f"one of {setting.known} classes"
        about = {"rows": setting.rows, "learner": setting.learner, "start": start, "at once": str(setting.at_once)}
        line: Line = {**about, "random, %": with_interval(mean["random"])}
        line |= {f"{name}, points": with_interval(mean[name] - mean["random"]) for name in list(RULES)[1:]}
        lines.append(line)
        note(f"{', '.join(about.values())}: {line['which_next, points']} points ahead of {line['random, %']} %")
        for name in ("random", "which_next"):
            steps = {f"+{at}": f"{100 * ways[name][:, at // setting.at_once - 1].mean():.1f}" for at in (5, 10, 15, 20)}
            path.append({**about, "rule": name, **steps})
        if setting == settings[0]:
            ahead = Estimate.of(mean["which_next"] - mean["random"])
            result.targets.append(
                Target("ahead of random choice on omniglot, points, lower end", ahead.mean - ahead.ci95, 0.0)
            )
    result.tables += [
        ("Mean over the way, and the paired difference to random choice", lines),
        ("Along the way, %", path),
    ]
    options.rounds = None
    return result


def _ways(setting: Setting, groups: Groups, task: int) -> dict[str, np.ndarray]:
    """Accuracy after each question, by rule."""
    random = np.random.Generator(np.random.Philox(key=[0, task]))
    large = sorted(name for name, classes in groups.items() if len(classes) >= WAYS)
    classes = groups[large[random.integers(len(large))]]
    # Of twenty rows of a class one is known, eight are asked, eleven are the pool; of more, at most thirty are taken.
    parts = [random.permutation(classes[name])[:30] for name in random.permutation(sorted(classes))[:WAYS]]
    counts = [len(rows) for rows in parts]
    x = np.concatenate(parts)
    if x.shape[1] > len(x):
        # So few rows lie in a space of fewer dimensions, and turning it changes no distance: all is quicker there.
        x = np.linalg.qr(x.T, mode="r").T
    parts = np.split(x, np.cumsum(counts)[:-1])
    ends = [1 + 2 * count // 5 for count in counts]
    options = np.concatenate([rows[1:end] for rows, end in zip(parts, ends, strict=True)])
    pool = np.concatenate([rows[end:] for rows, end in zip(parts, ends, strict=True)])
    true = np.repeat(np.arange(WAYS), [end - 1 for end in ends])
    labels = np.repeat(np.arange(WAYS), [count - end for count, end in zip(counts, ends, strict=True)])
    first = np.stack([rows[0] for rows in parts[: setting.known]])
    names = [str(place) for place in range(WAYS)]
    start = Predictor.of(Ready(), setting.learner, first, np.arange(setting.known), np.ones(setting.known), names)
    by_name = {}
    for name, rule in RULES.items():
        drawn = range(DRAWS if rule is at_random else 1)
        next_ = partial(rule, random=random)
        by_name[name] = np.mean(
            [_one_way(start, options, true, pool, labels, next_, setting.at_once) for _ in drawn], axis=0
        )
    return by_name


def _one_way(
    known: Predictor,
    options: np.ndarray,
    true: np.ndarray,
    pool: np.ndarray,
    labels: np.ndarray,
    rule: Callable[..., list[int]],
    at_once: int,
) -> list[float]:
    right = []
    for _ in range(LABELS // at_once):
        places = rule(known, pool, at_once)
        known = known.with_rows(pool[places], labels[places], np.ones(at_once))
        pool, labels = (np.delete(part, places, axis=0) for part in (pool, labels))
        right.append(float((known.scores(options).argmax(1) == true).mean()))
    return right


def _of_pictures(rows: LabelledRows, result: Callable[[str], bool], group: Callable[[str], str]) -> Groups:
    encoder = ENCODERS["drawings"]()
    chosen = [place for place in rows.splits["test"] if result(rows.names[place])]
    outcome: dict[str, dict[str, np.ndarray]] = {}
    for place in chosen:
        pictures = list(255 - rows.x[rows.starts[place] : rows.starts[place + 1], 0])
        outcome.setdefault(group(rows.names[place]), {})[rows.names[place]] = encoder(pictures).astype(np.float64)
    return outcome


def _alphabet(name: str) -> str:
    return name.partition("/")[0]


@cache
def _omniglot(data: Path | None) -> Groups:
    # Upright: a character and itself turned are two classes that nobody would hold side by side.
    return _of_pictures(omniglot(data), lambda name: name.endswith("rot000"), _alphabet)


@cache
def _digits(data: Path | None) -> Groups:
    from sklearn.datasets import load_digits

    loaded = load_digits()
    table = columns(loaded.data)
    x = ENCODERS["table"]().fitted(table, np.ones(len(loaded.data)))(table)
    return {"all": {str(digit): x[loaded.target == digit] for digit in range(10)}}


@cache
def _banking(data: Path | None) -> Groups:
    from mapwise.data.store import data_root

    with (Path(data or data_root()) / "banking77" / "test.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    x = ENCODERS["text-hash"]()([line["text"] for line in lines]).astype(np.float64)
    labels = np.asarray([line["category"] for line in lines])
    return {"all": {str(name): x[labels == name] for name in np.unique(labels)}}


ROWS: dict[str, Callable[[Path | None], Groups]] = {
    "omniglot, one alphabet": _omniglot,
    "digits as a table": _digits,
    "banking77 as text-hash": _banking,
    "glyphs": lambda data: _of_pictures(glyphs(), lambda name: True, _alphabet),
}


def main(words: list[str]) -> int:
    parser = row.parser(__doc__)
    parser.add_argument("--data", type=Path, help="the folder of data sets")
    parser.add_argument("--tasks", type=int, default=50)
    return row.run(parser, benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
