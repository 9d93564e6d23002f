"""The results of evaluations, searches and comparisons as plain numbers: computed by the engine, drawn by reports."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from mapwise.core.estimate import Estimate
from mapwise.core.problem import Problem
from mapwise.core.renamed import renamed, renamed_keywords
from mapwise.problems import metric_named, problem_of_metric
from mapwise.problems.classification import Calibrated, ClassFigures


@renamed
@dataclass(frozen=True)
class Protocol:
    """How the number was made: everything needed to make it again."""

    learner: str
    source: str
    split: str
    problem: Problem
    ways: str
    """"5", or "5-20" when drawn per task."""
    shots: str
    queries: int
    """Query rows per class (without classes: per task)."""
    episodes: int
    seed: int
    transductive: bool
    """Measured: a query predicted alone gave other scores than among the other queries."""
    command: str = ""
    judged_classes: int | None = None
    """How many classes the episodes are drawn from; None without such, and of earlier versions."""
    all_classes: int | None = None
    """How many the data have."""

    def line(self) -> str:
        """The protocol as one line for a person."""
        what = self.problem.asks.format(ways=self.ways, shots=self.shots, queries=self.queries)
        how = "transductive" if self.transductive else "inductive"
        counts = "" if self.judged_classes is None else f" ({self.judged_classes:,} of {self.all_classes:,} classes)"
        return f"{self.source} {self.split}{counts}, {what}, {self.episodes:,} episodes, {how}, seed {self.seed}"


F = TypeVar("F")


class _Figure(Generic[F]):
    """A figure of a report as its attribute; None where the problem has no such figure."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, report: "Report | None", owner: type) -> F | None:
        return None if report is None else report.figures.get(self.name)


@renamed
@dataclass(frozen=True)
class Report:
    """The result of an evaluation on one source and split."""

    protocol: Protocol
    values: np.ndarray
    """[E], the problem's metric of every episode, in their order."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """What the problem measures beside its metric, by name; those of the built-in problems are attributes."""
    adapt_ms: float | None = None
    """Median milliseconds to adapt to one task and predict its queries."""
    digest: str = ""
    """The digest of the episodes' inputs and labels; "" in JSON of earlier versions, which had none."""

    nll = _Figure[float]()
    """Mean negative log-likelihood of a query row, in nats."""
    bits = _Figure[float]()
    """The same in bits, for each bit of an answer: the binary cross-entropy."""
    coverage = _Figure[dict[str, float]]()
    """For predictive distributions: the share of targets, 0..1, in the central intervals of "50", "80" and "95" %."""
    ece = _Figure[float]()
    """Expected calibration error, 15 equal-mass bins, 0..1."""
    auc = _Figure[float]()
    """Area under the ROC curve, one class against the rest, averaged over classes and episodes."""
    classes = _Figure[ClassFigures]()
    reliability = _Figure[np.ndarray]()
    """[B, 3]: confidence, accuracy, share of rows, of each calibration bin."""
    calibrated = _Figure[Calibrated]()
    """Calibration after dividing by a temperature fitted on other episodes."""
    chance = _Figure[float]()
    """The metric of a guess."""
    instances = _Figure[dict[int, Estimate]]()
    """For streams: accuracy at the 1st, 2nd, ... instance of a class, over streams."""

    @property
    def problem(self) -> Problem:
        """What the tasks asked for."""
        return self.protocol.problem

    @property
    def metric(self) -> str:
        """The name of `values`, such as "accuracy"."""
        return self.problem.metric.name

    @property
    def estimate(self) -> Estimate:
        """The headline number."""
        return Estimate.of(self.values)

    def __str__(self) -> str:
        """The headline number with its 95 % interval, and the protocol, as one line."""
        metric, estimate = self.problem.metric, self.estimate
        between = "" if math.isnan(estimate.ci95) else f" ± {metric.format(estimate.ci95)}"
        return f"{metric.title} {metric.format(estimate.mean)}{between}, {self.protocol.line()}"

    def to_json(self) -> dict[str, Any]:
        """The numbers as one flat, JSON-ready object."""
        p = self.protocol
        estimate = self.estimate
        out: dict[str, Any] = {
            "learner": p.learner,
            "source": p.source,
            "split": p.split,
            self.metric: estimate.mean,
            "ci95": estimate.ci95,
            "episodes": p.episodes,
            "ways": p.ways,
            "shots": p.shots,
            "queries": p.queries,
            "transductive": p.transductive,
            "seed": p.seed,
            "command": p.command,
        }
        figures = self.problem.to_json(self.figures, self.values) | {"adapt_ms": self.adapt_ms}
        figures |= {"digest": self.digest or None, "judged_classes": p.judged_classes, "all_classes": p.all_classes}
        return out | {name: value for name, value in figures.items() if value is not None}

    @classmethod
    @renamed_keywords
    def from_json(cls, report: Mapping[str, Any], values: np.ndarray) -> "Report":
        """The report of these numbers, as `to_json` gives them, and of every episode's value."""
        names = ("learner", "source", "split", "ways", "shots", "queries", "episodes", "seed", "transductive")
        problem = problem_of_metric(report)
        known = {name: report[name] for name in ("command", "judged_classes", "all_classes") if name in report}
        protocol = Protocol(problem=problem, **{name: report[name] for name in names}, **known)
        return cls(protocol, values, problem.of_json(report), report.get("adapt_ms"), report.get("digest", ""))


