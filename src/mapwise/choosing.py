"""Which learner stands behind an encoder: each is asked what the support says of it, while there is time."""

import re
import time
from dataclasses import dataclass, replace

from mapwise.catalog import HEADS
from mapwise.core.held_out import HeldOut
from mapwise.predictor import Predictor

USUAL = "logistic"
"""Where nothing tells the learners apart: over many data sets the one that is least often far from the best."""
SECONDS = 30.0


@dataclass(frozen=True)
class Tried:
    """One learner that could have been chosen.

    found: what the support says of it; None when it wasn't asked, and `why` says why.
    seconds: that asking took.
    """

    learner: str
    found: HeldOut | None
    seconds: float
    chosen: bool
    why: str = ""


def choose(predictor: Predictor, seconds: float = SECONDS) -> tuple[Predictor, list[Tried]]:
    """The predictor with the head that does best on rows it didn't see, and what was tried, in the catalog's order.

    seconds: for all of them together, a little more at most; a head for which none are left is not asked.

    With fewer than three examples of a class none can be asked, and it is `logistic` by rule. Of heads that do equally
    well it is that too, or the first.
    """
    end = time.monotonic() + seconds
    asked: dict[str, tuple[Predictor, float]] = {}
    for place, head in enumerate(HEADS):
        left = end - time.monotonic()
        if left <= 0 and asked:
            continue
        candidate = replace(predictor, head=head, seconds=left / (len(HEADS) - place))
        start = time.monotonic()
        why = candidate.report.why  # asks
        asked[head] = (candidate, time.monotonic() - start)
        if why:
            chosen = replace(predictor, head=USUAL)
            return chosen, [Tried(name, None, 0.0, name == USUAL, why) for name in HEADS]
    best = max(asked, key=lambda head: (asked[head][0].report.accuracy or 0.0, head == USUAL))
    tried = [
        Tried(head, asked[head][0].report, asked[head][1], head == best)
        if head in asked
        else Tried(head, None, 0.0, False, "not tried: there was no time left")
        for head in HEADS
    ]
    return asked[best][0], tried


def seconds_of(budget: str | float) -> float:
    """The seconds that "30s", "2m", "1h" or a number mean; raises ValueError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([smh]?)", str(budget).strip())
    if not found or not float(found[1]) > 0:
        raise ValueError(
            f"the budget is {budget!r} and a time above zero is needed: give 30s, 2m or a number of seconds"
        )
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]
