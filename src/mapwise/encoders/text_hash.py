"""Texts as the words and letter groups they hold, hashed into a fixed number of columns: no download, no vocabulary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Float

from mapwise.data.inputs import nonempty
from mapwise.data.modality import Modality

MOST = 1_000_000
"""Characters of a text; a longer one takes many seconds, and is hardly one row."""


@dataclass(frozen=True)
class TextHash:
    """Words and pairs of words, and groups of 2 to 4 letters within words, each hashed to a column with a sign.

    Half the columns are for either, and each half has length 1, so that an inner product is a mean of two cosines.
    Two texts are near when they share words, or spellings; what a word means is not known.

    features: columns of either half.
    """

    name: ClassVar[str] = "text-hash"
    reads: ClassVar[Modality] = "texts"
    version: ClassVar[str] = "1"
    usual: ClassVar[None] = None
    """Not measured: no class was ever trained on."""
    state: ClassVar[Mapping[str, Any]] = {}
    """Nothing: hashing looks at no other rows."""

    features: int = 2048

    def with_state(self, state: Mapping[str, Any]) -> Self:
        """Itself."""
        return self

    def fitted(self, rows: Sequence[str], weight: np.ndarray) -> Self:
        """Itself."""
        return self

    def __call__(self, rows: Sequence[str]) -> Float[np.ndarray, "N D"]:
        """[N, 2 * features], float32, of length 1; raises ValueError for a text without letters, or too long a one."""
        from sklearn.feature_extraction.text import HashingVectorizer

        # A lone surrogate, as of an odd file name, is no letter.
        texts = [nonempty(text, place).encode("utf-8", "replace").decode() for place, text in enumerate(rows)]
        for place, text in enumerate(texts):
            if len(text) > MOST:
                raise ValueError(
                    f"the text of row {place} has {len(text):,} characters, more than {MOST:,}: cut it, or make "
                    "several rows of it"
                )
        kinds: tuple[dict[str, Any], ...] = (
            # Any run of characters between spaces: an emoji is a word.
            {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"\w+|[^\w\s]"},
            {"analyzer": "char_wb", "ngram_range": (2, 4)},
        )
        halves = [
            HashingVectorizer(n_features=self.features, norm="l2", dtype=np.float32, **kind).transform(texts).toarray()
            for kind in kinds
        ]
        whole: np.ndarray = np.concatenate(halves, axis=1) / np.sqrt(np.float32(2))
        return whole
