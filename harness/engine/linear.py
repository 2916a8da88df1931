"""Many LoRA adapters in one linear layer: each run of tokens meets its own slot's A and B, the frozen weight meets all.

A `Bank` holds the adapters of K slots in one flat buffer, so that a slot is one row: reset, clip, optimiser step and
export are row operations. A smaller rank is zero-padded, which is an exact fixed point of training (a zero row of A and
the matching zero column of B have zero gradients); slots without a module have rank 0 there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from .adapter import Adapter, check_fits
from .attention import IMPLEMENTATION

Kernel = Literal["loop", "padded", "grouped"]
Shapes = Mapping[str, tuple[int, int]]  # module name -> (in, out)


@dataclass
class Views:
    """Per-module views `A [K, R, in]` and `Bt [K, R, out]` of one flat `[K, n]` buffer."""

    flat: Tensor
    a: dict[str, Tensor] = field(default_factory=dict)
    bt: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, flat: Tensor, shapes: Shapes, rank: int) -> Views:
        views, at, slots = cls(flat), 0, flat.shape[0]
        for name, (n_in, n_out) in shapes.items():
            views.a[name] = flat[:, at : at + rank * n_in].view(slots, rank, n_in)
            at += rank * n_in
            views.bt[name] = flat[:, at : at + rank * n_out].view(slots, rank, n_out)
            at += rank * n_out
        return views


def flat_size(shapes: Shapes, rank: int) -> int:
    """Numbers in one slot's row."""
    return sum(rank * (n_in + n_out) for n_in, n_out in shapes.values())


