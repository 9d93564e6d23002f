"""Classification: every row belongs to one of W classes of its task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mapwise.core.estimate import Estimate
from mapwise.core.format import plain, share
from mapwise.core.problem import Answers, Metric, Problem, Summary, finite
from mapwise.core.scores import Scores, means
from mapwise.core.task import Examples, present_classes

BINS = 15
"""Equal-mass bins for the calibration error."""

INSTANCES = (1, 2, 3, 5, 10)
"""Instances of a class in a stream at which accuracy is reported; at the first, its label was never seen."""


@dataclass(frozen=True)
class ClassFigures:
    """Figures over real class names, counted over all episodes in which the class took part."""

    names: list[str]
    precision: np.ndarray
    """[C]"""
    recall: np.ndarray
    """[C]"""
    f1: np.ndarray
    """[C]"""
    rows: np.ndarray
    """[C], query rows seen"""
    confusions: dict[tuple[str, str], int]
    """(true name, predicted name) -> query rows"""
    counted: str = "query rows"
    """What is counted."""


@dataclass(frozen=True)
class Calibrated:
    """Figures after the scores were divided by a temperature fitted on other episodes."""

    temperature: float
    nll: float
    ece: float
    reliability: np.ndarray | None = None
    """As the report's own."""

    def to_json(self) -> dict[str, float]:
        """The numbers, JSON-ready."""
        return {"temperature": self.temperature, "nll": self.nll, "ece": self.ece}


class _Tally(NamedTuple):
    """Of one batch of tasks; R query rows count."""

    nll: Float[np.ndarray, "T"]
    auc: Float[np.ndarray, "T"]
    rows: "Rows"
    names: list[list[str]]
    instances: Float[np.ndarray, "T I"] | None
    """For streams, the accuracy at each of INSTANCES."""
    temperature: float | None
    calibrated_nll: Float[np.ndarray, "T"] | None
    calibrated_confidence: Float[np.ndarray, "R"] | None


class Rows(NamedTuple):
    """The query rows that count; every array is [R]."""

    task: np.ndarray
    """The place of the row's task in its batch."""
    true: np.ndarray
    predicted: np.ndarray
    """Columns of the task."""
    confidence: np.ndarray


