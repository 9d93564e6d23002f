"""A chain's sums, marginals and best path are those of all its paths, one by one."""

from itertools import pairwise, product

import pytest
import torch

from mapwise.core.chain import BARRED, best_path, log_likelihood, log_marginals, log_partition, marginals, path_score

STATES = 3
MASKS = [[1], [0], [1, 1, 1, 1], [0, 1, 1, 0], [1, 0, 0, 1], [0, 0, 1, 0], [1, 0, 1, 0], [0, 0, 0]]


def numbers(length, seed=0, states=STATES, batch=()):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(*batch, length, states), (states, states), (states,)]
    return [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]


def all_paths(scores, transitions, start, mask):
    """Path over the positions that count -> its score."""
    places = [i for i, counts in enumerate(mask) if counts]
    totals = {}
    for path in product(range(scores.shape[-1]), repeat=len(places)):
        total = torch.zeros((), dtype=torch.float64)
        for i, (place, state) in enumerate(zip(places, path, strict=True)):
            total = total + scores[place, state] + (transitions[path[i - 1], state] if i else start[state])
        totals[path] = total
    return places, totals


@pytest.mark.parametrize("mask", MASKS, ids=str)
def test_the_sum_over_paths_is_the_sum_over_paths(mask):
    chain = numbers(len(mask))
    _, totals = all_paths(*chain, mask)
    expected = torch.logsumexp(torch.stack(list(totals.values())), 0)
    torch.testing.assert_close(log_partition(*chain, torch.tensor(mask)), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mask", MASKS, ids=str)
def test_marginals_are_shares_of_the_paths_and_the_gradient_of_the_sum(mask):
    scores, transitions, start = numbers(len(mask))
    places, totals = all_paths(scores, transitions, start, mask)
    expected = torch.zeros_like(scores)
    whole = sum(total.exp() for total in totals.values())
    for path, total in totals.items():
        for place, state in zip(places, path, strict=True):
            expected[place, state] += total.exp() / whole
    got = marginals(scores, transitions, start, torch.tensor(mask))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    scores.requires_grad_()
    (gradient,) = torch.autograd.grad(log_partition(scores, transitions, start, torch.tensor(mask)), scores)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("mask", MASKS, ids=str)
def test_the_best_path_is_the_best_of_all(mask, seed):
    scores, transitions, start = numbers(len(mask), seed)
    places, totals = all_paths(scores, transitions, start, mask)
    best = max(totals, key=lambda path: totals[path])
    path = best_path(scores, transitions, start, torch.tensor(mask))
    assert tuple(path[places].tolist()) == best
    torch.testing.assert_close(path_score(scores, path, transitions, start, torch.tensor(mask)), totals[best])
    carried = 0
    for place, state in enumerate(path.tolist()):
        assert mask[place] or state == carried
        carried = state


def test_every_path_has_the_score_of_its_steps():
    chain, mask = numbers(4), [1, 0, 1, 1]
    places, totals = all_paths(*chain, mask)
    for path, total in totals.items():
        states = torch.full((4,), 2)
        states[places] = torch.tensor(path)
        torch.testing.assert_close(path_score(chain[0], states, *chain[1:], torch.tensor(mask)), total)


def test_gradients_are_those_of_finite_differences():
    scores, transitions, start = (part.requires_grad_() for part in numbers(4))
    mask, path = torch.tensor([1, 0, 1, 1]), torch.tensor([1, 0, 2, 1])
    for function in (
        lambda *chain: log_partition(*chain, mask),
        lambda *chain: marginals(*chain, mask),
        lambda scores, *rest: path_score(scores, path, *rest, mask),
    ):
        assert torch.autograd.gradcheck(function, (scores, transitions, start))
        assert torch.autograd.gradgradcheck(function, (scores, transitions, start))


def test_a_batch_is_its_rows_and_so_is_vmap():
    scores, transitions, start = numbers(4, batch=(len(masks := [m for m in MASKS if len(m) == 4]),))
    mask = torch.tensor(masks)
    paths = best_path(scores, transitions, start, mask)
    for function, more in ((log_partition, ()), (marginals, ()), (best_path, ()), (path_score, (paths,))):
        rows = [function(scores[i], *(p[i] for p in more), transitions, start, mask[i]) for i in range(len(mask))]
        mapped = torch.vmap(function, in_dims=(0, *(0 for _ in more), None, None, 0))
        torch.testing.assert_close(function(scores, *more, transitions, start, mask), torch.stack(rows))
        torch.testing.assert_close(mapped(scores, *more, transitions, start, mask), torch.stack(rows))


def test_transitions_and_starts_of_their_own_are_mapped():
    chains = [numbers(4, seed) for seed in range(3)]
    mask = torch.tensor([1, 1, 0, 1])
    stacked = [torch.stack(parts) for parts in zip(*chains, strict=True)]
    for function in (log_partition, marginals, best_path):
        mapped = torch.vmap(function, in_dims=(0, 0, 0, None))(*stacked, mask)
        torch.testing.assert_close(mapped, torch.stack([function(*chain, mask) for chain in chains]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("low", [BARRED, float("-inf"), "least"])
def test_what_is_barred_is_on_no_path_and_gradients_stay_finite(low, dtype):
    low = torch.finfo(dtype).min / 2 if low == "least" else low
    scores, transitions, start = (part.to(dtype) for part in numbers(30))
    scores[:, 2] = low
    transitions[0, 1] = low
    start[0] = low
    scores.requires_grad_()
    mask = torch.ones(30)
    total = log_partition(scores, transitions, start, mask)
    (gradient,) = torch.autograd.grad(total, scores)
    assert total.isfinite() and gradient.isfinite().all()
    assert (gradient[:, 2] == 0).all() and gradient[0, 0] == 0
    path = best_path(scores.detach(), transitions, start, mask).tolist()
    assert path[0] == 1 and 2 not in path and (0, 1) not in list(pairwise(path))


def test_scores_that_are_masked_change_nothing():
    scores, transitions, start = numbers(5)
    mask = torch.tensor([0, 1, 0, 1, 0])
    other = torch.where(mask[:, None] > 0, scores, 1e6)
    for function in (log_partition, marginals, best_path):
        torch.testing.assert_close(
            function(scores, transitions, start, mask), function(other, transitions, start, mask)
        )


def test_a_long_chain_stays_a_number():
    scores, transitions, start = numbers(2000)
    mask = torch.ones(2000)
    total = log_partition(100 * scores, transitions, start, mask)
    best = best_path(100 * scores, transitions, start, mask)
    highest = path_score(100 * scores, best, transitions, start, mask)
    assert total.isfinite() and 0 <= total - highest < 100


@pytest.mark.parametrize("mask", MASKS, ids=str)
def test_logarithms_of_marginals_are_finite_where_nothing_counts(mask):
    scores, transitions, start = numbers(len(mask), batch=(2,))
    start[1], transitions[0, 2] = BARRED, -torch.inf
    got = log_marginals(scores, transitions, start, torch.tensor(mask).expand(2, -1))
    counted = torch.tensor(mask) > 0
    expected = marginals(scores, transitions, start, torch.tensor(mask).expand(2, -1))
    torch.testing.assert_close(got[:, counted].exp(), expected[:, counted], rtol=0, atol=1e-12)
    assert got.isfinite().all()


@pytest.mark.parametrize("mask", [[1, 1, 1], [0, 1, 1], [1, 0, 1]], ids=str)
def test_the_likelihood_of_states_is_the_share_of_the_paths_through_them(mask):
    scores, transitions, start = numbers(len(mask))
    places, totals = all_paths(scores, transitions, start, mask)
    states = torch.tensor([[True, False, True], [False, True, False], [True, True, True]])
    whole = sum(total.exp() for total in totals.values())
    through = sum(
        total.exp()
        for path, total in totals.items()
        if all(states[place, state] for place, state in zip(places, path, strict=True))
    )
    got = log_likelihood(scores, states, transitions, start, torch.tensor(mask))
    torch.testing.assert_close(got, (through / whole).log(), rtol=0, atol=1e-12)
    everything = log_likelihood(scores, torch.ones_like(states), transitions, start, torch.tensor(mask))
    assert float(everything) == pytest.approx(0, abs=1e-12)
