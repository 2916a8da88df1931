"""The products of many LoRA adapters with a packed row, each run of tokens with the A and B of its own slot.

Three kernels compute the same. `loop` goes slot by slot, without padding (training on the CPU); `padded` is one batched
product over short runs of similar length (decoding on the CPU); `grouped` is `F.grouped_mm` (CUDA). Adapter gradients
go straight into the bank's buffers; autograd never sees the adapters as parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .bank import Bank

Kernel = Literal["loop", "padded", "grouped"]

_FEW = 16  # most tokens per run for which one batched matmul beats a loop over runs on the CPU


def choose_kernel(device: torch.device, counts: Sequence[int], grad: bool) -> Kernel:
    """The kernel for runs of `counts` tokens."""
    if device.type != "cpu":
        return "grouped"
    runs = [count for count in counts if count]
    short = len(runs) > 2 and max(runs) <= _FEW and max(runs) * len(runs) <= 2 * sum(runs)
    return "padded" if short and not grad else "loop"


@dataclass
class Segments:
    """Which packed tokens belong to which slot: slot k has tokens `ends[k - 1]` up to, not including, `ends[k]`."""

    ends: list[int]
    kernel: Kernel
    device: torch.device

    def __post_init__(self) -> None:
        counts = [end - start for start, end in zip([0, *self.ends][:-1], self.ends, strict=True)]
        self.slots = [slot for slot, count in enumerate(counts) if count]
        self.sizes = [count for count in counts if count]
        if self.kernel == "grouped":
            self.offsets = torch.tensor(self.ends, dtype=torch.int32, device=self.device)
            every = torch.arange(len(self.ends), device=self.device)
            self.slot_of = every.repeat_interleave(torch.tensor(counts, device=self.device))
        if self.kernel == "padded":
            longest = max(self.sizes)
            starts = [self.ends[slot] - counts[slot] for slot in self.slots]
            gather = [
                start + min(i, n - 1) for start, n in zip(starts, self.sizes, strict=True) for i in range(longest)
            ]
            home = [place * longest + i for place, n in enumerate(self.sizes) for i in range(n)]
            self.shape = (len(self.slots), longest)
            self.even = gather == list(range(self.ends[-1]))
            self.gather = torch.tensor(gather, device=self.device)
            self.home = torch.tensor(home, device=self.device)
            self.index = None if len(self.slots) == len(counts) else torch.tensor(self.slots, device=self.device)

    def runs(self, x: Tensor, dim: int = 0) -> Sequence[Tensor]:
        """`x` split along its token dimension `dim`: one tensor for each of `slots`."""
        return (x,) if len(self.sizes) == 1 else torch.split_with_sizes(x, self.sizes, dim)


class Part(NamedTuple):
    """A bank and the tokens of each of its slots."""

    bank: Bank
    segments: Segments


def add_adapters(part: Part, group: int, x: Tensor, ys: Mapping[str, Tensor]) -> Tensor:
    """Add the part's `scale B A x` to the group's outputs `[N, out]` in place; returns `A x` for `backpropagate`."""
    bank, segments = part
    outputs = [ys[name] for name in bank.members(group)]
    if segments.kernel == "loop":
        return _loop(bank, segments, group, x, outputs)
    if segments.kernel == "padded":
        return _padded(bank, segments, group, x, outputs)
    a, bts = bank.weights.stacked(group)
    hidden = F.grouped_mm(x, a.transpose(1, 2), offs=segments.offsets)
    hidden = hidden * bank.scale[segments.slot_of, None].to(x.dtype)
    for y, bt, h in zip(outputs, bts, hidden.chunk(len(outputs), 1), strict=True):
        y.add_(F.grouped_mm(h.contiguous(), bt, offs=segments.offsets))
    return hidden


def _loop(bank: Bank, segments: Segments, group: int, x: Tensor, outputs: Sequence[Tensor]) -> Tensor:
    slots, runs, views = segments.slots, segments.runs, bank.weights.views(group)
    scales = [bank.scales[slot] for slot in slots]
    hidden = x.new_empty(x.shape[0], bank.rank * len(outputs))
    for slot, one_x, h in zip(slots, runs(x), runs(hidden), strict=True):
        torch.mm(one_x, views.at[slot], out=h)
    for y, bts, member in zip(outputs, views.bts, hidden.chunk(len(outputs), 1), strict=True):
        for slot, one_y, h, scale in zip(slots, runs(y), runs(member), scales, strict=True):
            one_y.addmm_(h, bts[slot], alpha=scale)
    return hidden


def _padded(bank: Bank, segments: Segments, group: int, x: Tensor, outputs: Sequence[Tensor]) -> Tensor:
    a, bts = bank.weights.stacked(group)
    padded = x if segments.even else x.index_select(0, segments.gather)
    pick = segments.index
    scale = bank.scale.to(x.dtype) if pick is None else bank.scale.to(x.dtype)[pick]
    a = a if pick is None else a.index_select(0, pick)
    hidden = torch.bmm(padded.view(*segments.shape, -1), a.transpose(1, 2)) * scale[:, None, None]
    for y, bt, h in zip(outputs, bts, hidden.chunk(len(outputs), 2), strict=True):
        delta = torch.bmm(h, bt if pick is None else bt.index_select(0, pick)).flatten(0, 1)
        y.add_(delta if segments.even else delta.index_select(0, segments.home))
    return hidden


def backpropagate(
    part: Part, group: int, x: Tensor, hidden: Tensor, gys: Mapping[str, Tensor], gx: Tensor | None
) -> None:
    """Add the gradients of A and B to the bank's (if it trains), and the part's input gradient to `gx` (if given)."""
    bank, segments = part
    grads = [gys[name] for name in bank.members(group)]
    if segments.kernel == "loop":
        _loop_backward(bank, segments, group, x, hidden, grads, gx)
        return
    a, bts = bank.weights.stacked(group)
    offsets = segments.offsets
    gh = torch.cat([F.grouped_mm(g, bt.transpose(1, 2), offs=offsets) for g, bt in zip(grads, bts, strict=True)], 1)
    gh = gh * bank.scale[segments.slot_of, None].to(x.dtype)
    if bank.gradients is not None:
        ga, gbts = bank.gradients.stacked(group)
        ga.add_(F.grouped_mm(gh.t(), x, offs=offsets))
        for g, gbt, h in zip(grads, gbts, hidden.chunk(len(grads), 1), strict=True):
            gbt.add_(F.grouped_mm(h.contiguous().t(), g, offs=offsets))
    if gx is not None:
        gx.add_(F.grouped_mm(gh, a, offs=offsets))


def _loop_backward(
    bank: Bank,
    segments: Segments,
    group: int,
    x: Tensor,
    hidden: Tensor,
    grads: Sequence[Tensor],
    gx: Tensor | None,
) -> None:
    slots, runs, views = segments.slots, segments.runs, bank.weights.views(group)
    scales = [bank.scales[slot] for slot in slots]
    members = [runs(g) for g in grads]
    gh = torch.empty_like(hidden)
    for member, bs, out in zip(members, views.bs, gh.chunk(len(grads), 1), strict=True):
        for slot, g, h in zip(slots, member, runs(out), strict=True):
            torch.mm(g, bs[slot], out=h)
    if bank.gradients is not None:
        into = bank.gradients.views(group)
        for member, gbts, h in zip(members, into.bts, hidden.t().chunk(len(grads)), strict=True):
            _accumulate([gbts[slot] for slot in slots], runs(h, 1), member, scales)
        _accumulate([into.a[slot] for slot in slots], runs(gh.t(), 1), runs(x), scales)
    if gx is not None:
        for slot, one, h, scale in zip(slots, runs(gx), runs(gh), scales, strict=True):
            one.addmm_(h, views.a[slot], alpha=scale)


def _accumulate(
    totals: Sequence[Tensor], lefts: Sequence[Tensor], rights: Sequence[Tensor], scales: Sequence[float]
) -> None:
    """`total += scale * left @ right` for each; totals are fp32 and the factors may be half precision."""
    for total, left, right, scale in zip(totals, lefts, rights, scales, strict=True):
        if total.dtype == left.dtype:
            total.addmm_(left, right, alpha=scale)
        else:
            total.add_(left @ right, alpha=scale)
