"""Attention over packed tokens, plugged in through transformers' `AttentionInterface`.

A forward sees one row `[1, N]` holding the tokens of many sequences back to back. Linear layers and norms treat every
token by itself and need no change; attention must keep sequences apart. Sequences of similar length are gathered into
padded groups (padded to at most twice the shortest member), so that a group is one scaled-dot-product call on any
device. No row of a group ever reads another sequence, so a sequence that diverges to NaN affects no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

IMPLEMENTATION = "harness_packed"


class How(NamedTuple):
    """What a layer says of its attention."""

    scale: float | None = None  # of the products; None: one over the root of their width
    window: int | None = None  # the last tokens that are visible
    cap: float | None = None  # products x become cap * tanh(x / cap) (Gemma 2, arXiv 2408.00118, section 2)


class Attend(Protocol):
    """What the registered attention function calls, once per layer, with tensors `[N, heads, dim]`."""

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, how: How) -> Tensor: ...


def _attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    packed: Attend | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """The function behind `_attn_implementation = IMPLEMENTATION`; query, key, value are `[1, heads, N, dim]`."""
    if packed is None:
        raise RuntimeError(f"{type(module).__name__} did not pass the engine's packed layout on to its attention")
    for name in ("s_aux", "position_bias"):
        if options.get(name) is not None:
            raise ValueError(f"{type(module).__name__} uses {name!r} in its attention, which the engine cannot compute")
    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    layer = int(getattr(module, "layer_idx"))  # noqa: B009  (nn.Module attributes are untyped)
    return packed(layer, q, k, v, How(scaling, sliding_window, softcap)).unsqueeze(0), None


def register() -> None:
    """Make the implementation known to transformers, whose import takes seconds: where a model is loaded, and not where
    adapters are only read."""
    from transformers import AttentionInterface

    AttentionInterface.register(IMPLEMENTATION, _attention)


def sdpa(q: Tensor, k: Tensor, v: Tensor, how: How, *, causal: bool = False, mask: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention over tensors `[S, L, heads, dim]`; key/value heads may be grouped. Returns the shape
    of `q`. The window of `how` is in the mask."""
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    repeats = q.shape[1] // k.shape[1]
    native = repeats > 1 and mask is None and how.cap is None
    if repeats > 1 and not native:
        k, v = k.repeat_interleave(repeats, dim=1), v.repeat_interleave(repeats, dim=1)
    if how.cap is not None:
        return _capped(q, k, v, how, causal=causal, mask=mask).transpose(1, 2)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, scale=how.scale, enable_gqa=native)
    return out.transpose(1, 2)


def _capped(q: Tensor, k: Tensor, v: Tensor, how: How, *, causal: bool, mask: Tensor | None) -> Tensor:
    """The same with capped products, which no fused kernel computes: all of them are held at once."""
    assert how.cap is not None
    products = q @ k.transpose(2, 3) * (how.scale if how.scale is not None else q.shape[-1] ** -0.5)
    products = how.cap * torch.tanh(products / how.cap)
    if causal:
        mask = causal_window(q.shape[2], k.shape[2], q.device)
    if mask is not None:
        products = products.masked_fill(~mask, -torch.inf)
    return products.softmax(-1, dtype=torch.float32).to(q.dtype) @ v


def causal_window(length: int, window: int, device: torch.device) -> Tensor:
    """Boolean `[length, length]`: key j is visible from query i when i - window < j <= i."""
    distance = torch.arange(length, device=device)[:, None] - torch.arange(length, device=device)[None, :]
    return (distance >= 0) & (distance < window)


