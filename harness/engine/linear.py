"""Many LoRA adapters in one linear layer: each run of tokens meets its own slot's A and B, the frozen weight meets all.

Linears that read the same input (query, key and value; gate and up) form a group and are computed together: one product
with their stacked A, one accumulated input gradient. Adapter gradients go straight into the bank's buffers; autograd
never sees the adapters as parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from .attention import IMPLEMENTATION
from .bank import Bank

Kernel = Literal["loop", "padded", "grouped"]


@dataclass
class Segments:
    """Which packed tokens belong to which slot: slot k owns tokens `ends[k - 1] .. ends[k]` (possibly none)."""

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


class Part(NamedTuple):
    """A bank and the tokens of each of its slots."""

    bank: Bank
    segments: Segments


def _apply(part: Part, group: int, x: Tensor, ys: Mapping[str, Tensor]) -> list[Tensor]:
    """Add the part's `scale B A x` to the group's outputs `[N, out]` in place; returns the `A x` for backward."""
    bank, segments = part
    names = bank.members(group)
    if segments.kernel == "loop":
        xs = torch.split_with_sizes(x, segments.sizes)
        runs = {name: torch.split_with_sizes(ys[name], segments.sizes) for name in names}
        saved = []
        for i, slot in enumerate(segments.slots):
            block = bank.weights[slot].get(group)
            if block is None:
                continue
            hidden = torch.mm(xs[i], block.at)
            for name, h, bt in zip(block.names, block.split(hidden), block.bt, strict=True):
                runs[name][i].addmm_(h, bt, alpha=bank.scales[slot])
            saved.append(hidden)
        return saved
    a, bts = bank.stacked(group)
    rank = bank.rank
    if segments.kernel == "grouped":
        scale = bank.scale[segments.slot_of, None].to(x.dtype)
        hidden = F.grouped_mm(x, a.transpose(1, 2), offs=segments.offsets) * scale
        for j, name in enumerate(names):
            h = hidden[:, j * rank : (j + 1) * rank].contiguous()
            ys[name].add_(F.grouped_mm(h, bts[j], offs=segments.offsets))
        return [hidden]
    padded = x if segments.even else x.index_select(0, segments.gather)
    pick = segments.index
    scale = bank.scale.to(x.dtype) if pick is None else bank.scale.to(x.dtype)[pick]
    a = a if pick is None else a.index_select(0, pick)
    hidden = torch.bmm(padded.view(*segments.shape, -1), a.transpose(1, 2)) * scale[:, None, None]
    for j, name in enumerate(names):
        bt = bts[j] if pick is None else bts[j].index_select(0, pick)
        delta = torch.bmm(hidden[:, :, j * rank : (j + 1) * rank], bt).flatten(0, 1)
        ys[name].add_(delta if segments.even else delta.index_select(0, segments.home))
    return []


def _backward(
    part: Part, group: int, x: Tensor, saved: Sequence[Tensor], gys: Mapping[str, Tensor], gx: Tensor | None
) -> None:
    """Accumulate the gradients of A and B in the bank (if it trains) and add the part's share to `gx` (if wanted)."""
    bank, segments = part
    names = bank.members(group)
    if segments.kernel == "loop":
        hiddens = iter(saved)
        xs = torch.split_with_sizes(x, segments.sizes)
        gxs = None if gx is None else torch.split_with_sizes(gx, segments.sizes)
        runs = {name: torch.split_with_sizes(gys[name], segments.sizes) for name in names}
        for i, slot in enumerate(segments.slots):
            block, scale = bank.weights[slot].get(group), bank.scales[slot]
            if block is None:
                continue
            hidden = next(hiddens)
            if len(block.names) == 1:
                gh = torch.mm(runs[block.names[0]][i], block.b[0])
            else:
                gh = torch.empty_like(hidden)
                for name, g, b in zip(block.names, block.split(gh), block.b, strict=True):
                    torch.mm(runs[name][i], b, out=g)
            if bank.grads is not None:
                grad = bank.grads[slot][group]
                for name, h, gbt in zip(block.names, block.split(hidden), grad.bt, strict=True):
                    _accumulate(gbt, h.t(), runs[name][i], scale)
                _accumulate(grad.a, gh.t(), xs[i], scale)
            if gxs is not None:
                gxs[i].addmm_(gh, block.a, alpha=scale)
        return
    a, bts = bank.stacked(group)
    offsets, rank = segments.offsets, bank.rank
    gh = torch.cat(
        [F.grouped_mm(gys[n], bt.transpose(1, 2), offs=offsets) for n, bt in zip(names, bts, strict=True)], 1
    )
    gh = gh * bank.scale[segments.slot_of, None].to(x.dtype)
    if bank.grads is not None:
        ga, gbts = bank.stacked_grads(group)
        ga.add_(F.grouped_mm(gh.t(), x, offs=offsets))
        for j, name in enumerate(names):
            h = saved[0][:, j * rank : (j + 1) * rank].contiguous()
            gbts[j].add_(F.grouped_mm(h.t(), gys[name], offs=offsets))
    if gx is not None:
        gx.add_(F.grouped_mm(gh, a, offs=offsets))


