"""Log-probabilities and hidden states of given texts, packed, each under its own adapter stack.

Texts to be scored after a long common beginning (the same demonstrations, passage or instructions) read it once: its
keys and values are computed in one forward, and what follows it in another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from .adapter import Adapter, stack_digest
from .attention import CachedAttention, PackedAttention, RowCache
from .dropout import Thinned
from .forward import FrozenModel
from .linear import Parts
from .memory import MemoryPlan
from .prefix import Run, common_beginnings


class ScoreRow(NamedTuple):
    """Score `continuation` given `prompt`. After an empty prompt its first token has no score, as nothing predicts
    it."""

    prompt: tuple[int, ...]
    continuation: tuple[int, ...]
    adapters: tuple[Adapter, ...] = ()
    thinned: Thinned | None = None


class HiddenRow(NamedTuple):
    """Compute the hidden states of `ids`."""

    ids: tuple[int, ...]
    adapters: tuple[Adapter, ...] = ()
    thinned: Thinned | None = None


class RowPack(NamedTuple):
    """The rows of one forward, in canonical order, and its inputs."""

    rows: list[int]
    ids: list[int]
    positions: list[int]
    lengths: list[int]
    parts: Parts


def logprobs(frozen: FrozenModel, plan: MemoryPlan, rows: Sequence[ScoreRow]) -> list[list[float]]:
    """Natural-log probability of every continuation token, in the order of `rows`; see `ScoreRow` for empty prompts."""
    return [scores for scores, _ in likelihoods(frozen, plan, rows)]


def likelihoods(frozen: FrozenModel, plan: MemoryPlan, rows: Sequence[ScoreRow]) -> list[tuple[list[float], bool]]:
    """`logprobs`, and whether every continuation token has the largest logit at its place."""
    found = _Found(rows)
    # Every stochastic pass has a network of its own, so that nothing of it is shared.
    stacks = [stack_digest(row.adapters) for row in rows]
    plain = [i for i, row in enumerate(rows) if row.thinned is None and row.continuation and row.prompt]
    plain.sort(key=lambda i: (stacks[i], rows[i].prompt, rows[i].continuation))  # whatever the order of the rows
    runs = common_beginnings([(stacks[i], rows[i].prompt) for i in plain])
    shared = [Run(run.stack, tuple(plain[i] for i in run.members), run.shared) for run in runs if len(run.members) > 1]
    with torch.inference_mode():
        for part in _parts_of(shared, rows, plan):
            _score_shared(frozen, part, rows, found)
        inside = {i for run in shared for i in run.members}
        alone = [i for i in range(len(rows)) if i not in inside]
        texts = [rows[i].prompt + rows[i].continuation for i in alone]
        for pack in packs(frozen, plan, texts, [rows[i].adapters for i in alone]):
            members = [alone[i] for i in pack.rows]
            keep: list[int] = []
            at = 0
            for i, length in zip(members, pack.lengths, strict=True):
                keep += range(at + max(len(rows[i].prompt), 1) - 1, at + length - 1)
                at += length
            if not keep:
                continue
            attend = PackedAttention(pack.lengths, device=frozen.device)
            with frozen.thinned([rows[i].thinned for i in members], pack.lengths):
                logits = frozen.logits(pack.ids, pack.positions, attend, pack.parts, keep)
            found.add(members, logits)
    return found.values()


class _Found:
    """Scores by row, taken from logits."""

    def __init__(self, rows: Sequence[ScoreRow]) -> None:
        # The token after an empty prompt is predicted by nothing.
        self._targets = [row.continuation if row.prompt else row.continuation[1:] for row in rows]
        self._scores: list[list[float]] = [[] for _ in rows]
        self._greedy = [True] * len(rows)

    def add(self, members: Sequence[int], logits: Tensor) -> None:
        """Logits `[targets of the members, vocab]`, member by member."""
        targets = [token for i in members for token in self._targets[i]]
        index = torch.tensor(targets, device=logits.device)[:, None]
        scores = logits.float().log_softmax(-1).gather(1, index)[:, 0].tolist()
        best = logits.argmax(-1).tolist()
        at = 0
        for i in members:
            end = at + len(self._targets[i])
            self._scores[i] = scores[at:end]
            self._greedy[i] = best[at:end] == targets[at:end]
            at = end

    def values(self) -> list[tuple[list[float], bool]]:
        return list(zip(self._scores, self._greedy, strict=True))


def _parts_of(runs: Sequence[Run], rows: Sequence[ScoreRow], plan: MemoryPlan) -> Iterator[list[Run]]:
    """The runs, cut where they are too large, in packs within the plan's tokens, cache and stacks."""
    pack: dict[int, list[int]] = {}  # run -> its members in this pack
    tokens = longest = count = 0
    for place, run in enumerate(runs):
        for i in run.members:
            length = len(rows[i].prompt) + len(rows[i].continuation)
            needed = length - (run.shared if place in pack else 0)
            stacks = len({runs[other].stack for other in (*pack, place)})
            cells = max(longest, length) * (count + 1)
            if pack and (tokens + needed > plan.tokens or cells > plan.cache_tokens or stacks > plan.slots):
                yield [Run(runs[p].stack, tuple(members), runs[p].shared) for p, members in pack.items()]
                pack, tokens, longest, count, needed = {}, 0, 0, 0, length
            pack.setdefault(place, []).append(i)
            tokens, longest, count = tokens + needed, max(longest, length), count + 1
    if pack:
        yield [Run(runs[p].stack, tuple(members), runs[p].shared) for p, members in pack.items()]