def group_by_length(lengths: Sequence[int]) -> list[list[int]]:
    """Indices of `lengths`, in groups whose longest member is at most twice the shortest; the longest group first."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    groups: list[list[int]] = []
    for i in order:
        if groups and 2 * lengths[i] >= lengths[groups[-1][0]]:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


@dataclass
class _Grid:
    """Token runs laid out as padded groups: `gather` fills the grid, `home` locates every token in it.

    A padded cell repeats the last token of its own run, so that its content never leaves that run.
    """

    shapes: list[tuple[int, int]]  # (runs, longest run) of each group
    tokens: Tensor  # [n] the packed indices of the runs' tokens, run by run
    gather: Tensor  # [cells] packed index for every cell
    home: Tensor  # [n] cell of every token of `tokens`
    total: int  # N, packed tokens in all
    plain: bool  # one group without padding that is the whole row, in order: reshaping is enough

    @classmethod
    def build(
        cls, starts: Sequence[int], lengths: Sequence[int], groups: list[list[int]], total: int, device: torch.device
    ) -> _Grid:
        if len(groups) == 1 and sum(lengths) == total == len(lengths) and list(starts) == groups[0]:
            every = torch.arange(total, device=device)  # one token each, as in every step of decoding
            return cls([(total, 1)], every, every, every, total, plain=True)
        gather: list[int] = []
        homes: list[list[int]] = [[] for _ in lengths]
        shapes = []
        for group in groups:
            longest = max(lengths[i] for i in group)
            shapes.append((len(group), longest))
            for i in group:
                base, n = len(gather), lengths[i]
                gather.extend(range(starts[i], starts[i] + n))
                gather.extend([starts[i] + n - 1] * (longest - n))
                homes[i] = list(range(base, base + n))
        tokens = [t for start, n in zip(starts, lengths, strict=True) for t in range(start, start + n)]
        home = [cell for cells in homes for cell in cells]
        index = [torch.tensor(values, dtype=torch.long, device=device) for values in (tokens, gather, home)]
        return cls(shapes, index[0], index[1], index[2], total, plain=gather == list(range(total)))

    def groups(self, x: Tensor) -> list[Tensor]:
        """Turn `[N, heads, dim]` into one tensor `[runs, longest, heads, dim]` per group."""
        grid: Tensor = x if self.plain else _Fill.apply(x, self)  # type: ignore[no-untyped-call]
        if len(self.shapes) == 1:
            return [grid.view(*self.shapes[0], *grid.shape[1:])]
        parts = torch.split(grid, [runs * longest for runs, longest in self.shapes])
        return [part.view(*shape, *grid.shape[1:]) for part, shape in zip(parts, self.shapes, strict=True)]

    def flatten(self, groups: list[Tensor]) -> Tensor:
        """The inverse of `groups`: `[n, heads, dim]` in the order of `tokens`."""
        flat = groups[0].flatten(0, 1) if len(groups) == 1 else torch.cat([group.flatten(0, 1) for group in groups])
        out: Tensor = flat if self.plain else _Read.apply(flat, self)  # type: ignore[no-untyped-call]
        return out


class _Fill(torch.autograd.Function):
    """Gather tokens into the grid. Padded cells have gradients of exactly 0 (see `_Read`), so backward is a gather
    too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, grid: _Grid) -> Tensor:
        ctx.grid = grid
        return x.index_select(0, grid.gather)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        grid: _Grid = ctx.grid
        real = grad.index_select(0, grid.home)
        if len(grid.tokens) == grid.total:  # `tokens` is then 0 .. N-1
            return real, None
        return grad.new_zeros(grid.total, *grad.shape[1:]).index_copy_(0, grid.tokens, real), None


