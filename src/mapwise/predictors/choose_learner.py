"""Which learner stands behind an encoder: each is asked what the support says of it, while there is time."""

import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from mapwise.catalog.heads import HEADS, heads_behind
from mapwise.core import fields
from mapwise.encoders.encoder import Tunable
from mapwise.predictors.classes import Predictor
from mapwise.predictors.diagnostics.cross_validation import report
from mapwise.predictors.evidence.cross_fitting import COST, format_seconds
from mapwise.predictors.evidence.held_out import HeldOut

USUAL = "logistic"
"""Where nothing tells the learners apart: over many data sets the one that is least often far from the best."""
SECONDS = 30.0
_RESAMPLES = 1000
_TOGETHER = 1 << 20  # numbers of the resamples that are drawn at a time


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

    def to_json(self) -> dict[str, Any]:
        """As a JSON-ready object."""
        accuracy = None if self.found is None else self.found.accuracy
        return {
            "learner": self.learner,
            "accuracy": accuracy,
            "seconds": self.seconds,
            "chosen": self.chosen,
            "why": self.why,
        }


def choose(
    predictor: Predictor, X: Any, seconds: float = SECONDS, *, stage: Callable[[str], object] = lambda name: None
) -> tuple[Predictor, list[Tried]]:
    """The predictor with the head that does best on rows it didn't see, and what was tried, in the catalog's order.

    X:       the raw rows, for heads that tune the encoder; those are left out where it has nothing to tune.
    seconds: for all of them together, a little more at most; a head for which too few are left is not asked.
    stage:   is called with the name of what is done next.

    With fewer than three examples of a class none can be asked, and it is `logistic` by rule. Of heads that do equally
    well it is that too, or the first. The best of several scores is too high, and the chosen predictor's report is
    corrected for it.
    """
    end = time.monotonic() + seconds
    heads = heads_behind(predictor.encoder)
    candidates: dict[str, tuple[Predictor, HeldOut]] = {}
    tried: list[Tried] = []
    for place, head in enumerate(heads):
        start = time.monotonic()
        why = _hindrance(predictor, head, X, end - start, candidates) if candidates else ""
        held_out = None
        if not why:
            tuning = "tuning the encoder and " if HEADS[head].tunes else ""
            stage(f"{tuning}cross-validating {head} ({place + 1} of {len(heads)})")
            share = (end - time.monotonic()) / (len(heads) - place)
            candidate = predictor.with_head(head, X, share)
            judged = report(candidate, seconds=share)
            why = judged.why
            if why and not candidates:
                usual = next(name for name in heads if HEADS[name].by_class) if predictor.large else USUAL
                chosen = replace(predictor, head=predictor.head_of(usual))
                return chosen, [Tried(name, None, 0.0, name == usual, why) for name in heads]
            if not why:
                candidates[head], held_out = (candidate, judged), judged
        tried.append(Tried(head, held_out, time.monotonic() - start if held_out else 0.0, False, why))
    best = max(candidates, key=lambda head: (candidates[head][1].accuracy or 0.0, head == USUAL))
    chosen = replace(candidates[best][0], optimism=optimism(*_out_of_fold(list(candidates.values()))))
    return chosen, [replace(one, chosen=one.learner == best) for one in tried]


def optimism(correct: Float[np.ndarray, "H S"], weight: Float[np.ndarray, "S"]) -> float:
    """By how much the best of several scores is too high for being that, 0..1.

    correct: of each head and row, the share of its out-of-fold answers that were right.
    weight:  how much each row counts.

    Rows are drawn with replacement, the best on those is taken, and judged on the rows that were not drawn
    (BBC-CV: Tsamardinos, Greasidou, Borboudakis 2018). The draws are the same every time.
    """
    random = np.random.Generator(np.random.Philox(0))
    rows = len(weight)
    together = max(1, _TOGETHER // rows)
    parts = []
    for start in range(0, _RESAMPLES, together):
        drawn = random.multinomial(rows, np.full(rows, 1 / rows), min(together, _RESAMPLES - start))  # [B, S]
        drawn = drawn[(drawn == 0).any(1)]
        inside, outside = (part * weight @ correct.T / (part @ weight)[:, None] for part in (drawn, drawn == 0))
        parts.append(np.take_along_axis(outside, inside.argmax(1)[:, None], 1))  # [B, 1], of [B, H]
    corrected = np.concatenate(parts).mean()
    return max(0.0, float((correct @ weight).max() / weight.sum() - corrected))


def _out_of_fold(
    candidates: Sequence[tuple[Predictor, HeldOut]],
) -> tuple[Float[np.ndarray, "H S"], Float[np.ndarray, "S"]]:
    """How often each candidate was right about each row that all were asked, and how much such a row counts."""
    by_row = [judged.by_row for _, judged in candidates]
    rows = [row for row in by_row[0] if all(row in other for other in by_row)]
    columns, weight = candidates[0][0].columns, candidates[0][0].weight
    of = columns[rows]
    share = np.bincount(columns, weight)[of] / np.bincount(of)[of]
    return np.array([[one[row] for row in rows] for one in by_row]), share


def _hindrance(
    predictor: Predictor, head: str, X: Any, left: float, candidates: dict[str, tuple[Predictor, HeldOut]]
) -> str:
    """Why a head isn't asked with so many seconds left; "" when nothing hinders."""
    if left <= 0:
        return "not tried: there was no time left"
    if not HEADS[head].tunes or not isinstance(predictor.encoder, Tunable):
        return ""
    faultless = next((name for name, (_, judged) in candidates.items() if min(judged.by_row.values()) == 1), "")
    if faultless:
        return f"not tried: {faultless} makes no error"
    start = time.monotonic()
    try:
        needed = (1 + COST) * predictor.encoder.tuning_seconds(X)
    except ValueError as problem:
        return f"not tried: {problem}"
    left -= time.monotonic() - start
    return (
        ""
        if needed < left
        else f"not tried: needs about {format_seconds(needed)}, and {format_seconds(max(left, 0))} were left"
    )


def seconds_of(budget: str | float) -> float:
    """The seconds that "30s", "2m", "1h" or a number mean; raises ValueError for anything else."""
    known = isinstance(budget, str) or fields.is_number(budget)
    match = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([smh]?)", str(budget).strip()) if known else None
    if not match or not 0 < float(match[1]) < math.inf:
        raise ValueError(
            f"the budget is {fields.quote(budget)} and a time above zero is needed: give 30s, 2m or a number of seconds"
        )
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]
