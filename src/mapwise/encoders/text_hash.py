"""Texts as the words and letter groups they hold, hashed into a fixed number of columns: no download, no vocabulary."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt8

from mapwise.data.inputs import nonempty
from mapwise.data.modality import Modality
from mapwise.encoders.encoder import Frozen
from mapwise.encoders.murmur import murmur3

MOST = 1_000_000
"""Characters of a text; a longer one takes many seconds, and is hardly one row."""
_TOGETHER = 1 << 16
"""Characters of texts that are hashed together: so many that NumPy's own time is small, and that they fit its cache."""
_ROWS = 256
"""Texts of them, at most."""
_WORD = re.compile(r"\w+|[^\w\s]")
"""A run of letters and digits, or any other character: an emoji is a word."""
_SPACE = 0x20


class Grams(NamedTuple):
    """Parts of texts, by their bytes, and of which text each is."""

    data: UInt8[np.ndarray, "B"]
    start: Int64[np.ndarray, "G"]
    end: Int64[np.ndarray, "G"]
    text: Int64[np.ndarray, "G"]


@dataclass(frozen=True)
class TextHash(Frozen):
    """Words and pairs of words, and groups of 2 to 4 letters within words, each hashed to a column with a sign.

    Half the columns are for either, and each half has length 1, so that an inner product is a mean of two cosines.
    Two texts are near when they share words, or spellings; what a word means is not known.

    Paper: Weinberger et al., "Feature hashing for large scale multitask learning", ICML 2009.
    Differs: in nothing from scikit-learn's HashingVectorizer, bit for bit, which takes most of a second to import.

    features: columns of either half.
    """

    name: ClassVar[str] = "text-hash"
    reads: ClassVar[Modality] = "texts"
    version: ClassVar[str] = "1"
    usual: ClassVar[None] = None
    """Not measured: no class was ever trained on."""

    features: int = 2048

    def __call__(self, rows: Sequence[str]) -> Float[np.ndarray, "N D"]:
        """[N, 2 * features], float32, of length 1; raises ValueError for a text without letters, or too long a one."""
        # A lone surrogate, as of an odd file name, is no letter.
        texts = [nonempty(text, place).encode("utf-8", "replace").decode() for place, text in enumerate(rows)]
        for place, text in enumerate(texts):
            if len(text) > MOST:
                raise ValueError(
                    f"the text of row {place} has {len(text):,} characters, more than {MOST:,}: cut it, or make "
                    "several rows of it"
                )
        whole: np.ndarray = np.empty((len(texts), 2, self.features), np.float32)
        for block in _blocks(texts):
            lower = [text.lower() for text in texts[block]]
            for half, grams in enumerate((_words_and_pairs(lower), _letter_groups(lower))):
                whole[block, half] = self._counted(grams, len(lower))
        whole /= np.sqrt(np.float32(2))
        return whole.reshape(len(texts), 2 * self.features)

    def _counted(self, grams: Grams, texts: int) -> Float[np.ndarray, "N F"]:
        """The signed counts of each text's grams by their hashes, of length 1."""
        hashes = murmur3(grams.data, grams.start, grams.end).view(np.int32).astype(np.int64)
        columns = grams.text * self.features + np.abs(hashes) % self.features
        signs = np.where(hashes < 0, -1.0, 1.0)
        counts = np.bincount(columns, signs, texts * self.features).reshape(texts, -1)
        length = np.sqrt((counts.astype(np.float32) ** 2).sum(1, dtype=np.float64, keepdims=True))
        return (counts / np.where(length > 0, length, 1)).astype(np.float32)


def _blocks(texts: Sequence[str]) -> Iterator[slice]:
    """The texts that are hashed together."""
    first, size = 0, 0
    for place, text in enumerate(texts):
        if place > first and (size + len(text) > _TOGETHER or place - first == _ROWS):
            yield slice(first, place)
            first, size = place, 0
        size += len(text)
    if len(texts):
        yield slice(first, len(texts))


def _words_and_pairs(texts: Sequence[str]) -> Grams:
    """Each word, and each two words of a text that follow one another with a space between them."""
    words = [_WORD.findall(text) for text in texts]
    text = np.repeat(np.arange(len(texts)), [len(part) for part in words])
    data = _bytes(" ".join(word for part in words for word in part))
    spaces = np.flatnonzero(data == _SPACE)
    start, end = np.concatenate([[0], spaces + 1]), np.concatenate([spaces, [len(data)]])
    pairs = np.flatnonzero(text[1:] == text[:-1])
    return Grams(
        data,
        np.concatenate([start, start[pairs]]),
        np.concatenate([end, end[pairs + 1]]),
        np.concatenate([text, text[pairs]]),
    )


def _letter_groups(texts: Sequence[str]) -> Grams:
    """Each 2, 3 and 4 characters in a row of a word with a space at its start and its end."""
    # The texts stand one after another with two spaces between them, and the words of each with one.
    lines = [f" {' '.join(text.split())} " for text in texts]
    data = _bytes("".join(lines))
    start = np.flatnonzero((data & 0xC0) != 0x80)  # UTF-8: other bytes continue a character
    end = np.concatenate([start[1:], [len(data)]])
    space: Bool[np.ndarray, C] = data[start] == _SPACE
    text = np.repeat(np.arange(len(texts)), [len(line) for line in lines])
    # No space is inside a group, and none is of two spaces.
    twos = np.flatnonzero(~(space[:-1] & space[1:]))
    threes = np.flatnonzero(~space[1:-1])
    fours = np.flatnonzero(~(space[1:-2] | space[2:-1]))
    first = np.concatenate([twos, threes, fours])
    last = np.concatenate([twos + 1, threes + 2, fours + 3])
    return Grams(data, start[first], end[last], text[first])


def _bytes(text: str) -> UInt8[np.ndarray, "B"]:
    return np.frombuffer(text.encode(), np.uint8)
