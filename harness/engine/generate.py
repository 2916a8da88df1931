"""Greedy and sampled decoding of many rows, each under its own adapter stack, in one batch with a key/value cache.

Rows are first put in a canonical order (adapters, then length and content), so the batches, and with them every bit of
the arithmetic, do not depend on the order in which the rows were given. Prompts are prefilled packed; equal prompts of
one stack are prefilled once, and so is a long common prefix. Finished rows leave once they are half of a batch, and
waiting rows take their places.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import torch
from torch import Tensor

from .adapter import Adapter, stack_digest
from .attention import CachedAttention, PackedAttention, RowCache
from .bank import Banks
from .forward import FrozenModel
from .jobs import Generated, GenerationRow
from .linear import Parts
from .memory import MemoryPlan
from .prefix import Run, common_beginnings

Prompt = tuple[str, tuple[int, ...]]  # (stack, ids)

_GROW = 64  # cache positions added at a time


def _rounded(count: int) -> int:
    """The next power of two."""
    return 1 << max(0, count - 1).bit_length()


@dataclass
class _Live:
    """A row being decoded."""

    row: GenerationRow
    place: int  # index in the caller's list
    stack: str
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    uniforms: list[float] = field(default_factory=list)
    done: Generated | None = None

    def finish(self, finish: str, *, cut: int = 0, eos: int | None = None, eos_logprob: float | None = None) -> None:
        ids = tuple(self.ids[: len(self.ids) - cut])
        logprobs = tuple(self.logprobs[: len(ids)]) if self.row.logprobs else None
        self.done = Generated(ids, "stop" if finish == "stop" else "length", eos, eos_logprob, logprobs)

    def accept(self, token: int, logprob: float, eos: frozenset[int]) -> None:
        """Append the next token, and finish the row if it ends there."""
        if token in eos:
            self.finish("stop", eos=token, eos_logprob=logprob if self.row.logprobs else None)
            return
        self.ids.append(token)
        if self.row.logprobs:
            self.logprobs.append(logprob)
        if callable(self.row.stop):
            if self.row.stop(self.ids):
                self.finish("stop")
        else:
            for stop in self.row.stop:
                if stop and tuple(self.ids[-len(stop) :]) == tuple(stop):
                    self.finish("stop", cut=len(stop))
        if self.done is None and len(self.ids) >= self.row.max_tokens:
            self.finish("length")


def generate(
    frozen: FrozenModel, plan: MemoryPlan, rows: Sequence[GenerationRow], eos: frozenset[int]
) -> list[Generated]:
    """Complete every row; results in the order of `rows`."""
    stacks = {id(row): stack_digest(row.adapters) for row in rows}
    waiting = [_Live(row, place, stacks[id(row)]) for place, row in enumerate(rows)]
    for live in waiting:
        if live.row.max_tokens == 0:
            live.finish("length")
        elif live.row.temperature > 0:
            generator = torch.Generator().manual_seed(live.row.seed)
            live.uniforms = torch.rand(live.row.max_tokens, generator=generator, dtype=torch.float64).tolist()
    everything = list(waiting)
    waiting = sorted((live for live in waiting if live.done is None), key=_canonical)
    with torch.inference_mode():
        batch = _Batch(frozen, plan, eos)
        while waiting or batch.live:
            waiting = batch.admit(waiting)
            batch.step()
            batch.compact(waiting=bool(waiting))
    finished = sorted(everything, key=lambda live: live.place)
    return [live.done for live in finished if live.done is not None]


def _canonical(live: _Live) -> tuple[object, ...]:
    row = live.row
    return (live.stack, len(row.prompt), row.prompt, row.max_tokens, row.temperature, row.top_p, row.seed)


class _Batch:
    """The rows decoded together, their cache, and the adapters they need; rows of one stack are adjacent.

    On a GPU the numbers of rows and of stacks are powers of two, filled up with rows that are done and with empty
    stacks, and the cache grows to multiples of 64: the forwards of all decoding steps have few different shapes.
    """

    def __init__(self, frozen: FrozenModel, plan: MemoryPlan, eos: frozenset[int]) -> None:
        self._frozen, self._plan, self._eos = frozen, plan, eos
        self._fixed = frozen.device.type != "cpu"
        self.live: list[_Live] = []
        self._decoding = 0  # rows of `live` that were not done when they were chosen
        self._cache: RowCache | None = None
        self._parts: Parts = Parts()
        self._bank: tuple[tuple[str, ...], Banks | None] = ((), None)

    def admit(self, waiting: list[_Live]) -> list[_Live]:
        """Admit rows from the front of `waiting` while there is room; returns the rows that still wait."""
        if not waiting or len(self.live) > self._plan.rows // 2:
            return waiting
        room = self._plan.cache_tokens - sum(_length(live) for live in self.live)
        count = 0
        while count < min(len(waiting), self._plan.rows - len(self.live)):
            room -= _length(waiting[count])
            if room < 0 and (count or self.live):
                break
            count += 1
        if not count:
            return waiting
        fresh = waiting[:count]
        cache = self._prefill(fresh)
        merged = [*self.live, *fresh]
        order = sorted((i for i in range(len(merged)) if merged[i].done is None), key=lambda i: (merged[i].stack, i))
        caches = [cache] if self._cache is None else [self._cache, cache]
        self._keep(merged, RowCache.concatenate(caches), order)
        return waiting[count:]

    def _keep(self, rows: Sequence[_Live], cache: RowCache, order: list[int]) -> None:
        """Go on with the rows at `order`, which may be none."""
        self.live, self._decoding = [rows[i] for i in order], len(order)
        if self._fixed and order:
            more = min(_rounded(len(order)), max(len(order), self._plan.rows)) - len(order)
            last = self.live[-1]
            filler = _Live(last.row, last.place, last.stack, [0], done=Generated((), "length"))
            self.live += [filler] * more
            order = [*order, *[order[-1]] * more]
        self._cache = cache.select(order) if order else None
        self._load()

    def step(self) -> None:
        """Decode one token for every row (rows that are done are carried along until the next compaction)."""
        if not self.live or self._cache is None:
            return
        width = max(self._cache.lengths) + 1
        if width > self._cache.capacity or (self._fixed and self._cache.capacity % _GROW):
            self._cache = self._cache.resized(-(-width // _GROW) * _GROW if self._fixed else width + _GROW)
        attend = CachedAttention(self._cache, [1] * len(self.live), self._frozen.device)
        logits = self._frozen.logits(
            [live.ids[-1] if live.ids else live.row.prompt[-1] for live in self.live],
            attend.positions, attend, self._parts, range(len(self.live)),
        )  # fmt: skip
        _accept(self.live, logits, self._eos)

    def compact(self, *, waiting: bool) -> None:
        """Drop finished rows once they are half of the batch, or earlier where others can take their places."""
        left = [i for i, live in enumerate(self.live) if live.done is None]
        if len(left) == self._decoding or (
            2 * len(left) > len(self.live) and not (waiting and len(left) <= self._plan.rows // 2)
        ):
            return
        assert self._cache is not None
        self._keep(self.live, self._cache, left)

    def _load(self) -> None:
        by_stack = {live.stack: live.row.adapters for live in self.live}
        counts = [sum(live.stack == stack for live in self.live) for stack in by_stack]
        self._parts = self._frozen.parts(self._banked(by_stack), counts)

    def _banked(self, by_stack: Mapping[str, Sequence[Adapter]]) -> Banks | None:
        """The bank of these stacks, in this order. The last one is cached, as decoding needs the same bank as
        prefill."""
        if self._bank[0] != tuple(by_stack):
            empty = _rounded(len(by_stack)) - len(by_stack) if self._fixed else 0
            self._bank = (tuple(by_stack), self._frozen.bank([*by_stack.values(), *[()] * empty]))
        return self._bank[1]

    def _prefill(self, fresh: list[_Live]) -> RowCache:
        """Prefill the `fresh` rows and choose the first token of each; returns their caches, in that order."""
        units = list(dict.fromkeys((live.stack, live.row.prompt) for live in fresh))
        # One bank for all packs, with the stacks in the order that decoding uses, so that it finds this bank cached.
        stacks = {live.stack: live.row.adapters for live in fresh}
        bank = self._banked(stacks)
        caches, logits, order = [], [], []
        room = min(_GROW, max(live.row.max_tokens for live in fresh))
        for pack in _packs(common_beginnings(units), units, self._plan.tokens):
            for cache, out, members in self._prefill_pack(pack, units, list(stacks), bank, room):
                caches.append(cache)
                logits.append(out)
                order.extend(members)
        index = {prompt: place for place, prompt in enumerate(order)}
        rows = [index[live.stack, live.row.prompt] for live in fresh]
        _accept(fresh, torch.cat(logits)[rows], self._eos)
        return RowCache.concatenate(caches).select(rows)

    def _prefill_pack(
        self, pack: list[Run], units: Sequence[Prompt], stacks: Sequence[str], bank: Banks | None, room: int
    ) -> Iterator[tuple[RowCache, Tensor, list[Prompt]]]:
        """One packed forward over the runs' prefixes, and one more over what follows the shared ones.

        The caches have room for `room` more tokens. Yields (caches, next-token logits, prompts), first for the runs
        with one prompt, then for the members of shared runs.
        """
        frozen = self._frozen
        heads = [units[run.members[0]][1][: run.shared] for run in pack]
        lengths = [len(head) for head in heads]
        counts = [sum(run.shared for run in pack if run.stack == stack) for stack in stacks]
        attend = PackedAttention(lengths, device=frozen.device, record={})
        logits = frozen.logits(
            _flat(heads), [i for n in lengths for i in range(n)], attend, frozen.parts(bank, counts), _last(lengths)
        )
        capacity = max(len(units[i][1]) for run in pack for i in run.members) + room
        cache = RowCache.from_packed(attend.record or {}, lengths, capacity)
        single = [place for place, run in enumerate(pack) if len(run.members) == 1]
        if single:
            yield cache.select(single), logits[single], [units[pack[i].members[0]] for i in single]
        shared = [(place, units[i][1]) for place, run in enumerate(pack) for i in run.members if len(run.members) > 1]
        if shared:
            rests = [prompt[pack[place].shared :] for place, prompt in shared]
            counts = [
                sum(len(r) for r, (p, _) in zip(rests, shared, strict=True) if pack[p].stack == s) for s in stacks
            ]
            cache = cache.select([place for place, _ in shared])
            extend = CachedAttention(cache, [len(rest) for rest in rests], frozen.device)
            logits = frozen.logits(
                _flat(rests), extend.positions, extend, frozen.parts(bank, counts), _last([len(r) for r in rests])
            )
            yield cache, logits, [(pack[place].stack, prompt) for place, prompt in shared]


def _flat(parts: Sequence[Sequence[int]]) -> list[int]:
    return [token for part in parts for token in part]


def _last(lengths: Sequence[int]) -> list[int]:
    """The packed index of every sequence's last token."""
    return [end - 1 for end in accumulate(lengths)]


