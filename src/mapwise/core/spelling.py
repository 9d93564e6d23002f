"""What to write instead of a name that isn't there."""

import difflib
from collections.abc import Callable, Iterable
from itertools import islice

_NAMES, _LETTERS, _SHOWN = 1000, 100, 20
"""Names compared, letters of each, names shown: names may come from a file, any number of any length."""


def suggestion(name: str, known: Iterable[str], write: Callable[[str], str] = repr) -> str:
    """The end of an error's sentence: the name that is spelled much like this one, or what there is to choose from.

    write: how a name is written there.
    """
    beginnings = {each[:_LETTERS]: each for each in islice(known, _NAMES)}
    if near := difflib.get_close_matches(name[:_LETTERS], beginnings, n=1):
        return f"did you mean {write(beginnings[near[0]])}?"
    if not beginnings:
        return "there is none yet"
    more = "" if len(beginnings) <= _SHOWN else f" and {len(beginnings) - _SHOWN} more"
    return f"choose from {', '.join(write(each) for each in islice(beginnings, _SHOWN))}{more}"
