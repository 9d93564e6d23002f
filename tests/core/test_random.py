"""Numbers from keys: the published generator, the same under vmap, and as random as they should be."""

import pytest
import torch
from scipy import stats
from torch import nn

from mapwise.core import functional, random
from small_tasks import drawn


def splitmix64(state: int, count: int) -> list[int]:
    """The generator as its authors publish it, on Python's own integers."""
    results = []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        results.append(z ^ (z >> 31))
    return results


def test_bits_are_splitmix64_started_at_the_mixed_key():
    # Published outputs: the oracle itself is checked first.
    assert splitmix64(0, 3) == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert splitmix64(1234567, 2) == [6457827717110365317, 3203168211198807973]
    for key in (0, 1, 1234567, -1, 2**63 - 1):
        (state,) = splitmix64(key % 2**64, 1)
        results = [number % 2**64 for number in random.bits(torch.tensor(key), (2, 3)).flatten().tolist()]
        assert results == splitmix64(state, 6)


@pytest.mark.parametrize("draw", [random.bits, random.uniform, random.normal], ids=lambda f: f.__name__)
def test_numbers_are_the_same_bits_under_vmap_in_chunks_and_in_a_loop(draw):
    keys = torch.arange(7)
    looped = torch.stack([draw(key, (3, 5)) for key in keys])
    assert torch.equal(torch.vmap(lambda key: draw(key, (3, 5)))(keys), looped)
    chunks = [torch.vmap(lambda key: draw(key, (3, 5)))(keys[i : i + 3]) for i in (0, 3, 6)]
    assert torch.equal(torch.cat(chunks), looped)
    assert len({tuple(row) for row in looped.flatten(1).tolist()}) == 7


def test_permutations_and_folded_keys_are_the_same_under_vmap():
    keys = torch.arange(5)
    folded = torch.vmap(lambda key: random.fold(key, 3))(keys)
    assert folded.tolist() == [int(random.fold(key, 3)) for key in keys]
    orders = torch.vmap(lambda key: random.permutation(key, 6))(keys)
    assert all(torch.equal(order, random.permutation(key, 6)) for key, order in zip(keys, orders, strict=True))
    assert all(sorted(order.tolist()) == list(range(6)) for order in orders)


def test_a_key_may_be_folded_with_a_number_in_a_tensor():
    key = torch.tensor(7)
    for number in (-1, 0, 3, 10**12):
        assert int(random.fold(key, torch.tensor(number))) == int(random.fold(key, number))


def test_keys_folded_for_different_purposes_never_meet():
    keys = {int(random.fold(torch.tensor(key), number)) for key in range(100) for number in range(-1, 100)}
    assert len(keys) == 100 * 101


def test_every_permutation_is_as_likely_as_any_other():
    orders = [tuple(random.permutation(torch.tensor(key), 3).tolist()) for key in range(6000)]
    counts = [orders.count(order) for order in sorted(set(orders))]
    assert len(counts) == 6 and stats.chisquare(counts).pvalue > 1e-3


def test_uniform_numbers_are_uniform_and_never_0_or_1():
    result = random.uniform(torch.tensor(3), (100_000,))
    assert result.dtype == torch.float32 and float(result.min()) > 0 and float(result.max()) < 1
    assert stats.kstest(result.double().numpy(), "uniform").pvalue > 1e-3


def test_normal_numbers_are_normal_finite_and_independent_of_neighbouring_keys():
    result = random.normal(torch.tensor(3), (100_000,))
    assert bool(result.isfinite().all()) and stats.kstest(result.double().numpy(), "norm").pvalue > 1e-3
    beside = random.normal(torch.tensor(4), (100_000,))
    assert abs(float(torch.corrcoef(torch.stack([result, beside]))[0, 1])) < 0.015
    across = torch.stack([random.normal(torch.tensor(key), (1,))[0] for key in range(3000)])
    assert stats.kstest(across.double().numpy(), "norm").pvalue > 1e-3


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
@pytest.mark.parametrize("rule", ["torch's rule for vmap", "ours, for older torch"])
def test_equal_rows_have_equal_numbers_wherever_they_stand(dtype, rule, monkeypatch):
    if rule.startswith("ours"):
        monkeypatch.setattr(random, "_VIEWS", False)
    elif not random._VIEWS:
        pytest.skip("this torch lacks the rule")
    x = (10 * drawn(6, 2, 5)).to(dtype)
    x[4] = x[1]
    result = random.digest(x)
    assert result.dtype == torch.int64 and result[4] == result[1]
    order = torch.tensor([5, 4, 0, 1, 3, 2])
    assert torch.equal(random.digest(x[order]), result[order])
    assert torch.equal(torch.vmap(random.digest)(x[:, None])[:, 0], result)
    assert len(set(result.tolist())) == 5 or dtype is torch.bool


def test_a_rows_number_knows_each_of_its_bits_and_their_places():
    row = torch.arange(1.0, 9.0)
    others = [row.roll(1), row.flip(0), torch.nextafter(row, row + 1)]
    others += [torch.where(torch.arange(8) == place, -row, row) for place in range(8)]
    assert len(set(random.digest(torch.stack([row, *others])).tolist())) == 1 + len(others)
    assert int(random.digest(torch.tensor([[0.0]]))) == int(random.digest(torch.tensor([[-0.0]])))


def test_the_parts_of_a_row_each_have_a_say_in_its_number():
    a, b = drawn(4, 3), drawn(4, 2, 2, seed=1)
    whole = random.digest({"a": a, "b": b})
    assert not torch.equal(whole, random.digest({"a": a, "b": -b}))
    assert not torch.equal(random.digest({"a": a, "b": a.flip(0)}), random.digest({"a": a.flip(0), "b": a}))
    assert torch.equal(random.digest({"a": a.flip(0), "b": b.flip(0)}), whole.flip(0))


def test_random_numbers_leave_torchs_global_generator_alone():
    before = torch.random.get_rng_state()
    random.normal(random.fold(torch.tensor(0), 1), (4,))
    random.permutation(torch.tensor(0), 4)
    functional.initial_weights(lambda: nn.Linear(2, 2), seed=1)
    assert torch.equal(before, torch.random.get_rng_state())
