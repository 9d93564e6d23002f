"""A neural Turing machine as one writes it by hand: a module, batched, one layer for every head."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPS = 1e-8


class Head(nn.Module):
    """Where one head goes, and for one that writes also what it erases and adds."""

    def __init__(self, units: int, width: int, reach: int, writes: bool) -> None:
        super().__init__()
        self.sizes = [width, 1, 1, 2 * reach + 1, 1, *([width, width] if writes else [])]
        self.layer = nn.Linear(units, sum(self.sizes))

    def forward(self, h: Tensor, memory: Tensor, last: Tensor) -> tuple[Tensor, list[Tensor]]:
        """h: [B, units], memory: [B, N, M], last: [B, N]."""
        key, strength, gate, shifts, power, *written = self.layer(h).split(self.sizes, 1)
        key = torch.tanh(key)[:, :, None]  # [B, M, 1]
        lengths = ((memory**2).sum(2) + EPS).sqrt() * ((key**2).sum(1) + EPS).sqrt()
        cosines = (memory @ key).squeeze(2) / lengths
        near = torch.softmax(F.softplus(strength) * cosines, 1)
        gate = torch.sigmoid(gate)
        weights = gate * near + (1 - gate) * last
        shifts = torch.softmax(shifts, 1)
        far = shifts.shape[1] // 2
        moved = sum(torch.roll(weights, i - far, 1) * shifts[:, i : i + 1] for i in range(shifts.shape[1]))
        sharp = moved ** (1 + F.softplus(power))
        return sharp / sharp.sum(1, keepdim=True), written


class PlainNTM(nn.Module):
    """[B, L, I] -> [B, L, W] for whole batches of sequences of one length."""

    def __init__(
        self, inputs: int, outputs: int, *, units: int, slots: int, width: int, reads: int, writes: int, reach: int
    ) -> None:
        super().__init__()
        self.slots, self.width, self.units = slots, width, units
        self.cell = nn.LSTMCell(inputs + reads * width, units)
        self.readers = nn.ModuleList([Head(units, width, reach, False) for _ in range(reads)])
        self.writers = nn.ModuleList([Head(units, width, reach, True) for _ in range(writes)])
        self.out = nn.Linear(units + reads * width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """One row after another."""
        batch, length, _ = x.shape
        memory = x.new_full((batch, self.slots, self.width), 1e-6)
        first = x.new_zeros(batch, self.slots)
        first[:, 0] = 1
        where = [first] * (len(self.readers) + len(self.writers))
        seen = x.new_zeros(batch, len(self.readers) * self.width)
        h = c = x.new_zeros(batch, self.units)
        results = []
        for row in range(length):
            h, c = self.cell(torch.cat([x[:, row], seen], 1), (h, c))
            read, before = [], memory
            for i, reader in enumerate(self.readers):
                where[i], _ = reader(h, before, where[i])
                read.append((where[i][:, None] @ before).squeeze(1))
            result: Any = 1
            added: Any = 0
            for i, writer in enumerate(self.writers, start=len(self.readers)):
                where[i], (erase, add) = writer(h, before, where[i])
                result = result * (1 - where[i][:, :, None] * torch.sigmoid(erase)[:, None])
                added = added + where[i][:, :, None] * torch.tanh(add)[:, None]
            memory = before * result + added
            seen = torch.cat(read, 1)
            results.append(self.out(torch.cat([h, seen], 1)))
        return torch.stack(results, 1)


def with_params(net: PlainNTM, params: dict[str, Any], width: int, reach: int) -> PlainNTM:
    """The same machine with these weights of mapwise's, whose heads share one layer."""
    reads, writes = len(net.readers), len(net.writers)
    heads = reads + writes
    each = [width, 1, 1, 2 * reach + 1, 1]
    sizes = [size for size in each for _ in range(heads)] + [width] * (2 * writes)
    with torch.no_grad():
        net.cell.weight_ih.copy_(params["lstm"]["input"])
        net.cell.weight_hh.copy_(params["lstm"]["recurrent"])
        net.cell.bias_ih.copy_(params["lstm"]["bias"])
        net.cell.bias_hh.zero_()
        net.out.weight.copy_(params["out"]["weight"])
        net.out.bias.copy_(params["out"]["bias"])
        for name in ("weight", "bias"):
            parts = params["heads"][name].split(sizes)
            for place, head in enumerate([*net.readers, *net.writers]):
                mine = [parts[kind * heads + place] for kind in range(len(each))]
                if place >= reads:
                    mine += [
                        parts[len(each) * heads + place - reads],
                        parts[len(each) * heads + writes + place - reads],
                    ]
                getattr(head.layer, name).copy_(torch.cat(mine))
    return net