@dataclass(frozen=True)
class Paired:
    """The difference of two evaluations on the same episodes: first minus second."""

    first: str
    second: str
    difference: Estimate

    @classmethod
    def of(cls, a: Report, b: Report, *, without_digest: bool = False) -> "Paired":
        """Pair two reports; raises ValueError unless both saw the same episodes, by their digest.

        without_digest: also take reports from JSON that was written before digests were kept, by their protocol alone.
        """
        same = ("source", "split", "ways", "shots", "queries", "episodes", "seed")
        for name in same:
            left, right = getattr(a.protocol, name), getattr(b.protocol, name)
            if left != right:
                raise ValueError(
                    f"the reports can't be paired, their {name} differ ({left} and {right}): "
                    "evaluate both on the same episodes"
                )
        if not (without_digest or (a.digest and b.digest)):
            raise ValueError(
                "the reports can't be paired, one has no digest of its episodes: evaluate it again, or pass "
                "without_digest=True to go by the protocol alone"
            )
        if a.digest and b.digest and a.digest != b.digest:
            raise ValueError("the reports can't be paired, their episodes differ: evaluate both on the same episodes")
        return cls(a.protocol.learner, b.protocol.learner, Estimate.of(a.values - b.values))


@dataclass(frozen=True)
class Episode:
    """One task with its predictions, to be drawn."""

    support_x: np.ndarray
    """[S, *input], float32"""
    support_names: list[str]
    query_x: np.ndarray
    """[Q, *input], float32"""
    query_names: list[str]
    predicted: list[str]
    confidence: np.ndarray
    """[Q], probability of the predicted class"""


@dataclass(frozen=True)
class FunctionFit:
    """One regression task in one dimension: the support, the truth and the prediction at its queries."""

    support_x: np.ndarray
    support_y: np.ndarray
    query_x: np.ndarray
    query_y: np.ndarray
    predicted: np.ndarray
    """all [N], sorted by x for the queries"""
    scale: np.ndarray | None = None
    """[N], the standard deviation of the prediction, where it is a distribution."""


@dataclass(frozen=True)
class EmbeddingMap:
    """The embedding of one unseen task in two dimensions."""

    points: np.ndarray
    """[N, 2]"""
    names: list[str]
    """[N], class of every point"""
    support: np.ndarray
    """[N] bool"""


@dataclass(frozen=True)
class MemoryUse:
    """What a machine with a memory did on one sequence; L counts its rows."""

    inputs: np.ndarray
    """[L, C], the rows it read"""
    targets: np.ndarray
    """[L, W], the bits that were due; NaN in rows without an answer"""
    outputs: np.ndarray
    """[L, W], the predicted probability that each bit is 1"""
    reads: np.ndarray
    """[L, R, N], how much each head read from each slot"""
    writes: np.ndarray
    """[L, H, N], how much each head wrote to each slot"""
    gates: dict[str, np.ndarray] = field(default_factory=dict)
    """[L], further numbers of every row, by name"""
    slots: dict[str, np.ndarray] = field(default_factory=dict)
    """[L, N], further numbers of every slot, by name"""
    links: dict[str, np.ndarray] = field(default_factory=dict)
    """[N, N], how far slot i stands after slot j at the end, [i, j], by name"""


@dataclass(frozen=True)
class Curve:
    """A line to draw: y against x, with half-widths of 95 % intervals where known."""

    label: str
    x: np.ndarray
    y: np.ndarray
    ci95: np.ndarray | None = None


@dataclass(frozen=True)
class Findings:
    """Everything a full report shows; fields that are None or empty are left out of the page."""

    title: str
    reports: list[Report]
    """The learner's own first, then those beside it (baselines, other shots)."""
    training: list[Curve] = field(default_factory=list)
    """Learning curves over steps: "training loss", "validation accuracy"."""
    against_shots: list[Curve] = field(default_factory=list)
    against_steps: list[Curve] = field(default_factory=list)
    episode: Episode | None = None
    fits: list[FunctionFit] = field(default_factory=list)
    embedding: EmbeddingMap | None = None
    memory: MemoryUse | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    """The run's settings, for the table at the end."""