def _length(live: _Live) -> int:
    return len(live.row.prompt) + live.row.max_tokens


def _packs(runs: Sequence[Run], units: Sequence[Prompt], tokens: int) -> list[list[Run]]:
    """Consecutive runs in packs of at most `tokens` tokens (a longer run goes alone)."""
    packs: list[list[Run]] = []
    room = 0
    for run in runs:
        needed = run.shared + sum(len(units[i][1]) - run.shared for i in run.members)
        if not packs or needed > room:
            packs.append([])
            room = tokens
        packs[-1].append(run)
        room -= needed
    return packs


def _accept(live: Sequence[_Live], logits: Tensor, eos: frozenset[int]) -> None:
    """Choose each live row's next token from its logits `[rows, vocab]`."""
    tokens = choose(
        logits,
        [one.row.temperature for one in live],
        [one.row.top_p for one in live],
        [one.uniforms[len(one.ids)] if one.done is None and one.uniforms else 0.0 for one in live],
    )
    logprobs = [0.0] * len(live)
    wanted = [i for i, one in enumerate(live) if one.row.logprobs and one.done is None]
    if wanted:
        rows = logits[wanted].float().log_softmax(-1)
        picked = rows.gather(1, torch.tensor([[tokens[i]] for i in wanted], device=rows.device))[:, 0].tolist()
        for i, value in zip(wanted, picked, strict=True):
            logprobs[i] = value
    for one, token, logprob in zip(live, tokens, logprobs, strict=True):
        if one.done is None:
            one.accept(token, logprob, eos)


