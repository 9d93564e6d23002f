"""Which encoder and which learner: each is asked what the support says of it, while there is time."""

import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from mapwise.catalog.encoders import likely
from mapwise.catalog.heads import heads_behind
from mapwise.core import fields
from mapwise.encoders.encoder import Costly, Encoder, Tunable
from mapwise.predictors.classes import Predictor
from mapwise.predictors.diagnostics.cross_validation import report
from mapwise.predictors.evidence import calibration
from mapwise.predictors.evidence.cross_fitting import COST, format_seconds
from mapwise.predictors.evidence.held_out import HeldOut
from mapwise.predictors.heads.head import Head

USUAL = "logistic"
"""Where nothing tells the learners apart: over many data sets the one that is least often far from the best."""
SECONDS = 30.0
_RESAMPLES = 1000
_TOGETHER = 1 << 20  # numbers of the resamples that are drawn at a time
_UNTRIED = "not tried: "
_LATE = f"{_UNTRIED}there was no time left"
_PROBE = 0.3
"""Seconds of encoding from which the rest is estimated."""


@dataclass(frozen=True)
class Tried:
    """One learner behind one encoder that could have been chosen.

    found: what the support says of it; None when it wasn't asked, and `why` says why.
    seconds: that encoding and asking took.
    probability: of the right class of examples it didn't see, the geometric mean; None unless encoders were compared.
    """

    learner: str
    found: HeldOut | None
    seconds: float
    chosen: bool
    why: str = ""
    encoder: str = ""
    probability: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As a JSON-ready object."""
        accuracy = None if self.found is None else self.found.accuracy
        return {
            "encoder": self.encoder,
            "learner": self.learner,
            "accuracy": accuracy,
            "probability": self.probability,
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
    contest = _Contest(X, time.monotonic() + seconds, stage)
    contest.ask_all(predictor, _heads(predictor))
    return (
        contest.by_rule(predictor, [predictor.encoder], True)
        if contest.nothing_known
        else contest.outcome(predictor.encoder)
    )


def choose_encoder(
    begun: Callable[[Encoder, Any], Predictor],
    encoders: Sequence[Encoder],
    X: Any,
    seconds: float = SECONDS,
    *,
    to_choose: bool,
    stage: Callable[[str], object] = lambda name: None,
) -> tuple[Predictor, list[Tried]]:
    """The predictor with the encoder that does best on rows it didn't see, and what was tried.

    begun:     an encoder, and the raw rows to encode -> the predictor with its first head.
    encoders:  the cheaper before the dearer; of those that do equally well it is the first.
    to_choose: whether the head is chosen too, of all behind the best encoder; the encoders are compared by the first.
    X, seconds, stage: as of `choose`.

    Encoders are compared by the probability of the right class: of few examples it tells more than how many are right.
    None is asked after one that makes no error. With fewer than three examples of a class none can be asked, and it is
    the encoder that is likely for such rows. An encoder that can't read them, or for which too few seconds are left, is
    not asked, unless it is the first.
    """
    contest = _Contest(X, time.monotonic() + seconds, stage)
    fitted: dict[str, Predictor] = {}
    likelihoods: dict[str, float] = {}
    for place, encoder in enumerate(encoders):
        start = time.monotonic()
        if contest.faultless:
            contest.skip(encoder.name, "", f"{_UNTRIED}{contest.faultless.encoder.name} makes no error")
            continue
        stage(f"encoding by {encoder.name} ({place + 1} of {len(encoders)})")
        try:
            predictor = fitted[encoder.name] = begun(encoder, contest.timed(encoder) if place else X)
        except ValueError as problem:
            if not place:
                raise
            contest.skip(encoder.name, "", _reason(problem))
            continue
        heads = _heads(predictor) if to_choose else [predictor.head]
        contest.ask(predictor, heads[0], later=len(encoders) - place + len(heads) - 2, since=start)
        if contest.nothing_known:
            usual = likely(encoders, X)
            return contest.by_rule(fitted.get(usual.name) or begun(usual, X), encoders, to_choose)
        if contest.candidates[-1][0].encoder.name == encoder.name:
            likelihoods[encoder.name] = round(_log_probability(predictor.with_head(heads[0], X, 0.0)), 9)
    best = fitted[max(likelihoods, key=lambda name: likelihoods[name])]
    if to_choose:
        contest.ask_all(best, _heads(best)[1:])
    chosen, tried = contest.outcome(best.encoder)
    probabilities = {(name, heads[0].name): math.exp(value) for name, value in likelihoods.items()}
    return chosen, [replace(one, probability=probabilities.get((one.encoder, one.learner))) for one in tried]


def _log_probability(predictor: Predictor) -> float:
    """The mean logarithm of the probability of the right class of examples that weren't seen, each class alike."""
    rows, scores = predictor.out_of_fold
    columns = predictor.distinct_support.y.argmax(1).numpy()[rows]
    divisor, counts = predictor.temperature, np.bincount(columns)
    logarithms = calibration.log_probabilities(scores, columns, divisor, int((counts > 0).sum()))
    return float(np.average(logarithms, weights=1 / counts[columns]))