class _Read(torch.autograd.Function):
    """Read the tokens back out of the grid; padded cells receive zero gradient."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, grid: _Grid) -> Tensor:
        ctx.grid = grid
        return flat.index_select(0, grid.home)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        grid: _Grid = ctx.grid
        return grad.new_zeros(len(grid.gather), *grad.shape[1:]).index_copy_(0, grid.home, grad), None


@dataclass
class PackedAttention:
    """Causal attention within every sequence of a packed row; optionally records keys and values for a cache.

    The `lengths[i]` real tokens of sequence i are followed by `nodes[i]` padding positions, which attend to all real
    tokens of their sequence and nothing else (not each other, not themselves), as a masked padding position does
    (`Padding` in jobs.py).
    """

    lengths: Sequence[int]
    nodes: Sequence[int] = ()
    reach: int = 0  # the largest position of any node
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    record: dict[int, tuple[Tensor, Tensor]] | None = None

    def __post_init__(self) -> None:
        self._elsewhere: dict[torch.device, PackedAttention] = {}  # the same for layers on other devices
        nodes = self.nodes or [0] * len(self.lengths)
        starts, node_starts, at = [], [], 0
        for length, count in zip(self.lengths, nodes, strict=True):
            starts.append(at)
            node_starts.append(at + length)
            at += length + count
        groups = group_by_length(self.lengths)
        self._real = _Grid.build(starts, self.lengths, groups, at, self.device)
        self._padded: list[Tensor | None] = []
        self._nodes: _Grid | None = None
        if any(nodes):
            with_nodes = [[i for i in group if nodes[i]] for group in groups]
            kept = [group for group in with_nodes if group]
            index = {i: place for place, i in enumerate(i for i in range(len(nodes)) if nodes[i])}
            some = list(index)
            regrouped = [[index[i] for i in group] for group in kept]
            self._nodes = _Grid.build(
                [node_starts[i] for i in some], [nodes[i] for i in some], regrouped, at, self.device
            )
            self._keys = _Grid.build(
                [starts[i] for i in some], [self.lengths[i] for i in some], regrouped, at, self.device
            )
            for group in kept:
                sizes = torch.tensor([self.lengths[i] for i in group], device=self.device)
                visible = torch.arange(int(sizes.max()), device=self.device)[None] < sizes[:, None]
                self._padded.append(visible[:, None, None])
            order = torch.cat([self._real.tokens, self._nodes.tokens])
            self._order = torch.empty_like(order)
            self._order[order] = torch.arange(len(order), device=self.device)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, how: How) -> Tensor:
        if q.device != self.device:
            if q.device not in self._elsewhere:
                self._elsewhere[q.device] = replace(self, device=q.device)
            return self._elsewhere[q.device](layer, q, k, v, how)
        if self.record is not None:
            self.record[layer] = (k, v)
        grid, window = self._real, how.window
        out = []
        for one_q, one_k, one_v in zip(grid.groups(q), grid.groups(k), grid.groups(v), strict=True):
            length = one_q.shape[1]
            if window is not None and length > window:
                out.append(sdpa(one_q, one_k, one_v, how, mask=causal_window(length, window, q.device)))
            else:
                out.append(sdpa(one_q, one_k, one_v, how, causal=True))
        real = grid.flatten(out)
        if self._nodes is None:
            return real
        if window is not None and self.reach >= window:
            raise ValueError(
                f"padding positions up to {self.reach} do not fit the model's attention window of {window}"
            )
        extra = [
            sdpa(one_q, one_k, one_v, how, mask=mask)
            for one_q, one_k, one_v, mask in zip(
                self._nodes.groups(q), self._keys.groups(k), self._keys.groups(v), self._padded, strict=True
            )
        ]
        return torch.cat([real, self._nodes.flatten(extra)]).index_select(0, self._order)


class RowCache:
    """Keys and values `[rows, T, heads, dim]` per layer; row r holds `lengths[r]` tokens, the rest of it is unused."""

    def __init__(self, lengths: Sequence[int], layers: dict[int, tuple[Tensor, Tensor]]) -> None:
        self.lengths = list(lengths)
        self.layers = layers

    @classmethod
    def from_packed(cls, record: dict[int, tuple[Tensor, Tensor]], lengths: Sequence[int], capacity: int) -> RowCache:
        """Cut what `PackedAttention` recorded (`[N, heads, dim]` per layer) into rows with room for `capacity`
        tokens."""
        layers = {}
        for layer, pair in record.items():
            rows = [tensor.new_zeros(len(lengths), capacity, *tensor.shape[1:]) for tensor in pair]
            for store, tensor in zip(rows, pair, strict=True):
                for row, part in enumerate(torch.split(tensor, list(lengths))):
                    store[row, : len(part)] = part
            layers[layer] = (rows[0], rows[1])
        return cls(lengths, layers)

    def select(self, rows: Sequence[int]) -> RowCache:
        """The given rows, in the given order; a row may occur several times. Returns this cache itself for all rows in
        their own order."""
        if list(rows) == list(range(len(self.lengths))):
            return self
        index = {
            device: torch.tensor(list(rows), dtype=torch.long, device=device)
            for device in {k.device for k, _ in self.layers.values()}
        }
        layers = {
            layer: (k.index_select(0, index[k.device]), v.index_select(0, index[k.device]))
            for layer, (k, v) in self.layers.items()
        }
        return RowCache([self.lengths[row] for row in rows], layers)

    def resized(self, capacity: int) -> RowCache:
        """The same rows with room for `capacity` tokens."""
        layers = {}
        for layer, pair in self.layers.items():
            k, v = (
                F.pad(t, (0, 0, 0, 0, 0, capacity - t.shape[1])) if capacity > t.shape[1] else t[:, :capacity]
                for t in pair
            )
            layers[layer] = (k, v)
        return RowCache(self.lengths, layers)

    @property
    def capacity(self) -> int:
        return next(iter(self.layers.values()))[0].shape[1]

    @staticmethod
    def concatenate(caches: Sequence[RowCache]) -> RowCache:
        """The rows of all caches, one cache after another."""
        if len(caches) == 1:
            return caches[0]
        capacity = max(cache.capacity for cache in caches)
        sized = [cache.resized(capacity) for cache in caches]
        layers = {}
        for layer in sized[0].layers:
            layers[layer] = (
                torch.cat([cache.layers[layer][0] for cache in sized]),
                torch.cat([cache.layers[layer][1] for cache in sized]),
            )
        return RowCache([length for cache in sized for length in cache.lengths], layers)


class CachedAttention:
    """Attention of `counts[r]` new tokens of every cached row r over that row's past and, causally, over themselves."""

    def __init__(self, cache: RowCache, counts: Sequence[int], device: torch.device) -> None:
        self._cache, self._device = cache, device
        self._begun = (RowCache(cache.lengths, cache.layers), counts)
        self._elsewhere: dict[torch.device, CachedAttention] = {}  # the same for layers on other devices
        starts = [0]
        for count in counts[:-1]:
            starts.append(starts[-1] + count)
        self._groups = group_by_length(counts)
        self._grid = _Grid.build(starts, counts, self._groups, sum(counts), device)
        self._width = max(length + count for length, count in zip(cache.lengths, counts, strict=True))
        if self._width > cache.capacity:
            raise ValueError(f"cache rows hold {cache.capacity} tokens, but {self._width} are needed")
        if device.type != "cpu":
            self._width = cache.capacity  # masked where nothing is yet, so that many steps have the same shapes
        rows = [row for row, count in enumerate(counts) for _ in range(count)]
        self.positions = [cache.lengths[row] + i for row, count in enumerate(counts) for i in range(count)]
        self._rows = torch.tensor(rows, device=device)
        self._at = torch.tensor(self.positions, device=device)
        self._indices = [
            None if group == list(range(len(counts))) else torch.tensor(group, device=device) for group in self._groups
        ]
        places = self._grid.groups(self._at[:, None, None])
        keys = torch.arange(self._width, device=device)
        self._distance = [place[:, :, 0, 0][:, :, None] - keys[None, None] for place in places]
        self._masks: dict[int | None, list[Tensor]] = {}
        cache.lengths = [length + count for length, count in zip(cache.lengths, counts, strict=True)]

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, how: How) -> Tensor:
        if q.device != self._device:
            if q.device not in self._elsewhere:
                self._elsewhere[q.device] = CachedAttention(*self._begun, q.device)
            return self._elsewhere[q.device](layer, q, k, v, how)
        keys, values = self._cache.layers[layer]
        window = how.window
        keys[self._rows, self._at] = k
        values[self._rows, self._at] = v
        if window not in self._masks:
            limit = self._width if window is None else window
            self._masks[window] = [((far >= 0) & (far < limit))[:, None] for far in self._distance]
        out = []
        for one_q, rows, mask in zip(self._grid.groups(q), self._indices, self._masks[window], strict=True):
            one_k, one_v = keys[:, : self._width], values[:, : self._width]
            if rows is not None:
                one_k, one_v = one_k.index_select(0, rows), one_v.index_select(0, rows)
            runs, count, heads, dim = one_q.shape
            repeats = heads // one_k.shape[2]
            if count == 1 and repeats > 1:
                # With one query, its grouped heads become queries of their key/value head, and the cache is read once.
                one_q = one_q.view(runs, -1, repeats, dim).transpose(1, 2)
                one = sdpa(one_q, one_k, one_v, how, mask=mask)
                out.append(one.transpose(1, 2).reshape(runs, 1, heads, one.shape[-1]))
            else:
                out.append(sdpa(one_q, one_k, one_v, how, mask=mask))
        return self._grid.flatten(out)
