"""What cross-validation says of a support set: its accuracy with an interval, by class, and with more examples."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self


class Expected(NamedTuple):
    """An accuracy that was estimated.

    accuracy: 0..1.
    low, high: its 95 % interval.
    """

    accuracy: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.accuracy:.0f} % ({100 * self.low:.0f} to {100 * self.high:.0f} %)"


@dataclass(frozen=True)
class HeldOut:
    """How often a row's class is found by a predictor that was not trained on the row.

    accuracy: 0..1, of the whole support, each class weighed by its share of the support; None when a class has fewer
              than three rows, which is too few to tell.
    low, high: its 95 % interval.
    rows: how many were asked.
    classes: class name -> its out-of-fold accuracy, and the rows of it that were asked.
    confusions: (class, what its rows were taken for, share of the class's answers), the largest first.
    doubtful: rows that were taken for another class every time, as (row, its class, what it was taken for): the
              surest first. Some may be mislabelled. None where the predictor is no better than guessing.
    more: so many further examples of each class -> the accuracy to expect of a support with them; {} where the
          predictors were all trained on as many rows, which says nothing of a learning curve.
    by_coverage: (share of the rows that are answered, accuracy on these): all, 95, 90, 80 and 50 %, the rest rejected
                 as being farthest from every class.
    why: why there is no accuracy.
    balanced: the same accuracy with every class weighed alike, and its interval.
    chance: 0..1, the accuracy of always answering the most frequent class.
    optimism: what was subtracted from both, since this is the best of several scores.
    training_share: the share of the rows that the predictors were trained on, where the accuracy is theirs and not
                    that of the whole support.
    by_row: row -> the share of its out-of-fold answers that were right.
    """

    accuracy: float | None
    low: float | None
    high: float | None
    rows: int
    classes: dict[str, tuple[float, int]] = field(default_factory=dict)
    confusions: list[tuple[str, str, float]] = field(default_factory=list)
    doubtful: list[tuple[int, str, str]] = field(default_factory=list)
    more: dict[int, Expected] = field(default_factory=dict)
    by_coverage: list[tuple[float, float]] = field(default_factory=list)
    why: str = ""
    balanced: Expected | None = None
    chance: float | None = None
    optimism: float = 0.0
    training_share: float | None = None
    by_row: dict[int, float] = field(default_factory=dict)

    @property
    def guesses(self) -> bool:
        """Whether the interval of the accuracy holds chance, or lies below it."""
        return self.low is not None and self.chance is not None and self.low <= self.chance

    @property
    def uneven(self) -> bool:
        """Whether some classes have more rows than others, so that the balanced accuracy is another."""
        return self.chance is not None and self.chance > 1 / len(self.classes) + 1e-9

    def corrected(self, optimism: float) -> Self:
        """The report of the best of several, whose accuracies are too high by so much for having been chosen."""
        if self.accuracy is None or self.low is None or self.high is None or self.balanced is None:
            return self
        accuracy, low, high = _less((self.accuracy, self.low, self.high), optimism)
        balanced = Expected(*_less(self.balanced, optimism))
        return replace(
            self,
            accuracy=accuracy,
            low=low,
            high=high,
            balanced=balanced,
            more={more: Expected(*_less(one, optimism)) for more, one in self.more.items()},
            # Where the predictor guesses, that it took a row for another class is no sign of a wrong label.
            doubtful=self.doubtful if balanced.low > 1 / len(self.classes) else [],
            optimism=self.optimism + optimism,
        )

    def __str__(self) -> str:
        """As one line for a person."""
        if self.accuracy is None or self.low is None or self.high is None:
            return self.why
        parts = [f"right {Expected(self.accuracy, self.low, self.high)}, cross-validated on {self.rows} rows"]
        if self.guesses:
            parts[0] = f"no better than guessing ({100 * (self.chance or 0):.0f} %): {parts[0]}"
        if self.uneven:
            parts.append(f"balanced accuracy {self.balanced}")
        if self.training_share is not None:
            parts.append(
                f"by predictors trained on {100 * self.training_share:.0f} % of them, which is a little pessimistic"
            )
        if self.optimism >= 0.005:
            parts.append(f"{100 * self.optimism:.0f} points subtracted for choosing the best learner")
        parts += [f"{a} taken for {b}" for a, b, _ in self.confusions[:3]] if not self.guesses else []
        return "; ".join(parts)

    @property
    def outlook(self) -> str:
        """What more examples would bring, as one line; "" where that is unknown."""
        expected = ", ".join(f"{one} with {more}" for more, one in self.more.items())
        return f"more examples of each class: {expected}" if expected else ""

    def to_json(self) -> dict[str, Any]:
        """As a JSON-ready object."""
        return {
            "accuracy": self.accuracy,
            "low": self.low,
            "high": self.high,
            "rows": self.rows,
            "balanced": None if self.balanced is None else self.balanced._asdict(),
            "chance": self.chance,
            "optimism": self.optimism,
            "training_share": self.training_share,
            "classes": {name: {"accuracy": share, "rows": rows} for name, (share, rows) in self.classes.items()},
            "more": {more: expected._asdict() for more, expected in self.more.items()},
            "by_coverage": [{"coverage": share, "accuracy": right} for share, right in self.by_coverage],
            "confusions": [{"class": a, "taken_for": b, "share": share} for a, b, share in self.confusions],
            "why": self.why,
        }


@dataclass(frozen=True)
class Effect:
    """What a change of the classes did to those that were there before and after it.

    before, now: their mean accuracy, 0..1; None where it is unknown, and `why` says why.
    """

    before: float | None
    now: float | None
    why: str = ""

    def __str__(self) -> str:
        return self.sentence("the other classes")

    def sentence(self, classes: str) -> str:
        """In words, where those classes are called so."""
        if self.before is None or self.now is None:
            return f"the effect on {classes} is unknown: {self.why}"
        return f"{classes}: {100 * self.before:.0f} % before and {100 * self.now:.0f} % now, cross-validated"


def effect(before: HeldOut, now: HeldOut) -> Effect:
    """What a change did, by the reports before and after it."""
    if before.accuracy is None or now.accuracy is None:
        return Effect(None, None, before.why or now.why)
    shared = [name for name in before.classes if name in now.classes]
    was, remains = (sum(report.classes[name][0] for name in shared) / len(shared) for report in (before, now))
    return Effect(was, remains)


def _less(shares: Iterable[float], by: float) -> Iterator[float]:
    return (min(max(share - by, 0.0), 1.0) for share in shares)