def _accumulate(total: Tensor, left: Tensor, right: Tensor, scale: float) -> None:
    """`total += scale * left @ right`, where the total is fp32 and the factors may be half precision."""
    if total.dtype == left.dtype:
        total.addmm_(left, right, alpha=scale)
    else:
        total.add_(left @ right, alpha=scale)


class _GroupLinear(torch.autograd.Function):
    """`y_j = W_j x + b_j + sum over parts of scale B_j A_j x` for all linears j of a group; outputs in their order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, anchor: Tensor, group: _GroupCall) -> tuple[Tensor, ...]:
        flat = x.reshape(-1, x.shape[-1])
        ys = {name: F.linear(flat, module.weight, module.bias) for name, module in group.modules.items()}
        ctx.save_for_backward(flat)
        ctx.saved = [_apply(part, group.key, flat, ys) for part in group.parts]
        ctx.group = group
        return tuple(y.view(*x.shape[:-1], -1) for y in ys.values())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None]:
        (flat,) = ctx.saved_tensors
        group: _GroupCall = ctx.group
        gys = {name: g.reshape(-1, g.shape[-1]) for name, g in zip(group.modules, grads, strict=True)}
        gx: Tensor | None = None
        if ctx.needs_input_grad[0]:
            for name, module in group.modules.items():
                gx = gys[name] @ module.weight if gx is None else gx.addmm_(gys[name], module.weight)
        for part, saved in zip(group.parts, ctx.saved, strict=True):
            _backward(part, group.key, flat, saved, gys, gx)
        return None if gx is None else gx.view(*grads[0].shape[:-1], -1), None, None


class Wanted:
    """The packed tokens of a forward whose outputs anything still depends on: all (None), or those at `index`.

    After the last layer's attention no token meets another, so what is not asked for need not be computed.
    """

    def __init__(self) -> None:
        self.index: Tensor | None = None
        self._parts: dict[int, Part] = {}

    def narrow(self, index: Tensor, pairs: Iterable[tuple[Part, Part]]) -> None:
        """From now on only the tokens at `index`; each part with itself on those tokens."""
        self.index = index
        self._parts = {id(part): narrowed for part, narrowed in pairs}

    def part(self, part: Part) -> Part:
        """The part on the tokens that are wanted."""
        return part if self.index is None else self._parts[id(part)]

    def widen(self) -> None:
        """All tokens again."""
        self.index = None
        self._parts.clear()


class _GroupCall:
    """One forward's computation of a group: whichever member is called first computes all of them."""

    def __init__(
        self, key: int, modules: dict[str, nn.Linear], parts: list[Part], anchor: Tensor | None, wanted: Wanted
    ) -> None:
        self.key, self.modules, self.parts, self._anchor, self._wanted = key, modules, parts, anchor, wanted
        self._input: Tensor | None = None
        self._outputs: dict[str, Tensor] = {}

    def __call__(self, name: str, x: Tensor) -> Tensor:
        if self._input is not x or name not in self._outputs:
            self._input = x
            self._outputs = dict(zip(self.modules, self._compute(x), strict=True))
        output = self._outputs.pop(name)
        if not self._outputs:
            self._input = None
        return output

    def _compute(self, x: Tensor) -> tuple[Tensor, ...]:
        if self._anchor is not None:
            apply: Any = _GroupLinear.apply
            outputs: tuple[Tensor, ...] = apply(x, self._anchor, self)
            return outputs
        flat = x.reshape(-1, x.shape[-1])
        index = self._wanted.index
        some = flat if index is None else flat.index_select(0, index)
        ys = {name: F.linear(some, module.weight, module.bias) for name, module in self.modules.items()}
        for part in self.parts:
            _apply(self._wanted.part(part), self.key, some, ys)
        if index is not None:
            ys = {name: y.new_zeros(len(flat), y.shape[1]).index_copy_(0, index, y) for name, y in ys.items()}
        return tuple(y.view(*x.shape[:-1], -1) for y in ys.values())


