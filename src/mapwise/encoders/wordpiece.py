"""Texts as pieces of words from a fixed vocabulary, as BERT's uncased models cut them."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

UNKNOWN = "[UNK]"
_LONGEST = 100
"""Characters of a word; a longer one is unknown."""
_WORDS = 1 << 16
"""Words whose pieces are remembered."""
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
"""Each is a word: Chinese and Japanese stand without spaces."""


class WordPiece:
    """Greedy longest match from the left, after lower-casing and without accents.

    Paper: Devlin, Chang, Lee, Toutanova, "BERT", NAACL 2019.
    Differs: from BertTokenizer only in [CLS] and [SEP], which are text here and are not put around a text, and in
    a few hundred characters younger than Unicode 8.

    vocabulary: each piece's number; a piece inside a word begins with ##.
    """

    def __init__(self, vocabulary: Mapping[str, int]) -> None:
        self.vocabulary = vocabulary
        self._pieces = lru_cache(_WORDS)(self._cut)

    def __call__(self, text: str) -> list[int]:
        """The numbers of a text's pieces; a word that can't be cut is one unknown piece."""
        words = unicodedata.normalize("NFD", text).translate(_SPELLING).split()
        return [number for word in words for number in self._pieces(word)]

    def _cut(self, word: str) -> tuple[int, ...]:
        numbers, start = list[int](), 0
        while start < len(word) <= _LONGEST:
            prefix = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((end for end in ends if prefix + word[start:end] in self.vocabulary), None)
            if end is None:
                return (self.vocabulary[UNKNOWN],)
            numbers.append(self.vocabulary[prefix + word[start:end]])
            start = end
        return tuple(numbers) or (self.vocabulary[UNKNOWN],)


@dataclass(frozen=True)
class UnitPieces:
    """Cuts one unit of a text into pieces, at least one (`mapwise.data.annotated.pieces.Pieces`).

    vocabulary: numbers of pieces are below this; start, end: the pieces that stand around a text.
    """

    cut: WordPiece
    vocabulary: int
    start: int
    end: int

    def __call__(self, unit: str) -> list[int]:
        """The pieces; a unit of invisible characters is one unknown piece."""
        return self.cut(unit) or [self.cut.vocabulary[UNKNOWN]]


class _Spelling(dict[int, str]):
    """What a character becomes: nothing, a space, a word of its own, or its lower case; filled as characters come."""

    def __missing__(self, code: int) -> str:
        self[code] = spelling = _spelled(code)
        return spelling


def _spelled(code: int) -> str:
    letter = chr(code)
    category = unicodedata.category(letter)
    if letter in "\t\n\r" or category in ("Zs", "Zl", "Zp"):
        return " "
    if code in (0, 0xFFFD) or category in ("Cc", "Cf", "Co", "Cs", "Mn"):
        return ""
    ascii_symbol = code < 128 and not letter.isalnum()
    alone = ascii_symbol or category[0] == "P" or any(first <= code <= last for first, last in _IDEOGRAPHS)
    return f" {letter} " if alone else letter.lower()


_SPELLING = _Spelling()
