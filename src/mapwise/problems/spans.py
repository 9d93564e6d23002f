"""Spans: the parts of texts that have a type, such as names, which are right as a whole or not at all."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mapwise.core.chain import best_path
from mapwise.core.fields import check_whole
from mapwise.core.format import share
from mapwise.core.problem import Answers, Metric, Problem, Summary, finite
from mapwise.core.scores import Scores, means
from mapwise.core.tags import allowed, spans_of, types_of
from mapwise.core.task import Examples
from mapwise.problems.classification import ClassFigures, Classification

Place = tuple[Any, Any, str]
"""(start, end, type) of a span, counted in characters or in words."""


class SpanScores(NamedTuple):
    """How many spans are right: exactly in their place, and of their type.

    0 where there is nothing to divide by, as in seqeval and conlleval.
    """

    precision: float
    """The share of the predicted spans that are right."""
    recall: float
    """The share of the true spans that are predicted."""
    f1: float
    """Their harmonic mean."""
    true: int
    """True spans."""
    predicted: int
    """Predicted spans."""
    correct: int
    """Those that are both."""

    @classmethod
    def of(cls, true: int, predicted: int, correct: int) -> "SpanScores":
        """From counts."""
        return cls(
            correct / predicted if predicted else 0.0,
            correct / true if true else 0.0,
            2 * correct / (true + predicted) if true + predicted else 0.0,
            true,
            predicted,
            correct,
        )


@dataclass(frozen=True)
class EntityScores:
    """The spans of many texts: all together (micro average), and by type.

    `macro_f1` is the mean of the F1 of the types.
    """

    all: SpanScores
    types: Mapping[str, SpanScores]

    @property
    def macro_f1(self) -> float:
        """The mean over types of their F1; 0 without any."""
        return sum(scores.f1 for scores in self.types.values()) / max(1, len(self.types))


def entity_scores(true: Sequence[Iterable[Place]], predicted: Sequence[Iterable[Place]]) -> EntityScores:
    """Precision, recall and F1 of spans, each right if its start, end and type are.

    true, predicted: of every text its spans, (start, end, type); a span that comes twice counts once.

    Equal to seqeval's strict mode. Raises ValueError for lists of unequal length.
    """
    counts: dict[str, np.ndarray] = {}
    for here, there in _pairs(true, predicted):
        for group in (here, there, here & there):
            for span in group:
                counts.setdefault(span[2], np.zeros(3, np.int64))
        for place, group in enumerate((here, there, here & there)):
            for span in group:
                counts[span[2]][place] += 1
    total = sum(counts.values(), start=np.zeros(3, np.int64))
    types = {name: SpanScores.of(*counts[name].tolist()) for name in sorted(counts)}
    return EntityScores(SpanScores.of(*total.tolist()), types)


def bootstrap_interval(
    true: Sequence[Iterable[Place]], predicted: Sequence[Iterable[Place]], *, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The 95 % interval of the micro F1 over texts, by the percentile bootstrap.

    Paper: Efron, Tibshirani, "An introduction to the bootstrap", 1993, chapter 13. Whole texts are drawn, since the
    spans of one text depend on each other.

    true, predicted: as for `entity_scores`.

    Raises ValueError for lists of unequal length, or without a text, and for less than 1 resample.
    """
    check_whole("resamples", resamples, 1)
    counts = np.array([[len(a), len(b), len(a & b)] for a, b in _pairs(true, predicted)])  # [N, 3]
    if not len(counts):
        raise ValueError("there are no texts: an interval needs at least one")
    random = np.random.Generator(np.random.Philox(seed))
    f1 = []
    chunk = max(1, (1 << 22) // len(counts))
    for first in range(0, resamples, chunk):
        drawn = random.integers(0, len(counts), (min(chunk, resamples - first), len(counts)))
        f1.append(_f1(counts[drawn].sum(1)))
    low, high = np.percentile(np.concatenate(f1), [2.5, 97.5])
    return float(low), float(high)


def _pairs(
    true: Sequence[Iterable[Place]], predicted: Sequence[Iterable[Place]]
) -> list[tuple[set[Place], set[Place]]]:
    if len(true) != len(predicted):
        raise ValueError(
            f"there are true spans of {len(true)} texts and predicted ones of {len(predicted)}: give a list of spans "
            "for each text"
        )
    sets = [[{(start, end, kind) for start, end, kind in spans} for spans in texts] for texts in (true, predicted)]
    return list(zip(*sets, strict=True))


def _f1(counts: np.ndarray) -> Float[np.ndarray, "*N"]:
    """From true, predicted and correct spans, [..., 3]; 0 without any."""
    under = counts[..., 0] + counts[..., 1]
    f1: np.ndarray = np.divide(2 * counts[..., 2], under, out=np.zeros(under.shape), where=under > 0)
    return f1


class _Tally(NamedTuple):
    """Of one batch of tasks."""

    nll: Float[np.ndarray, "T"]
    chance: Float[np.ndarray, "T"]
    counts: dict[str, np.ndarray]
    """Type -> its true, predicted and correct spans."""
    confusions: dict[tuple[str, str], int]
    """(true type, predicted type) -> spans that lie in the same place."""
    tokens: Int64[np.ndarray, "5"]
    """Words, those with the right tag, those truly in a span, those predicted in one, and the right ones among them."""


@dataclass(frozen=True)
class Spans(Problem):
    """Scores are logits of tags, "O" and "B" and "I" of every type, for every piece of every text.

    A row is a text and a token one of its pieces, whose weight is 1 where it is the first of a word and 0 elsewhere. Of
    the paths that are allowed, I standing behind B or I of its type, the best one is the answer. A span is right if its
    first word, its last and its type are.

    An episode's value is the F1 of all spans of its queries together (micro average). It is 0 where no span is true and
    none predicted, as in seqeval and conlleval; the episodes of `SpanEpisodes` all have true spans.
    """

    name: ClassVar[str] = "spans"
    metric: ClassVar[Metric] = Metric("entity_f1", "entity F1", "F1")
    columns: ClassVar = "tags"
    loss: ClassVar[str | None] = None
    task: ClassVar[str] = "{ways} types {shots}-shot"
    asks: ClassVar[str] = "{ways} types {shots}-shot, {queries} queries a type"
    figures_read: ClassVar[tuple[str, ...]] = (
        "nll",
        "chance",
        "precision",
        "recall",
        "micro_f1",
        "macro_f1",
        "token_accuracy",
        "token_f1",
        "spans",
        "types",
    )
    legends: ClassVar[Mapping[str, str]] = {
        "precision": "Precision and recall are of the spans of all episodes together. ",
        "macro F1": "Macro F1 is the mean over types. ",
        "tokens": "Tokens is the share of words with the right tag, most of which are in no span; ",
        "tokens in spans": "tokens in spans is the F1 of the tags other than O. ",
    }

    def episode_values(self, answers: Answers) -> Float[np.ndarray, "T"]:
        """The micro F1 of the spans of each episode."""
        return _f1(np.array([_counts(row) for row in _spans_by_task(answers)]).reshape(-1, 3))

    def nll(self, scores: Scores, y: Float[Tensor, "*T N W"]) -> Float[Tensor, "*T N"]:
        """Of each word's tag by itself, by the softmax of its scores."""
        return Classification().nll(scores, y)

    def guess(self, support: Examples, query: Examples) -> Float[Tensor, "T"]:
        """The F1 of calling every word a span of one type: of the type for which it is highest."""
        return torch.from_numpy(_guess(query.y.argmax(-1).numpy(), query.weight.numpy() > 0, query.y.shape[-1]))

    def tally(self, answers: Answers, temperature: float | None) -> _Tally:
        """Likelihoods, and counts of spans by type and of tags."""
        counts: dict[str, np.ndarray] = {}
        confusions: dict[tuple[str, str], int] = {}
        for rows, names in zip(_spans_by_task(answers), map(types_of, answers.names), strict=True):
            for name in names:  # an absent type is called "": to predict it is wrong, but not an error
                counts.setdefault(name, np.zeros(3, np.int64))
            for true, predicted in rows:
                for place, group in enumerate((true, predicted, true & predicted)):
                    for span in group:
                        counts[names[span[2]]][place] += 1
                types = {span[:2]: names[span[2]] for span in true}
                for first, end, kind in predicted:
                    if (first, end) in types and names[kind]:
                        pair = types[first, end], names[kind]
                        confusions[pair] = confusions.get(pair, 0) + 1
        truth, counted = answers.y.argmax(-1).numpy(), answers.weight.numpy() > 0
        tags = _decoded(answers)[counted]
        right, inside = tags == truth[counted], truth[counted] > 0
        tokens = [right.size, right.sum(), inside.sum(), (tags > 0).sum(), (right & inside).sum()]
        chance = _guess(truth, counted, answers.y.shape[-1])
        return _Tally(self.mean_nll(answers), chance, counts, confusions, np.array(tokens, np.int64))

    def figures(self, tallies: Sequence[_Tally]) -> dict[str, Any]:
        """Precision, recall and F1 over the spans of all episodes, by type too, and what tags alone would say.

        token_accuracy and token_f1 (of tags other than O) are of the same predictions: they are higher than the F1 of
        spans, since a span with one wrong word is wrong.
        """
        counts: dict[str, np.ndarray] = {}
        confusions: dict[tuple[str, str], int] = {}
        for tally in tallies:
            for name, of_type in tally.counts.items():
                counts[name] = counts.get(name, 0) + of_type
            for pair, number in tally.confusions.items():
                confusions[pair] = confusions.get(pair, 0) + number
        names = sorted(name for name in counts if name)
        total = SpanScores.of(*sum(counts.values(), start=np.zeros(3, np.int64)).tolist())
        types = {name: SpanScores.of(*counts[name].tolist()) for name in names}
        words, right, inside, claimed, both = np.sum([tally.tokens for tally in tallies], 0).tolist()
        precision, recall, f1 = (np.array([getattr(types[n], part) for n in names]) for part in SpanScores._fields[:3])
        rows = np.array([types[name].true for name in names])
        return {
            "nll": finite(np.concatenate([tally.nll for tally in tallies]).mean()),
            "chance": float(np.concatenate([tally.chance for tally in tallies]).mean()),
            "precision": total.precision,
            "recall": total.recall,
            "micro_f1": total.f1,
            "macro_f1": EntityScores(total, types).macro_f1,
            "token_accuracy": right / words if words else None,
            "token_f1": SpanScores.of(inside, claimed, both).f1,
            "spans": {"true": total.true, "predicted": total.predicted, "correct": total.correct},
            "types": {name: scores._asdict() for name, scores in types.items()},
            "classes": ClassFigures(names, precision, recall, f1, rows, confusions, "spans"),
        }

    def cells(self, figures: Mapping[str, Any], values: Float[np.ndarray, "E"]) -> dict[str, str]:
        """Precision, recall, the mean over types, and the same predictions judged tag by tag."""
        return {
            "precision": share(figures.get("precision")),
            "recall": share(figures.get("recall")),
            "macro F1": share(figures.get("macro_f1")),
            "tokens": share(figures.get("token_accuracy")),
            "tokens in spans": share(figures.get("token_f1")),
        }

    def opening(self, result: Summary) -> str:
        """How many examples are given, and how well spans are found."""
        examples = "no example" if result.shots == "0" else f"{result.shots} examples"
        return (
            f"Given {examples} each of {result.ways} types of spans {result.seen}, {result.learner} finds spans with "
            f"an F1 of {result.headline}"
        )


Row = tuple[set[tuple[int, int, int]], set[tuple[int, int, int]]]
"""The true and the predicted spans of a text, in words."""


def _decoded(answers: Answers) -> Int64[np.ndarray, "T N"]:
    """The tags of the best allowed path of every row."""
    scores = means(answers.scores)
    tasks, columns = scores.shape[0], scores.shape[-1]
    rows = scores.reshape(-1, answers.tokens, columns)
    path = best_path(rows, *allowed(columns // 2), answers.weight.reshape(-1, answers.tokens))
    return path.reshape(tasks, -1).numpy()


def _spans_by_task(answers: Answers) -> list[list[Row]]:
    """Of every task the spans of its rows; rows without a true or predicted span are left out."""
    tags, truth = _decoded(answers), answers.y.argmax(-1).numpy()
    shape = (len(tags), -1, answers.tokens)
    counted = answers.weight.numpy().reshape(shape) > 0
    tasks = list[list[Row]]()
    for words, true, predicted in zip(counted, truth.reshape(shape), tags.reshape(shape), strict=True):
        some = ((true > 0) | (predicted > 0)) & words
        tasks.append(
            [
                (set(spans_of(true[i][words[i]])), set(spans_of(predicted[i][words[i]])))
                for i in np.flatnonzero(some.any(-1))
            ]
        )
    return tasks


def _counts(rows: Iterable[Row]) -> list[int]:
    """True, predicted and correct spans."""
    groups = [(len(true), len(predicted), len(true & predicted)) for true, predicted in rows]
    return [sum(column) for column in zip(*groups, strict=True)] if groups else [0, 0, 0]


def _guess(truth: np.ndarray, counted: np.ndarray, columns: int) -> Float[np.ndarray, "T"]:
    """The F1 of calling every word a span of the type for which it is highest; truth and counted are [T, N].

    A span of one word is right. No row begins with I, so it doesn't matter where rows end.
    """
    best = np.zeros(len(truth))
    for task, (tags, here) in enumerate(zip(truth, counted, strict=True)):
        words = tags[here]
        alone = (words % 2 == 1) & (np.append(words[1:], 0) != words + 1)
        singles = np.bincount(words[alone], minlength=columns)[1::2]
        total = int((words % 2 == 1).sum()) + len(words)
        best[task] = 2 * singles.max(initial=0) / total if total else 0.0
    return best
