"""Why an answer is what it is: the support examples that voted, and the answer without each of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64

from mapwise.core.capabilities import Votes, VoteScale
from mapwise.core.families.embedding import learned_features
from mapwise.core.geometry import squared_distances
from mapwise.core.learner import Learner
from mapwise.core.task import Examples
from mapwise.core.tree import Fast, Params

_TOGETHER = 1 << 22  # votes that are counted at a time
_SHOWN = 3  # examples of either side, in words


@dataclass(frozen=True)
class Example:
    """What one example of the support had to do with an answer.

    row:         its place among the examples.
    label:       its class.
    source:      where it came from, such as a file; "" where that isn't kept.
    vote:        for the answer, above 0, or for the runner-up, below; None for a learner that gives no votes.
    without:     the answer of a predictor fitted to all examples but this; None where none was fitted.
    probability: of the explained answer, by that predictor; None where none was fitted.
    """

    row: int
    label: Any
    source: str
    vote: float | None
    without: Any
    probability: float | None

    @property
    def name(self) -> str:
        """Where it came from, or its place."""
        return self.source or f"example {self.row}"


@dataclass(frozen=True, eq=False)
class Region:
    """Where in a picture an answer came from, found by hiding one part of it after another.

    fall:         by how much the answer's lead over the next class falls, in scores, with a part around a pixel hidden:
                  the mean over such parts.
    lead:         of the picture as it is.
    lead_without: of the picture with `top()` hidden.
    picture:      the path of a copy of the picture, red where the lead falls; "" for none.
    """

    fall: Float[np.ndarray, "H W"]
    lead: float
    lead_without: float
    picture: str = ""

    def top(self, share: float = 0.1) -> Bool[np.ndarray, "H W"]:
        """The pixels that matter most, this share of all."""
        order = np.argsort(-self.fall, axis=None, kind="stable")
        mask = np.zeros(self.fall.size, dtype=bool)
        mask[order[: max(1, round(share * self.fall.size))]] = True
        return mask.reshape(self.fall.shape)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The left, upper, right and lower edge, in pixels, of what holds `top()`; the last two are outside of it."""
        down, across = np.nonzero(self.top())
        return int(across.min()), int(down.min()), int(across.max()) + 1, int(down.max()) + 1


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why one query is answered as it is.

    label:       the answer.
    probability: its probability.
    runner_up:   the class that comes second.
    examples:    all of the support, those that vote most for the answer first; where there are no votes, those without
                 which it would be least probable, and behind them those that were not left out.
    votes:       what each example puts into each class, in the order of the support and of the classes; summed over the
                 examples they are the scores, up to a number that is the same for all classes, or the probabilities,
                 before a temperature calibrates these.
                 None for a learner that gives none.
    adds_to:     which of these.
    region:      for pictures, where asked for.
    row:         its place among the queries.
    """

    label: Any
    probability: float
    runner_up: Any
    examples: tuple[Example, ...]
    votes: Float[np.ndarray, "S W"] | None
    adds_to: VoteScale | None
    region: Region | None = None
    row: int = 0

    @property
    def reason(self) -> str:
        """As lines for a person."""
        return str(self)

    @property
    def decisive(self) -> tuple[Example, ...]:
        """The examples of which each, left out, would change the answer; among those that were left out."""
        return tuple(one for one in self.left_out if one.without != self.label)

    @property
    def left_out(self) -> tuple[Example, ...]:
        """The examples that were left out in turn: all of a small support, otherwise those with the largest votes."""
        return tuple(one for one in self.examples if one.probability is not None)

    def __str__(self) -> str:
        """As lines for a person."""
        lines = [f"{self.label}, {100 * self.probability:.1f} %, before {self.runner_up}"]
        if self.votes is None:
            least = [one for one in self.left_out if _chance(one) < self.probability][:_SHOWN]
            lines += [f"  without {_describe(one)}: {100 * _chance(one):.1f} %" for one in least]
        else:
            sides = [[one for one in self.examples if one.vote is not None and sign * one.vote > 0] for sign in (1, -1)]
            for word, side in zip(("for it", "against"), (sides[0], sides[1][::-1]), strict=True):
                lines += [
                    f"  {word}  {one.vote:+.3g}  {_describe(one)}"
                    + ("" if one.probability is None else f"; without it {100 * one.probability:.1f} %")
                    for one in side[:_SHOWN]
                ]
        tried = len(self.left_out)
        one_of = (
            "any one example" if tried == len(self.examples) else f"any one of the {tried} examples left out in turn"
        )
        if self.decisive:
            lines += [f"  without {_describe(one)} it would be {one.without}" for one in self.decisive[:_SHOWN]]
        else:
            lines.append(f"  without {one_of} it would still be {self.label}")
        if tried < len(self.examples):
            chosen = "are nearest" if self.votes is None else "have the largest votes"
            lines.append(f"  {tried} of {len(self.examples):,} examples were left out in turn, those that {chosen}")
        if self.region is not None:
            left, upper, right, lower = self.region.box
            lines.append(
                f"  most of it lies from {left}, {upper} to {right}, {lower}: with a tenth of the picture hidden, its "
                f"lead falls from {self.region.lead:.3g} to {self.region.lead_without:.3g}"
            )
            lines += [f"  see {self.region.picture}"] if self.region.picture else []
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; of a region its box and the lead, without the map."""
        region = self.region and {
            "box": list(self.region.box),
            "lead": self.region.lead,
            "lead_without": self.region.lead_without,
            **({"picture": self.region.picture} if self.region.picture else {}),
        }
        return {
            "label": self.label,
            "probability": self.probability,
            "runner_up": self.runner_up,
            "votes_add_to": self.adds_to,
            "examples": [vars(one) for one in self.examples],
            "decisive": [one.row for one in self.decisive],
            "left_out": len(self.left_out),
            **({"region": region} if region else {}),
        }