@dataclass(frozen=True)
class Classification(Problem):
    """Scores are logits of W classes; a class that is absent from the support has finfo.min / 2."""

    name: ClassVar[str] = "classification"
    metric: ClassVar[Metric] = Metric("accuracy", "accuracy", "acc")
    columns: ClassVar = "classes"
    loss: ClassVar[str | None] = None
    task: ClassVar[str] = "{ways}-way {shots}-shot"
    asks: ClassVar[str] = "{ways}-way {shots}-shot, {queries} queries a class"
    figures_read: ClassVar[tuple[str, ...]] = ("nll", "ece", "auc", "chance")
    legends: ClassVar[Mapping[str, str]] = {
        "NLL": "NLL is in nats for a query row. ",
        "ECE": "ECE is the calibration error. ",
    }

    def values(self, scores: Scores, y: Float[Tensor, "*T N W"]) -> Float[Tensor, "*T N"]:
        """1 where the class with the highest score is the true one."""
        scores = means(scores)
        return (scores.argmax(-1) == y.argmax(-1)).to(scores.dtype)

    def nll(self, scores: Scores, y: Float[Tensor, "*T N W"]) -> Float[Tensor, "*T N"]:
        """By the softmax of the scores."""
        scores = means(scores)
        likelihood = torch.log_softmax(scores.double(), -1)
        # A class that can't be chosen has no likelihood, and the size of its score means nothing.
        barred = torch.where(scores > torch.finfo(scores.dtype).min / 4, 0.0, torch.inf)
        return torch.where(y > 0, barred - y * likelihood, 0.0).sum(-1)

    def guess(self, support: Examples, query: Examples) -> Float[Tensor, "T"]:
        """The accuracy of choosing any class of the support."""
        return 1 / torch.vmap(present_classes)(support).double().sum(1)

    def tally(self, answers: Answers, temperature: float | None) -> _Tally:
        """Likelihoods, areas under the ROC curve, and every row's classes and confidence."""
        scores: Tensor = means(answers.scores).double()
        probabilities = torch.softmax(scores, -1).numpy()
        truth, counted = answers.y.argmax(-1).numpy(), answers.weight.numpy() > 0
        task = np.broadcast_to(np.arange(len(truth))[:, None], truth.shape)
        instances = calibrated_nll = calibrated_confidence = None
        if answers.stream:
            instances = _by_instance(probabilities.argmax(-1) == truth, truth, counted)
        if temperature is not None:
            scores = scores / temperature
            calibrated_nll = self.mean_nll(answers._replace(scores=scores))
            calibrated_confidence = torch.softmax(scores, -1).max(-1).values.numpy()[counted]
        predicted, confidence = probabilities.argmax(-1), probabilities.max(-1)
        return _Tally(
            self.mean_nll(answers),
            _auc(probabilities, truth, counted),
            Rows(task[counted], truth[counted], predicted[counted], confidence[counted]),
            answers.names,
            instances,
            temperature,
            calibrated_nll,
            calibrated_confidence,
        )

    def figures(self, tallies: Sequence[_Tally]) -> dict[str, Any]:
        """Likelihood, calibration, ROC-AUC, figures per class name; of streams accuracy by instance of a class."""
        nll, auc = (np.concatenate([getattr(tally, name) for tally in tallies]) for name in ("nll", "auc"))
        offsets = np.cumsum([0, *(len(tally.names) for tally in tallies)])
        moved = [
            tally.rows._replace(task=tally.rows.task + first) for tally, first in zip(tallies, offsets, strict=False)
        ]
        rows = Rows(*(np.concatenate(parts) for parts in zip(*moved, strict=True)))
        names = [of_task for tally in tallies for of_task in tally.names]
        right = rows.predicted == rows.true
        reliability = _reliability(rows.confidence, right)
        mean_nll = finite(nll.mean())
        streams = [tally.instances for tally in tallies if tally.instances is not None]
        return {
            "instances": _over_streams(np.concatenate(streams)) if streams else None,
            "nll": mean_nll,
            "ece": _calibration_error(reliability),
            "auc": float(np.nanmean(auc)) if np.isfinite(auc).any() else None,
            "chance": float(np.mean([1 / sum(1 for name in of_task if name) for of_task in names])),
            # Without a likelihood, as with classes that can't be chosen, there is nothing to calibrate.
            "calibrated": None if mean_nll is None else _calibrated(tallies, right),
            "classes": _class_figures(rows, names),
            "reliability": reliability,
        }

    def to_json(self, figures: Mapping[str, Any], values: Float[np.ndarray, "E"]) -> dict[str, Any]:
        """With accuracy by instance of a class, and the figures after calibration."""
        instances, calibrated = figures.get("instances") or {}, figures.get("calibrated")
        by_number = {str(n): {"accuracy": one.mean, "ci95": one.ci95} for n, one in instances.items()}
        return (
            {"sights": by_number or None}
            | super().to_json(figures, values)
            | {"calibrated": None if calibrated is None else calibrated.to_json()}
        )

    def of_json(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """With the figures after calibration."""
        figures = super().of_json(report)
        return figures | ({"calibrated": Calibrated(**report["calibrated"])} if "calibrated" in report else {})

    def cells(self, figures: Mapping[str, Any], values: Float[np.ndarray, "E"]) -> dict[str, str]:
        """The likelihood in nats, the calibration error and the area under the ROC curve."""
        return {
            "NLL": plain(figures.get("nll")),
            "ECE": share(figures.get("ece")),
            "AUC": plain(figures.get("auc")),
        }

    def opening(self, result: Summary) -> str:
        """How many examples are given, and how often the right class is named."""
        examples = "one example" if result.shots == "1" else f"{result.shots} examples"
        return (
            f"Given {examples} each of {result.ways} classes {result.seen}, {result.learner} names the right one "
            f"{result.headline} of the time"
        )


def _calibrated(tallies: Sequence[_Tally], right: np.ndarray) -> Calibrated | None:
    """The figures after the temperature; None where there was none."""
    nll = [tally.calibrated_nll for tally in tallies if tally.calibrated_nll is not None]
    confidence = [tally.calibrated_confidence for tally in tallies if tally.calibrated_confidence is not None]
    temperature = tallies[0].temperature
    if temperature is None:
        return None
    bins = _reliability(np.concatenate(confidence), right)
    return Calibrated(temperature, float(np.concatenate(nll).mean()), _calibration_error(bins), bins)


def _by_instance(right: np.ndarray, truth: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Accuracy at the 1st, 2nd, ... instance of a class, in each stream, [T, len(INSTANCES)].

    All arguments are [T, N]. NaN where no class of a stream comes that often.
    """
    of_class = (truth[:, :, None] == np.arange(truth.max() + 1)) & counted[:, :, None]  # [T, N, W]
    instance = (of_class.cumsum(1) * of_class).sum(-1)  # [T, N]
    at = instance[:, :, None] == np.array(INSTANCES)  # [T, N, I]
    counts = at.sum(1)
    hits = (at & right[:, :, None]).sum(1)
    shares: np.ndarray = np.divide(hits, counts, out=np.full(counts.shape, np.nan), where=counts > 0)
    return shares


def _over_streams(shares: np.ndarray) -> dict[int, Estimate]:
    """The mean over streams, each of which counts once: the instances of one stream depend on each other."""
    columns = {instance: column[np.isfinite(column)] for instance, column in zip(INSTANCES, shares.T, strict=True)}
    return {instance: Estimate.of(column) for instance, column in columns.items() if len(column)}


def _reliability(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Confidence, accuracy and share of rows in bins of equal mass, [B, 3]."""
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, BINS) if len(part)]
    return np.array([[confidence[part].mean(), right[part].mean(), len(part) / len(order)] for part in parts])


