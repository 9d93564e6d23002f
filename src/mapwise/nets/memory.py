"""An external memory as pure functions: addressing by content and by place, reading, writing, least-used access,
allocation by usage, and links from what was written to what was written next.

A memory is [N, M], N slots of M numbers; a weighting is [N], not negative, and sums to at most one. H counts heads.
Every function is written for one task, is differentiable where its mathematics is, and runs under vmap.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import pad

from mapwise.core import random
from mapwise.core.tree import Params
from mapwise.nets.initial import linear_weights
from mapwise.nets.lstm import lstm_weights

EMPTY = 1e-6
"""What every number of a memory is before anything was written."""
EPS = 1e-8
"""Added to squared lengths in a cosine: a slot much shorter than 1e-4, such as one never written, resembles nothing."""


def content_weights(
    memory: Float[Tensor, "N M"], keys: Float[Tensor, "H M"], strengths: Float[Tensor, "H"]
) -> Float[Tensor, "H N"]:
    """The slots by similarity to a key: softmax of strength times cosine (Graves, Wayne, Danihelka 2014, eq. 5-6).

    The cosine is a.b / sqrt((a.a + EPS) (b.b + EPS)), smooth and zero where a vector is zero.
    """
    keys = keys * (keys.square().sum(-1) + EPS).rsqrt().mul(strengths)[..., None]
    # The products are scaled, and not the slots, which are many more numbers.
    return ((keys @ memory.mT) * (memory.square().sum(-1) + EPS).rsqrt()).softmax(-1)


def interpolate(
    new: Float[Tensor, "H N"], old: Float[Tensor, "*H N"], gate: Float[Tensor, "H"]
) -> Float[Tensor, "H N"]:
    """gate * new + (1 - gate) * old, with a gate of 0..1 for each head (Graves et al. 2014, eq. 7).

    Also the write weights of least-recently-used access (Santoro et al. 2016, section 3.2), with the previous read
    weights as `new` and the least used slots as `old`.
    """
    return old + gate[..., None] * (new - old)


def circular_shift(weights: Float[Tensor, "H N"], shifts: Float[Tensor, "H K"]) -> Float[Tensor, "H N"]:
    """Move each weighting around the ring of slots: a circular convolution (Graves et al. 2014, eq. 8).

    shifts: how much goes how far, K odd, from -(K - 1) / 2 to (K - 1) / 2; +1 moves slot i to slot i + 1.
    """
    far = shifts.shape[-1] // 2
    moved = [weights.roll(place - far, -1) * shifts[..., place, None] for place in range(shifts.shape[-1])]
    return torch.stack(moved).sum(0)


def sharpen(weights: Float[Tensor, "H N"], power: Float[Tensor, "H"]) -> Float[Tensor, "H N"]:
    """Weights to a power of at least 1, made to sum to one again (Graves et al. 2014, eq. 9)."""
    # In units of the largest weight, so that no power makes all of them zero. The result doesn't depend on the unit,
    # so neither does the gradient.
    raised = (weights / weights.detach().amax(-1, keepdim=True)) ** power[..., None]
    return raised / raised.sum(-1, keepdim=True)


def read(memory: Float[Tensor, "N M"], weights: Float[Tensor, "H N"]) -> Float[Tensor, "H M"]:
    """What each head sees: the slots averaged by its weights (Graves et al. 2014, eq. 2)."""
    return weights @ memory


def write(
    memory: Float[Tensor, "N M"],
    weights: Float[Tensor, "H N"],
    add: Float[Tensor, "H M"],
    erase: Float[Tensor, "H M"] | None = None,
) -> Float[Tensor, "N M"]:
    """Each slot keeps what no head erases and takes what the heads add (Graves et al. 2014, eq. 3-4).

    erase: how much of each number goes, 0..1; None: nothing is erased (Santoro et al. 2016, section 3.2).
    """
    if erase is not None and weights.shape[0] == 1:
        return memory + weights.mT * (add - memory * erase)  # the same in fewer passes over the memory
    if erase is not None:
        for place in range(weights.shape[0]):
            memory = memory * (1 - weights[place, :, None] * erase[place])  # [N, M]
    return memory + weights.mT @ add


def decay_usage(
    usage: Float[Tensor, "N"], read_weights: Float[Tensor, "H N"], write_weights: Float[Tensor, "H N"], decay: float
) -> Float[Tensor, "N"]:
    """How much each slot was used of late: what is left of before, and the weights of now (Santoro 2016, section 3.2).

    decay: what remains of a usage after one step, 0..1.
    """
    return decay * usage + (read_weights + write_weights).sum(0)


def least_used(usage: Float[Tensor, "N"], n: int) -> Float[Tensor, "n N"]:
    """The n slots of smallest usage, one-hot, the smallest first (Santoro et al. 2016, section 3.2).

    Of equally used slots the first counts as least used, so that there are always n. The choice has no gradient.
    Their sum over n is the paper's weighting, 1 at each of the n slots.
    """
    smallest = usage.detach().argsort(stable=True, dim=-1)[..., :n]  # [n]
    places = torch.arange(usage.shape[-1], device=usage.device)
    return (smallest[..., None] == places).to(usage.dtype)


def wipe(memory: Float[Tensor, "N M"], slots: Float[Tensor, "n N"]) -> Float[Tensor, "N M"]:
    """The memory with these one-hot slots set to zero, as least-recently-used access does before it writes."""
    return memory * (1 - slots.sum(0))[:, None]


def usage_after(
    usage: Float[Tensor, "N"], write_weights: Float[Tensor, "N"], reads: Float[Tensor, "H N"], free: Float[Tensor, "H"]
) -> Float[Tensor, "N"]:
    """How much of each slot is in use, 0..1: more by what was written there, less by what was read and then freed.

    (Graves et al. 2016, Methods, dynamic memory allocation: the retention, and the usage.)

    write_weights, reads: where the row before wrote and read.
    free: how far each head frees what it read, 0..1.
    """
    usage = usage + write_weights * (1 - usage)
    # Not by prod, whose derivative looks for zeros.
    for retention in (1 - free[..., None] * reads).unbind(-2):
        usage = usage * retention
    return usage


def allocation(usage: Float[Tensor, "N"]) -> Float[Tensor, "N"]:
    """Where something new goes: mostly the least used slot, the rest by what the slots before it leave.

    (Graves et al. 2016, Methods, eq. 1: 1 - usage, times the usages of all slots that are less used. Of equally used
    slots the first counts as less used.)
    """
    ascending, order = usage.sort(dim=-1, stable=True)
    weights = (1 - ascending) * products_before(ascending)
    # Each back to its slot; the order itself has no gradient.
    return torch.zeros_like(weights).scatter(-1, order, weights)


def products_before(factors: Float[Tensor, "N"]) -> Float[Tensor, "N"]:
    """The product of all numbers before each, 1 for the first.

    By doubling: cumprod's second derivative takes N passes, and logarithms have none at zero, where unused slots are.
    """
    products = pad(factors[..., :-1], (1, 0), value=1.0)
    reach = 1
    while reach < factors.shape[-1] - 1:
        products = products * pad(products[..., :-reach], (reach, 0), value=1.0)
        reach *= 2
    return products


def precedence_after(precedence: Float[Tensor, "N"], write_weights: Float[Tensor, "N"]) -> Float[Tensor, "N"]:
    """How far each slot is the one written last (Graves et al. 2016, Methods, temporal memory linkage)."""
    return precedence * (1 - write_weights.sum(-1, keepdim=True)) + write_weights


def links_after(
    links: Float[Tensor, "N N"], precedence: Float[Tensor, "N"], write_weights: Float[Tensor, "N"]
) -> Float[Tensor, "N N"]:
    """How far slot i was written right after slot j, [i, j], once this was written; no slot follows itself.

    (Graves et al. 2016, Methods, temporal memory linkage: links to and from a slot fade as it is written anew.)

    precedence: of before the writing.
    """
    others = 1 - torch.eye(links.shape[-1], dtype=links.dtype, device=links.device)
    # Few passes over [N, N], which cost more than all else of a row.
    rest = (1 - write_weights)[..., :, None] - write_weights[..., None, :]
    return links * rest + write_weights[..., :, None] * precedence[..., None, :] * others


def follow(
    links: Float[Tensor, "N N"], reads: Float[Tensor, "H N"]
) -> tuple[Float[Tensor, "H N"], Float[Tensor, "H N"]]:
    """The slots written before those that were read, and the slots written after them."""
    return reads @ links, reads @ links.mT


def machine_weights(key: Int64[Tensor, ""], inputs: int, units: int, seen: int, heads: int, outputs: int) -> Params:
    """First weights of a machine: {"lstm", "heads", "out"}, a controller as torch makes it and two dense layers.

    inputs: numbers of a row; seen: numbers that all heads read from the memory in a row, which the controller gets with
    the next row, and the output with this one.
    heads: numbers that the controller outputs for its heads.
    """
    return {
        "lstm": lstm_weights(random.fold(key, 0), inputs + seen, units),
        "heads": linear_weights(random.fold(key, 1), units, heads),
        "out": linear_weights(random.fold(key, 2), units + seen, outputs),
    }
