"""Annotated sentences as arrays, their types and sentences dealt to splits: what span tasks are gathered from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int

from mapwise.core.fields import check_whole
from mapwise.core.spec import Spec
from mapwise.core.task import Examples
from mapwise.data.annotated.pieces import CASES, Pieces, pieces_of
from mapwise.data.annotated.read import Corpus
from mapwise.data.annotated.texts import AnnotatedText, Span
from mapwise.data.class_names import read_name
from mapwise.data.rows import ALL, deal

NO_WORD = -1
"""The tag of a piece that is not the first of a word."""
SPLITS = ("train", "val", "test")
_TENTH = 10
"""Every tenth sentence of the training part validates where a corpus has no part for it."""


@dataclass(frozen=True, eq=False)
class SpanSplit:
    """What of a corpus belongs to a split."""

    rows: Int[np.ndarray, "R"]
    """Places of its sentences."""
    types: Int[np.ndarray, "C"]
    """Places of its types; spans of others are outside of any there."""


@dataclass(frozen=True, eq=False)
class CorpusRows:
    """The sentences of a corpus, then the names of its types, one row each; L pieces.

    pieces, cases: see `mapwise.data.annotated.pieces`.
    tags:   the tag of each word at its first piece, by the places of the types, and NO_WORD at other pieces.
    counts: spans of each type in each sentence.
    """

    name: str
    types: tuple[str, ...]
    pieces: Int[np.ndarray, "N L"]
    cases: Int[np.ndarray, "N L"]
    tags: Int[np.ndarray, "N L"]
    counts: Int[np.ndarray, "N C"]
    splits: Mapping[str, SpanSplit]
    remarks: tuple[str, ...]

    @classmethod
    def of(cls, corpus: Corpus, pieces: Pieces, length: int) -> "CorpusRows":
        """The sentences of a corpus that have at most `length` pieces, each once in its part."""
        types = {name: place for place, name in enumerate(corpus.types)}
        named = [(_words(name), name) for name in types]
        names = [AnnotatedText(words, (Span(0, len(words), name),)) for words, name in named]
        encoded = [_encoded(text, pieces, types) for text in (*corpus.texts, *names)]
        texts, described = encoded[: len(corpus.texts)], encoded[len(corpus.texts) :]
        firsts, places = set[tuple[str, str]](), list[int]()
        part_of = {place: part for part, places in corpus.parts.items() for place in places}
        for place, text in enumerate(corpus.texts):
            key = part_of.get(place, ""), text.text
            if key not in firsts:
                firsts.add(key)
                places.append(place)
        short = [place for place in places if len(texts[place][0]) <= length]
        whole = [texts[place] for place in short] + [tuple(part[:length] for part in row) for row in described]
        arrays = [_padded([row[i] for row in whole], length, filler) for i, filler in enumerate((0, 0, NO_WORD))]
        counts = np.zeros((len(short), len(types)), np.int64)
        for row, place in enumerate(short):
            for span in corpus.texts[place].spans:
                counts[row, types[span.type]] += 1
        parts = np.array([part_of.get(place, "") for place in short])
        remarks = list(corpus.remarks)
        if repeated := len(corpus.texts) - len(places):
            remarks.append(
                f"{repeated:,} of {len(corpus.texts):,} sentences of {corpus.name} repeat another and are left out"
            )
        if long := len(places) - len(short):
            remarks.append(f"{long:,} of {len(places):,} sentences of {corpus.name} are longer than {length} pieces")
        splits = _by_part(parts, len(types)) if corpus.parts else _by_type(counts)
        if corpus.parts and "val" not in corpus.parts and "train" in corpus.parts:
            remarks.append(f"{corpus.name} has no part to validate on: a tenth of its training sentences does")
        numbers, cases, tags = arrays
        return cls(corpus.name, tuple(types), numbers, cases, tags, counts, splits, tuple(remarks))

    def split(self, name: str) -> SpanSplit:
        """What belongs to a split; "all" holds everything.

        Raises ValueError for a split that isn't there.
        """
        if name == ALL:
            return SpanSplit(np.arange(len(self.counts)), np.arange(len(self.types)))
        if name not in self.splits:
            known = ", ".join(self.splits)
            raise ValueError(f"{self.name} has no split {name!r}: it has {known} and {ALL}")
        return self.splits[name]

    def name_row(self, kind: int) -> int:
        """The row of the name of a type, by its place."""
        return len(self.counts) + kind


@dataclass(frozen=True, eq=False)
class AnnotatedRows:
    """The sentences of several corpora in pieces: what `SpanEpisodes` are cut from.

    corpora:    their rows.
    length:     L, the pieces of a row.
    vocabulary: numbers of pieces are below this.
    """

    corpora: tuple[CorpusRows, ...]
    length: int
    vocabulary: int

    @classmethod
    def of(cls, corpora: Sequence[Corpus], pieces: Pieces, length: int | None = 64) -> "AnnotatedRows":
        """The rows of corpora, as `read_corpora` reads them.

        pieces: cuts units into pieces.
        length: sentences with more pieces are left out; None: the pieces of the longest.

        Raises ValueError without a corpus, for one without a span, for two of one name, and where every sentence is
        longer.
        """
        if not corpora:
            raise ValueError("there is no corpus: give at least one, as mapwise.read_annotated reads it")
        check_whole("length", 3 if length is None else length, 3)
        names = [corpus.name for corpus in corpora]
        for corpus in corpora:
            if not corpus.types:
                raise ValueError(f"{corpus.name} has no annotated span: annotate some, such as [Anna](PER)")
            if names.count(corpus.name) > 1:
                raise ValueError(f"two corpora are called {corpus.name!r}: rename one's file or folder")
        if length is None:
            texts = [text for corpus in corpora for text in corpus.texts]
            length = max(len(pieces_of(text.text, pieces, text.spans).pieces) for text in texts)
        rows = tuple(CorpusRows.of(corpus, pieces, length) for corpus in corpora)
        for of_corpus in rows:
            if not len(of_corpus.counts):
                raise ValueError(f"every sentence of {of_corpus.name} is longer than {length} pieces: raise length")
        return cls(rows, length, pieces.vocabulary)

    @property
    def name(self) -> str:
        """What the data are called in reports."""
        return ", ".join(corpus.name for corpus in self.corpora)

    @property
    def inputs(self) -> dict[str, Spec]:
        """What one row is."""
        return {
            "pieces": Spec((self.length,), "int64", self.vocabulary),
            "cases": Spec((self.length,), "int64", CASES),
            "starts": Spec((self.length,), "int64", 2),
            "described": Spec((), "int64", 2),
        }


def gathered(
    tables: Sequence[CorpusRows],
    rows: Int[np.ndarray, "T N"],
    types: Sequence[Sequence[int]],
    ways: int,
    keys: Int[np.ndarray, "T"],
    device: str,
) -> Examples:
    """The rows of T tasks as examples, each of its own corpus.

    rows:  places in each task's table; -1 is padding.
    types: of each task the types of its columns, by their places.
    ways:  types of the largest task.
    """
    present = rows >= 0
    pieces, cases, tags = (
        np.stack([getattr(table, part)[places] for table, places in zip(tables, rows, strict=True)])
        for part in ("pieces", "cases", "tags")
    )  # each [T, N, L]
    columns = np.empty_like(tags)
    for task, (table, chosen) in enumerate(zip(tables, types, strict=True)):
        column = np.zeros(2 * len(table.types) + 1, tags.dtype)  # of each tag; types that were not chosen are O
        for place, kind in enumerate(chosen):
            column[1 + 2 * kind : 3 + 2 * kind] = 1 + 2 * place, 2 + 2 * place
        columns[task] = column[np.maximum(tags[task], 0)]
    starts = (tags != NO_WORD) & present[:, :, None]
    weight = starts.astype(np.float32)
    y = np.eye(2 * ways + 1, dtype=np.float32)[columns] * weight[..., None]
    named = present & (rows >= np.array([len(table.counts) for table in tables])[:, None])
    x = {
        "pieces": np.where(present[:, :, None], pieces, 0),
        "cases": np.where(present[:, :, None], cases, 0),
        "starts": starts,
        "described": named,
    }
    return Examples(
        {name: torch.from_numpy(part.astype(np.int64)).to(device) for name, part in x.items()},
        torch.from_numpy(y).to(device),
        torch.from_numpy(weight).to(device),
        torch.from_numpy(keys).to(device),
    )


def _words(name: str) -> str:
    return read_name(name).strip() or name.strip()


def _encoded(text: AnnotatedText, pieces: Pieces, types: Mapping[str, int]) -> tuple[list[int], list[int], list[int]]:
    """The pieces, cases and tags of a text."""
    numbers, cases, first, units = pieces_of(text.text, pieces, text.spans)
    tags, at = [NO_WORD] * len(numbers), 0
    for place, (start, end) in zip(first, units, strict=True):
        while at < len(text.spans) and text.spans[at].end <= start:
            at += 1
        inside = at < len(text.spans) and text.spans[at].start < end
        if inside:
            kind = types[text.spans[at].type]
            tags[place] = (1 if start == text.spans[at].start else 2) + 2 * kind
        else:
            tags[place] = 0
    return numbers, cases, tags


def _padded(rows: Sequence[Sequence[int]], length: int, filler: int) -> Int[np.ndarray, "N L"]:
    array = np.full((len(rows), length), filler, np.int32)
    for place, row in enumerate(rows):
        array[place, : len(row)] = row
    return array


def _by_part(parts: np.ndarray, types: int) -> dict[str, SpanSplit]:
    """The corpus's own parts, each with all types."""
    places = {part: np.flatnonzero(parts == part) for part in SPLITS if (parts == part).any()}
    if "val" not in places and "train" in places:
        held = np.arange(len(places["train"])) % _TENTH == _TENTH - 1
        places |= {"train": places["train"][~held], "val": places["train"][held]}
    return {part: SpanSplit(places[part], np.arange(types)) for part in SPLITS if part in places}


def _by_type(counts: Int[np.ndarray, "N C"]) -> dict[str, SpanSplit]:
    """Disjoint types, and disjoint sentences: each goes to the split of most of its spans, of several to the last."""
    dealt = deal(counts.shape[1], 0)
    if counts.shape[1] < len(SPLITS):
        return {part: SpanSplit(np.arange(len(counts)), dealt[part]) for part in SPLITS}
    shares = np.stack([counts[:, dealt[part]].sum(1) for part in SPLITS], 1)
    home = len(SPLITS) - 1 - shares[:, ::-1].argmax(1)
    home[shares.sum(1) == 0] = 0
    return {part: SpanSplit(np.flatnonzero(home == place), dealt[part]) for place, part in enumerate(SPLITS)}
