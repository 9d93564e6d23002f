"""The name that was meant by one that isn't there."""

import difflib
from collections.abc import Iterable
from itertools import islice

_NAMES, _LETTERS = 1000, 100
"""So many are compared: names may come from a file with any number of any length."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Of these names, the one that is spelled most like another, by its beginning; of many, among the first 1,000."""
    beginnings = {each[:_LETTERS]: each for each in islice(known, _NAMES)}
    return beginnings[difflib.get_close_matches(name[:_LETTERS], beginnings, n=1, cutoff=0)[0]]