def _heads(predictor: Predictor) -> list[Head]:
    return [predictor.head_of(name) for name in heads_behind(predictor.encoder)]


@dataclass(eq=False)
class _Contest:
    """Heads behind encoders, asked one after another until a moment.

    X:   the raw rows.
    end: the moment, by the monotonic clock.
    """

    X: Any
    end: float
    stage: Callable[[str], object]
    candidates: list[tuple[Predictor, HeldOut]] = field(default_factory=list)
    tried: list[Tried] = field(default_factory=list)

    @property
    def left(self) -> float:
        """Seconds."""
        return self.end - time.monotonic()

    @property
    def nothing_known(self) -> bool:
        """Whether nothing can be known of the first that was asked, and so of no other."""
        return bool(self.tried) and not self.candidates

    @property
    def faultless(self) -> Predictor | None:
        """The first that made no error."""
        return next((one for one, judged in self.candidates if min(judged.by_row.values()) == 1), None)

    def timed(self, encoder: Encoder) -> Any:
        """The raw rows for an encoder; raises ValueError, now or while a slow one encodes, when time will not do."""
        if self.left <= 0:
            raise ValueError(_LATE)
        return _Timed(self.X, self.left) if isinstance(encoder, Costly) else self.X

    def skip(self, encoder: str, head: str, why: str) -> None:
        """Note what isn't asked."""
        self.tried.append(Tried(head, None, 0.0, False, why, encoder))

    def ask_all(self, predictor: Predictor, heads: Sequence[Head]) -> None:
        """Ask heads behind one encoder, as long as anything can be known."""
        for place, head in enumerate(heads):
            self.ask(predictor, head, later=len(heads) - place - 1)
            if self.nothing_known:
                return

    def ask(self, predictor: Predictor, head: Head, later: int, since: float | None = None) -> None:
        """What the support says of a head behind a predictor's encoder.

        later: so many others are to share the time that is left.
        since: when the work on it began; None: now.
        """
        start = time.monotonic() if since is None else since
        why = self._hindrance(predictor, head) if self.candidates else ""
        judged = None
        if not why:
            tuning = "tuning the encoder and " if head.tunes else ""
            self.stage(f"{tuning}cross-validating {head.name} behind {predictor.encoder.name}")
            share = self.left / (later + 1)
            candidate = predictor.with_head(head, self.X, share)
            judged = report(candidate, seconds=share)
            why = judged.why
            if not why:
                self.candidates.append((candidate, judged))
        seconds = 0.0 if why else time.monotonic() - start
        self.tried.append(Tried(head.name, None if why else judged, seconds, False, why, predictor.encoder.name))

    def by_rule(
        self, predictor: Predictor, encoders: Sequence[Encoder], to_choose: bool
    ) -> tuple[Predictor, list[Tried]]:
        """The predictor with the usual head, where nothing can be known, and what could have been tried."""
        heads = _heads(predictor) if to_choose else [predictor.head]
        usual = (
            next((head for head in heads if head.by_class), heads[0]) if predictor.large else predictor.head_of(USUAL)
        )
        chosen = replace(predictor, head=usual if to_choose else predictor.head)
        why = self.tried[0].why
        pairs = [(one.name, heads[0].name) for one in encoders if one.name != predictor.encoder.name]
        pairs += [(predictor.encoder.name, head.name) for head in heads]
        mine = (chosen.encoder.name, chosen.head.name)
        return chosen, [Tried(head, None, 0.0, (encoder, head) == mine, why, encoder) for encoder, head in pairs]

    def outcome(self, encoder: Encoder) -> tuple[Predictor, list[Tried]]:
        """The best head behind this encoder, corrected for the choice among all, and what was tried."""
        behind = [(one, judged) for one, judged in self.candidates if one.encoder.name == encoder.name]
        best = max(behind, key=lambda pair: (round(pair[1].accuracy or 0.0, 9), pair[0].head.name == USUAL))[0]
        mine = (best.encoder.name, best.head.name)
        tried = [replace(one, chosen=(one.encoder, one.learner) == mine) for one in self.tried]
        return replace(best, optimism=optimism(*_out_of_fold(self.candidates))), tried

    def _hindrance(self, predictor: Predictor, head: Head) -> str:
        """Why a head isn't asked; "" when nothing hinders."""
        left = self.left
        if left <= 0:
            return _LATE
        if not head.tunes or not isinstance(predictor.encoder, Tunable):
            return ""
        if self.faultless:
            return f"{_UNTRIED}{self.faultless.head.name} makes no error"
        try:
            needed = (1 + COST) * predictor.encoder.tuning_seconds(self.X)
        except ValueError as problem:
            return f"{_UNTRIED}{problem}"
        return "" if needed < self.left else _needs(needed, self.left)


