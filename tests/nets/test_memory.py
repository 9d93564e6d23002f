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
