"""The LoRA weights of K slots in one flat buffer: a slot is a row, so clipping, optimiser and export are row work.

Within a row the A of a group's linears are stacked `[members * rank, in]`, followed by each one's B, kept transposed as
`[rank, out]`. A uniform bank gives every row the same layout, at the largest rank and the union of the modules, so that
all slots can be one batched operand; there a smaller adapter is zero-padded, which is an exact fixed point of training
(where both A and B are zero, so are both gradients). Otherwise every row has its own adapter's exact layout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .adapter import Adapter

Groups = Mapping[int, Mapping[str, tuple[int, int]]]  # group -> member name -> (in, out)
Stacked = tuple[Tensor, list[Tensor]]  # A [K, members * rank, in], and each member's Bt [K, rank, out]


class Block(NamedTuple):
    """One slot's weights (or gradients) in one group; `at` and `b` are transposed views of `a` and `bt`."""

    names: tuple[str, ...]
    rank: int
    a: Tensor
    at: Tensor
    bt: list[Tensor]
    b: list[Tensor]

    def split(self, hidden: Tensor) -> Sequence[Tensor]:
        """`[n, members * rank]` as one `[n, rank]` for each member."""
        return (hidden,) if len(self.names) == 1 else hidden.chunk(len(self.names), 1)


def row_size(groups: Groups, rank: int) -> int:
    """Numbers in a row of this layout."""
    return sum(rank * (n_in + n_out) for members in groups.values() for n_in, n_out in members.values())


def _blocks(row: Tensor, groups: Groups, rank: int) -> dict[int, Block]:
    blocks, at = {}, 0
    for key, members in groups.items():
        n_in = next(iter(members.values()))[0]
        a = row[at : at + len(members) * rank * n_in].view(-1, n_in)
        at += a.numel()
        bts = []
        for _, n_out in members.values():
            bts.append(row[at : at + rank * n_out].view(rank, n_out))
            at += rank * n_out
        blocks[key] = Block(tuple(members), rank, a, a.t(), bts, [bt.t() for bt in bts])
    return blocks


class Bank:
    """Slots for adapters on the linears of `groups` with ranks up to `rank`, in the model's dtype.

    With `trains` there are also fp32 masters and gradients (`values`, `gradients`: flat `[K, n]`).
    """

    def __init__(
        self,
        slots: int,
        groups: Groups,
        rank: int,
        *,
        device: torch.device,
        dtype: torch.dtype,
        uniform: bool,
        trains: bool = False,
    ) -> None:
        self.groups = groups
        self.rank = rank if device.type == "cpu" else -(-rank // 8) * 8  # grouped matmul wants rows of 16 bytes
        self._uniform = uniform
        size = row_size(groups, self.rank)
        self._flat = torch.zeros(slots, size, device=device, dtype=dtype)
        self.values = self._flat
        self.gradients: Tensor | None = None
        if trains:
            if dtype != torch.float32:
                self.values = torch.zeros(slots, size, device=device)
            self.gradients = torch.zeros(slots, size, device=device)
        self.weights: list[dict[int, Block]] = [{} for _ in range(slots)]
        self.grads: list[dict[int, Block]] | None = [{} for _ in range(slots)] if trains else None
        self._stacked: dict[int, Stacked] | None = None
        self._stacked_grads: dict[int, Stacked] | None = None
        self.scales = [0.0] * slots
        self.scale = torch.zeros(slots, device=device)

    def members(self, group: int) -> tuple[str, ...]:
        """The linears of a group that the bank adapts."""
        return tuple(self.groups.get(group, ()))

    def put(self, slot: int, stack: Sequence[Adapter]) -> None:
        """Fill a slot with a stack of adapters: their sum, as one adapter of the summed rank with the scales in B.

        A single adapter keeps its scale apart (`scales`), so that training it is training A and B themselves.
        """
        groups, rank = self.groups, self.rank
        if not self._uniform:
            wanted = {name for adapter in stack for name in adapter.weights}
            some = {k: {n: s for n, s in members.items() if n in wanted} for k, members in groups.items()}
            groups, rank = {k: members for k, members in some.items() if members}, sum(a.rank for a in stack)
        self.values[slot].zero_()
        single = len(stack) == 1
        for block in _blocks(self.values[slot], groups, rank).values():
            for j, name in enumerate(block.names):
                at = 0
                for adapter in stack:
                    if name in adapter.weights:
                        a, b = adapter.weights[name]
                        block.a[j * rank + at : j * rank + at + adapter.rank].copy_(a)
                        block.bt[j][at : at + adapter.rank].copy_(b.t() if single else b.t() * adapter.scale)
                        at += adapter.rank
        self.weights[slot] = _blocks(self._flat[slot], groups, rank) if stack else {}
        if self.grads is not None and self.gradients is not None:
            self.gradients[slot].zero_()
            self.grads[slot] = _blocks(self.gradients[slot], groups, rank)
        self.scales[slot] = stack[0].scale if single else 1.0
        self.scale[slot] = self.scales[slot]
        self.refresh(slot)

    def refresh(self, slot: int) -> None:
        """Bring the slot's weights up to date with its fp32 masters (nothing to do in fp32)."""
        if self.values is not self._flat:
            self._flat[slot].copy_(self.values[slot])

    def take(self, slot: int, like: Adapter) -> Adapter:
        """A copy of the slot's adapter; rank, alpha, targets and module names are those of `like`."""
        layout = self.weights[slot]
        groups = {key: {name: self.groups[key][name] for name in block.names} for key, block in layout.items()}
        rank = next(iter(layout.values())).rank
        found = {}
        for block in _blocks(self.values[slot], groups, rank).values():
            for j, name in enumerate(block.names):
                a = block.a[j * rank : j * rank + like.rank].to("cpu", copy=True)
                found[name] = (a, block.bt[j][: like.rank].t().to("cpu", copy=True).contiguous())
        return Adapter({name: found[name] for name in like.weights}, like.rank, like.alpha, like.targets)

    def stacked(self, group: int) -> Stacked:
        """A uniform bank's weights of a group over all slots."""
        if self._stacked is None:
            self._stacked = self._stack(self._flat)
        return self._stacked[group]

    def stacked_grads(self, group: int) -> Stacked:
        """Likewise the gradients."""
        assert self.gradients is not None
        if self._stacked_grads is None:
            self._stacked_grads = self._stack(self.gradients)
        return self._stacked_grads[group]

    def _stack(self, flat: Tensor) -> dict[int, Stacked]:
        found, at = {}, 0
        for key, members in self.groups.items():
            n_in = next(iter(members.values()))[0]
            width = len(members) * self.rank * n_in
            a = flat[:, at : at + width].view(len(flat), -1, n_in)
            at += width
            bts = []
            for _, n_out in members.values():
                bts.append(flat[:, at : at + self.rank * n_out].view(len(flat), self.rank, n_out))
                at += self.rank * n_out
            found[key] = (a, bts)
        return found


def adapted_groups(
    groups: Sequence[Mapping[str, nn.Linear]], names: Sequence[str]
) -> dict[int, dict[str, tuple[int, int]]]:
    """The groups restricted to the named linears, with their sizes (in, out)."""
    wanted = set(names)
    found = {
        key: {name: (m.in_features, m.out_features) for name, m in linears.items() if name in wanted}
        for key, linears in enumerate(groups)
    }
    return {key: members for key, members in found.items() if members}