Routes = list[tuple[nn.Linear, Callable[[Tensor], Tensor]]]
"""Linears, and what each computes instead while a forward runs."""


class Parts:
    """What a forward adds to the linears. Decoding takes the same parts at every step, so the way in is made once."""

    def __init__(self, *parts: Part) -> None:
        self.all = parts
        self._routes: tuple[Tensor | None, Routes] | None = None

    def __add__(self, other: Parts) -> Parts:
        return Parts(*self.all, *other.all)

    def routes(self, groups: Sequence[Mapping[str, nn.Linear]], anchor: Tensor | None, wanted: Wanted) -> Routes:
        """What the adapted linears of `groups` compute.

        `anchor` is a scalar that requires grad, when training: the first layer's adapters have frozen inputs only.
        """
        if self._routes is None or self._routes[0] is not anchor:
            self._routes = (anchor, list(self._made(groups, anchor, wanted)))
        return self._routes[1]

    def _made(
        self, groups: Sequence[Mapping[str, nn.Linear]], anchor: Tensor | None, wanted: Wanted
    ) -> Iterator[tuple[nn.Linear, Callable[[Tensor], Tensor]]]:
        for key, linears in enumerate(groups):
            mine = [part for part in self.all if part.bank.members(key)]
            adapted = {name: m for name, m in linears.items() if any(name in part.bank.members(key) for part in mine)}
            call = _GroupCall(key, adapted, mine, anchor, wanted)
            yield from ((module, partial(call, name)) for name, module in adapted.items())


@contextmanager
def routed(model: PreTrainedModel, replaced: Routes) -> Iterator[None]:
    """Within the block the model's linears are `replaced` and its attention is packed; afterwards all is as before."""
    config: Any = model.config
    before = config._attn_implementation
    try:
        config._attn_implementation = IMPLEMENTATION
        for module, forward in replaced:
            module.__dict__["forward"] = forward  # as an assignment would, which is slow in nn.Module
        yield
    finally:
        for module, _ in replaced:
            module.__dict__.pop("forward", None)
        config._attn_implementation = before


def linears_by_input(model: PreTrainedModel, linears: Mapping[str, nn.Linear]) -> list[dict[str, nn.Linear]]:
    """The model's linears in call order, those that are given the very same input tensor together.

    Found by watching one forward of two tokens, so it holds for any architecture; linears that are not called (or are
    the output head, which sees selected positions only) are left out.
    """
    calls: list[tuple[Tensor, str]] = []
    handles = [
        module.register_forward_pre_hook(lambda _, args, name=name: calls.append((args[0], name)))
        for name, module in linears.items()
    ]
    try:
        with torch.no_grad():
            model(input_ids=torch.zeros(1, 2, dtype=torch.long, device=model.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    groups: list[dict[str, nn.Linear]] = []
    last: Tensor | None = None
    for x, name in calls:
        if linears[name] is head:
            continue
        if x is last:
            groups[-1][name] = linears[name]
        else:
            groups.append({name: linears[name]})
        last = x
    return groups