@dataclass(frozen=True)
class Trial:
    """One run of a search: the values it tried, and its result."""

    number: int
    values: dict[str, Any]
    state: str
    """ "complete", "pruned" (stopped early, as it was worse than most), "failed" or "stopped" (to go on)."""
    validation: float | None
    """The best of its validations, in the search's metric."""
    step: int
    """Meta-updates it took."""
    seconds: float = 0.0
    failure: str = ""
    """Why it failed, in one sentence."""
    run: str = ""
    """Its folder; "" where it left none."""


@dataclass(frozen=True)
class Search:
    """The results of a search; fields that are empty are left out of the page."""

    title: str
    metric: str
    """ "accuracy", "mse" or "wrong_bits"."""
    protocol: str
    """How every trial was judged, in a line for a person."""
    steps: int
    """Meta-updates of a trial that is not pruned."""
    ranges: dict[str, str]
    """Name -> the searched range, as it was written."""
    logarithmic: frozenset[str]
    trials: list[Trial]
    """In the order they began."""
    importances: dict[str, float] = field(default_factory=dict)
    """Name -> its share of the variation of the validation, 0..1."""
    command: str = ""
    best_command: str = ""
    """The command that trains the best trial's run again."""

    @property
    def ranked(self) -> list[Trial]:
        """Best first: completed trials, then pruned ones, then the rest in their order."""
        states = ["complete", "pruned"]
        sign = 1 if metric_named(self.metric).lower_is_better else -1

        def place(trial: Trial) -> tuple[int, float, int]:
            value = trial.validation
            worth = math.inf if value is None or math.isnan(value) else sign * value
            return states.index(trial.state) if trial.state in states else len(states), worth, trial.number

        return sorted(self.trials, key=place)

    @property
    def best(self) -> Trial | None:
        """The best completed trial; None when no trial was completed."""
        first = self.ranked[:1]
        return first[0] if first and first[0].state == "complete" else None


@dataclass(frozen=True)
class Contender:
    """One learner of a comparison under one protocol and one budget."""

    name: str
    own: Report
    """Evaluated with the norm it was trained with."""
    by_rows: Report | None
    """Evaluated with norms that use the rows at hand, the queries among them; None where that changes nothing."""
    seconds: float
    """Seconds of its training by the clock, without validation."""
    processor_seconds: float
    peak_mb: float | None
    """Peak memory of its training, beyond what the process held before the first gradient."""
    adapted: int
    """How many numbers a task changes: those of all floating-point tensors in fast that differ between two tasks."""
    chosen: dict[str, Any] = field(default_factory=dict)
    """The rates that were chosen on the validation split, by name."""

    @property
    def inductive(self) -> Report | None:
        """Every prediction by itself; None for a learner that has no such."""
        return None if self.own.protocol.transductive else self.own

    @property
    def transductive(self) -> Report | None:
        """Every prediction uses the other queries of its task; None where that changes nothing."""
        return self.own if self.own.protocol.transductive else self.by_rows

    def to_json(self) -> dict[str, Any]:
        """Everything but its own report's numbers, JSON-ready, with the number of right answers of every episode."""
        return {
            "chosen": self.chosen,
            "seconds": round(self.seconds, 1),
            "processor_seconds": round(self.processor_seconds, 1),
            "peak_mb": self.peak_mb,
            "adapted": self.adapted,
            "right": _right(self.own),
            "by_rows": None if self.by_rows is None else {**self.by_rows.to_json(), "right": _right(self.by_rows)},
        }

    @classmethod
    def from_json(cls, own: Mapping[str, Any], rest: Mapping[str, Any]) -> "Contender":
        """The contender from its own report's numbers and the rest."""
        by_rows = rest["by_rows"]
        plain = {name: rest[name] for name in ("seconds", "processor_seconds", "peak_mb", "adapted", "chosen")}
        return cls(
            own["learner"],
            _of_answers(own, rest["right"]),
            None if by_rows is None else _of_answers(by_rows, by_rows["right"]),
            **plain,
        )


def _right(report: Report) -> str:
    """The number of right answers of every episode: short, exact, and one line of JSON."""
    answers = report.protocol.queries * int(report.protocol.ways)
    return " ".join(str(round(answers * float(value))) for value in report.values)


def _of_answers(figures: Mapping[str, Any], right: str) -> Report:
    answers = int(figures["queries"]) * int(figures["ways"])
    return Report.from_json(figures, np.array([int(number) for number in right.split()]) / answers)