def choose(
    logits: Tensor, temperature: Sequence[float], top_p: Sequence[float], uniforms: Sequence[float]
) -> list[int]:
    """The next token of every row, from logits `[rows, vocab]`: argmax at temperature 0, else nucleus sampling by
    inverse CDF.

    The nucleus is the smallest set of most likely tokens with a mass of at least `top_p` (Holtzman et al. 2020, arXiv
    1904.09751). One uniform number in [0, 1) per row decides, so a row's text depends on its own random stream only.
    """
    tokens: list[int] = logits.argmax(-1).tolist()
    sampled = [i for i, t in enumerate(temperature) if t > 0]
    if sampled:
        heat, nucleus, uniform = (
            torch.tensor([values[i] for i in sampled], device=logits.device, dtype=torch.float64)[:, None]
            for values in (temperature, top_p, uniforms)
        )
        probs = (logits[sampled].double() / heat).softmax(-1)
        probs, order = probs.sort(dim=-1, descending=True, stable=True)
        before = probs.cumsum(-1) - probs
        kept = torch.where(before < nucleus, probs, 0.0)
        mass = kept.cumsum(-1)
        index = torch.searchsorted(mass, uniform * mass[:, -1:], right=True)
        last = (kept > 0).sum(-1, keepdim=True) - 1
        picked = order.gather(1, torch.minimum(index, last))[:, 0].tolist()
        for i, token in zip(sampled, picked, strict=True):
            tokens[i] = token
    return tokens
