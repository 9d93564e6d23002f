"""The functions of an external memory, each against numbers computed with loops in numpy."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import vmap

from mapwise.core import random
from mapwise.nets import memory as m

SLOTS, WIDTH, HEADS = 6, 4, 2


def drawn(place: int, *shape: int) -> Tensor:
    return random.normal(random.fold(torch.tensor(7), place), shape).double()


def weightings(place: int, heads: int = HEADS) -> Tensor:
    return drawn(place, heads, SLOTS).softmax(-1)


def test_content_weights_are_a_softmax_of_strength_times_cosine() -> None:
    memory, keys, strengths = drawn(0, SLOTS, WIDTH), drawn(1, HEADS, WIDTH), drawn(2, HEADS).exp()
    for head in range(HEADS):
        k = keys[head].numpy()
        cosines = np.array([slot @ k / (np.linalg.norm(slot) * np.linalg.norm(k)) for slot in memory.numpy()])
        expected = np.exp(strengths[head].item() * cosines)
        result = m.content_weights(memory, keys, strengths)[head]
        np.testing.assert_allclose(result, expected / expected.sum(), atol=1e-7)  # EPS is the difference


def test_an_empty_slot_resembles_nothing_and_has_a_finite_slope() -> None:
    memory = torch.zeros(SLOTS, WIDTH, dtype=torch.float64, requires_grad=True)
    weights = m.content_weights(memory, drawn(1, 1, WIDTH), torch.tensor([50.0]).double())
    torch.testing.assert_close(weights, torch.full((1, SLOTS), 1 / SLOTS, dtype=torch.float64))
    (slope,) = torch.autograd.grad(weights[0, 0], memory)
    assert torch.isfinite(slope).all()


def test_interpolation_weighs_new_against_old() -> None:
    new, old, gate = weightings(0), weightings(1), torch.tensor([0.25, 1.0]).double()
    result = m.interpolate(new, old, gate)
    np.testing.assert_allclose(result[0], 0.25 * new[0].numpy() + 0.75 * old[0].numpy())
    np.testing.assert_allclose(result[1], new[1].numpy())


@pytest.mark.parametrize("reach", [1, 2])
def test_a_shift_is_a_circular_convolution(reach: int) -> None:
    weights, shifts = weightings(0), drawn(1, HEADS, 2 * reach + 1).softmax(-1)
    expected = np.zeros((HEADS, SLOTS))
    for head in range(HEADS):
        for i in range(SLOTS):
            for by in range(-reach, reach + 1):
                expected[head, (i + by) % SLOTS] += weights[head, i].item() * shifts[head, by + reach].item()
    np.testing.assert_allclose(m.circular_shift(weights, shifts), expected)


def test_a_shift_of_plus_one_moves_slot_i_to_the_next_around_the_ring() -> None:
    up = torch.tensor([[0.0, 0.0, 1.0]])
    assert m.circular_shift(torch.eye(4)[2:3], up).argmax() == 3
    assert m.circular_shift(torch.eye(4)[3:4], up).argmax() == 0


def test_sharpening_raises_to_a_power_and_sums_to_one() -> None:
    weights, power = weightings(0), torch.tensor([1.0, 3.5]).double()
    expected = weights.numpy() ** power.numpy()[:, None]
    np.testing.assert_allclose(m.sharpen(weights, power), expected / expected.sum(1, keepdims=True))


def test_sharpening_survives_a_power_that_would_make_every_weight_zero() -> None:
    flat = torch.full((1, 128), 1 / 128)
    torch.testing.assert_close(m.sharpen(flat, torch.tensor([40.0])), flat)


def test_reading_averages_slots() -> None:
    memory, weights = drawn(0, SLOTS, WIDTH), weightings(1)
    expected = [sum(weights[h, i].item() * memory[i].numpy() for i in range(SLOTS)) for h in range(HEADS)]
    np.testing.assert_allclose(m.read(memory, weights), np.array(expected))


def test_writing_erases_then_adds() -> None:
    memory, weights = drawn(0, SLOTS, WIDTH), weightings(1)
    add, erase = drawn(2, HEADS, WIDTH), drawn(3, HEADS, WIDTH).sigmoid()
    expected = memory.numpy().copy()
    for i in range(SLOTS):
        for j in range(WIDTH):
            for h in range(HEADS):
                expected[i, j] *= 1 - weights[h, i].item() * erase[h, j].item()
            for h in range(HEADS):
                expected[i, j] += weights[h, i].item() * add[h, j].item()
    np.testing.assert_allclose(m.write(memory, weights, add, erase), expected)
    only_added = memory.numpy() + weights.numpy().T @ add.numpy()
    np.testing.assert_allclose(m.write(memory, weights, add), only_added)


def test_usage_decays_and_grows_by_what_was_read_and_written() -> None:
    usage, reads, writes = drawn(0, SLOTS).exp(), weightings(1), weightings(2)
    expected = 0.95 * usage.numpy() + reads.numpy().sum(0) + writes.numpy().sum(0)
    np.testing.assert_allclose(m.decay_usage(usage, reads, writes, 0.95), expected)


def test_the_least_used_slots_are_the_smallest_and_the_first_of_equal_ones() -> None:
    usage = torch.tensor([0.3, 0.1, 0.7, 0.1, 0.0])
    assert m.least_used(usage, 3).tolist() == torch.eye(5)[[4, 1, 3]].tolist()


def test_writes_to_the_least_used_go_round_and_find_an_empty_slot() -> None:
    # Gate closed on the previous reads, usage one-hot at slot 0: 1, 2, 3, 0, 1.
    memory, usage, reads = torch.ones(4, 3), torch.eye(4)[0], torch.zeros(1, 4)
    places = []
    for step in range(5):
        least = m.least_used(usage, 1)
        weights = m.interpolate(reads, least, torch.zeros(1))
        memory = m.wipe(memory, least)
        place = int(weights.argmax())
        assert memory[place].tolist() == [0, 0, 0]
        memory = m.write(memory, weights, torch.full((1, 3), 2.0 + step))
        assert memory[place].tolist() == [2.0 + step] * 3
        usage = m.decay_usage(usage, reads, weights, 0.95)
        places.append(place)
    assert places == [1, 2, 3, 0, 1]
    assert memory.tolist() == [[5.0] * 3, [6.0] * 3, [3.0] * 3, [4.0] * 3]


def test_usage_grows_by_what_was_written_and_shrinks_by_what_was_read_and_freed() -> None:
    usage, write, reads, free = drawn(0, SLOTS).sigmoid(), weightings(1)[0], weightings(2), drawn(3, HEADS).sigmoid()
    expected = np.zeros(SLOTS)
    for i in range(SLOTS):
        u, w = usage[i].item(), write[i].item()
        expected[i] = u + w - u * w
        for h in range(HEADS):
            expected[i] *= 1 - free[h].item() * reads[h, i].item()
    np.testing.assert_allclose(m.usage_after(usage, write, reads, free), expected)


def test_what_is_free_is_allocated_by_the_usages_of_slots_that_are_less_used() -> None:
    usage = torch.tensor([0.5, 0.1, 0.9, 0.3]).double()
    expected = [0.5 * 0.1 * 0.3, 0.9, 0.1 * 0.1 * 0.3 * 0.5, 0.7 * 0.1]
    np.testing.assert_allclose(expected, [0.015, 0.9, 0.0015, 0.07])
    np.testing.assert_allclose(m.allocation(usage), expected, rtol=1e-6)
    np.testing.assert_allclose(m.allocation(torch.zeros(4)), [1, 0, 0, 0])  # the first of equal ones, and whole
    np.testing.assert_allclose(m.allocation(torch.ones(4)), [0] * 4)  # nowhere


def without_order(usage: Tensor) -> Tensor:
    """Allocation by a usage that is not sorted."""
    return (1 - usage) * m.products_before(usage)


def left_in_order(usage: Tensor) -> Tensor:
    """Allocation that is not put back."""
    ascending = usage.sort(-1).values
    return (1 - ascending) * m.products_before(ascending)


def with_itself(usage: Tensor) -> Tensor:
    """Allocation by the product up to a slot instead of before it."""
    ascending, order = usage.sort(-1)
    return torch.zeros_like(usage).scatter(-1, order, (1 - ascending) * ascending.cumprod(-1))


@pytest.mark.parametrize("fault", [without_order, left_in_order, with_itself])
def test_a_wrong_allocation_is_another(fault) -> None:
    gap = fault(torch.tensor([0.5, 0.1, 0.9, 0.3])) - torch.tensor([0.015, 0.9, 0.0015, 0.07])
    assert float(gap.abs().max()) > 0.05


@pytest.mark.parametrize("length", [1, 2, 3, 7, 8, 9])
def test_products_before_each_number(length: int) -> None:
    factors = drawn(0, length)
    np.testing.assert_allclose(m.products_before(factors), [np.prod(factors[:i].numpy()) for i in range(length)])


def loop_links(links: np.ndarray, precedence: np.ndarray, write: np.ndarray) -> np.ndarray:
    expected = np.zeros_like(links)
    for i in range(SLOTS):
        for j in range(SLOTS):
            if i != j:
                expected[i, j] = (1 - write[i] - write[j]) * links[i, j] + write[i] * precedence[j]
    return expected


def test_links_fade_as_their_slots_are_written_and_lead_from_what_was_written_before() -> None:
    write, precedence = weightings(1)[0], 0.8 * weightings(2)[1]
    links = drawn(3, SLOTS, SLOTS).sigmoid() * (1 - torch.eye(SLOTS))
    expected = loop_links(*(part.numpy() for part in (links, precedence, write)))
    np.testing.assert_allclose(m.links_after(links, precedence, write), expected, atol=1e-15)
    for fault in (m.links_after(links, precedence, write).mT, m.links_after(links, write, precedence)):
        assert np.abs(fault.numpy() - expected).max() > 0.01


def test_precedence_is_what_was_written_last() -> None:
    write, precedence = 0.5 * weightings(1)[0], weightings(2)[0]
    expected = 0.5 * precedence.numpy() + write.numpy()
    np.testing.assert_allclose(m.precedence_after(precedence, write), expected)
    assert m.precedence_after(precedence, torch.eye(SLOTS)[2].double()).tolist() == torch.eye(SLOTS)[2].tolist()


def after_hard_writes(order: list[int], advance=m.precedence_after) -> Tensor:
    """The links of four slots, written whole in this order."""
    links, precedence = torch.zeros(4, 4), torch.zeros(4)
    for place in order:
        write = torch.eye(4)[place]
        links, precedence = m.links_after(links, precedence, write), advance(precedence, write)
    return links


def test_hard_writes_are_linked_in_their_order() -> None:
    links = after_hard_writes([0, 1, 2])
    assert links.nonzero().tolist() == [[1, 0], [2, 1]] and links[1, 0] == links[2, 1] == 1
    backward, forward = m.follow(links, torch.eye(4)[[0, 2]])
    assert forward[0].tolist() == [0, 1, 0, 0] and backward[1].tolist() == [0, 1, 0, 0]
    assert not bool(backward[0].any()) and not bool(forward[1].any())  # nothing before the first or after the last
    # Written anew, a slot has no other links than its new ones.
    assert after_hard_writes([0, 1, 2, 0]).nonzero().tolist() == [[0, 2], [2, 1]]
    # Faults: transposed, nothing follows the first slot; and where nothing was written last, nothing is linked.
    assert not bool(m.follow(links.mT, torch.eye(4)[[0]])[1].any())
    assert not bool(after_hard_writes([0, 1, 2], lambda precedence, write: precedence).any())


def step_by_usage(usage: Tensor, weights: Tensor, free: Tensor, links: Tensor) -> Tensor:
    """Usage, allocation, links and both ways along them: [N], [H, N], [H], [N, N] -> [3, H, N]."""
    usage = m.usage_after(usage, weights[0], weights, free.sigmoid())
    write = m.allocation(usage)
    links = m.links_after(links, weights[1], write)
    backward, forward = m.follow(links, weights)
    return torch.stack([backward, forward, torch.stack([m.precedence_after(weights[0], write), usage])])


def test_usage_and_links_agree_with_finite_differences_twice_and_under_vmap() -> None:
    tasks = 3
    given = (drawn(0, tasks, SLOTS).sigmoid(), drawn(1, tasks, HEADS, SLOTS).softmax(-1))
    given += (drawn(2, tasks, HEADS), drawn(3, tasks, SLOTS, SLOTS).sigmoid() * (1 - torch.eye(SLOTS)))
    together = vmap(step_by_usage)(*given)
    apart = torch.stack([step_by_usage(*(leaf[t] for leaf in given)) for t in range(tasks)])
    torch.testing.assert_close(together, apart, atol=1e-12, rtol=1e-12)
    one = tuple(leaf[0].clone().requires_grad_() for leaf in given)
    assert torch.autograd.gradcheck(step_by_usage, one) and torch.autograd.gradgradcheck(step_by_usage, one)


def test_slots_without_usage_and_equal_ones_have_finite_slopes() -> None:
    for usage in (torch.zeros(6), torch.ones(6), torch.tensor([0.0, 0.5, 0.5, 0.0, 1.0, 1.0])):
        slope = torch.func.jacrev(m.allocation)(usage)
        curve = torch.func.jacrev(torch.func.grad(lambda u: (m.allocation(u) ** 2).sum()))(usage)
        assert torch.isfinite(slope).all() and torch.isfinite(curve).all()
    # Of two unused slots the first takes all, and would leave to the second as much as it is used.
    slope = torch.func.jacrev(m.allocation)(torch.zeros(3))
    assert slope.tolist() == [[-1, 0, 0], [1, 0, 0], [0, 0, 0]]


def one_of_everything(memory: Tensor, keys: Tensor, logits: Tensor, old: Tensor) -> Tensor:
    """A step through all functions: [N, M], [H, M], [H], [H, N] -> [N, M]."""
    weights = m.content_weights(memory, keys, 1 + logits.exp())
    weights = m.interpolate(weights, old, logits.sigmoid())
    weights = m.circular_shift(weights, torch.stack([logits, 0 * logits, -logits], -1).softmax(-1))
    weights = m.sharpen(weights, 1 + logits.exp())
    seen = m.read(memory, weights)
    usage = m.decay_usage(old.sum(0), weights, old, 0.9)
    least = m.least_used(usage, HEADS)
    memory = m.wipe(memory, least[:1])
    writes = m.interpolate(weights, least, logits.sigmoid())
    return m.write(memory, writes, seen, keys.sigmoid()) * usage[:, None]


def test_every_function_agrees_with_finite_differences() -> None:
    given = (drawn(0, SLOTS, WIDTH), drawn(1, HEADS, WIDTH), drawn(2, HEADS), weightings(3))
    assert torch.autograd.gradcheck(one_of_everything, tuple(leaf.requires_grad_() for leaf in given))


def test_every_function_runs_under_vmap_as_in_a_loop() -> None:
    tasks = 3
    given = (drawn(0, tasks, SLOTS, WIDTH), drawn(1, tasks, HEADS, WIDTH), drawn(2, tasks, HEADS))
    old = drawn(3, tasks, HEADS, SLOTS).softmax(-1)
    together = vmap(one_of_everything)(*given, old)
    apart = torch.stack([one_of_everything(*(leaf[t] for leaf in given), old[t]) for t in range(tasks)])
    torch.testing.assert_close(together, apart, atol=1e-12, rtol=1e-12)