class Bank:
    """LoRA weights of K slots in the model's dtype; with `trains`, also fp32 masters and gradients."""

    def __init__(
        self, slots: int, shapes: Shapes, rank: int, *, device: torch.device, dtype: torch.dtype, trains: bool = False
    ) -> None:
        rank = rank if device.type == "cpu" else -(-rank // 8) * 8  # grouped matmul wants rows of 16 bytes
        self.shapes, self.rank = dict(shapes), rank
        size = flat_size(shapes, rank)
        self.weights = Views.of(torch.zeros(slots, size, device=device, dtype=dtype), shapes, rank)
        self.masters, self.grads = self.weights, None
        if trains:
            if dtype != torch.float32:
                self.masters = Views.of(torch.zeros(slots, size, device=device), shapes, rank)
            self.grads = Views.of(torch.zeros(slots, size, device=device), shapes, rank)
        self.ranks: list[dict[str, int]] = [{} for _ in range(slots)]
        self.scales = [0.0] * slots
        self.scale = torch.zeros(slots, device=device)

    def refresh(self, slot: int) -> None:
        """Bring the slot's weights up to date with its masters (nothing to do in fp32)."""
        if self.masters is not self.weights:
            self.weights.flat[slot].copy_(self.masters.flat[slot])

    def put(self, slot: int, stack: Sequence[Adapter]) -> None:
        """Fill a slot with a stack of adapters: their sum, as one adapter of the summed rank with the scales in B.

        A single adapter keeps its scale apart (`scales`), so that training it is training A and B themselves.
        """
        masters = self.masters
        masters.flat[slot].zero_()
        self.ranks[slot] = {}
        single = len(stack) == 1
        for adapter in stack:
            for name, (a, b) in adapter.weights.items():
                at = self.ranks[slot].get(name, 0)
                masters.a[name][slot, at : at + adapter.rank].copy_(a)
                masters.bt[name][slot, at : at + adapter.rank].copy_(b.t() if single else b.t() * adapter.scale)
                self.ranks[slot][name] = at + adapter.rank
        self.scales[slot] = stack[0].scale if single else 1.0
        self.scale[slot] = self.scales[slot]
        self.refresh(slot)

    def take(self, slot: int, like: Adapter) -> Adapter:
        """A copy of the slot's adapter; rank, alpha, targets and module names are those of `like`."""
        weights = {}
        for name in like.weights:
            a = self.masters.a[name][slot, : like.rank].to("cpu", copy=True)
            b = self.masters.bt[name][slot, : like.rank].t().to("cpu", copy=True)
            weights[name] = (a.contiguous(), b.contiguous())
        return Adapter(weights, like.rank, like.alpha, like.targets)


@dataclass
class Segments:
    """Which packed tokens belong to which slot: slot k owns tokens `ends[k - 1] .. ends[k]` (possibly none)."""

    ends: list[int]
    kernel: Kernel
    device: torch.device

    def __post_init__(self) -> None:
        self.runs = [
            (slot, start, end)
            for slot, (start, end) in enumerate(zip([0, *self.ends][:-1], self.ends, strict=True))
            if end > start
        ]
        if self.kernel == "grouped":
            self.offsets = torch.tensor(self.ends, dtype=torch.int32, device=self.device)
            counts = [end - start for start, end in zip([0, *self.ends][:-1], self.ends, strict=True)]
            slots = torch.arange(len(self.ends), device=self.device)
            self.slot_of = slots.repeat_interleave(torch.tensor(counts, device=self.device))
        if self.kernel == "padded":
            longest = max(end - start for _, start, end in self.runs)
            self.shape = (len(self.runs), longest)
            gather = [min(start + i, end - 1) for _, start, end in self.runs for i in range(longest)]
            home = [place * longest + i for place, (_, start, end) in enumerate(self.runs) for i in range(end - start)]
            self.even = gather == list(range(self.ends[-1]))
            self.gather = torch.tensor(gather, device=self.device)
            self.home = torch.tensor(home, device=self.device)
            self.slots = torch.tensor([slot for slot, _, _ in self.runs], device=self.device)
            self.all_slots = len(self.runs) == len(self.ends)


class Part(NamedTuple):
    """A bank and the tokens of each of its slots."""

    bank: Bank
    segments: Segments


def _apply(bank: Bank, name: str, x: Tensor, y: Tensor, segments: Segments) -> Tensor | None:
    """Add the bank's `scale B A x` to `y` in place, `x [N, in]`, `y [N, out]`; returns the `A x` for backward."""
    a, bt = bank.weights.a[name], bank.weights.bt[name]
    if segments.kernel == "loop":
        hidden = x.new_empty(x.shape[0], bank.rank)
        for slot, start, end in segments.runs:
            rank = bank.ranks[slot].get(name, 0)
            if rank:
                h = hidden[start:end, :rank]
                torch.mm(x[start:end], a[slot, :rank].t(), out=h)
                y[start:end].addmm_(h, bt[slot, :rank], alpha=bank.scales[slot])
        return hidden
    if segments.kernel == "grouped":
        hidden = F.grouped_mm(x, a.transpose(1, 2), offs=segments.offsets) * bank.scale[segments.slot_of, None].to(
            x.dtype
        )
        y += F.grouped_mm(hidden, bt, offs=segments.offsets)
        return hidden
    runs = (
        x.view(*segments.shape, -1) if segments.even else x.index_select(0, segments.gather).view(*segments.shape, -1)
    )
    if not segments.all_slots:
        a, bt = a.index_select(0, segments.slots), bt.index_select(0, segments.slots)
    scale = bank.scale.to(x.dtype).index_select(0, segments.slots)[:, None, None]
    delta = torch.bmm(torch.bmm(runs, a.transpose(1, 2)) * scale, bt).flatten(0, 1)
    y += delta if segments.even else delta.index_select(0, segments.home)
    return None


def _backward(
    bank: Bank, name: str, x: Tensor, hidden: Tensor, gy: Tensor, gx: Tensor | None, segments: Segments
) -> None:
    """Accumulate the gradients of A and B into `bank.grads` (if it trains) and that of `x` into `gx` (if wanted)."""
    a, bt, grads = bank.weights.a[name], bank.weights.bt[name], bank.grads
    if segments.kernel == "loop":
        for slot, start, end in segments.runs:
            rank, scale = bank.ranks[slot].get(name, 0), bank.scales[slot]
            if not rank:
                continue
            gh = gy[start:end] @ bt[slot, :rank].t()
            if grads is not None:
                if grads.flat.dtype == x.dtype:
                    grads.bt[name][slot, :rank].addmm_(hidden[start:end, :rank].t(), gy[start:end], alpha=scale)
                    grads.a[name][slot, :rank].addmm_(gh.t(), x[start:end], alpha=scale)
                else:
                    grads.bt[name][slot, :rank].add_(hidden[start:end, :rank].t() @ gy[start:end], alpha=scale)
                    grads.a[name][slot, :rank].add_(gh.t() @ x[start:end], alpha=scale)
            if gx is not None:
                gx[start:end].addmm_(gh, a[slot, :rank], alpha=scale)
        return
    offsets = segments.offsets
    gh = F.grouped_mm(gy, bt.transpose(1, 2), offs=offsets) * bank.scale[segments.slot_of, None].to(x.dtype)
    if grads is not None:
        grads.bt[name] += F.grouped_mm(hidden.t(), gy, offs=offsets)
        grads.a[name] += F.grouped_mm(gh.t(), x, offs=offsets)
    if gx is not None:
        gx += F.grouped_mm(gh, a, offs=offsets)


class _LoraLinear(torch.autograd.Function):
    """`y = W x + b + sum over parts of scale B A x`; adapter gradients go straight into the banks."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, anchor: Tensor, module: nn.Linear, parts: list[Part], name: str) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        y = F.linear(flat, module.weight, module.bias)
        hidden = [_apply(part.bank, name, flat, y, part.segments) for part in parts]
        ctx.save_for_backward(flat, *hidden)
        ctx.weight, ctx.parts, ctx.name = module.weight, parts, name
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        flat, *hidden = ctx.saved_tensors
        gy = grad.reshape(-1, grad.shape[-1])
        gx = gy @ ctx.weight if ctx.needs_input_grad[0] else None
        for part, h in zip(ctx.parts, hidden, strict=True):
            _backward(part.bank, ctx.name, flat, h, gy, gx, part.segments)
        return (None if gx is None else gx.view(*grad.shape[:-1], -1), None, None, None, None)


def _forward(module: nn.Linear, name: str, parts: list[Part], anchor: Tensor | None, x: Tensor) -> Tensor:
    if anchor is not None:
        apply: Any = _LoraLinear.apply
        out: Tensor = apply(x, anchor, module, parts, name)
        return out
    y = F.linear(x, module.weight, module.bias)
    flat_x, flat_y = x.reshape(-1, x.shape[-1]), y.view(-1, y.shape[-1])
    for part in parts:
        _apply(part.bank, name, flat_x, flat_y, part.segments)
    return y


@contextmanager
def routed(
    model: PreTrainedModel, linears: Mapping[str, nn.Linear], parts: Sequence[Part], anchor: Tensor | None
) -> Iterator[None]:
    """Within the block the model's linears add `parts` and its attention is packed; afterwards all is as before.

    `anchor` is a scalar that requires grad, when training: the first layer's adapters have frozen inputs only.
    """
    config: Any = model.config
    before = config._attn_implementation
    patched = []
    try:
        config._attn_implementation = IMPLEMENTATION
        for name, module in linears.items():
            mine = [part for part in parts if name in part.bank.shapes]
            if mine:
                module.forward = partial(_forward, module, name, mine, anchor)  # type: ignore[method-assign]
                patched.append(module)
        yield
    finally:
        for module in patched:
            del module.__dict__["forward"]
        config._attn_implementation = before


def stack_shapes(linears: Mapping[str, nn.Linear], names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """(in, out) of the named modules, in model order."""
    wanted = set(names)
    return {name: (m.in_features, m.out_features) for name, m in linears.items() if name in wanted}


def frozen_bank(
    model: nn.Module,
    linears: Mapping[str, nn.Linear],
    stacks: Sequence[Sequence[Adapter]],
    device: torch.device,
    dtype: torch.dtype,
) -> Bank | None:
    """A bank whose slot k holds the whole of `stacks[k]`, without gradients; None when every stack is empty."""
    adapters = [adapter for stack in stacks for adapter in stack]
    if not adapters:
        return None
    for adapter in adapters:
        check_fits(model, adapter)
    rank = max(sum(adapter.rank for adapter in stack) for stack in stacks)
    bank = Bank(
        len(stacks), stack_shapes(linears, [n for a in adapters for n in a.weights]), rank, device=device, dtype=dtype
    )
    for slot, stack in enumerate(stacks):
        if stack:
            bank.put(slot, stack)
    return bank