def _score_shared(frozen: FrozenModel, pack: Sequence[Run], rows: Sequence[ScoreRow], found: _Found) -> None:
    """One forward over the common beginnings, and one over what follows them."""
    stacks = {run.stack: rows[run.members[0]].adapters for run in pack}
    bank = frozen.bank(list(stacks.values()))
    heads = [rows[run.members[0]].prompt[: run.shared] for run in pack]
    lengths = [run.shared for run in pack]
    counts = [sum(run.shared for run in pack if run.stack == stack) for stack in stacks]
    attend = PackedAttention(lengths, device=frozen.device, record={})
    ends = [sum(lengths[: i + 1]) - 1 for i in range(len(lengths))]
    places = [place for length in lengths for place in range(length)]
    frozen.logits([t for head in heads for t in head], places, attend, frozen.parts(bank, counts), ends)
    members = [(place, i) for place, run in enumerate(pack) for i in run.members]
    rests = [(rows[i].prompt + rows[i].continuation)[pack[place].shared :] for place, i in members]
    counts = [
        sum(len(rest) for rest, (p, _) in zip(rests, members, strict=True) if pack[p].stack == stack)
        for stack in stacks
    ]
    longest = max(pack[place].shared + len(rest) for rest, (place, _) in zip(rests, members, strict=True))
    cache = RowCache.from_packed(attend.record or {}, lengths, longest).select([place for place, _ in members])
    extend = CachedAttention(cache, [len(rest) for rest in rests], frozen.device)
    keep: list[int] = []
    at = 0
    for rest, (_, i) in zip(rests, members, strict=True):
        at += len(rest)
        keep += range(at - 1 - len(rows[i].continuation), at - 1)
    ids = [token for rest in rests for token in rest]
    logits = frozen.logits(ids, extend.positions, extend, frozen.parts(bank, counts), keep)
    found.add([i for _, i in members], logits)


def hidden(
    frozen: FrozenModel, plan: MemoryPlan, rows: Sequence[HiddenRow], layer: int, pool: Literal["mean", "last"]
) -> list[list[float]]:
    """One vector `[hidden]` per row: the states after `layer`, pooled over the row's tokens.

    Raises:
        ValueError: an unknown pool, or a layer that the model does not have.
    """
    if pool not in ("mean", "last"):
        raise ValueError(f"unknown pool {pool!r}; use 'mean' or 'last'")
    depth = int(frozen.model.config.num_hidden_layers)
    if not -depth - 1 <= layer <= depth:
        raise ValueError(f"layer {layer} does not exist; 0 is the embeddings, {depth} the last layer of this model")
    out: list[list[float]] = [[] for _ in rows]
    with torch.inference_mode():
        for pack in packs(frozen, plan, [row.ids for row in rows], [row.adapters for row in rows]):
            attend = PackedAttention(pack.lengths, device=frozen.device)
            with frozen.thinned([rows[i].thinned for i in pack.rows], pack.lengths):
                states = frozen.hidden(pack.ids, pack.positions, attend, pack.parts, layer)
            for i, part in zip(pack.rows, torch.split(states.float(), pack.lengths), strict=True):
                out[i] = (part.mean(0) if pool == "mean" else part[-1]).tolist()
    return out


def packs(
    frozen: FrozenModel, plan: MemoryPlan, texts: Sequence[tuple[int, ...]], adapters: Sequence[tuple[Adapter, ...]]
) -> Iterator[RowPack]:
    """Packs of at most `plan.tokens` tokens and `plan.slots` stacks, whatever the order of the rows."""
    stacks = [stack_digest(stack) for stack in adapters]
    order = sorted((i for i in range(len(texts)) if texts[i]), key=lambda i: (stacks[i], len(texts[i]), texts[i]))
    while order:
        rows: list[int] = []
        used: list[str] = []
        room = plan.tokens
        for i in order:
            new = stacks[i] not in used
            if rows and (len(texts[i]) > room or (new and len(used) == plan.slots)):
                break
            rows.append(i)
            used += [stacks[i]] if new else []
            room -= len(texts[i])
        order = order[len(rows) :]
        counts = [sum(len(texts[i]) for i in rows if stacks[i] == stack) for stack in used]
        chosen = [next(adapters[i] for i in rows if stacks[i] == stack) for stack in used]
        yield RowPack(
            rows,
            [t for i in rows for t in texts[i]],
            [p for i in rows for p in range(len(texts[i]))],
            [len(texts[i]) for i in rows],
            frozen.parts(frozen.bank(chosen), counts),
        )
