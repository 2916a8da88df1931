"""The LoRA weights of K slots in one flat buffer: a slot is a row, so clipping, optimiser and export work on rows.

Within a row, the As of a group's linears are stacked `[members * rank, in]`, followed by the B of each linear,
transposed to `[rank, out]`. Every row has the same layout, with the largest rank and the union of the modules, so that
all slots can be one batched operand. A smaller adapter is padded with zeros, which training leaves at exactly zero:
where both A and B are zero, so are both gradients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .adapter import AdamState, Adapter, Weights

Groups = Mapping[int, Mapping[str, tuple[int, int]]]  # group -> member name -> (in, out)


class Stacked(NamedTuple):
    """A group's operands for all slots: A `[K, members * rank, in]`, and B^T `[K, rank, out]` of each member."""

    a: Tensor
    bts: list[Tensor]


class Views(NamedTuple):
    """The operands of `Stacked` slot by slot: `a[slot]`, `bts[member][slot]`, and their transposes `at` and `bs`."""

    a: Sequence[Tensor]
    at: Sequence[Tensor]
    bts: list[Sequence[Tensor]]
    bs: list[Sequence[Tensor]]


class Rows:
    """K rows of one layout: `flat` `[K, n]`, and views of it as the operands of each group."""

    def __init__(self, flat: Tensor, groups: Groups, rank: int) -> None:
        self.flat = flat
        self._stacked: dict[int, Stacked] = {}
        self._views: dict[int, Views] = {}
        at = 0
        for key, members in groups.items():
            n_in = next(iter(members.values()))[0]
            width = len(members) * rank * n_in
            a = flat[:, at : at + width].view(len(flat), -1, n_in)
            at += width
            bts = []
            for _, n_out in members.values():
                bts.append(flat[:, at : at + rank * n_out].view(len(flat), rank, n_out))
                at += rank * n_out
            self._stacked[key] = Stacked(a, bts)

    def stacked(self, group: int) -> Stacked:
        return self._stacked[group]

    def views(self, group: int) -> Views:
        if group not in self._views:
            a, bts = self._stacked[group]
            self._views[group] = Views(
                a.unbind(),
                a.transpose(1, 2).unbind(),
                [bt.unbind() for bt in bts],
                [bt.transpose(1, 2).unbind() for bt in bts],
            )
        return self._views[group]


def row_size(groups: Groups, rank: int) -> int:
    """The number of elements in a row of this layout."""
    return sum(rank * (n_in + n_out) for members in groups.values() for n_in, n_out in members.values())


class Bank:
    """Slots for adapters on the linears of `groups` with ranks up to `rank`: `weights`, in the model's dtype.

    With `trains` there are also fp32 `gradients`, and fp32 `masters`, which are `weights` themselves for an fp32 model.
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
        self.groups, self.device = groups, device
        self._members = {key: tuple(members) for key, members in groups.items()}
        self.rank = rank if device.type == "cpu" else -(-rank // 8) * 8  # grouped matmul needs rows of 16 bytes

        def rows(kind: torch.dtype) -> Rows:
            return Rows(torch.zeros(slots, row_size(groups, self.rank), device=device, dtype=kind), groups, self.rank)

        self.weights = rows(dtype)
        self.masters = rows(torch.float32) if trains and dtype != torch.float32 else self.weights
        self.gradients = rows(torch.float32) if trains else None
        self.scales = [0.0] * slots
        self.scale = torch.zeros(slots, device=device)

    def members(self, group: int) -> tuple[str, ...]:
        """The linears of a group that the bank adapts."""
        return self._members.get(group, ())

    def put(self, slot: int, stack: Sequence[Adapter]) -> None:
        """Fill a slot with the sum of a stack of adapters: one adapter of the summed rank, with the scales in B.

        The scale of a single adapter is kept in `scales` instead, so that training changes its own A and B.
        """
        self.masters.flat[slot].zero_()
        if self.gradients is not None:
            self.gradients.flat[slot].zero_()
        single = len(stack) == 1
        for name, (a, bt) in self.modules(self.masters, slot).items():
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
        """Copy the slot's fp32 masters into its weights (which does nothing for an fp32 model)."""
        if self.masters is not self.weights:
            self.weights.flat[slot].copy_(self.masters.flat[slot])

    def put_moments(self, moments: Tensor, slot: int, state: AdamState) -> None:
        """Fill a slot's rows of `moments` `[2, K, n]`, which are laid out like the weights, with AdamW's two
        moments."""
        for flat, values in zip(moments, (state.mean, state.square), strict=True):
            self.write(Rows(flat, self.groups, self.rank), slot, values)

    def write(self, rows: Rows, slot: int, values: Weights) -> None:
        """Copy an adapter's A `[rank, in]` and B `[out, rank]` of each module into a slot of `rows`."""
        for name, (a, bt) in self.modules(rows, slot).items():
            if name in values:
                one_a, one_b = values[name]
                a[: len(one_a)].copy_(one_a)
                bt[: one_b.shape[1]].copy_(one_b.t())

    def read(self, rows: Rows, slot: int, like: Adapter) -> dict[str, tuple[Tensor, Tensor]]:
        """Copies of a slot's A `[rank, in]` and B `[out, rank]` on the CPU, for the rank of `like` and those of its
        modules that are here."""
        copies = {}
        for name, (a, bt) in self.modules(rows, slot).items():
            if name not in like.weights:
                continue
            b = bt[: like.rank].t().to("cpu", copy=True).contiguous()
            copies[name] = (a[: like.rank].to("cpu", copy=True), b)
        return copies

    def modules(self, rows: Rows, slot: int) -> dict[str, tuple[Tensor, Tensor]]:
        """Views of one slot of `rows`: each linear's A `[rank, in]` and B^T `[rank, out]`."""
        found: dict[str, tuple[Tensor, Tensor]] = {}
        for key, names in self._members.items():
            a, bts = rows.stacked(key)
            parts = zip(names, a[slot].chunk(len(bts)), bts, strict=True)
            found |= {name: (one, bt[slot]) for name, one, bt in parts}
        return found


