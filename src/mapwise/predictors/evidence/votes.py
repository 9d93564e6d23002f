"""Why an answer is what it is: the support examples that voted, and the answer without each of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from mapwise.core.capabilities import Votes, VoteScale
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
    without:     the answer of a predictor fitted to all examples but this.
    probability: of the explained answer, by that predictor.
    """

    row: int
    label: Any
    source: str
    vote: float | None
    without: Any
    probability: float

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
                 which it would be least probable.
    votes:       what each example puts into each class, in the order of the support and of the classes; summed over the
                 examples they are the scores, up to a number that is the same for all classes, or the probabilities.
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
        """The examples of which each, left out, would change the answer."""
        return tuple(one for one in self.examples if one.without != self.label)

    def __str__(self) -> str:
        """As lines for a person."""
        lines = [f"{self.label}, {100 * self.probability:.1f} %, before {self.runner_up}"]
        if self.votes is None:
            least = [one for one in self.examples if one.probability < self.probability][:_SHOWN]
            lines += [f"  without {_said(one)}: {100 * one.probability:.1f} %" for one in least]
        else:
            sides = [[one for one in self.examples if one.vote is not None and sign * one.vote > 0] for sign in (1, -1)]
            for word, side in zip(("for it", "against"), (sides[0], sides[1][::-1]), strict=True):
                lines += [
                    f"  {word}  {one.vote:+.3g}  {_said(one)}; without it {100 * one.probability:.1f} %"
                    for one in side[:_SHOWN]
                ]
        if self.decisive:
            lines += [f"  without {_said(one)} it would be {one.without}" for one in self.decisive[:_SHOWN]]
        else:
            lines.append(f"  without any one example it would still be {self.label}")
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
            **({"region": region} if region else {}),
        }


def explained(
    learner: Learner,
    params: Params,
    fast: Fast,
    support: Examples,
    x: Float[torch.Tensor, "Q D"],
    without: Float[np.ndarray, "S Q W"],
    names: Sequence[Any],
    sources: Sequence[str] = (),
) -> list[Explanation]:
    """Why each query is answered as it is.

    without: the scores without each row of the support.
    sources: where each row came from; empty where unknown.

    The support has two classes at least.
    """
    with torch.no_grad():
        scores = learner.predict(params, fast, x)
    assert isinstance(scores, torch.Tensor)
    chances = scores.softmax(1).numpy()
    left = torch.as_tensor(without).softmax(2).numpy()  # [S, Q, W]
    order = np.argsort(-scores.numpy(), axis=1, kind="stable")[:, :2]
    columns = support.y.argmax(1).numpy()
    together = max(1, _TOGETHER // max(1, support.y.numel()))
    explanations = []
    for start in range(0, len(x), together):
        part = slice(start, start + together)
        votes = _votes(learner, params, fast, support, x[part])
        for place, (first, second) in enumerate(order[part], start=start):
            each = None if votes is None else votes[place - start]  # [S, W]
            vote = None if each is None else each[:, first] - each[:, second]
            chance = left[:, place, first]  # [S]
            examples = tuple(
                Example(
                    row=int(row),
                    label=names[columns[row]],
                    source=sources[row] if len(sources) else "",
                    vote=None if vote is None else float(vote[row]),
                    without=names[int(left[row, place].argmax())],
                    probability=float(chance[row]),
                )
                for row in np.argsort(chance if vote is None else -vote, kind="stable")
            )
            scale = learner.votes_add_to if isinstance(learner, Votes) else None
            answer = float(chances[place, first])
            explanations.append(Explanation(names[first], answer, names[second], examples, each, scale, row=place))
    return explanations


def _votes(
    learner: Learner, params: Params, fast: Fast, support: Examples, x: torch.Tensor
) -> Float[np.ndarray, "Q S W"] | None:
    if not isinstance(learner, Votes):
        return None
    with torch.no_grad():
        return learner.votes(params, fast, support, x).numpy()


def _said(one: Example) -> str:
    return f"{one.name} ({one.label})"