def _reason(problem: ValueError) -> str:
    """Why an encoder isn't asked."""
    reason = str(problem)
    return reason if reason.startswith(_UNTRIED) else f"{_UNTRIED}{reason}"


def _needs(seconds: float, left: float) -> str:
    return f"{_UNTRIED}needs about {format_seconds(seconds)}, and {format_seconds(max(left, 0))} were left"


@dataclass(frozen=True, eq=False)
class _Timed:
    """Raw rows that are encoded within so many seconds, or not at all: what they will take shows in the first ones."""

    rows: Sequence[Any]
    seconds: float

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> Any:
        return self.rows[place]

    def __iter__(self) -> Iterator[Any]:
        """Raises ValueError when the others would take too long."""
        start = time.monotonic()
        for place, row in enumerate(self.rows):
            took = time.monotonic() - start
            if place and took > _PROBE and took / place * len(self.rows) > self.seconds:
                raise ValueError(_needs(took / place * len(self.rows), self.seconds))
            yield row


def optimism(correct: Float[np.ndarray, "H S"], weight: Float[np.ndarray, "S"]) -> float:
    """By how much the best of several scores is too high for being that, 0..1.

    correct: of each candidate and row, the share of its out-of-fold answers that were right.
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


def seconds_of(budget: str | float) -> float:
    """The seconds that "30s", "2m", "1h" or a number mean; raises ValueError for anything else."""
    known = isinstance(budget, str) or fields.is_number(budget)
    match = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([smh]?)", str(budget).strip()) if known else None
    if not match or not 0 < float(match[1]) < math.inf:
        raise ValueError(
            f"the budget is {fields.quote(budget)} and a time above zero is needed: give 30s, 2m or a number of seconds"
        )
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]