def _calibration_error(bins: np.ndarray) -> float:
    return float((bins[:, 2] * np.abs(bins[:, 0] - bins[:, 1])).sum())


def _auc(p: np.ndarray, y: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """One class against the rest within each episode, averaged over its classes, [E] (Mann and Whitney's statistic).

    p: [E, Q, W], y and counted: [E, Q]. NaN for an episode in which every query is of one class.
    """
    # Rows that don't count take the lowest ranks, which are then subtracted.
    ranks = _ranks(np.where(counted[:, :, None], p, -1.0)) - (~counted).sum(1)[:, None, None]
    mine = (y[:, :, None] == np.arange(p.shape[2])) & counted[:, :, None]  # [E, Q, W]
    positives = mine.sum(1)
    negatives = counted.sum(1)[:, None] - positives
    pairs = positives * negatives  # [E, W]
    above = (ranks * mine).sum(1) - positives * (positives + 1) / 2
    # Averaged by hand: nanmean warns of an episode without any pair.
    area = np.divide(above, pairs, out=np.zeros_like(above), where=pairs > 0).sum(1)
    classes = (pairs > 0).sum(1)
    averages: np.ndarray = np.divide(area, classes, out=np.full(len(area), np.nan), where=classes > 0)
    return averages


def _ranks(p: np.ndarray) -> np.ndarray:
    """Ranks from 1 along axis 1, equal values sharing the middle of theirs, [E, Q, W]."""
    order = np.argsort(p, axis=1)
    ordered = np.take_along_axis(p, order, axis=1)
    place = np.arange(p.shape[1])[None, :, None]
    new = np.ones_like(p, dtype=bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = np.maximum.accumulate(np.where(new, place, 0), axis=1)
    ends = np.ones_like(new)
    ends[:, :-1] = new[:, 1:]
    last = np.minimum.accumulate(np.where(ends, place, p.shape[1])[:, ::-1], axis=1)[:, ::-1]
    ranks = np.empty_like(p)
    np.put_along_axis(ranks, order, (first + last) / 2 + 1, axis=1)
    return ranks


def _class_figures(rows: Rows, names_of_tasks: list[list[str]]) -> ClassFigures:
    names = sorted({name for of_task in names_of_tasks for name in of_task if name})
    # An absent column has a place of its own, after the names: choosing it is wrong, but not an error.
    place = {name: i for i, name in enumerate([*names, ""])}
    index = np.array([[place[name] for name in of_task] for of_task in names_of_tasks])  # [E, W]
    true, predicted = index[rows.task, rows.true], index[rows.task, rows.predicted]
    totals, claims, hits = (
        np.bincount(places, minlength=len(names))[: len(names)] for places in (true, predicted, true[true == predicted])
    )
    # 0 where a class was never claimed, or never seen.
    precision, recall, f1 = (
        np.divide(top, under, out=np.zeros(len(names)), where=under > 0)
        for top, under in ((hits, claims), (hits, totals), (2 * hits, claims + totals))
    )
    present = predicted < len(names)
    pairs, counts = np.unique(np.stack([true[present], predicted[present]], 1), axis=0, return_counts=True)
    confusions = {(names[a], names[b]): int(n) for (a, b), n in zip(pairs.tolist(), counts.tolist(), strict=True)}
    return ClassFigures(names, precision, recall, f1, totals, confusions)
