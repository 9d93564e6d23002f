"""The names of classes as texts: how they are read, and which of them say something."""

import re

_PLACEHOLDERS = frozenset(
    {"class", "label", "category", "categorie", "type", "group", "cluster", "topic", "target", "item", "sample"}
    | {"intent", "code", "index", "number", "other", "unknown"}
)
"""Words that stand for a class of any task, and say nothing of what its rows are about."""
_FEWEST = 3
"""Letters of a word of an alphabet; of scripts that write a word as one sign, one is enough."""
_SIGNS = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]")


def read_name(name: str) -> str:
    """A name as words: "card_arrival", "cardArrival" and "Card arrival?" are all "card arrival".

    Signs between words become spaces, a capital behind a small letter begins a word, and letters become small.
    """
    parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return " ".join(re.sub(r"[\W_]+", " ", parts).split()).lower()


def is_telling(name: str) -> bool:
    """Whether a name says what its class is about.

    It does where one of its words has three letters or more and is no word such as "class", "label" or "other", or is
    written in signs, as Chinese is. So codes and numbers, such as "c17" and "3", are no names.
    """
    words = re.findall(r"[^\W\d_]+", read_name(name))
    return any(
        _SIGNS.search(word) or (len(word) >= _FEWEST and not {word, word.removesuffix("s")} & _PLACEHOLDERS)
        for word in words
    )
