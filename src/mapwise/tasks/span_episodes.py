"""Episodes of spans: a few sentences in which a few types are annotated, and others in which they are to be found."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int

from mapwise.core.fields import check_whole
from mapwise.core.problem import Problem
from mapwise.core.seeds import check_seed, check_step
from mapwise.core.source import About, Source
from mapwise.core.spec import Spec
from mapwise.core.tags import tag_names
from mapwise.core.task import Task
from mapwise.problems.spans import Spans
from mapwise.tasks.span_rows import AnnotatedRows, CorpusRows, SpanSplit, gathered

_TRIES = 20
"""Orders of the sentences that are tried for a set; the fullest is taken where none is full."""


@dataclass(frozen=True, eq=False)
class SpanEpisodes(Source):
    """Tasks of `ways` types of spans, with K to 2 K spans of each in the support, and so in the queries.

    Paper: Ding et al., "Few-NERD", ACL 2021, section 4.1, algorithm 1: sentences come in random order, and one is taken
    if it has a span of a type that has fewer than K so far, and no type comes to more than 2 K.
    Differs: a sentence that also has spans of other types may be taken; these spans are O in the episode. Where the
    types don't all come to K, the fullest set of 20 orders is taken, so that the sampling ends.

    rows:    the corpora; an episode is of one of them, each as likely as the others. One with parts of its own (train,
             val, test) has all types in each. The types of any other are dealt to training, validation and testing, and
             each sentence goes to the split of most of its spans.
    ways:    types of an episode; a corpus that has fewer has episodes of all of them, and the other columns are absent.
    shots:   K of the support.
    queries: K of the queries; None: as many as shots.
    tasks:   T, episodes in a batch.
    part:    the split; "all": everything.
    describe: whether the support begins with a row for each type that holds the type's name, as one span of it.
    device:  where the tasks are put.

    x is a dict: "pieces" [N, L], 0 being padding; "cases" [N, L], how the unit of each piece is written
    (`mapwise.data.annotated.pieces.case_of`); "starts" [N, L], 1 at the first piece of each word, as the weight is; and
    "described" [N], 1 for a row that holds the name of a type. A row of padding has weight 0 and pieces 0.

    Raises ValueError for a split that a corpus lacks, and where no type of it has K spans for support and queries.
    """

    rows: AnnotatedRows
    ways: int = 5
    shots: int = 1
    queries: int | None = None
    tasks: int = 4
    seed: int = 0
    part: str = "train"
    describe: bool = True
    device: str = "cpu"

    problem: ClassVar[Problem] = Spans()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_seed(self.seed)
        for name in ("ways", "shots", "tasks"):
            check_whole(name, getattr(self, name), 1)
        check_whole("queries", self.spans_of_queries, 1)
        splits = [
            _usable(corpus, corpus.split(self.part), self.shots, self.spans_of_queries) for corpus in self._tables
        ]
        # Beside the fields, not in them: another split works out its own.
        object.__setattr__(self, "_splits", splits)

    @property
    def _tables(self) -> tuple[CorpusRows, ...]:
        return self.rows.corpora

    @property
    def splits(self) -> list[SpanSplit]:
        """Of each corpus the sentences of this split, and the types that have enough spans there."""
        splits: list[SpanSplit] = self._splits  # type: ignore[attr-defined]
        return splits

    @property
    def spans_of_queries(self) -> int:
        """K of the queries, after the default is worked out."""
        return self.shots if self.queries is None else self.queries

    @property
    def class_counts(self) -> tuple[int, int]:
        """The number of types that episodes are drawn from, and of all types of the corpora."""
        return sum(len(split.types) for split in self.splits), sum(len(table.types) for table in self._tables)

    @property
    def about(self) -> About:
        """What the tasks are, for reports."""
        counts = [min(self.ways, len(split.types)) for split in self.splits]
        ways = str(max(counts)) if min(counts) == max(counts) else f"{min(counts)}-{max(counts)}"
        shots = f"{self.shots}~{2 * self.shots}"
        return About(self.rows.name, self.part, ways, shots, self.spans_of_queries, self.seed)

    @property
    def remarks(self) -> Sequence[str]:
        """Remarks from reading the corpora, and how many types have too few spans for an episode."""
        remarks = [remark for table in self._tables for remark in table.remarks]
        for table, split in zip(self._tables, self.splits, strict=True):
            if few := len(table.split(self.part).types) - len(split.types):
                remarks.append(
                    f"{few} of the {self.part} types of {table.name} have too few spans for an episode and are left out"
                )
        return remarks

    @property
    def inputs(self) -> dict[str, Spec]:
        """What one row is."""
        return self.rows.inputs

    @property
    def outputs(self) -> int:
        """W: O, and B and I of every type."""
        return 2 * self.ways + 1

    def split(self, name: str) -> "SpanEpisodes":
        """The same episodes of another split."""
        return replace(self, part=name)

    def names(self, step: int) -> list[list[str]]:
        """The tags of every task of this step; those of absent types are named ""."""
        return [_tags(table, types, self.ways) for table, types, *_ in self._draw(step)]

    def __call__(self, step: int) -> Task:
        """The batch of this step; sentences with padding, in random order, behind the rows that describe the types."""
        drawn = self._draw(step)
        tables, types = [table for table, *_ in drawn], [types for _, types, *_ in drawn]
        keys = np.array([key for *_, key in drawn], np.int64)
        parts = []
        for support, sentences, most in (
            (True, [rows for _, _, rows, _, _ in drawn], self.ways * self.shots),
            (False, [rows for _, _, _, rows, _ in drawn], self.ways * self.spans_of_queries),
        ):
            first = self.ways if support and self.describe else 0
            places = np.full((len(drawn), first + most), -1)
            for task, rows in enumerate(sentences):
                if first:
                    places[task, : len(types[task])] = [tables[task].name_row(kind) for kind in types[task]]
                places[task, first : first + len(rows)] = rows
            parts.append(gathered(tables, places, types, self.ways, keys, self.device))
        return Task(*parts)

    def _draw(self, step: int) -> "list[_Drawn]":
        """Of every task the corpus, the types, the sentences of support and query, and the key."""
        check_step(step)
        random = np.random.Generator(np.random.Philox(key=[self.seed, step]))
        drawn = list[_Drawn]()
        for _ in range(self.tasks):
            place = int(random.integers(len(self._tables)))
            table, split = self._tables[place], self.splits[place]
            types = random.permutation(split.types)[: self.ways]
            counts = table.counts[np.ix_(split.rows, types)]  # [R, ways]
            support = sample(random, counts, self.shots, np.flatnonzero(counts.any(1)))
            rest = counts.copy()
            rest[support] = 0
            query = sample(random, rest, self.spans_of_queries, np.flatnonzero(rest.any(1)))
            key = int(random.integers(0, 2**63 - 1))
            drawn.append((table, types.tolist(), split.rows[support], split.rows[query], key))
        return drawn


_Drawn = tuple[CorpusRows, list[int], np.ndarray, np.ndarray, int]


def sample(
    random: np.random.Generator, counts: Int[np.ndarray, "R C"], shots: int, rows: Int[np.ndarray, "M"]
) -> Int[np.ndarray, "S"]:
    """Sentences with `shots` to 2 `shots` spans of every type; with fewer where no order of 20 has so many.

    counts: spans of each type in each sentence; rows: the sentences to choose from.
    """
    best, most = np.empty(0, np.int64), -1
    for _ in range(_TRIES):
        order = random.permutation(rows)
        chosen = order[_greedy(counts[order], shots)]
        filled = int(np.minimum(counts[chosen].sum(0), shots).sum())
        if filled > most:
            best, most = chosen, filled
        if filled == shots * counts.shape[1]:
            break
    return best


def _greedy(counts: Int[np.ndarray, "M C"], shots: int) -> list[int]:
    """The sentences that are taken, in order. One that was passed over can never be taken later."""
    total, taken, at = np.zeros(counts.shape[1], np.int64), list[int](), 0
    while at < len(counts) and (total < shots).any():
        rest = counts[at:]
        fits = np.logical_and((rest + total <= 2 * shots).all(1), ((rest > 0) & (total < shots)).any(1))
        place = int(fits.argmax())
        if not fits[place]:
            break
        taken.append(at + place)
        total += rest[place]
        at += place + 1
    return taken


def _usable(corpus: CorpusRows, split: SpanSplit, shots: int, queries: int) -> SpanSplit:
    """The split with those types alone that have spans enough, in sentences that an episode may take."""
    counts = corpus.counts[np.ix_(split.rows, split.types)]
    counts = np.where(counts <= 2 * min(shots, queries), counts, 0)
    enough = (counts.sum(0) >= shots + queries) & ((counts > 0).sum(0) > 1)
    if not enough.any():
        raise ValueError(
            f"no type of {corpus.name} has {shots + queries} spans for support and queries: lower shots or queries, or "
            "annotate more"
        )
    return SpanSplit(split.rows, split.types[enough])


def _tags(table: CorpusRows, types: Sequence[int], ways: int) -> list[str]:
    return tag_names([*(table.types[kind] for kind in types), *[""] * (ways - len(types))])


@dataclass(frozen=True, eq=False)
class SpanBatches(Source):
    """Tasks of all types of a corpus: no support but the names of the types, and a shuffled batch of sentences.

    For training on what spans are of which type, which are found in each sentence of a split, also where there are
    none. A corpus has as many batches in an epoch as it fills, in random order, and gives each sentence once.

    episodes: the few-shot tasks to train for. Their rows, tasks, seed, part and device are used here.
    batch:    query sentences of a task.
    """

    episodes: SpanEpisodes
    batch: int = 32

    problem: ClassVar[Problem] = Spans()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("batch", self.batch, 1)
        object.__setattr__(self, "_splits", [table.split(self.episodes.part) for table in self.episodes.rows.corpora])

    @property
    def about(self) -> About:
        """What the tasks are, for reports: no shots, and queries are the sentences of a batch."""
        counts = [len(split.types) for split in self._of_corpora]
        ways = str(max(counts)) if min(counts) == max(counts) else f"{min(counts)}-{max(counts)}"
        return About(self.episodes.rows.name, self.episodes.part, ways, "0", self.batch, self.episodes.seed)

    @property
    def _of_corpora(self) -> list[SpanSplit]:
        splits: list[SpanSplit] = self._splits  # type: ignore[attr-defined]
        return splits

    @property
    def _ways(self) -> int:
        # Of every split: a learner is made for one number of columns.
        return max(len(table.types) for table in self.episodes.rows.corpora)

    @property
    def class_counts(self) -> tuple[int, int]:
        """The number of types of the split, and of all types of the corpora."""
        return sum(len(split.types) for split in self._of_corpora), self.episodes.class_counts[1]

    @property
    def remarks(self) -> Sequence[str]:
        """Remarks from reading the corpora."""
        return [remark for table in self.episodes.rows.corpora for remark in table.remarks]

    @property
    def inputs(self) -> dict[str, Spec]:
        """What one row is."""
        return self.episodes.inputs

    @property
    def outputs(self) -> int:
        """W: O, and B and I of every type of the corpus with the most."""
        return 2 * self._ways + 1

    def split(self, name: str) -> "SpanBatches":
        """The sentences of another split, with its types."""
        return replace(self, episodes=self.episodes.split(name))

    def with_(self, **changes: Any) -> "SpanBatches":
        """With other settings, also of the episodes, such as tasks and seed."""
        own = {name: changes.pop(name) for name in ("episodes", "batch") if name in changes}
        source = replace(self, **own)
        return replace(source, episodes=source.episodes.with_(**changes)) if changes else source

    def names(self, step: int) -> list[list[str]]:
        """The tags of every task of this step; those of absent types are named ""."""
        tables = self.episodes.rows.corpora
        return [
            _tags(tables[place], self._of_corpora[place].types.tolist(), self._ways) for place, _ in self._turns(step)
        ]

    def __call__(self, step: int) -> Task:
        """The batch of this step."""
        turns = self._turns(step)
        tables = [self.episodes.rows.corpora[place] for place, _ in turns]
        types = [self._of_corpora[place].types.tolist() for place, _ in turns]
        random = np.random.Generator(np.random.Philox(key=[self.episodes.seed, step]))
        keys = random.integers(0, 2**63 - 1, len(turns), dtype=np.int64)
        described = np.full((len(turns), self._ways), -1)
        for task, kinds in enumerate(types):
            described[task, : len(kinds)] = [tables[task].name_row(kind) for kind in kinds]
        query = np.stack([self._sentences(place, turn) for place, turn in turns])
        device = self.episodes.device
        return Task(
            gathered(tables, described, types, self._ways, keys, device),
            gathered(tables, query, types, self._ways, keys, device),
        )

    def _turns(self, step: int) -> list[tuple[int, int]]:
        """Of every task its corpus, and which of that corpus's batches it is."""
        check_step(step)
        batches = [math.ceil(len(split.rows) / self.batch) for split in self._of_corpora]
        owners = np.repeat(np.arange(len(batches)), batches)
        turns = []
        for number in range(step * self.episodes.tasks, (step + 1) * self.episodes.tasks):
            epoch, place = divmod(number, len(owners))
            order = owners[_order(len(owners), self.episodes.seed, epoch)]
            corpus = int(order[place])
            turns.append((corpus, epoch * batches[corpus] + int((order[:place] == corpus).sum())))
        return turns

    def _sentences(self, corpus: int, turn: int) -> Int[np.ndarray, "batch"]:
        rows = self._of_corpora[corpus].rows
        position = turn * self.batch + np.arange(self.batch)
        epochs = position // len(rows)
        orders = {epoch: _order(len(rows), self.episodes.seed, epoch) for epoch in np.unique(epochs).tolist()}
        return np.array(
            [rows[orders[epoch][at % len(rows)]] for epoch, at in zip(epochs.tolist(), position, strict=True)]
        )


@lru_cache(maxsize=16)  # an epoch of each corpus; what is kept can always be made again
def _order(count: int, seed: int, epoch: int) -> np.ndarray:
    order = np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(count)
    order.setflags(write=False)
    return order
