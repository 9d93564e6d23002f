"""Careless and hostile calls of the public Python API: every argument of every call with every value of its kind.

A call is tried with one bad argument at a time, the others as they should be. What it takes must be named in `fine`,
and its answer is then checked; every other value must be refused.
"""

import os
from pathlib import Path

from hostile_estimators import few_examples
from hostile_training import learners, sources, training
from outcomes import Case

ENDLESS = ("train: steps", "train: validation_episodes", "evaluate: episodes", "check: steps")
"""Arguments that say how much work there is: a number beyond int64 is a wish, and takes as long as it says."""


def calls(folder: Path, count: int) -> list[Case]:
    """So many of the cases of all calls, spread over them; they are to be tried in this folder."""
    (folder / "a-file").write_text("x")
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "a-pipe")
    every = [call for part in (few_examples, sources, learners, training) for call in part(folder)]
    cases = [case for call in every for case in call.cases()]
    cases = [case for case in cases if not (case.name.endswith("beyond int64") and case.name.startswith(ENDLESS))]
    return [cases[place * len(cases) // count] for place in range(count)] if count < len(cases) else cases


TABLES = {"calls of the API": (calls, 10_000, 60)}
"""As of files; more than there are are all of them."""
