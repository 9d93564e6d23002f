"""Texts with two marked spans, by what these are to each other: vectors of a sentence model's pieces."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mapwise.data.annotated.marks import text_of_marks
from mapwise.data.annotated.pairs import Pair, pair_of, row_of
from mapwise.data.annotated.units import units_of
from mapwise.data.modality import Modality
from mapwise.encoders import token_model
from mapwise.encoders.packaged import OfPackage, Package
from mapwise.encoders.token_model import MINILM, TokenModel

PACKAGE: Package = replace(token_model.PACKAGE, encoder="relations", needs=("transformers",))
_BETWEEN, _BEHIND = "and", ":"
"""What stands between the two names and behind them, before the text."""
_NAMES = ("x", "y")
"""The head and the tail of a description, which names none."""
_SHARE = 8
"""Of a span so large a share of what the model reads is read at most."""
_CHARACTERS = 64
"""Of a unit so many a piece are cut into pieces."""
_TOGETHER = 1 << 12
"""Pieces that pass through the model together."""
_EDITION = "1"
"""Raised whenever the same model would give other arrays here."""


@dataclass(frozen=True)
class Relations(OfPackage):
    """Each text by its two marked spans: [Ada](head) met [Charles](tail). Of long texts what is near them is read.

    all-MiniLM-L6-v2 reads "HEAD and TAIL: TEXT". An array has four parts of one length, means over pieces: the head and
    the tail where they stand in the text, in its fourth layer of six; the "and", and the whole, in its last.

    Paper: Baldini Soares et al., "Matching the Blanks", ACL 2019, for vectors of the two spans side by side.
    Differs: no training on pairs of entities; means over spans, of a middle layer, and a sentence's vector beside them.
    """

    name: ClassVar[str] = "relations"
    reads: ClassVar[Modality] = "texts"
    version: ClassVar[str] = f"{_EDITION}-{PACKAGE.version}"
    package: ClassVar[Package] = PACKAGE
    usual: ClassVar[None] = None
    """Not measured: the classes the model was trained on are unknown."""

    def content(self, row: str, place: int) -> bytes:
        """The text with its marks in UTF-8; raises ValueError for one without a head or a tail."""
        text, head, tail = pair_of(row, f"row {place}")
        return row_of(text, head[:2], tail[:2]).encode("utf-8", "replace")

    def cut(self, rows: Sequence[str]) -> list[int]:
        """The places of texts that are read in part; raises ValueError as a call does."""
        return [place for place, row in enumerate(_read(_model(), rows)) if row.cut]

    def __call__(self, rows: Sequence[str]) -> Float[np.ndarray, "N D"]:
        """[N, 1536], float32, of length 1; raises ValueError for a text without one head and one tail."""
        return embedded(_model(), rows)

    def described(self, text: str) -> str:
        """A sentence about a relation, such as its name, as a text with two spans; one with marks as it is."""
        if text_of_marks(text).spans:
            return text
        start, (head, tail) = len(text) + 2, _NAMES
        end = start + len(head)
        return row_of(f"{text}: {head} {tail}", (start, end), (end + 1, end + 1 + len(tail)))


class PairPieces(NamedTuple):
    """A text as the model reads it, and where in it stand what the parts of its array are means of.

    cut: whether a part of the text is not read.
    """

    pieces: list[int]
    head: list[int]
    tail: list[int]
    between: list[int]
    cut: bool


def embedded(model: TokenModel, rows: Sequence[str]) -> Float[np.ndarray, "N D"]:
    """Texts with two marked spans as a model embeds them, of length 1; D is four times the model's own width.

    Raises ValueError for a text without one head and one tail.
    """
    read = _read(model, rows)
    network: Any = model.network
    parts = np.zeros((len(read), 4, network.config.hidden_size), np.float32)
    with torch.inference_mode():
        for places in _batches([len(row.pieces) for row in read]):
            middle, last = _hidden(model, [read[place].pieces for place in places])
            for place, inner, outer in zip(places, middle, last, strict=True):
                row = read[place]
                means = (inner[row.head], inner[row.tail], outer[row.between], outer[: len(row.pieces)])
                parts[place] = torch.stack([vectors.mean(0) for vectors in means]).numpy()
    lengths = np.sqrt((parts.astype(np.float64) ** 2).sum(-1, keepdims=True))
    unit: np.ndarray = (
        parts / np.maximum(lengths, np.finfo(np.float32).tiny) / 2
    )  # four parts of length 1/2 have length 1
    z: np.ndarray = unit.reshape(len(read), -1).astype(np.float32)  # [N, 4, H] -> [N, 4 H]
    return z


def _read(model: TokenModel, rows: Sequence[str]) -> list[PairPieces]:
    return [_row(model, pair_of(row, f"row {place}")) for place, row in enumerate(rows)]


def _row(model: TokenModel, pair: Pair) -> PairPieces:
    """The pieces of a text that are nearest to its spans, behind the names of both."""
    units = units_of(pair.text, (pair.head, pair.tail))
    most = max(1, model.longest // _SHARE)
    # A unit has at least one piece, so that those further away are never read and need not be cut into pieces.
    near = np.flatnonzero(_distance(_places(units, pair), len(units), most) <= model.longest)
    words = [pair.text[slice(*units[place])] for place in near]
    bound = _CHARACTERS * model.longest
    cut = len(near) < len(units) or any(len(word) > bound for word in words)
    of_unit = [model(word[:bound]) for word in words]
    ends = np.cumsum([len(pieces) for pieces in of_unit])
    starts = ends - [len(pieces) for pieces in of_unit]
    spans = [
        (int(starts[(near >= first).argmax()]), int(ends[np.flatnonzero(near < end)[-1]]))
        for first, end in _places(units, pair)
    ]
    pieces = [piece for unit in of_unit for piece in unit]
    cores = [range(start, min(end, start + most)) for start, end in spans]
    head, tail = ([pieces[place] for place in core] for core in cores)
    between, behind = model(_BETWEEN), model(_BEHIND)
    names = [*head, *between, *tail, *behind]
    room = max(model.longest - len(names), len(head) + len(tail))
    nearest = np.argsort(_distance(spans, len(pieces), most), kind="stable")[:room]
    read = np.sort(nearest)
    offset = 1 + len(names)
    new = {place: offset + number for number, place in enumerate(read.tolist())}
    new_head, new_tail = ([new[place] for place in core] for core in cores)
    return PairPieces(
        pieces=[model.start, *names, *(pieces[place] for place in read), model.end],
        head=new_head,
        tail=new_tail,
        between=list(range(1 + len(head), 1 + len(head) + len(between))),
        cut=cut or len(read) < len(pieces),
    )


def _places(units: Sequence[tuple[int, int]], pair: Pair) -> list[tuple[int, int]]:
    """The first unit of the head and of the tail, and the one behind each."""
    starts = [start for start, _ in units]
    return [
        (int(np.searchsorted(starts, span.start)), int(np.searchsorted(starts, span.end)))
        for span in (pair.head, pair.tail)
    ]


def _distance(spans: Sequence[tuple[int, int]], count: int, most: int) -> np.ndarray:
    """How far each of so many places is from the nearer span, of which the first `most` places count."""
    places = np.arange(count)
    ends = [min(end, start + most) for start, end in spans]
    of_each = [
        np.maximum(np.maximum(start - places, places - end + 1), 0) for (start, _), end in zip(spans, ends, strict=True)
    ]
    nearer: np.ndarray = np.minimum(*of_each)
    return nearer


def _hidden(model: TokenModel, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Two layers of the network over rows of pieces, padded: the one at two thirds of its depth, and the last."""
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.int64)  # [N, L]
    mask = torch.zeros_like(ids)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row) - model.shift
        mask[number, : len(row)] = 1
    layers = model.network(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
    return layers[round(2 / 3 * (len(layers) - 1))], layers[-1]


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Places of rows of about one length, as many as pass through the model together."""
    batch = list[int]()
    for place in np.argsort(lengths, kind="stable").tolist():
        if batch and (len(batch) + 1) * lengths[place] > _TOGETHER:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


@lru_cache(1)
def _model() -> TokenModel:
    """The model, found at first use."""
    if PACKAGE.missing:
        PACKAGE.read()  # raises
    return token_model.token_model(MINILM)
