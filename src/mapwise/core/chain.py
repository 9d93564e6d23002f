"""A linear chain of states in log space: its partition function, marginals and best path.

Paper: Lafferty, McCallum, Pereira, "Conditional random fields", ICML 2001; Rabiner, "A tutorial on hidden Markov
models", Proc. IEEE 77(2), 1989, section III.

In all functions:

scores:      [*B, L, S], of every state at every position.
transitions: [S, S], from the row's state to the column's.
start:       [S], of the state at the first position that counts.
mask:        [*B, L], above 0 at a position that counts. Any other is skipped, wherever it stands: the state is carried
             over it, and its scores mean nothing.

Numbers below BARRED, also -inf, stand for it. All of this can be mapped by vmap, and differentiated; L is the length
of a loop.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

BARRED = -1e9
"""The score of what can't be: of a state, a transition or a start. Finite, so that its gradient is zero and not NaN."""


def log_partition(
    scores: Float[Tensor, "*B L S"],
    transitions: Float[Tensor, "S S"],
    start: Float[Tensor, "S"],
    mask: Float[Tensor, "*B L"],
) -> Float[Tensor, "*B"]:
    """The logarithm of the sum of exp(path score) over all paths; 0 where no position counts.

    Its gradient by the scores is `marginals`.
    """
    scores, transitions, start = _floored(scores), _floored(transitions), _floored(start)
    counted = mask > 0
    return _total(_forward(scores, transitions, start, counted)[-1], counted)


def marginals(
    scores: Float[Tensor, "*B L S"],
    transitions: Float[Tensor, "S S"],
    start: Float[Tensor, "S"],
    mask: Float[Tensor, "*B L"],
) -> Float[Tensor, "*B L S"]:
    """The probability of every state at every position, by the forward-backward algorithm; 0 where the mask is 0."""
    ahead, behind = path_sums(scores, transitions, start, mask)
    counted = mask > 0
    log = ahead + behind - _total(ahead[..., -1, :], counted)[..., None, None]
    return torch.where(counted[..., None], log, BARRED).exp()


def log_marginals(
    scores: Float[Tensor, "*B L S"],
    transitions: Float[Tensor, "S S"],
    start: Float[Tensor, "S"],
    mask: Float[Tensor, "*B L"],
) -> Float[Tensor, "*B L S"]:
    """The logarithm of `marginals`; where the mask is 0 it is finite, and means nothing."""
    ahead, behind = path_sums(scores, transitions, start, mask)
    # Every path passes through one of the states, so their sum is that over all paths.
    log: Tensor = (ahead + behind).log_softmax(-1)
    return log


def log_likelihood(
    scores: Float[Tensor, "*B L S"],
    states: Bool[Tensor, "*B L S"],
    transitions: Float[Tensor, "S S"],
    start: Float[Tensor, "S"],
    mask: Float[Tensor, "*B L"],
) -> Float[Tensor, "*B"]:
    """The logarithm of the probability that a path is in one of `states` at every position.

    With one state at each it is the log-likelihood of this path, and 0 with all of them.
    """
    both = torch.stack([torch.where(states, scores, BARRED), scores])
    through, total = log_partition(both, transitions, start, mask.expand_as(both[..., 0]))
    log: Tensor = through - total
    return log


def path_sums(
    scores: Float[Tensor, "*B L S"],
    transitions: Float[Tensor, "S S"],
    start: Float[Tensor, "S"],
    mask: Float[Tensor, "*B L"],
) -> tuple[Float[Tensor, "*B L S"], Float[Tensor, "*B L S"]]:
    """The logarithms of the sums of exp(score) over the parts of paths around every state at every position.

    First over those that end in the state, with its score; then over those that go on from it, without.
    """
    scores, transitions, start = _floored(scores), _floored(transitions), _floored(start)
    counted = mask > 0
    ahead = _forward(scores, transitions, start, counted)
    after = torch.zeros_like(ahead[-1])
    behind = [after]
    for score, here in zip(reversed(scores.unbind(-2)[1:]), reversed(counted.unbind(-1)[1:]), strict=True):
        through = torch.logsumexp(transitions + (score + after)[..., None, :], -1)
        after = torch.where(here[..., None], through, after)
        behind.append(after)
    return torch.stack(ahead, -2), torch.stack(behind[::-1], -2)


def best_path(
    scores: Float[Tensor, "*B L S"],
    transitions: Float[Tensor, "S S"],
    start: Float[Tensor, "S"],
    mask: Float[Tensor, "*B L"],
) -> Int64[Tensor, "*B L"]:
    """The path of the highest score, by the Viterbi algorithm.

    Where the mask is 0, the state is that of the last position that counts, and 0 before the first.
    """
    scores, transitions, start = _floored(scores), _floored(transitions), _floored(start)
    counted = mask > 0
    best, started = torch.zeros_like(scores[..., 0, :]), torch.zeros_like(counted[..., 0])
    states = torch.arange(scores.shape[-1], device=scores.device).expand(best.shape)
    origins = []
    for score, here in zip(scores.unbind(-2), counted.unbind(-1), strict=True):
        through, origin = (best[..., :, None] + transitions).max(-2)
        moves = (here & started)[..., None]
        origins.append(torch.where(moves, origin, states))
        best = torch.where(moves, through + score, torch.where(here[..., None], start + score, best))
        started = started | here
    state = best.argmax(-1)
    path = [state]
    for origin in reversed(origins[1:]):
        state = origin.gather(-1, state[..., None])[..., 0]
        path.append(state)
    begun = counted.long().cumsum(-1) > 0
    return torch.where(begun, torch.stack(path[::-1], -1), 0)


def path_score(
    scores: Float[Tensor, "*B L S"],
    path: Int64[Tensor, "*B L"],
    transitions: Float[Tensor, "S S"],
    start: Float[Tensor, "S"],
    mask: Float[Tensor, "*B L"],
) -> Float[Tensor, "*B"]:
    """The score of a path: of its start, its states and its transitions, over the positions that count.

    path: what stands where the mask is 0 changes nothing.
    """
    scores, transitions, start = _floored(scores), _floored(transitions), _floored(start)
    counted = mask > 0
    places = torch.arange(path.shape[-1], device=path.device).expand(path.shape)
    latest = torch.where(counted, places, -1).cummax(-1).values
    # The last position that counts before each position; -1 before the first.
    before = torch.cat([torch.full_like(latest[..., :1], -1), latest[..., :-1]], -1)
    origin = path.gather(-1, before.clamp(min=0))
    moves = torch.where(before >= 0, transitions[origin, path], start[path])
    here = scores.gather(-1, path[..., None])[..., 0]
    return torch.where(counted, here + moves, 0.0).sum(-1)


def _floored(numbers: Tensor) -> Tensor:
    return numbers.clamp(min=BARRED)


def _forward(scores: Tensor, transitions: Tensor, start: Tensor, counted: Tensor) -> list[Float[Tensor, "*B S"]]:
    """At every position, the logarithm of the sum over all paths that end in a state; carried over where masked."""
    now, started = torch.zeros_like(scores[..., 0, :]), torch.zeros_like(counted[..., 0])
    sums = []
    for score, here in zip(scores.unbind(-2), counted.unbind(-1), strict=True):
        through = torch.logsumexp(now[..., :, None] + transitions, -2)
        moved = torch.where(started[..., None], through, start) + score
        now = torch.where(here[..., None], moved, now)
        started = started | here
        sums.append(now)
    return sums


def _total(last: Tensor, counted: Tensor) -> Float[Tensor, "*B"]:
    return torch.where(counted.any(-1), torch.logsumexp(last, -1), 0.0)
