"""Texts by what their words mean, from a table that comes with the package, and by their spelling."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import ClassVar, Self

import numpy as np
import safetensors.numpy
from jaxtyping import Float, Int8

from mapwise.data.modality import Modality
from mapwise.encoders.encoder import Frozen
from mapwise.encoders.text_hash import TextHash
from mapwise.encoders.wordpiece import WordPiece

FOLDER = files("mapwise").joinpath("pretrained", "words")
VECTORS = "vectors.safetensors"
PIECES = "pieces.txt"
_TOGETHER = 1 << 14
"""Pieces of a text whose vectors are in memory together."""
_EDITION = "1"
"""Raised whenever the same table would give other arrays here."""


@dataclass(frozen=True)
class Meanings:
    """A vector for each piece of a word; a text's is the sum over its pieces, of length 1.

    rows, scales: the vectors are their product, already weighted, so that frequent pieces count little; the unknown
    piece's is zero.
    version: of the files that it was read from.
    """

    cut: WordPiece
    rows: Int8[np.ndarray, "V D"]
    scales: Float[np.ndarray, "V"]
    version: str

    @classmethod
    def of(cls, vectors: bytes, pieces: bytes) -> Self:
        """The table of its two files: bytes with a scale for each row, and one piece a line."""
        tensors = safetensors.numpy.load(vectors)
        names = pieces.decode().rstrip("\n").split("\n")
        return cls(
            WordPiece({name: number for number, name in enumerate(names)}),
            tensors["vectors"],
            tensors["scales"].astype(np.float32),
            hashlib.sha256(vectors + pieces).hexdigest()[:16],
        )

    def vectors(self, pieces: Sequence[int]) -> Float[np.ndarray, "P D"]:
        """Those of pieces by their numbers, [P, D], float32."""
        vectors: np.ndarray = self.rows[pieces] * self.scales[pieces, None]
        return vectors

    def __call__(self, texts: Sequence[str]) -> Float[np.ndarray, "N D"]:
        """[N, D], float32, of length 1, or 0 where no piece of a text is known."""
        total = np.zeros((len(texts), self.rows.shape[1]), np.float32)
        for row, text in enumerate(texts):
            pieces = self.cut(text)
            for first in range(0, len(pieces), _TOGETHER):
                # From the total on, one piece after another: a text's bits depend on nothing else.
                total[row] = np.vstack([total[row], self.vectors(pieces[first : first + _TOGETHER])]).sum(0)
        length = np.sqrt((total**2).sum(1, keepdims=True))
        return total / np.where(length > 0, length, 1)


@lru_cache(1)
def meanings() -> Meanings:
    """The package's table, read at first use and shared."""
    return Meanings.of(FOLDER.joinpath(VECTORS).read_bytes(), FOLDER.joinpath(PIECES).read_bytes())


@dataclass(frozen=True)
class WordVectors(Frozen):
    """The mean of a text's word vectors beside its hashed words and spelling (`text-hash`).

    An inner product of two rows is a mean of two cosines: of what the words mean, and of how they are spelled. A word
    means the same in every text, and of the order of words only pairs are seen.

    spelling: the share of the second cosine, 0..1.
    features: columns of either half of the spelling.
    """

    name: ClassVar[str] = "words"
    reads: ClassVar[Modality] = "texts"
    usual: ClassVar[None] = None
    """Not measured: the table was fitted to texts without classes."""

    spelling: float = 0.2
    features: int = 1024

    @property
    def version(self) -> str:
        """The digest of the table."""
        return f"{_EDITION}-{meanings().version}"

    def __call__(self, rows: Sequence[str]) -> Float[np.ndarray, "N D"]:
        """[N, 256 + 2 * features], float32; raises ValueError for a text without letters, or too long a one."""
        # First, since it refuses what is no text.
        spelled = TextHash(self.features)(rows)  # [N, 2 * features]
        meant = meanings()(rows)  # [N, D]
        shares = np.sqrt([1 - self.spelling, self.spelling]).astype(np.float32)
        whole: np.ndarray = np.empty((len(rows), meant.shape[1] + spelled.shape[1]), np.float32)
        np.multiply(meant, shares[0], out=whole[:, : meant.shape[1]])
        np.multiply(spelled, shares[1], out=whole[:, meant.shape[1] :])
        return whole
