"""The LoRA weights of K slots in one flat buffer: a slot is a row, so clipping, optimiser and export are row work.

Within a row the A of a group's linears are stacked `[members * rank, in]`, followed by each one's B, kept transposed as
`[rank, out]`. Every row has the same layout, at the largest rank and the union of the modules, so that all slots can be
one batched operand. A smaller adapter is zero-padded, which is an exact fixed point of training: where both A and B are
zero, so are both gradients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .adapter import Adapter

Groups = Mapping[int, Mapping[str, tuple[int, int]]]  # group -> member name -> (in, out)
Stacked = tuple[Tensor, list[Tensor]]  # A [K, members * rank, in], and each member's Bt [K, rank, out]


class Views(NamedTuple):
    """Slot by slot what `Stacked` holds: `a[slot]`, `bt[member][slot]`, and the transposes `at` and `b`."""

    a: Sequence[Tensor]
    at: Sequence[Tensor]
    bt: list[Sequence[Tensor]]
    b: list[Sequence[Tensor]]

    @classmethod
    def of(cls, stacked: Stacked) -> Views:
        a, bts = stacked
        return cls(
            a.unbind(),
            a.transpose(1, 2).unbind(),
            [bt.unbind() for bt in bts],
            [bt.transpose(1, 2).unbind() for bt in bts],
        )


def row_size(groups: Groups, rank: int) -> int:
    """Numbers in a row of this layout."""
    return sum(rank * (n_in + n_out) for members in groups.values() for n_in, n_out in members.values())


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
        trains: bool = False,
    ) -> None:
        self.groups = groups
        self.rank = rank if device.type == "cpu" else -(-rank // 8) * 8  # grouped matmul wants rows of 16 bytes
        size = row_size(groups, self.rank)
        flat = torch.zeros(slots, size, device=device, dtype=dtype)
        self.values = flat
        self.gradients: Tensor | None = None
        if trains:
            if dtype != torch.float32:
                self.values = torch.zeros(slots, size, device=device)
            self.gradients = torch.zeros(slots, size, device=device)
        self._flat = flat
        self._stacked = self._stack(flat)
        self._masters = self._stacked if self.values is flat else self._stack(self.values)
        self._views: dict[int, Views] = {}
        self._stacked_gradients = {} if self.gradients is None else self._stack(self.gradients)
        self._gradient_views: dict[int, Views] = {}
        self.scales = [0.0] * slots
        self.scale = torch.zeros(slots, device=device)

    def members(self, group: int) -> tuple[str, ...]:
        """The linears of a group that the bank adapts."""
        return tuple(self.groups.get(group, ()))

    def put(self, slot: int, stack: Sequence[Adapter]) -> None:
        """Fill a slot with a stack of adapters: their sum, as one adapter of the summed rank with the scales in B.

        A single adapter keeps its scale apart (`scales`), so that training it is training A and B themselves.
        """
        self.values[slot].zero_()
        if self.gradients is not None:
            self.gradients[slot].zero_()
        single = len(stack) == 1
        for name, (a, bt) in self._slot(slot).items():
            at = 0
            for adapter in stack:
                if name in adapter.weights:
                    one_a, one_b = adapter.weights[name]
                    a[at : at + adapter.rank].copy_(one_a)
                    bt[at : at + adapter.rank].copy_(one_b.t() if single else one_b.t() * adapter.scale)
                    at += adapter.rank
        self.scales[slot] = stack[0].scale if single else 1.0
        self.scale[slot] = self.scales[slot]
        self.refresh(slot)

    def refresh(self, slot: int) -> None:
        """Bring the slot's weights up to date with its fp32 masters (nothing to do in fp32)."""
        if self.values is not self._flat:
            self._flat[slot].copy_(self.values[slot])

    def take(self, slot: int, like: Adapter) -> Adapter:
        """A copy of the slot's adapter; rank, alpha, targets and module names are those of `like`."""
        found = self._slot(slot)
        weights = {}
        for name in like.weights:
            a, bt = found[name]
            b = bt[: like.rank].t().to("cpu", copy=True).contiguous()
            weights[name] = (a[: like.rank].to("cpu", copy=True), b)
        return Adapter(weights, like.rank, like.alpha, like.targets)

    def stacked(self, group: int) -> Stacked:
        """The weights of a group over all slots."""
        return self._stacked[group]

    def stacked_gradients(self, group: int) -> Stacked:
        """Likewise the gradients."""
        return self._stacked_gradients[group]

    def views(self, group: int) -> Views:
        """The weights of a group slot by slot."""
        if group not in self._views:
            self._views[group] = Views.of(self._stacked[group])
        return self._views[group]

    def gradient_views(self, group: int) -> Views:
        """Likewise the gradients."""
        if group not in self._gradient_views:
            self._gradient_views[group] = Views.of(self._stacked_gradients[group])
        return self._gradient_views[group]

    def _slot(self, slot: int) -> dict[str, tuple[Tensor, Tensor]]:
        """A slot's masters: each linear's A `[rank, in]` and B^T `[rank, out]`."""
        found: dict[str, tuple[Tensor, Tensor]] = {}
        for key, (a, bts) in self._masters.items():
            parts = zip(self.groups[key], a[slot].chunk(len(bts)), bts, strict=True)
            found |= {name: (one, bt[slot]) for name, one, bt in parts}
        return found

    def _stack(self, flat: Tensor) -> dict[int, Stacked]:
        """Views of rows `[K, n]` as the operands of each group."""
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
