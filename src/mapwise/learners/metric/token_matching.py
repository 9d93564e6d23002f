"""Words of a text by the support's nearest word of each tag, and what follows what by a learned table."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch._C._functorch import peek_interpreter_stack
from torch.nn.functional import normalize

from mapwise.core import functional
from mapwise.core.chain import log_marginals
from mapwise.core.families.embedding import kept_laws
from mapwise.core.families.words import (
    WordLearner,
    check_tags,
    is_name,
    moves_of,
    of_types,
    path_loss,
    starts_of,
    zero_table,
)
from mapwise.core.geometry import squared_distances
from mapwise.core.scores import without_absent
from mapwise.core.tags import Moves
from mapwise.core.task import Examples, Task, present_classes
from mapwise.core.tree import Fast, Params
from mapwise.learners.row import LearnerRow

_FARTHEST = 4.0
"""The largest squared distance of vectors of length 1."""


@dataclass(frozen=True)
class TokenMatching(WordLearner):
    """A word has the tag of the support's nearest word, as far as the tags of its neighbours agree.

    A word and a tag are as far apart as the word and the nearest one of that tag in the support, by the squared
    distance of their vectors, each of length 1. For B of a type a word that is I of it counts as `apart` farther away,
    and so does a word of the type's name; the same of I. To O it is never farther than `beyond`. Minus `scale` times
    that is the tag's score. A table scores what follows what, and paths of tags are a chain: the answer is the
    logarithm of each tag's marginal at each word.

    Paper:   Yang, Katiyar 2020, arXiv:2010.02405: section 3.1 (NNShot) and 3.2 (StructShot).
    Fast:    {"encoder": its weights, "log_scale": [], "log_apart": [], "log_beyond": [], "words": [M, D],
             "groups": [M], "present": [2 T + 1], "table": {"moves": [3, 3], "start": [3]}}.
    Loss:    the negative log-likelihood of the true path of each query text, a mean over words.
    Differs: the table and the scale are learned through the paths' likelihood across tasks (Lafferty, McCallum,
             Pereira, ICML 2001), and the encoder with them, where the paper counts transitions in the source domain,
             chooses a temperature on a validation set, and trains the encoder as a tagger. Tags are B and I, and not I
             alone; names of types are in the support; and the answers are marginals, of which the best allowed path is
             taken, where the paper takes the best path.

    encoder: [N, L] pieces -> [N, L, D], with whatever is frozen inside it.
    scale:   what squared distances, 0..4, are multiplied by at first.
    apart:   how much farther away a word of a type in another place, or of its name, is at first.
    beyond:  the squared distance of O to any word at first.

    All three are learned as their logarithms. The table has a score from each of O, B and I to each, and one for each
    at the first word, and is the same for all types. It is zero at first: then all that is known of paths is that I
    stands behind B or I of its type.

    x is a dict of tensors; where it has "described", [N], rows with 1 there are names of types and no texts, and where
    it has "starts", [N, L], words are the pieces with 1 there.

    Breaks `relabel`, as "O" has a column of its own, and `query_loss`, since it is trained on paths, and answers for
    words.

    Raises ValueError for tasks whose columns aren't tags.
    """

    scale: float = 20.0
    apart: float = 0.5
    beyond: float = 1.5

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("scale", "apart", "beyond"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}: give a number above 0")

    @property
    def keeps(self) -> frozenset[str]:
        """See the class."""
        return kept_laws(self.encoder) - {"relabel", "query_loss"}

    def init(self, seed: int) -> Params:
        """The encoder's weights, the logarithms of the three numbers, and a table of zeros."""
        return {
            "encoder": functional.initial_weights(self.encoder, seed),
            **{f"log_{name}": torch.tensor(getattr(self, name)).log() for name in ("scale", "apart", "beyond")},
            "table": zero_table(),
        }

    def adapt(self, params: Params, support: Examples) -> Fast:
        """Remember the words of the support that count, and what each is an example of."""
        check_tags(support.y, "TokenMatching")
        types = of_types(support.y)
        present = present_classes(support._replace(y=types)).repeat_interleave(2)
        words, groups = self.embed(params, params, support.x).flatten(0, 1), _groups(support).flatten()
        if peek_interpreter_stack() is None:
            # Most positions are no words, and distances to them would be for nothing.
            counted = groups > 0
            words, groups = words[counted], groups[counted]
        own = {name: params[name] for name in ("encoder", "log_scale", "log_apart", "log_beyond", "table")}
        return {**own, "words": words, "groups": groups, "present": torch.cat([torch.ones_like(present[:1]), present])}

    def predict(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "Q L W"]:
        """The logarithm of every tag's marginal over all paths."""
        scores = self._scores(fast, x)
        return without_absent(log_marginals(scores, *self._moves(fast), starts_of(x, scores)), fast["present"])

    def objective(self, params: Params, task: Task) -> Float[Tensor, ""]:
        """The negative log-likelihood of the queries' paths."""
        fast = self.adapt(params, task.support)
        scores = self._scores(fast, task.query.x)
        return path_loss(scores, self._moves(fast), task.query, starts_of(task.query.x, scores))

    def embed(self, params: Params, fast: Fast, x: Any) -> Float[Tensor, "N L D"]:
        """Words where they are compared, of length 1."""
        placed: Tensor = normalize(self.encode(fast, x), dim=-1)
        return placed

    def _moves(self, fast: Fast) -> Moves:
        return moves_of(fast["table"], len(fast["present"]) // 2)

    def _scores(self, fast: Fast, x: Any) -> Float[Tensor, "Q L W"]:
        """Minus `scale` times the distance of every tag to every word."""
        z = self.embed({}, fast, x)
        near = _nearest(z.flatten(0, 1), fast["words"], fast["groups"], len(fast["present"]))  # [Q L, 1 + 3 T]
        outside = near[:, :1].minimum(fast["log_beyond"].exp())
        begin, inside, name = near[:, 1::3], near[:, 2::3], near[:, 3::3]  # each [Q L, T]
        apart = fast["log_apart"].exp()
        places = [begin.minimum(inside.minimum(name) + apart), inside.minimum(begin.minimum(name) + apart)]
        far = torch.cat([outside, torch.stack(places, -1).flatten(1)], -1)  # [Q L, W]
        scores = -fast["log_scale"].exp() * far.reshape(*z.shape[:2], -1)
        return without_absent(scores, fast["present"])


def _groups(support: Examples) -> Int64[Tensor, "N L"]:
    """What each word is an example of: 1 for O, 2 to 4 for B, I and the name of the first type, ...; 0 for nothing."""
    named = is_name(support.x)[:, None] > 0
    tag = support.y.argmax(-1)
    kind = (tag - 1).div(2, rounding_mode="floor")
    place = torch.where(named, 2, (tag - 1) % 2)
    group = torch.where(tag > 0, 2 + 3 * kind + place, torch.where(named, 0, 1))
    return torch.where(support.weight > 0, group, 0)


def _nearest(
    z: Float[Tensor, "N D"], words: Float[Tensor, "M D"], groups: Int64[Tensor, "M"], columns: int
) -> Float[Tensor, "N G"]:
    """The least squared distance to a word of every group but the first; the largest there is to an empty one."""
    far = squared_distances(z, words)  # [N, M]
    least = far.new_full((len(z), 2 + 3 * (columns // 2)), _FARTHEST)
    return least.scatter_reduce(1, groups.expand(far.shape), far, "amin")[:, 1:]


ROWS = {
    "token_matching": LearnerRow(
        TokenMatching,
        "Yang & Katiyar 2020",
        "spans of texts: tags of the nearest words of the examples, along paths that a learned table scores",
        columns=("tags",),
        tuned={"optimizer.lr": (0.0001, 0.0003)},
    ),
}
