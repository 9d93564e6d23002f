"""Every encoder of raw rows by name, and every family of encoders."""

from functools import partial

from mapwise.catalog.nets import NETS
from mapwise.catalog.rows import EncoderRow, FamilyRow, named
from mapwise.core.fields import check_text
from mapwise.data.modality import Modality
from mapwise.data.store import cache_folder
from mapwise.encoders.bundled import Bundled
from mapwise.encoders.cached import cache_in
from mapwise.encoders.encoder import Costly, Encoder
from mapwise.encoders.hugging_face import hugging_face
from mapwise.encoders.pixels import Ink, Pixels
from mapwise.encoders.table import Table
from mapwise.encoders.text_hash import TextHash

ENCODERS: dict[str, EncoderRow] = {
    "table": EncoderRow(Table, "columns of numbers and categories, standardised and one-hot encoded"),
    "text-hash": EncoderRow(TextHash, "hashed counts of words and letters of a text; no download"),
    "drawings": EncoderRow(
        partial(Bundled.of, "drawings", NETS), "a small network trained on handwritten characters, for line drawings"
    ),
    "ink": EncoderRow(Ink, "a drawing's own pixels, as ink on nothing"),
    "pixels": EncoderRow(Pixels, "a picture's own pixels, in colour"),
}
"""What makes arrays of raw rows; of those that read the same, the first is the default."""

FAMILIES: dict[str, FamilyRow] = {
    "hf": FamilyRow(hugging_face, "a pretrained model of texts or pictures, from a folder or the Hugging Face hub"),
}
"""What makes the encoder of FAMILY:NAME, for any name."""


def encoder_of(modality: Modality) -> Encoder:
    """The first encoder that reads rows of this modality."""
    return next(encoder for make in ENCODERS.values() if (encoder := make()).reads == modality)


def encoder_named(name: str, *, fetch: bool) -> Encoder:
    """The encoder of this name, or of FAMILY:NAME; what a costly one gives is kept in the user's cache folder.

    fetch: whether what it needs may be downloaded; opening a file never downloads.

    Raises ValueError for a name that isn't there, and for an encoder whose parts can't be had.
    """
    check_text("encoder", name)
    family, colon, rest = name.partition(":")
    if colon:
        encoder: Encoder = named(FAMILIES, family, "family of encoders")(rest, fetch)
    else:
        encoder = named(ENCODERS, name, "encoder")()
    return cache_in(encoder, cache_folder() / "embeddings.sqlite3") if isinstance(encoder, Costly) else encoder


def has_encoder(name: str) -> bool:
    """Whether there is an encoder of this name, or a family of them."""
    family, colon, _ = name.partition(":")
    return family in FAMILIES if colon else name in ENCODERS