class Banks:
    """One bank for each device on which adapted linears lie (`places`: group -> device), all with the same slots.

    `moments` of a training bank are AdamW's two `[2, K, n]`.
    """

    def __init__(
        self,
        slots: int,
        groups: Groups,
        rank: int,
        *,
        places: Mapping[int, torch.device],
        dtype: torch.dtype,
        trains: bool = False,
    ) -> None:
        self.each: list[Bank] = []
        for device in dict.fromkeys(places[key] for key in groups):
            mine = {key: members for key, members in groups.items() if places[key] == device}
            self.each.append(Bank(slots, mine, rank, device=device, dtype=dtype, trains=trains))
        self.slots = slots
        self.values = [bank.masters.flat for bank in self.each]
        self.gradients = [bank.gradients.flat for bank in self.each if bank.gradients is not None]
        self.moments = [flat.new_zeros(2, *flat.shape) for flat in self.gradients]

    def put(self, slot: int, stack: Sequence[Adapter]) -> None:
        """See `Bank.put`."""
        for bank in self.each:
            bank.put(slot, stack)

    def refresh(self, slot: int) -> None:
        """See `Bank.refresh`."""
        for bank in self.each:
            bank.refresh(slot)

    def begin(self, slot: int, state: AdamState | None) -> None:
        """Set a slot's moments to AdamW's `state`, or to zero."""
        for bank, moments in zip(self.each, self.moments, strict=True):
            moments[:, slot].zero_()
            if state is not None:
                bank.put_moments(moments, slot, state)

    def norm(self, slot: int) -> Tensor:
        """The norm of a slot's gradient, on the first device."""
        norms: list[Tensor] = [torch.linalg.vector_norm(gradients[slot]) for gradients in self.gradients]
        if len(norms) == 1:
            return norms[0]
        whole: Tensor = torch.linalg.vector_norm(torch.stack([norm.to(norms[0].device) for norm in norms]))
        return whole

    def take(self, slot: int, like: Adapter, step: int | None = None) -> Adapter:
        """A copy of the slot's adapter, with the rank, alpha, targets and module names of `like`; with `step`, also of
        AdamW's state after so many steps."""
        state = None
        if step is not None:
            mean, square = (self.read([one[moment] for one in self.moments], slot, like) for moment in (0, 1))
            state = AdamState(step, mean, square)
        return Adapter(self.read(self.values, slot, like), like.rank, like.alpha, like.targets, state)

    def read(self, flats: Sequence[Tensor], slot: int, like: Adapter) -> dict[str, tuple[Tensor, Tensor]]:
        """`Bank.read` of `flats`, one laid out like each bank's weights."""
        found: dict[str, tuple[Tensor, Tensor]] = {}
        for bank, flat in zip(self.each, flats, strict=True):
            found |= bank.read(Rows(flat, bank.groups, bank.rank), slot, like)
        return {name: found[name] for name in like.weights}


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
