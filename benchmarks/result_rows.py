"""The rows of benchmarks/results: what was run, what came out, and on which machine.

One file is one row. What came out is what `mapwise eval RUN --json` printed, what benchmarks/row.py wrote, or what
`mapwise bench` did, whose rows lie in a folder of the comparison's name.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mapwise.catalog.learners import LEARNERS
from mapwise.core.estimate import Estimate
from mapwise.engine.results import Contender, Protocol
from mapwise.problems import metric_named, metrics, problem_of_metric
from mapwise.report.table import in_units, percent, task_name

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


@dataclass(frozen=True)
class Row:
    """One measured row, as its result file tells it."""

    row: str
    learner: str
    """A catalog key, or any name when the row is of no learner."""
    result: dict[str, Any]
    """What `mapwise eval RUN --json` printed; a row that is no evaluation holds its own figures."""
    source: str = ""
    protocol: str = ""
    """How it was trained and judged, in words."""
    train_command: str = ""
    train_seconds: float | None = None
    train_processor_seconds: float | None = None
    """Of all threads together; None for a run that didn't count it."""
    threads: int | None = None
    eval_command: str = ""
    target: str = ""
    """The number it should reach, as text: per cent for an accuracy, plain for an error."""
    machine: str = ""
    remade: str = ""
    """Why it was made again after a test number had been seen; "" when it was not."""
    bench: dict[str, Any] = field(default_factory=dict)
    """What else `mapwise bench` found; {} for a row that is in no comparison."""
    notes: dict[str, Any] = field(default_factory=dict)
    """Whatever else the file says; shown as it stands."""

    @classmethod
    def read(cls, path: Path) -> "Row":
        """The row of one file; raises ValueError when it is no JSON object with a result."""
        try:
            text = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is not JSON ({error}): write it again") from None
        if not isinstance(text, dict) or not isinstance(text.get("result"), dict):
            raise ValueError(f"{path} has no object named result: put in what mapwise eval RUN --json printed")
        known = set(cls.__dataclass_fields__) - {"notes"}
        given = {name: value for name, value in text.items() if name in known and value is not None}
        given = {"row": path.stem, "learner": text["result"].get("learner", "other"), **given}
        return cls(**given, notes={name: value for name, value in text.items() if name not in known})

    @property
    def metric(self) -> str | None:
        """ "accuracy", "mse" or "wrong_bits"; None for a row that is no evaluation."""
        return next((name for name in metrics() if self.result.get(name) is not None), None)

    @property
    def measures(self) -> bool:
        """Whether it is of time or memory: tables with targets instead of an evaluation."""
        return isinstance(self.result.get("tables"), list)

    @property
    def contender(self) -> Contender:
        """The row as one of its comparison."""
        return Contender.from_json({**self.result, "learner": self.learner}, self.bench)

    @property
    def again(self) -> str:
        """The one command that makes the number again, from its trained run or from nothing."""
        return str(self.bench["command"]) if self.bench else self.eval_command

    @property
    def inner_steps(self) -> str:
        """How many gradient steps it adapted with, where the file or its command says so; "" otherwise."""
        answer = self.notes.get("inner_steps", self.result.get("inner_steps"))
        options = re.search(r"inner[-_]steps[= ](\d+)", self.eval_command)
        return str(answer) if answer is not None else options[1] if options else ""

    @property
    def about(self) -> Protocol:
        """The protocol of the evaluation."""
        result = self.result
        return Protocol(
            learner=self.learner,
            source=str(result.get("source", self.source)),
            split=str(result.get("split", "test")),
            problem=problem_of_metric([self.metric or "accuracy"]),
            ways=str(result.get("ways", "")),
            shots=str(result.get("shots", "")),
            queries=int(result.get("queries", 0)),
            episodes=int(result["episodes"]),
            seed=int(result.get("seed", 0)),
            transductive=bool(result["transductive"]),
        )

    @property
    def headline(self) -> str:
        """The number with its interval; for a row that is no evaluation all its figures."""
        if self.metric is None:
            return ", ".join(f"{name.replace('_', ' ')} {figure(value)}" for name, value in self.result.items())
        ci = self.result.get("ci95")
        estimate = Estimate(float(self.result[self.metric]), float("nan") if ci is None else float(ci), 0)
        if self.metric == "mse":
            return f"MSE {in_units(estimate)}"
        if self.metric == "wrong_bits":
            return f"{percent(estimate)} wrong bits, {float(self.result['bits']):.2g} bits a bit"
        return percent(estimate)

    @property
    def task(self) -> str:
        """Source and task in a few words, such as "omniglot, 5-way 1-shot"."""
        if self.metric is None:
            return self.protocol or self.source
        steps = f", {self.inner_steps} step{'' if self.inner_steps == '1' else 's'}" if self.inner_steps else ""
        # A control must not be taken for a bad result.
        control = ", shuffled labels" if re.search("shuffle[-_]labels", self.train_command + self.eval_command) else ""
        precision = ", trained in bfloat16" if re.search("precision[ =]bfloat16", self.train_command) else ""
        steps = steps if self.metric == "mse" else ""
        return f"{self.about.source}, {task_name(self.about)}{steps}{control}{precision}"

    @property
    def wanted(self) -> str:
        """The target, and whether the number missed it; "" without one."""
        options = re.fullmatch(r"\s*(?:>=|<=|≥|≤)?\s*([\d.]+)\s*%?\s*", self.target)
        if options is None or self.metric is None:
            return self.target
        goal = float(options[1])
        metric, value = metric_named(self.metric), float(self.result[self.metric])
        value, unit = (100 * value, " %") if metric.percent else (value, "")
        met = value <= goal if metric.lower_is_better else value >= goal
        return f"at {'most' if metric.lower_is_better else 'least'} {options[1]}{unit}" + ("" if met else ", missed")


def read_rows(folder: Path = RESULTS) -> list[Row]:
    """Every row of a folder, by learner in the order of the catalog; raises ValueError for two of one name."""
    rows = [Row.read(path) for path in sorted([*folder.glob("*.json"), *folder.glob("*/*.json")])]
    names = [row.row for row in rows]
    smoke = [row.row for row in rows if row.result.get("quick")]
    if smoke:
        raise ValueError(
            f"row {smoke[0]!r} in {folder} is of a smoke test, which measures nothing: run it without --quick"
        )
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"two files in {folder} are named row {twice[0]!r}: rename one")
    order = {key: place for place, key in enumerate(LEARNERS)}
    return sorted(rows, key=lambda row: (order.get(row.learner, len(order)), row.learner, row.row))


def figure(value: Any) -> str:
    """A value as a page shows it."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"