def explained(
    learner: Learner,
    params: Params,
    fast: Fast,
    support: Examples,
    x: Float[torch.Tensor, "Q D"],
    without: Callable[[Int64[np.ndarray, "S"]], Float[np.ndarray, "K Q W"]],
    names: Sequence[Any],
    sources: Sequence[str] = (),
    temperature: float = 1.0,
) -> list[Explanation]:
    """Why each query is answered as it is.

    without: rows of the support, the most telling first -> the scores without each of the first K of them.
    sources: where each row came from; empty where unknown.
    temperature: of the probabilities; votes add to what there is before it.

    The support has two classes at least.
    """
    with torch.no_grad():
        scores = learner.predict(params, fast, x)
    assert isinstance(scores, torch.Tensor)
    chances = (scores / temperature).softmax(1).numpy()
    answers = np.argsort(-scores.numpy(), axis=1, kind="stable")[:, :2]
    columns = support.y.argmax(1).numpy()
    votes = _votes(learner, params, fast, support, x)
    ahead = [None if part is None else part[:, a] - part[:, b] for part, (a, b) in zip(votes, answers, strict=True)]
    near = None if isinstance(learner, Votes) else _nearness(learner, params, fast, support, x)
    orders = [
        _by_votes(ahead[place]) if near is None else _by_nearness(near[place], np.isin(columns, pair))
        for place, pair in enumerate(answers)
    ]
    order = _in_turn(orders)
    left = (torch.as_tensor(without(order)) / temperature).softmax(2).numpy()  # [K, Q, W]
    place_of = {int(row): place for place, row in enumerate(order[: len(left)])}
    scale = learner.votes_add_to if isinstance(learner, Votes) else None
    explanations = []
    for query, (first, second) in enumerate(answers):
        vote = ahead[query]
        chance = np.full(len(columns), np.inf)
        chance[order[: len(left)]] = left[:, query, first]
        examples = tuple(
            Example(
                row=row,
                label=names[columns[row]],
                source=sources[row] if len(sources) else "",
                vote=None if vote is None else float(vote[row]),
                without=names[int(left[place_of[row], query].argmax())] if row in place_of else None,
                probability=float(chance[row]) if row in place_of else None,
            )
            for row in np.argsort(chance if vote is None else -vote, kind="stable").tolist()
        )
        answer = float(chances[query, first])
        explanations.append(Explanation(names[first], answer, names[second], examples, votes[query], scale, row=query))
    return explanations


def _votes(
    learner: Learner, params: Params, fast: Fast, support: Examples, x: torch.Tensor
) -> list[Float[np.ndarray, "S W"] | None]:
    """The votes on each query; None for a learner that gives none."""
    if not isinstance(learner, Votes):
        return [None] * len(x)
    together = max(1, _TOGETHER // max(1, support.y.numel()))
    with torch.no_grad():
        return [
            each for part in torch.split(x, together) for each in learner.votes(params, fast, support, part).numpy()
        ]


def _nearness(
    learner: Learner, params: Params, fast: Fast, support: Examples, x: torch.Tensor
) -> Float[np.ndarray, "Q S"]:
    """Squared distances to the examples where the learner compares them."""
    z, rows = (learned_features(learner, params, fast, part) for part in (x, support.x))
    return squared_distances(z, rows).numpy()


def _by_votes(ahead: Float[np.ndarray, "S"] | None) -> Int64[np.ndarray, "S"]:
    """The largest vote for the answer, the largest for the runner-up, the next for the answer, and so on."""
    assert ahead is not None
    best = np.argsort(-ahead, kind="stable")
    return _in_turn([best, best[::-1]])


def _by_nearness(far: Float[np.ndarray, "S"], of_pair: Bool[np.ndarray, "S"]) -> Int64[np.ndarray, "S"]:
    """The examples of the answer and the runner-up, the nearest first, and behind them the others."""
    order: np.ndarray = np.lexsort((far, ~of_pair))
    return order


def _in_turn(orders: Sequence[Int64[np.ndarray, "S"]]) -> Int64[np.ndarray, "S"]:
    """One order of several: the first of each, the second of each, and so on; a row stands where it comes first."""
    every = np.stack(orders, 1).ravel()
    first = np.unique(every, return_index=True)[1]
    order: np.ndarray = every[np.sort(first)]
    return order


def _chance(one: Example) -> float:
    assert one.probability is not None
    return one.probability


def _describe(one: Example) -> str:
    return f"{one.name} ({one.label})"
